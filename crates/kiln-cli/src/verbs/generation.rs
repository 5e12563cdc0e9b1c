//! The words of `kiln predict` that only language models read.
//! Owns their ranges and defaults; kiln-eval generates.

use kiln_core::{Exit, TaskKind};
use kiln_data::{DataError, Raw};
use kiln_eval::{Answer, Bundle, EvalError, Generation, Generator, Prediction, Sampling};
use serde_json::{Value, json};

use crate::report::Failure;

/// How texts are continued.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub(crate) struct GenerationArgs {
    /// Tokens to add at most [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    max_new_tokens: Option<u32>,
    /// Divides the scores before a token is drawn; 0 takes the best [default: 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Draw among the K best tokens; of a classifier, answer with the K best labels in place of all probabilities
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    top_k: Option<u32>,
    /// Draw among the fewest best tokens whose probabilities sum to P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// The same seed gives the same text [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// End the text before this string; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Read the whole text again for every token, for comparison
    #[arg(long)]
    no_cache: bool,
}

impl GenerationArgs {
    /// What was asked, for a model that continues texts; `None` for another.
    pub(crate) fn settings(&self, bundle: &Bundle) -> Result<Option<Generation>, Failure> {
        if bundle.task.kind() != TaskKind::CausalLanguageModeling {
            let message = "this model answers inputs and does not continue texts";
            return match (Self { top_k: None, ..self.clone() }) == Self::default() {
                true => Ok(None),
                false => Err(Failure::new(Exit::Usage, message)
                    .hint("leave out --max-new-tokens, --temperature, --top-p, --seed and --stop")),
            };
        }
        let temperature = self.temperature.unwrap_or(1.0);
        if !(temperature >= 0.0 && temperature.is_finite()) {
            let message = format!("--temperature is {temperature}, expected 0 or more");
            return Err(Failure::new(Exit::Usage, message).hint("for example: --temperature 0.8"));
        }
        if let Some(p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            let message = format!("--top-p is {p}, expected above 0 and at most 1");
            return Err(Failure::new(Exit::Usage, message).hint("for example: --top-p 0.9"));
        }
        let top_k = self.top_k.map(|k| k as usize);
        Ok(Some(Generation {
            max_new_tokens: self.max_new_tokens.map_or(100, |n| n as usize),
            sampling: Sampling { temperature, top_k, top_p: self.top_p },
            seed: self.seed.unwrap_or(0),
            stop: self.stop.clone(),
            cache: !self.no_cache,
        }))
    }
}

impl GenerationArgs {
    /// How many labels a classifier answers with, where it is said.
    pub(crate) fn best_labels(&self) -> Option<usize> {
        self.top_k.map(|k| k as usize)
    }

    /// All words, for a job's record.
    pub(crate) fn words(&self) -> Value {
        json!({
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": self.stop,
            "no_cache": self.no_cache,
        })
    }
}

/// The line for one prompt.
pub(crate) fn continued(
    generator: &Generator<'_>,
    how: &Generation,
    input: String,
    raw: Result<Raw, DataError>,
) -> Answer {
    let answer = raw.map_err(EvalError::from).and_then(|raw| match raw {
        Raw::Text(prompt) => generator.text(&prompt, how),
        _ => Err(EvalError::NoText),
    });
    match answer {
        Ok(continued) => Answer::Prediction(Prediction { input, answer: continued.fields() }),
        Err(error) => Answer::Unanswered { input, error: error.to_string() },
    }
}

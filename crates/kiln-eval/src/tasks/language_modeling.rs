//! A vocabulary of scores at every token: the next token (causal) or hidden ones (masked).
//! Owns the choice of loss and perplexity; which tokens are targets is kiln-data's choice.
//!
//! Shapes: `B` batch, `T` tokens, `V` vocabulary.

use burn::tensor::{Int, Tensor, TensorData, activation};
use kiln_core::{IGNORE, Output, Target, TaskKind};
use kiln_data::HostTarget;
use serde_json::{Map, json};

use super::{
    Answered, Asked, Loss, Metric, Misfit, Tally, Task, fill_mask, kind_of, kind_of_host, wrong_answer,
};
use crate::EvalError;
use crate::metrics::Perplexity;
use crate::scores::{BadAnswer, Scores};

/// Guesses the next token.
pub(super) const CAUSAL: LanguageModeling = LanguageModeling(TaskKind::CausalLanguageModeling);
/// Guesses hidden tokens.
pub(super) const MASKED: LanguageModeling = LanguageModeling(TaskKind::MaskedLanguageModeling);

pub(super) struct LanguageModeling(TaskKind);

impl Task for LanguageModeling {
    fn kind(&self) -> TaskKind {
        self.0
    }

    fn loss(&self, output: Output, target: Target, scored: u64, by: &Loss) -> Result<Tensor<1>, BadAnswer> {
        match (output, target) {
            (Output::TokenLogits(logits), Target::Tokens(ids)) => Ok(by.of_tokens(logits, ids, scored)),
            (Output::TokenLogits(_), other) => Err(wrong_answer("one token a place", kind_of(&other))),
            (other, _) => Err(wrong_answer("one answer a token", other.kind())),
        }
    }

    fn tally(&self, _: &[String]) -> Box<dyn Tally> {
        Box::new(Tokens::default())
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: "perplexity", higher_is_better: false },
            Metric { name: "accuracy", higher_is_better: true },
        ]
    }

    fn answers(&self, output: Output, _: &[String], asked: &Asked<'_>) -> Result<Vec<Answered>, EvalError> {
        let Output::TokenLogits(logits) = output else {
            return Err(wrong_answer("one answer a token", output.kind()).into());
        };
        match self.0 {
            TaskKind::MaskedLanguageModeling => fill_mask::answers(&logits, asked),
            _ => Err(wrong_answer("one label a sample", "one answer a token").into()),
        }
    }
}

/// Likelihood and hits, token by token; the vocabulary of scores stays on the device.
#[derive(Default)]
struct Tokens {
    perplexity: Perplexity,
    right: u64,
    samples: u64,
}

impl Tally for Tokens {
    fn add(&mut self, output: Output, target: &HostTarget) -> Result<(), Misfit> {
        let HostTarget::Tokens { ids, width } = target else {
            let reason = wrong_answer("one token a place", kind_of_host(target));
            return Err(Misfit::Answer { sample: 0, reason });
        };
        let Output::TokenLogits(logits) = output else {
            let reason = wrong_answer("one answer a token", output.kind());
            return Err(Misfit::Answer { sample: 0, reason });
        };
        let (nll, right) = on_device(logits, ids)?;
        for (place, id) in ids.iter().enumerate().filter(|(_, id)| **id != IGNORE) {
            self.perplexity
                .add(f64::from(nll[place]), 1)
                .map_err(|error| Misfit::Answer { sample: place / (*width).max(1), reason: error.into() })?;
            self.right += u64::from(right[place] == *id);
        }
        self.samples += (ids.len() / (*width).max(1)) as u64;
        Ok(())
    }

    fn scores(&mut self) -> Scores {
        let tokens = self.perplexity.tokens();
        let mut metrics = Map::new();
        metrics.insert("perplexity".into(), json!(self.perplexity.perplexity()));
        let accuracy = (tokens > 0).then(|| self.right as f64 / tokens as f64);
        metrics.insert("accuracy".into(), json!(accuracy));
        metrics.insert("tokens".into(), json!(tokens));
        let loss = self.perplexity.loss().unwrap_or_default();
        Scores { samples: self.samples, loss, metrics, report: None }
    }
}

/// `-ln p` of each target and the most probable token of each place, `[B T]`.
fn on_device(logits: Tensor<3>, ids: &[i64]) -> Result<(Vec<f32>, Vec<i64>), EvalError> {
    let [b, t, v] = logits.dims();
    let logits = logits.reshape([b * t, v]);
    let wanted: Vec<i64> = ids.iter().map(|id| (*id).max(0)).collect();
    let wanted = Tensor::<2, Int>::from_data(TensorData::new(wanted, [b * t, 1]), &logits.device());
    let nll = activation::log_softmax(logits.clone(), 1).gather(1, wanted).neg();
    let nll = nll.into_data().convert::<f32>().try_to_vec::<f32>()?;
    let right = logits.argmax(1).into_data().convert::<i64>().try_to_vec::<i64>()?;
    Ok((nll, right))
}

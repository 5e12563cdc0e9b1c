//! What answers: a predictor, a generator or an embedder, as the words of `kiln predict` choose.
//! Owns that choice and the cut to the best labels; kiln-eval answers.

use std::path::Path;

use kiln_core::Exit;
use kiln_core::device::Chosen;
use kiln_data::Preprocessor;
use kiln_data::inputs::Input;
use kiln_eval::{Answer, Bundle, Embedder, Generation, Predictor};
use serde_json::{Map, Value, json};

use super::{Answers, Args};
use crate::report::Failure;
use crate::verbs::generation::continued;
use crate::verbs::tta;

/// What answers.
pub(super) enum Asked {
    /// With the best labels only, where a number of them is given.
    Labels(Predictor, Option<usize>),
    Continuations(Predictor, Generation),
    Embeddings(Embedder),
}

impl Asked {
    /// Opens the model for what is asked of it.
    pub(super) fn open(args: &Args, folder: &Path, chosen: Chosen) -> Result<Self, Failure> {
        let batch_size = args.batch_size as usize;
        if args.embed {
            return Ok(Asked::Embeddings(Embedder::open(folder, chosen.device, batch_size)?));
        }
        let bundle = Bundle::open(folder, &chosen.device)?;
        let generation = args.generation.settings(&bundle)?;
        let predictor = Predictor::new(bundle, chosen.device, batch_size);
        match generation {
            Some(_) if args.tta.is_some() => {
                let message = "--tta shows images, and this model continues texts";
                Err(Failure::new(Exit::Usage, message).hint("leave --tta out"))
            }
            Some(how) => Ok(Asked::Continuations(predictor, how)),
            None => {
                Ok(Asked::Labels(predictor.with_tta(tta::chosen(args.tta)), args.generation.best_labels()))
            }
        }
    }

    pub(super) fn preprocessor(&self) -> &Preprocessor {
        match self {
            Asked::Labels(predictor, _) | Asked::Continuations(predictor, _) => {
                &predictor.bundle().preprocessor
            }
            Asked::Embeddings(embedder) => embedder.preprocessor(),
        }
    }

    /// Inputs that are answered together: texts are continued one by one.
    pub(super) fn at_once(&self, args: &Args) -> usize {
        match self {
            Asked::Continuations(..) => 1,
            Asked::Labels(..) | Asked::Embeddings(_) => args.batch_size as usize,
        }
    }

    /// Answers inputs in their order.
    pub(super) fn answers(&self, inputs: Vec<Input>) -> Answers {
        let split = |inputs: Vec<Input>| inputs.into_iter().map(Input::split).collect();
        match self {
            Asked::Labels(predictor, None) => predictor.answer(split(inputs)),
            Asked::Labels(predictor, Some(k)) => {
                Ok(predictor.answer(split(inputs))?.into_iter().map(|answer| best(answer, *k)).collect())
            }
            Asked::Embeddings(embedder) => embedder.answer(split(inputs)),
            Asked::Continuations(predictor, how) => {
                let generator = predictor.generator();
                let one = |input: Input| {
                    let (name, raw) = input.read();
                    continued(&generator, how, name, raw)
                };
                Ok(inputs.into_iter().map(one).collect())
            }
        }
    }
}

/// The same answer with its `k` most probable labels, the best first, in place of all probabilities.
fn best(answer: Answer, k: usize) -> Answer {
    let Answer::Prediction(mut prediction) = answer else { return answer };
    if let Some(Value::Object(all)) = prediction.answer.remove("probabilities") {
        let mut all: Vec<(String, f64)> =
            all.into_iter().filter_map(|(label, p)| Some((label, p.as_f64()?))).collect();
        all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let entry =
            |(label, p)| Value::Object(Map::from_iter([("label".into(), json!(label)), ("score".into(), p)]));
        let top = all.into_iter().take(k).map(|(label, p)| entry((label, json!(p)))).collect();
        prediction.answer.insert("top_k".into(), Value::Array(top));
    }
    Answer::Prediction(prediction)
}

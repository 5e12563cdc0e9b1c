//! Asks a bundle: raw inputs in, labels with probabilities out, in order, a batch at a time.
//! Owns batching and what becomes of inputs that cannot be read; reads no file and prints nothing.
//! `kiln predict` and the server hand it inputs.

use std::collections::VecDeque;

use burn::tensor::Device;
use kiln_data::{DataError, Features, HostBatch, Raw, collate};
use serde::Serialize;

use crate::scores::{BadAnswer, best, softmax};
use crate::{Bundle, EvalError, evaluate::ask};

/// One answer, or why there is none. Serialises as one line of `kiln predict`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The model answered.
    Prediction(Prediction),
    /// The input could not be read, or the answer is no number.
    Unanswered {
        /// Path, or file and row, or the text.
        input: String,
        /// Why.
        error: String,
    },
}

/// What the model says of one input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Path, or file and row, or the text.
    pub input: String,
    /// The most probable class.
    pub label: String,
    /// Its probability.
    pub score: f64,
    /// Every class's probability, in the model's class order; they sum to 1.
    pub probabilities: serde_json::Map<String, serde_json::Value>,
}

/// A bundle on a device, with a batch size.
pub struct Predictor {
    bundle: Bundle,
    device: Device,
    batch_size: usize,
}

impl Predictor {
    /// Asks `bundle`, which is on `device`, `batch_size` inputs at a time (at least 1).
    pub fn new(bundle: Bundle, device: Device, batch_size: usize) -> Self {
        Self { bundle, device, batch_size: batch_size.max(1) }
    }

    /// The bundle that is asked.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Answers inputs in their order. At most one batch of them is in memory.
    pub fn predict<I>(&self, inputs: I) -> Predictions<'_, I::IntoIter>
    where
        I: IntoIterator<Item = (String, Result<Raw, DataError>)>,
    {
        Predictions { predictor: self, inputs: inputs.into_iter(), ready: VecDeque::new() }
    }

    /// Answers one batch in its order.
    fn batch(&self, inputs: Vec<(String, Result<Raw, DataError>)>) -> Result<VecDeque<Answer>, EvalError> {
        let prepared = inputs.into_iter().map(|(name, raw)| {
            let features = raw.and_then(|raw| self.bundle.preprocessor.prepare_named(raw, &name, None));
            (name, features.map_err(|e| e.to_string()))
        });
        let mut features = Vec::new();
        let mut slots = Vec::new();
        for (name, result) in prepared {
            slots.push((name, result.map(|f| features.push(f))));
        }
        let logits = self.logits(features)?;
        let mut rows = logits.chunks_exact(self.bundle.classes.len().max(1));
        let answer = |(input, slot): (String, Result<(), String>)| match slot {
            Ok(()) => self.answer(input, rows.next().unwrap_or_default()),
            Err(error) => Answer::Unanswered { input, error },
        };
        Ok(slots.into_iter().map(answer).collect())
    }

    /// `[B, K]` logits, flat.
    fn logits(&self, features: Vec<Features>) -> Result<Vec<f32>, EvalError> {
        if features.is_empty() {
            return Ok(Vec::new());
        }
        let samples = features.into_iter().enumerate().map(|(i, features)| (i, features, None)).collect();
        let host = HostBatch::gather(samples, self.bundle.preprocessor.input());
        let input = collate(host, &self.device).input;
        ask(&*self.bundle.model.net, input, self.bundle.classes.len())
    }

    fn answer(&self, input: String, logits: &[f32]) -> Answer {
        let Some(top) = best(logits) else {
            return Answer::Unanswered { input, error: BadAnswer::NotFinite.to_string() };
        };
        let p = softmax(logits);
        let named = self.bundle.classes.iter().cloned().zip(p.iter().map(|x| (*x).into()));
        let label = self.bundle.classes[top].clone();
        Answer::Prediction(Prediction { input, label, score: p[top], probabilities: named.collect() })
    }
}

/// Answers in the order of their inputs; see [`Predictor::predict`].
pub struct Predictions<'a, I> {
    predictor: &'a Predictor,
    inputs: I,
    ready: VecDeque<Answer>,
}

impl<I: Iterator<Item = (String, Result<Raw, DataError>)>> Iterator for Predictions<'_, I> {
    type Item = Result<Answer, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            let batch: Vec<_> = self.inputs.by_ref().take(self.predictor.batch_size).collect();
            match self.predictor.batch(batch) {
                Ok(answers) => self.ready = answers,
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

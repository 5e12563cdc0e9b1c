//! Asks a bundle: raw inputs in, labels with probabilities out, in order, a batch at a time.
//! Owns batching and what becomes of inputs that cannot be read; reads no file and prints nothing.
//! `kiln predict` and the server hand it inputs.

use std::collections::VecDeque;

use burn::tensor::Device;
use kiln_data::{DataError, Features, HostBatch, Label, Raw, collate};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::tasks::{Answered, Asked, regression};
use crate::tta::{self, Tta};
use crate::{Bundle, EvalError, Generator};

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
    /// The task's answer; for classification `label`, `score` and `probabilities`.
    #[serde(flatten)]
    pub answer: Map<String, Value>,
}

/// A bundle on a device, with a batch size.
pub struct Predictor {
    bundle: Bundle,
    device: Device,
    batch_size: usize,
    tta: Tta,
}

impl Predictor {
    /// Asks `bundle`, which is on `device`, `batch_size` inputs at a time (at least 1).
    pub fn new(bundle: Bundle, device: Device, batch_size: usize) -> Self {
        Self { bundle, device, batch_size: batch_size.max(1), tta: Tta::None }
    }

    /// The same, showing each input to the net as `tta` says.
    #[must_use]
    pub fn with_tta(self, tta: Tta) -> Self {
        Self { tta, ..self }
    }

    /// The bundle that is asked.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Continues texts instead, where the bundle is a decoder.
    pub fn generator(&self) -> Generator<'_> {
        Generator::new(&self.bundle, &self.device)
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
            let asked = raw.as_ref().ok().filter(|raw| !matches!(raw, Raw::Image(_))).cloned();
            let features = raw.and_then(|raw| self.bundle.preprocessor.prepare_named(raw, &name, None));
            (name, features.map(|features| (asked, features)).map_err(|e| e.to_string()))
        });
        let (mut raws, mut features) = (Vec::new(), Vec::new());
        let mut slots = Vec::new();
        for (name, result) in prepared {
            let slot = result.map(|(raw, own)| {
                raws.push(raw);
                features.push(own);
            });
            slots.push((name, slot));
        }
        let mut answers = self.answers(&raws, features)?.into_iter();
        let answer = |(input, slot): (String, Result<(), String>)| {
            let answered = slot.and_then(|()| match answers.next() {
                Some(answer) => answer.map_err(|reason| reason.to_string()),
                None => Err("the model gave no answer".into()),
            });
            match answered {
                Ok(answer) => Answer::Prediction(Prediction { input, answer }),
                Err(error) => Answer::Unanswered { input, error },
            }
        };
        Ok(slots.into_iter().map(answer).collect())
    }

    /// The task's answer for each of a batch of prepared inputs.
    pub(crate) fn answers(
        &self,
        raws: &[Option<Raw>],
        features: Vec<Features>,
    ) -> Result<Vec<Answered>, EvalError> {
        if features.is_empty() {
            return Ok(Vec::new());
        }
        let texts = matches!(features.first(), Some(Features::Tokens { .. }));
        let own = if texts { features.clone() } else { Vec::new() };
        let samples =
            features.into_iter().enumerate().map(|(i, features)| (i, features, Label::None)).collect();
        let host = HostBatch::gather(samples, self.bundle.preprocessor.input());
        let output = tta::answer(&*self.bundle.model.net, collate(host, &self.device).input, self.tta)?;
        let output = regression::undo(output, self.bundle.preprocessor.targets(), &self.device)?;
        let asked = Asked { preprocessor: &self.bundle.preprocessor, raws, features: &own };
        self.bundle.task.answers(output, &self.bundle.classes, &asked)
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

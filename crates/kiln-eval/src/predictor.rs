//! Asks a bundle: raw inputs in, labels with probabilities out, in order, a batch at a time.
//! Owns batching and what becomes of inputs that cannot be read; reads no file and prints nothing.
//! `kiln predict` and the server hand it inputs.

use std::collections::VecDeque;

use burn::tensor::Device;
use kiln_data::{DataError, Features, HostBatch, Label, Raw, collate};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::prepared::Fields;
use crate::tasks::{Answered, Asked, regression, rows};
use crate::tta::{self, Tta};
use crate::{Bundle, EvalError, Generator, Prepared};

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

    /// Answers any number of inputs in their order: they are read and prepared beside each other, and asked a batch at a
    /// time; texts by their lengths, so that little padding is computed.
    ///
    /// # Errors
    /// The model does not fit its preprocessing; the device fails.
    pub fn answer<F>(&self, inputs: Vec<(String, F)>) -> Result<Vec<Answer>, EvalError>
    where
        F: FnOnce() -> Result<Raw, DataError> + Send,
    {
        let preprocessor = &self.bundle.preprocessor;
        let prepared = prepared(inputs, |name, raw| Prepared::new(preprocessor, raw, name));
        answered(prepared, Prepared::len, self.batch_size, |batch| self.batch(batch))
    }

    /// The task's answer for each of a batch of prepared inputs; `logits` takes what the net answered, row by row.
    pub(crate) fn answers(
        &self,
        raws: &[Option<Raw>],
        features: Vec<Features>,
        logits: Option<&mut Vec<f32>>,
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
        if let Some(logits) = logits {
            *logits = rows(output.clone())?.0;
        }
        let output = regression::undo(output, self.bundle.preprocessor.targets(), &self.device)?;
        let asked = Asked { preprocessor: &self.bundle.preprocessor, raws, features: &own };
        self.bundle.task.answers(output, &self.bundle.classes, &asked)
    }
}

/// Reads and prepares inputs on all threads, in their order; why not, where one cannot be.
pub(crate) fn prepared<F, P: Send>(
    inputs: Vec<(String, F)>,
    prepare: impl Fn(&str, Raw) -> Result<P, DataError> + Sync,
) -> Vec<(String, Result<P, String>)>
where
    F: FnOnce() -> Result<Raw, DataError> + Send,
{
    let one = |(name, read): (String, F)| {
        let prepared = read().and_then(|raw| prepare(&name, raw)).map_err(|e| e.to_string());
        (name, prepared)
    };
    inputs.into_par_iter().map(one).collect()
}

/// Answers to prepared inputs in their order, asked `batch_size` at a time and those of like length together.
pub(crate) fn answered<P>(
    prepared: Vec<(String, Result<P, String>)>,
    length: impl Fn(&P) -> usize,
    batch_size: usize,
    ask: impl Fn(Vec<P>) -> Result<Vec<Fields>, EvalError>,
) -> Result<Vec<Answer>, EvalError> {
    let mut names = Vec::with_capacity(prepared.len());
    let mut answers: Vec<Option<Fields>> = Vec::with_capacity(prepared.len());
    let mut open = Vec::new();
    for (at, (name, prepared)) in prepared.into_iter().enumerate() {
        names.push(name);
        match prepared {
            Ok(own) => {
                answers.push(None);
                open.push((at, own));
            }
            Err(reason) => answers.push(Some(Err(reason))),
        }
    }
    open.sort_by_key(|(_, own)| length(own));
    let mut open = open.into_iter().peekable();
    while open.peek().is_some() {
        let (places, batch): (Vec<_>, Vec<_>) = open.by_ref().take(batch_size).unzip();
        for (at, answer) in places.into_iter().zip(ask(batch)?) {
            answers[at] = Some(answer);
        }
    }
    let none = || Err("the model gave no answer".to_string());
    let answer = |(input, answer): (String, Option<_>)| match answer.unwrap_or_else(none) {
        Ok(answer) => Answer::Prediction(Prediction { input, answer }),
        Err(error) => Answer::Unanswered { input, error },
    };
    Ok(names.into_iter().zip(answers).map(answer).collect())
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
            match self.predictor.answer(batch.into_iter().map(|(name, raw)| (name, || raw)).collect()) {
                Ok(answers) => self.ready = answers.into(),
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

//! What a net learns, one file each: its loss, its scores, and its answers in words.
//! Owns the way from an `Output` to a number or a prediction; never trains, reads no file.
//! The loop asks for the loss, the evaluator fills a tally, the predictor asks for answers.

mod classification;
mod fill_mask;
mod language_modeling;
mod loss;
mod multi_label;
pub(crate) mod regression;
mod token_classification;

use burn::tensor::Tensor;
use kiln_core::{Output, Target, TaskKind};
use kiln_data::{Features, HostTarget, Preprocessor, Raw, Scale};
use serde_json::{Map, Value};

pub use loss::Loss;

use crate::EvalError;
use crate::scores::{BadAnswer, Scores};

/// A number that ranks checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name in scores and configs.
    pub name: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// Every task can be ranked by its loss.
pub const LOSS: Metric = Metric { name: "loss", higher_is_better: false };

/// A task.
pub trait Task: Sync {
    /// Which one.
    fn kind(&self) -> TaskKind;

    /// The mean loss `[1]` of a batch; `scored` is the number of samples, or of tokens with a target.
    ///
    /// # Errors
    /// An answer or a target of another kind.
    fn loss(&self, output: Output, target: Target, scored: u64, by: &Loss) -> Result<Tensor<1>, BadAnswer>;

    /// An empty tally over these labels.
    fn tally(&self, labels: &[String]) -> Box<dyn Tally>;

    /// Its metrics, the one that chooses the best checkpoint by default first. `loss` is understood.
    fn metrics(&self) -> &'static [Metric];

    /// What is said of each sample of a batch, in order: fields of the line that `kiln predict` prints.
    ///
    /// # Errors
    /// The answer is of another kind, or cannot be read from the device.
    fn answers(
        &self,
        output: Output,
        labels: &[String],
        asked: &Asked<'_>,
    ) -> Result<Vec<Answered>, EvalError>;
}

/// What a batch of answers is about, for tasks that answer in the words of the question.
pub struct Asked<'a> {
    /// How the samples were prepared.
    pub preprocessor: &'a Preprocessor,
    /// The samples, images left out.
    pub raws: &'a [Option<Raw>],
    /// What became of them.
    pub features: &'a [Features],
}

/// The fields of one sample's prediction, or why there are none.
pub type Answered = Result<Map<String, Value>, BadAnswer>;

/// Sums scores batch by batch.
pub trait Tally {
    /// Says that answers and labels are standardised by these scales, before the first batch; regression listens.
    fn units(&mut self, _: &[Scale]) {}

    /// Adds a batch.
    ///
    /// # Errors
    /// An answer that is no number or does not fit its label; `sample` is its place in the batch.
    fn add(&mut self, output: Output, target: &HostTarget) -> Result<(), Misfit>;

    /// The scores of what was added.
    fn scores(&mut self) -> Scores;
}

/// What a batch could not be scored for.
#[derive(Debug)]
pub enum Misfit {
    /// A sample's answer.
    Answer {
        /// Its place in the batch.
        sample: usize,
        /// Why.
        reason: BadAnswer,
    },
    /// The device.
    Device(EvalError),
}

/// The task of a kind.
///
/// # Errors
/// A kind that cannot be scored.
pub fn of(kind: TaskKind) -> Result<&'static dyn Task, EvalError> {
    TASKS.iter().find(|task| task.kind() == kind).copied().ok_or(EvalError::NoTask { kind })
}

/// Every task.
pub const TASKS: &[&dyn Task] = &[
    &classification::Classification,
    &multi_label::MultiLabelClassification,
    &regression::Regression,
    &token_classification::TokenClassification,
    &language_modeling::CAUSAL,
    &language_modeling::MASKED,
];

impl dyn Task {
    /// A metric of this task by its name.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        self.metrics().iter().chain([&LOSS]).find(|metric| metric.name == name).copied()
    }
}

/// One answer a sample, row by row on the host.
pub(crate) fn rows(output: Output) -> Result<(Vec<f32>, usize), EvalError> {
    match output {
        Output::Logits(logits) => {
            let [_, width] = logits.dims();
            Ok((logits.into_data().convert::<f32>().try_to_vec::<f32>()?, width))
        }
        other => Err(wrong_answer("one answer a sample", other.kind()).into()),
    }
}

pub(crate) fn wrong_answer(expected: &'static str, got: &'static str) -> BadAnswer {
    BadAnswer::Kind { expected, got }
}

pub(crate) fn kind_of(target: &Target) -> &'static str {
    match target {
        Target::Classes(_) => "one class a sample",
        Target::MultiHot(_) => "several classes a sample",
        Target::Soft(_) => "shares of classes",
        Target::Values(_) => "numbers",
        Target::Tokens(_) => "one class a token",
    }
}

pub(crate) fn kind_of_host(target: &HostTarget) -> &'static str {
    match target {
        HostTarget::Classes(_) => "one class a sample",
        HostTarget::MultiHot { .. } => "several classes a sample",
        HostTarget::Soft { .. } => "shares of classes",
        HostTarget::Values { .. } => "numbers",
        HostTarget::Tokens { .. } => "one class a token",
    }
}

impl From<EvalError> for Misfit {
    fn from(error: EvalError) -> Self {
        Misfit::Device(error)
    }
}

//! What a split came to: loss, metrics by name, and what each class came to; and an answer's class and probabilities.
//! Owns the forms that every task fills; definitions are `metrics`' own. Hands them to the loop and to `kiln eval`.
//!
//! Shapes: `K` classes.

use kiln_core::event::Metrics;
use serde::Serialize;

pub use crate::metrics::Quality;
use crate::metrics::{Average, Confusion, MetricError};

/// One class's line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScores {
    /// The class.
    pub class: String,
    /// Its quality.
    #[serde(flatten)]
    pub quality: Quality,
    /// Samples of the class.
    pub support: u64,
}

/// A split's scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// Samples scored.
    pub samples: u64,
    /// Mean loss over what is scored, in nats where it is a cross-entropy, without label smoothing.
    pub loss: f64,
    /// The task's metrics by name, the main one first; null where one is not defined on these samples.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// More than single numbers.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub report: Option<ClassificationReport>,
}

/// What each class came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassificationReport {
    /// By class, in index order.
    pub per_class: Vec<ClassScores>,
    /// Unweighted mean over classes.
    pub macro_avg: Quality,
    /// Mean over classes weighted by support.
    pub weighted_avg: Quality,
    /// `[K, K]` counts: row = the right class, column = the answer. Empty where a sample may have several classes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u64>>,
}

impl ClassificationReport {
    /// From counts over these classes.
    pub fn of(confusion: &Confusion, classes: &[String]) -> Self {
        let line = |(class, counts): (&String, crate::metrics::Counts)| ClassScores {
            class: class.clone(),
            quality: counts.quality(),
            support: counts.support,
        };
        Self {
            per_class: classes.iter().zip(confusion.per_class()).map(line).collect(),
            macro_avg: confusion.quality(Average::Macro).unwrap_or_default(),
            weighted_avg: confusion.quality(Average::Weighted).unwrap_or_default(),
            confusion: confusion.matrix(),
        }
    }
}

impl Scores {
    /// A metric by its name; `loss` is one.
    pub fn metric(&self, name: &str) -> Option<f64> {
        match name {
            "loss" => Some(self.loss),
            name => self.metrics.get(name).and_then(serde_json::Value::as_f64),
        }
    }
}

/// An answer that cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// NaN or infinite logits.
    #[error("the model's answer is not finite")]
    NotFinite,
    /// Sizes that do not fit.
    #[error("class {truth} with {logits} logits, but there are {classes} classes")]
    Class {
        /// The right class.
        truth: usize,
        /// Logits given.
        logits: usize,
        /// `K`
        classes: usize,
    },
    /// A number that a metric cannot take.
    #[error("the answer does not fit the label: {0}")]
    Metric(MetricError),
    /// A text without a place to fill.
    #[error(
        "no {token} in the text: write it where a token is to be found (a text that is too long may have lost it)"
    )]
    NoMask {
        /// The mask token.
        token: String,
    },
    /// Another kind of answer or label than the task has.
    #[error("the answer does not fit the label: expected {expected}, got {got}")]
    Kind {
        /// What the task compares.
        expected: &'static str,
        /// What there was.
        got: &'static str,
    },
}

impl From<MetricError> for BadAnswer {
    fn from(error: MetricError) -> Self {
        match error {
            MetricError::NotFinite(_) => BadAnswer::NotFinite,
            other => BadAnswer::Metric(other),
        }
    }
}

/// The index of the highest of `[K]` logits, the first of equals; `None` where one is not finite or there is none.
pub fn best(logits: &[f32]) -> Option<usize> {
    if logits.iter().any(|x| !x.is_finite()) {
        return None;
    }
    (0..logits.len()).reduce(|top, k| if logits[k] > logits[top] { k } else { top })
}

/// The probabilities `[K]` of finite logits `[K]`.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    log_softmax(logits).into_iter().map(f64::exp).collect()
}

/// Shifted by the highest logit first, so that it neither overflows nor loses the sum beside a huge logit.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let below: Vec<f64> = logits.iter().map(|x| f64::from(*x) - top).collect();
    let total = below.iter().map(|x| x.exp()).sum::<f64>().ln();
    below.into_iter().map(|x| x - total).collect()
}

//! How good answers are: loss, accuracy, precision, recall, F1 and confusion, summed over batches on the host.
//! Owns the numbers and their definitions (scikit-learn's, with `zero_division=0`); sees no net and no file.
//! The classification task fills a `Tally`; every task hands `Scores` to the loop and to `kiln eval`.
//!
//! Shapes: `B` batch, `K` classes.

use kiln_core::event::Metrics;
use serde::Serialize;

/// Precision, recall and F1 of one class, or their mean over classes. 0 where a quotient has no denominator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Right among those answered with the class.
    pub precision: f64,
    /// Right among those of the class.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

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

impl Scores {
    /// A metric by its name; `loss` is one.
    pub fn metric(&self, name: &str) -> Option<f64> {
        match name {
            "loss" => Some(self.loss),
            name => self.metrics.get(name).and_then(serde_json::Value::as_f64),
        }
    }
}

/// Sums answers batch by batch; the order and the batch size do not matter (to 1e-12 of the loss: f64 sums).
#[derive(Debug, Clone)]
pub struct Tally {
    classes: Vec<String>,
    confusion: Vec<Vec<u64>>,
    loss: f64,
    samples: u64,
}

impl Tally {
    /// Nothing yet, over these classes.
    pub fn new(classes: &[String]) -> Self {
        let k = classes.len();
        Self { classes: classes.to_vec(), confusion: vec![vec![0; k]; k], loss: 0.0, samples: 0 }
    }

    /// Adds one sample's logits `[K]` and its right class.
    ///
    /// # Errors
    /// A logit is not finite, or the class is not below `K`; nothing is added.
    pub fn add(&mut self, logits: &[f32], truth: usize) -> Result<(), BadAnswer> {
        let answer = best(logits).ok_or(BadAnswer::NotFinite)?;
        if truth >= self.classes.len() || logits.len() != self.classes.len() {
            return Err(BadAnswer::Class { truth, logits: logits.len(), classes: self.classes.len() });
        }
        self.loss -= log_softmax(logits)[truth];
        self.confusion[truth][answer] += 1;
        self.samples += 1;
        Ok(())
    }

    /// Samples added.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Mean cross-entropy over samples; 0 of none.
    pub fn loss(&self) -> f64 {
        quotient(self.loss, self.samples as f64)
    }

    /// Share of samples whose highest logit is the right class (the first of equals answers); 0 of none.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes.len()).map(|k| self.confusion[k][k]).sum();
        quotient(right as f64, self.samples as f64)
    }

    /// Class by class. With no samples every number is 0.
    pub fn report(&self) -> ClassificationReport {
        let per_class: Vec<_> = (0..self.classes.len()).map(|k| self.class(k)).collect();
        ClassificationReport {
            macro_avg: mean(per_class.iter().map(|c| (c.quality, 1.0))),
            weighted_avg: mean(per_class.iter().map(|c| (c.quality, c.support as f64))),
            per_class,
            confusion: self.confusion.clone(),
        }
    }

    fn class(&self, k: usize) -> ClassScores {
        let right = self.confusion[k][k] as f64;
        let support: u64 = self.confusion[k].iter().sum();
        let answered: u64 = self.confusion.iter().map(|row| row[k]).sum();
        let quality = Quality {
            precision: quotient(right, answered as f64),
            recall: quotient(right, support as f64),
            f1: quotient(2.0 * right, (support + answered) as f64),
        };
        ClassScores { class: self.classes[k].clone(), quality, support }
    }
}

/// An answer that cannot be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
    /// Another kind of answer or label than the task has.
    #[error("the answer does not fit the label: expected {expected}, got {got}")]
    Kind {
        /// What the task compares.
        expected: &'static str,
        /// What there was.
        got: &'static str,
    },
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

fn quotient(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

fn mean(weighted: impl Iterator<Item = (Quality, f64)>) -> Quality {
    let (sum, weights) = weighted.fold((Quality::default(), 0.0), |(s, n), (q, w)| {
        let sum = Quality {
            precision: s.precision + w * q.precision,
            recall: s.recall + w * q.recall,
            f1: s.f1 + w * q.f1,
        };
        (sum, n + w)
    });
    Quality {
        precision: quotient(sum.precision, weights),
        recall: quotient(sum.recall, weights),
        f1: quotient(sum.f1, weights),
    }
}

//! Precision, recall and F1 from three counts, and their averages over classes.
//! Owns the definitions (scikit-learn's `precision_recall_fscore_support`, `zero_division=0`) that confusion,
//! multi-label and entity scores share; counts nothing itself.

use serde::Serialize;

use super::quotient;

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

/// How numbers of classes become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// One number from the counts of all classes together.
    Micro,
    /// The mean over classes.
    Macro,
    /// The mean over classes weighted by how many samples are of the class.
    Weighted,
}

/// What happened to one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Answered with the class, and right.
    pub right: u64,
    /// Answered with the class.
    pub answered: u64,
    /// Of the class.
    pub support: u64,
}

impl Counts {
    /// Counts one yes or no.
    pub fn add(&mut self, truth: bool, answer: bool) {
        self.right += u64::from(truth && answer);
        self.answered += u64::from(answer);
        self.support += u64::from(truth);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.right += other.right;
        self.answered += other.answered;
        self.support += other.support;
    }

    /// Its precision, recall and F1.
    pub fn quality(&self) -> Quality {
        let (right, answered, support) = (self.right as f64, self.answered as f64, self.support as f64);
        Quality {
            precision: quotient(right, answered),
            recall: quotient(right, support),
            f1: quotient(2.0 * right, answered + support),
        }
    }
}

/// The average over classes. `None` only for the macro mean of no classes: micro and weighted are then 0.
pub(crate) fn average(classes: &[Counts], how: Average) -> Option<Quality> {
    match how {
        Average::Micro => {
            let mut all = Counts::default();
            classes.iter().for_each(|class| all.merge(class));
            Some(all.quality())
        }
        Average::Macro => (!classes.is_empty()).then(|| mean(classes, |_| 1.0)),
        Average::Weighted => Some(mean(classes, |class| class.support as f64)),
    }
}

fn mean(classes: &[Counts], weight: impl Fn(&Counts) -> f64) -> Quality {
    let total: f64 = classes.iter().map(&weight).sum();
    let over = |get: fn(Quality) -> f64| {
        quotient(classes.iter().map(|class| weight(class) * get(class.quality())).sum(), total)
    };
    Quality { precision: over(|q| q.precision), recall: over(|q| q.recall), f1: over(|q| q.f1) }
}

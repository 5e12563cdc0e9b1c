//! The confusion matrix of single-label classification, and all that is computed from it.
//! Owns the counts; which class a model answers is decided by whoever adds.
//! Reference: scikit-learn's `accuracy_score`, `balanced_accuracy_score`, `precision_recall_fscore_support`
//! (`labels` = all classes, `zero_division=0`), `matthews_corrcoef`, `cohen_kappa_score`.
//!
//! Shapes: `K` classes.

use super::counts::average;
use super::{Average, Counts, MetricError, Quality, check_class, check_length, ratio};

/// Counts of (right class, answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// Nothing yet, over `K` classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Adds one sample.
    ///
    /// # Errors
    /// A class is not below `K`.
    pub fn add(&mut self, truth: usize, answer: usize) -> Result<(), MetricError> {
        check_class(truth, self.classes)?;
        check_class(answer, self.classes)?;
        self.counts[truth * self.classes + answer] += 1;
        Ok(())
    }

    /// Adds the samples of another.
    ///
    /// # Errors
    /// It has another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        check_length("classes", self.classes, other.classes)?;
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// `[K, K]` counts: row = the right class, column = the answer.
    pub fn matrix(&self) -> Vec<Vec<u64>> {
        (0..self.classes).map(|truth| self.row(truth).to_vec()).collect()
    }

    /// Samples added.
    pub fn samples(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Counts of each class.
    pub fn per_class(&self) -> Vec<Counts> {
        let class = |k: usize| Counts {
            right: self.row(k)[k],
            answered: (0..self.classes).map(|truth| self.row(truth)[k]).sum(),
            support: self.row(k).iter().sum(),
        };
        (0..self.classes).map(class).collect()
    }

    /// Share of right answers; `None` without samples.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.right() as f64, self.samples() as f64)
    }

    /// Mean recall over the classes that have samples; `None` without samples.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let present: Vec<_> = self.per_class().into_iter().filter(|class| class.support > 0).collect();
        ratio(present.iter().map(|class| class.quality().recall).sum(), present.len() as f64)
    }

    /// Precision, recall and F1 averaged over all `K` classes, absent ones included (as 0); `None` if `K` is 0.
    pub fn quality(&self, how: Average) -> Option<Quality> {
        average(&self.per_class(), how)
    }

    /// Matthews correlation of truth and answer, for any number of classes (Gorodkin 2004); 0 where one of them is
    /// always the same class, as scikit-learn defines it.
    pub fn matthews(&self) -> f64 {
        let square = self.square();
        let own = |count: fn(&Counts) -> u64| -> i128 {
            square - self.per_class().iter().map(|class| i128::from(count(class)).pow(2)).sum::<i128>()
        };
        let spread = (own(|class| class.answered) as f64).sqrt() * (own(|class| class.support) as f64).sqrt();
        let covariance = i128::from(self.right()) * i128::from(self.samples()) - self.by_chance();
        super::quotient(covariance as f64, spread)
    }

    /// Cohen's kappa, unweighted; `None` where chance alone agrees always (truth and answer are one and the same
    /// class, or there are no samples).
    pub fn cohen_kappa(&self) -> Option<f64> {
        let samples = i128::from(self.samples());
        let wrong = samples * (samples - i128::from(self.right()));
        ratio(wrong as f64, (self.square() - self.by_chance()) as f64).map(|share| 1.0 - share)
    }

    fn row(&self, truth: usize) -> &[u64] {
        &self.counts[truth * self.classes..(truth + 1) * self.classes]
    }

    fn right(&self) -> u64 {
        (0..self.classes).map(|k| self.row(k)[k]).sum()
    }

    /// Samples squared.
    fn square(&self) -> i128 {
        i128::from(self.samples()).pow(2)
    }

    /// Samples squared times the agreement that chance would give.
    fn by_chance(&self) -> i128 {
        self.per_class().iter().map(|class| i128::from(class.answered) * i128::from(class.support)).sum()
    }
}

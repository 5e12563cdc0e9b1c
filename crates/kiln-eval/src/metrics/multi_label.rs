//! Multi-label classification: each sample has any number of `K` labels, and is answered with any number.
//! Owns counts by label and means over samples; the threshold is chosen by whoever adds.
//! Reference: scikit-learn's `accuracy_score` (subset), `hamming_loss`, `precision_recall_fscore_support`
//! (`average` micro, macro, weighted, samples; `zero_division=0`).

use super::counts::average;
use super::{Average, Counts, MetricError, Quality, Sum, check_length, ratio};

/// Counts by label, and what is averaged over samples.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLabel {
    labels: Vec<Counts>,
    samples: u64,
    exact: u64,
    wrong: u64,
    by_sample: [Sum; 3],
}

impl MultiLabel {
    /// Nothing yet, over `K` labels.
    pub fn new(labels: usize) -> Self {
        let by_sample = [Sum::default(); 3];
        Self { labels: vec![Counts::default(); labels], samples: 0, exact: 0, wrong: 0, by_sample }
    }

    /// Adds one sample's labels `[K]` and the labels answered `[K]`.
    ///
    /// # Errors
    /// One of them is not of length `K`.
    pub fn add(&mut self, truth: &[bool], answer: &[bool]) -> Result<(), MetricError> {
        check_length("labels", self.labels.len(), truth.len())?;
        check_length("labels answered", self.labels.len(), answer.len())?;
        let mut sample = Counts::default();
        for ((label, truth), answer) in self.labels.iter_mut().zip(truth).zip(answer) {
            label.add(*truth, *answer);
            sample.add(*truth, *answer);
        }
        let wrong = sample.answered + sample.support - 2 * sample.right;
        self.samples += 1;
        self.wrong += wrong;
        self.exact += u64::from(wrong == 0);
        let Quality { precision, recall, f1 } = sample.quality();
        self.by_sample.iter_mut().zip([precision, recall, f1]).for_each(|(sum, x)| sum.add(x));
        Ok(())
    }

    /// Adds the samples of another.
    ///
    /// # Errors
    /// It has another number of labels.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        check_length("labels", self.labels.len(), other.labels.len())?;
        self.labels.iter_mut().zip(&other.labels).for_each(|(a, b)| a.merge(b));
        self.by_sample.iter_mut().zip(&other.by_sample).for_each(|(a, b)| a.merge(b));
        self.samples += other.samples;
        self.exact += other.exact;
        self.wrong += other.wrong;
        Ok(())
    }

    /// Samples added.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Counts of each label.
    pub fn per_label(&self) -> &[Counts] {
        &self.labels
    }

    /// Share of samples with every label right; `None` without samples.
    pub fn subset_accuracy(&self) -> Option<f64> {
        ratio(self.exact as f64, self.samples as f64)
    }

    /// Share of single yes/no answers that are wrong; `None` without samples or labels.
    pub fn hamming_loss(&self) -> Option<f64> {
        ratio(self.wrong as f64, self.samples as f64 * self.labels.len() as f64)
    }

    /// Precision, recall and F1 averaged over labels; `None` without samples or labels.
    pub fn quality(&self, how: Average) -> Option<Quality> {
        if self.samples == 0 { None } else { average(&self.labels, how) }
    }

    /// Precision, recall and F1 of each sample's labels, averaged over samples; `None` without samples.
    pub fn samples_quality(&self) -> Option<Quality> {
        let mean = |sum: Sum| ratio(sum.value(), self.samples as f64);
        let [precision, recall, f1] = self.by_sample.map(mean);
        Some(Quality { precision: precision?, recall: recall?, f1: f1? })
    }
}

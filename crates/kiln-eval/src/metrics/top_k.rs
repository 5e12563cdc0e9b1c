//! Top-k accuracy: how often the right class is among the `k` highest scores.
//! Owns two counts. Reference: scikit-learn's `top_k_accuracy_score`, ties included: among equal scores the class with
//! the higher index ranks first; with two classes and k = 1 the lower does (its binary rule `score > threshold`).
//! `Confusion`'s answers are the first of equals, so top-1 and accuracy may differ where scores tie.

use super::{MetricError, check_class, check_finite, ratio};

/// Hits among the `k` highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK {
    k: usize,
    hits: u64,
    samples: u64,
}

impl TopK {
    /// Nothing yet, for this `k`.
    pub fn new(k: usize) -> Self {
        Self { k, hits: 0, samples: 0 }
    }

    /// Adds one sample's scores `[K]` (logits or probabilities) and its right class.
    ///
    /// # Errors
    /// A score is not finite, or the class is not below `K`.
    pub fn add<T: Copy + Into<f64> + PartialOrd>(
        &mut self,
        scores: &[T],
        truth: usize,
    ) -> Result<(), MetricError> {
        check_class(truth, scores.len())?;
        check_finite("a score", scores)?;
        let before = |class: usize| if scores.len() == 2 { class < truth } else { class > truth };
        let ahead = scores
            .iter()
            .enumerate()
            .filter(|(class, score)| **score > scores[truth] || (**score == scores[truth] && before(*class)))
            .count();
        self.hits += u64::from(ahead < self.k);
        self.samples += 1;
        Ok(())
    }

    /// Adds the samples of another.
    ///
    /// # Errors
    /// It has another `k`.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        super::check_length("k", self.k, other.k)?;
        self.hits += other.hits;
        self.samples += other.samples;
        Ok(())
    }

    /// The share of hits; `None` without samples.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.hits as f64, self.samples as f64)
    }
}

//! Log-loss (cross-entropy in nats): the mean of `-ln p(right class)`.
//! Owns one sum. From logits it is exact, however small the probability; from probabilities they are clipped to
//! `[ε, 1 - ε]` with f64's ε, as scikit-learn's `log_loss` does (which neither renormalises them).

use super::{MetricError, Sum, check_class, check_finite, ratio};

/// A mean negative log-likelihood.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LogLoss {
    sum: Sum,
    samples: u64,
}

impl LogLoss {
    /// Adds one sample by its logits `[K]`.
    ///
    /// # Errors
    /// A logit is not finite, or the class is not below `K`.
    pub fn add_logits<T: Copy + Into<f64>>(&mut self, logits: &[T], truth: usize) -> Result<(), MetricError> {
        check_class(truth, logits.len())?;
        check_finite("a logit", logits)?;
        let below = |top: f64| logits.iter().map(move |x| Into::<f64>::into(*x) - top);
        let top = below(0.0).fold(f64::NEG_INFINITY, f64::max);
        self.count(below(top).map(f64::exp).sum::<f64>().ln() - (logits[truth].into() - top));
        Ok(())
    }

    /// Adds one sample by its probabilities `[K]`.
    ///
    /// # Errors
    /// One is not between 0 and 1, or the class is not below `K`.
    pub fn add_probabilities(&mut self, probabilities: &[f64], truth: usize) -> Result<(), MetricError> {
        check_class(truth, probabilities.len())?;
        if probabilities.iter().any(|p| !(0.0..=1.0).contains(p)) {
            return Err(MetricError::Probability);
        }
        self.count(-probabilities[truth].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln());
        Ok(())
    }

    /// Adds the samples of another.
    pub fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.samples += other.samples;
    }

    /// The mean; `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        ratio(self.sum.value(), self.samples as f64)
    }

    fn count(&mut self, loss: f64) {
        self.sum.add(loss);
        self.samples += 1;
    }
}

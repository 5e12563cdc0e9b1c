//! Regression: errors and shares of explained variance of one or more outputs, each averaged uniformly over outputs.
//! Owns sums of moments. Reference: scikit-learn's `root_mean_squared_error`, `mean_squared_error`,
//! `mean_absolute_error`, `r2_score`, `explained_variance_score` (`multioutput="uniform_average"`,
//! `force_finite=True`). One difference: an output whose truth is constant is recognised exactly, where scikit-learn's
//! rounded mean may leave a tiny variance to divide by.
//!
//! Shapes: `F` outputs.

use super::{MetricError, Moments, Sum, check_finite, check_length, ratio};

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Output {
    /// Pairs (truth, error).
    moments: Moments,
    absolute: Sum,
}

/// Sums over samples of `F` outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    outputs: Vec<Output>,
}

impl Regression {
    /// Nothing yet, over `F` outputs.
    pub fn new(outputs: usize) -> Self {
        Self { outputs: vec![Output::default(); outputs] }
    }

    /// Adds one sample's values `[F]` and the values answered `[F]`.
    ///
    /// # Errors
    /// One of them is not of length `F`, or holds a number that is not finite.
    pub fn add<T: Copy + Into<f64>>(&mut self, truth: &[T], answer: &[T]) -> Result<(), MetricError> {
        check_length("values", self.outputs.len(), truth.len())?;
        check_length("values answered", self.outputs.len(), answer.len())?;
        check_finite("a value", truth)?;
        check_finite("an answer", answer)?;
        for ((output, truth), answer) in self.outputs.iter_mut().zip(truth).zip(answer) {
            let (truth, answer): (f64, f64) = ((*truth).into(), (*answer).into());
            output.moments.add([truth, truth - answer])?;
            output.absolute.add((truth - answer).abs());
        }
        Ok(())
    }

    /// Adds the samples of another.
    ///
    /// # Errors
    /// It has another number of outputs.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        check_length("outputs", self.outputs.len(), other.outputs.len())?;
        for (a, b) in self.outputs.iter_mut().zip(&other.outputs) {
            a.moments.merge(&b.moments);
            a.absolute.merge(&b.absolute);
        }
        Ok(())
    }

    /// Samples added.
    pub fn samples(&self) -> u64 {
        self.outputs.first().map_or(0, |output| output.moments.count())
    }

    /// Mean squared error; `None` without samples.
    pub fn mse(&self) -> Option<f64> {
        self.mean(1, |output| output.moments.squares(ERROR) / output.moments.count() as f64)
    }

    /// Root of the mean squared error of each output; `None` without samples.
    pub fn rmse(&self) -> Option<f64> {
        self.mean(1, |output| (output.moments.squares(ERROR) / output.moments.count() as f64).sqrt())
    }

    /// Mean absolute error; `None` without samples.
    pub fn mae(&self) -> Option<f64> {
        self.mean(1, |output| output.absolute.value() / output.moments.count() as f64)
    }

    /// R², the coefficient of determination; `None` below two samples. An output without error scores 1, and one with
    /// error whose truth is constant 0.
    pub fn r2(&self) -> Option<f64> {
        self.mean(2, |output| explained(output.moments.squares(ERROR), output.moments.about_mean(TRUTH)))
    }

    /// Explained variance: as R², but a constant error is forgiven; `None` without samples.
    pub fn explained_variance(&self) -> Option<f64> {
        self.mean(1, |output| explained(output.moments.about_mean(ERROR), output.moments.about_mean(TRUTH)))
    }

    fn mean(&self, least: u64, of: impl Fn(&Output) -> f64) -> Option<f64> {
        if self.samples() < least {
            return None;
        }
        ratio(self.outputs.iter().map(of).sum(), self.outputs.len() as f64)
    }
}

const TRUTH: usize = 0;
const ERROR: usize = 1;

fn explained(left: f64, total: f64) -> f64 {
    match (left == 0.0, total == 0.0) {
        (true, _) => 1.0,
        (false, true) => 0.0,
        (false, false) => 1.0 - left / total,
    }
}

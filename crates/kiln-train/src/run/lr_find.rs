//! The learning-rate range test (Smith, 2015, arXiv 1506.01186): some steps whose rate grows exponentially, and the rate at
//! which the loss falls fastest. Owns the sweep and the reading of its curve; the steps are the run's own, and what they did
//! to the weights is thrown away.
//!
//! As fastai and Lightning: exponentially smoothed, and ended where the loss is four times the best. The rate suggested is
//! where the loss falls fastest over the logarithm of the rate, as theirs, but seen over an eighth of the sweep: theirs, from
//! point to point, suggests 6e-7 for `configs/diabetes.toml`, which learns best at 3e-3.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use kiln_core::files::FileError;
use serde::Serialize;
use serde_json::json;

use super::guard::read;
use super::{Run, Session};
use crate::error::TrainError;
use crate::optim::clip;
use crate::pass;
use crate::setup::Start;

/// Which rates, and how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sweep {
    /// The first rate.
    pub from: f64,
    /// The last.
    pub to: f64,
    /// Optimizer steps between them.
    pub steps: u64,
}

/// One step of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RatePoint {
    /// The rate of the step.
    pub learning_rate: f64,
    /// Mean loss of its batches, before the step.
    pub loss: f64,
    /// The mean of the losses so far, recent ones first.
    pub smoothed: f64,
}

/// What a sweep showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RateCurve {
    /// By step.
    pub points: Vec<RatePoint>,
    /// Where the loss falls fastest; `None` where it nowhere falls, or the sweep ended too soon to tell.
    pub suggestion: Option<f64>,
}

/// The losses of a sweep, smoothed as they come.
#[derive(Debug, Default)]
struct Smoothing {
    mean: f64,
    points: Vec<RatePoint>,
}

impl Smoothing {
    const BETA: f64 = 0.98;
    /// A loss this many times the best one ends the sweep.
    const DIVERGED: f64 = 4.0;

    /// Takes a step in; false where the sweep has seen enough.
    fn add(&mut self, learning_rate: f64, loss: f64) -> bool {
        let step = self.points.len() as i32;
        self.mean = Self::BETA * self.mean + (1.0 - Self::BETA) * loss;
        let smoothed = self.mean / (1.0 - Self::BETA.powi(step + 1));
        let best = self.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
        if smoothed > Self::DIVERGED * best {
            return false;
        }
        self.points.push(RatePoint { learning_rate, loss, smoothed });
        true
    }

    fn curve(self) -> RateCurve {
        let suggestion = steepest(&self.points);
        RateCurve { points: self.points, suggestion }
    }
}

/// Of the points but the first ten and the last, the one around which the smoothed loss falls most: over an eighth of the
/// sweep, for from one point to the next it moves by the batches' noise.
fn steepest(points: &[RatePoint]) -> Option<f64> {
    let inner = points.get(10..points.len().saturating_sub(1))?;
    let half = (points.len() / 16).max(1);
    let fall = |i: usize| inner[i + half].smoothed - inner[i - half].smoothed;
    let middle = half..inner.len().saturating_sub(half);
    let (at, fall) = middle.map(|i| (i, fall(i))).min_by(|a, b| a.1.total_cmp(&b.1))?;
    (fall < 0.0).then(|| inner[at].learning_rate)
}

/// Sweeps the learning rate over some steps of a config, in a folder that is removed afterwards.
///
/// # Errors
/// Config, device, data or weights have a fault. A loss that is not finite ends the sweep and is no error.
pub fn lr_find(config: &Path, overrides: &[String], sweep: &Sweep) -> Result<RateCurve, TrainError> {
    let aside = tempfile::tempdir().map_err(FileError::at(&std::env::temp_dir(), "make a folder in"))?;
    let mut overrides = overrides.to_vec();
    overrides.push(format!("output_dir={}", json!(aside.path())));
    let never = AtomicBool::new(false);
    let mut session = Session { callbacks: Vec::new(), interrupt: &never, process_start: Instant::now() };
    Run::start(&Start::New { config: config.into(), overrides }, &mut session)?.sweep(sweep)
}

impl Run {
    /// The steps of a sweep.
    fn sweep(mut self, sweep: &Sweep) -> Result<RateCurve, TrainError> {
        let train = self.train.clone();
        let mut seen = Smoothing::default();
        let ratio = sweep.to / sweep.from;
        'sweep: while self.progress.step < sweep.steps {
            let mut loader = pass::loader(&self.config, &self.dataset, &train, self.progress.pass())?;
            while self.progress.batch < self.plan.batches_per_epoch && self.progress.step < sweep.steps {
                let batches = self.plan.accumulation.min(self.plan.batches_per_epoch - self.progress.batch);
                self.finetune.thaw(&mut *self.net, self.progress.step);
                let group = self.gradients(&mut loader, batches)?;
                let Some(numbers) = group.numbers() else { break 'sweep };
                let values = read(numbers, self.progress.step + 1)?;
                let (losses, norm) = values.split_at(group.weights.len());
                let norm = norm.first().copied().unwrap_or(0.0);
                if losses.iter().any(|loss| !loss.is_finite()) {
                    break 'sweep;
                }
                let at = self.progress.step as f64 / (sweep.steps - 1).max(1) as f64;
                let rate = sweep.from * ratio.powf(at);
                if !seen.add(rate, group.mean(losses).into()) {
                    break 'sweep;
                }
                if norm.is_finite() {
                    let gradients = match self.config.train.max_grad_norm {
                        Some(max_norm) => clip(group.gradients, norm, max_norm),
                        None => group.gradients,
                    };
                    self.net = self.optimizer.step(self.net, gradients, rate);
                } else if let Some(scale) = self.progress.loss_scale {
                    self.progress.loss_scale = Some(scale.lowered().unwrap_or(scale));
                } else {
                    break 'sweep;
                }
                self.progress.step += 1;
                self.progress.batch += batches;
            }
            (self.progress.epoch, self.progress.batch) = (self.progress.epoch + 1, 0);
        }
        Ok(seen.curve())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_read_as_pandas_and_numpy_read_them() {
        let text = include_str!("../../tests/fixtures/lr_find.json");
        let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
        let cases = fixture["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 4);
        for case in cases {
            let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(case[key].clone()).unwrap() };
            let mut seen = Smoothing::default();
            let (rates, losses, smoothed) = (numbers("rates"), numbers("losses"), numbers("smoothed"));
            let _ = rates.iter().zip(losses).all(|(rate, loss)| seen.add(*rate, loss));
            let curve = seen.curve();
            assert_eq!(curve.points.len(), smoothed.len(), "{}", case["name"]);
            for (point, expected) in curve.points.iter().zip(smoothed) {
                assert!((point.smoothed - expected).abs() < 1e-12 * expected.abs().max(1.0));
            }
            assert_eq!(curve.suggestion, case["suggestion"].as_f64(), "{}", case["name"]);
        }
    }

    #[test]
    fn a_loss_that_never_falls_suggests_nothing() {
        let mut seen = Smoothing::default();
        (0..40).for_each(|i| assert!(seen.add(1e-5 * f64::from(i + 1), 1.0 + 0.01 * f64::from(i))));
        assert_eq!(seen.curve().suggestion, None);
        let mut short = Smoothing::default();
        (0..12).for_each(|i| assert!(short.add(1e-5, 1.0 - 0.01 * f64::from(i))));
        assert_eq!(short.curve().suggestion, None, "one point is no slope");
    }
}

//! A learning rate that falls when evaluations stop improving. Unlike a `Schedule` it has a state, which is part of a
//! run's progress, so that a resumed run goes on with it.
//! Owns the rule; never an evaluation (`run/validation.rs`) nor which metric is watched.
//!
//! Reference: `torch.optim.lr_scheduler.ReduceLROnPlateau`, stepped after every evaluation; its mode is the metric's.

use serde::{Deserialize, Serialize};

use crate::config::{ScheduleConfig, SchedulerType, ThresholdMode};

/// Falls smaller than this are left out.
const LEAST_FALL: f64 = 1e-8;

/// When and how the rate falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plateau {
    factor: f64,
    patience: u64,
    threshold: f64,
    mode: ThresholdMode,
    cooldown: u64,
    least: f64,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    /// The learning rate after warm-up.
    pub learning_rate: f64,
    /// The best number so far.
    pub best: Option<f64>,
    /// Evaluations since it got better by the threshold.
    pub bad_evaluations: u64,
    /// Evaluations for which there is no counting.
    pub cooldown: u64,
}

impl PlateauState {
    /// Before the first evaluation.
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, best: None, bad_evaluations: 0, cooldown: 0 }
    }
}

impl Plateau {
    /// The config's, where that is its curve.
    pub fn of(config: &ScheduleConfig) -> Option<Self> {
        (config.lr_scheduler_type == SchedulerType::ReduceLrOnPlateau).then(|| Self {
            factor: config.factor.unwrap_or(0.1),
            patience: config.patience.unwrap_or(10),
            threshold: config.threshold.unwrap_or(1e-4),
            mode: config.threshold_mode.unwrap_or_default(),
            cooldown: config.cooldown.unwrap_or(0),
            least: config.min_lr.unwrap_or(0.0),
        })
    }

    /// The state after an evaluation; a number that is not defined is no improvement.
    pub fn after(&self, state: PlateauState, number: Option<f64>, higher_is_better: bool) -> PlateauState {
        let mut next = state;
        match number.filter(|&number| self.improves(number, state.best, higher_is_better)) {
            Some(best) => (next.best, next.bad_evaluations) = (Some(best), 0),
            None => next.bad_evaluations += 1,
        }
        if next.cooldown > 0 {
            (next.cooldown, next.bad_evaluations) = (next.cooldown - 1, 0);
        }
        if next.bad_evaluations > self.patience {
            let lower = (next.learning_rate * self.factor).max(self.least);
            if next.learning_rate - lower > LEAST_FALL {
                next.learning_rate = lower;
            }
            (next.cooldown, next.bad_evaluations) = (self.cooldown, 0);
        }
        next
    }

    fn improves(&self, number: f64, best: Option<f64>, higher_is_better: bool) -> bool {
        let Some(best) = best else { return !number.is_nan() };
        match (higher_is_better, self.mode) {
            (false, ThresholdMode::Rel) => number < best * (1.0 - self.threshold),
            (false, ThresholdMode::Abs) => number < best - self.threshold,
            (true, ThresholdMode::Rel) => number > best * (self.threshold + 1.0),
            (true, ThresholdMode::Abs) => number > best + self.threshold,
        }
    }
}

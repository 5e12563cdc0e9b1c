//! The learning rate as a pure function of the optimizer step, so that a resumed run continues it by number alone.
//! Reference: `transformers.get_scheduler` (constant, linear, cosine and cosine with a minimum, each with warm-up; step 0 of a warm-up has rate 0).

use crate::config::{ScheduleConfig, SchedulerType};

/// A learning rate over `total` optimizer steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    kind: SchedulerType,
    peak: f64,
    warmup: u64,
    total: u64,
    /// Where the cosine ends, as a share of the peak.
    floor: f64,
}

impl Schedule {
    /// From the config, the optimizer's `learning_rate` and the number of steps. A warm-up below 1 is a fraction of
    /// the steps, rounded up.
    pub fn new(config: &ScheduleConfig, peak: f64, total: u64) -> Self {
        let ScheduleConfig { lr_scheduler_type, warmup_steps, min_lr_rate } = *config;
        let warmup = match warmup_steps < 1.0 {
            true => (total as f64 * warmup_steps).ceil() as u64,
            false => warmup_steps as u64,
        };
        Self { kind: lr_scheduler_type, peak, warmup, total, floor: min_lr_rate.unwrap_or(0.0) }
    }

    /// The rate of the optimizer step with this number, from 0.
    pub fn at(&self, step: u64) -> f64 {
        self.peak * self.factor(step)
    }

    fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup.max(1) as f64;
        }
        let rest = self.total.saturating_sub(self.warmup).max(1) as f64;
        match self.kind {
            SchedulerType::Constant => 1.0,
            SchedulerType::Linear => self.total.saturating_sub(step) as f64 / rest,
            SchedulerType::Cosine | SchedulerType::CosineWithMinLr => {
                let progress = (step - self.warmup) as f64 / rest;
                let fall = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                (fall * (1.0 - self.floor) + self.floor).max(0.0)
            }
        }
    }
}

//! The learning rate as a pure function of the optimizer step, so that a resumed run continues it by number alone.
//! Owns the arithmetic; never a config's words (`config`) nor a step (`run`).
//!
//! References: `transformers.get_scheduler` (constant to warmup_stable_decay; step 0 of a warm-up has rate 0) and
//! `torch.optim.lr_scheduler` (StepLR, MultiStepLR, ExponentialLR, OneCycleLR). The three in the middle have no warm-up
//! of their own in PyTorch: here it is a factor, and epochs and steps are counted from the start of the run.

use std::f64::consts::PI;

use kiln_core::Every;

use crate::config::{AnnealStrategy, DecayType, GammaPer, ScheduleConfig, SchedulerType};

/// A learning rate over `total` optimizer steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    curve: Curve,
    peak: f64,
    warmup: u64,
    total: u64,
}

/// What follows the warm-up; shares are of the peak.
#[derive(Debug, Clone, PartialEq)]
enum Curve {
    Constant,
    Linear,
    /// Down to a share.
    Cosine {
        floor: f64,
    },
    Restarts {
        cycles: f64,
    },
    Polynomial {
        end: f64,
        power: f64,
    },
    InverseSqrt {
        timescale: f64,
    },
    /// Steps that stay (negative where warm-up and decay leave none) and that fall.
    StableDecay {
        stable: i64,
        decay: i64,
        shape: DecayType,
        floor: f64,
    },
    /// A factor every so many steps.
    Step {
        period: u64,
        gamma: f64,
    },
    /// A factor at each of these steps.
    Multistep {
        at: Vec<u64>,
        gamma: f64,
    },
    OneCycle(OneCycle),
}

/// Smith and Topin (2017), arXiv 1708.07120: ends of phases in steps, and the shares at start and end.
#[derive(Debug, Clone, PartialEq)]
struct OneCycle {
    phases: Vec<(f64, f64, f64)>,
    way: AnnealStrategy,
}

impl Schedule {
    /// From the config, the optimizer's `learning_rate`, the number of steps and those of an epoch. Counts of steps
    /// below 1 are fractions of all steps, rounded up.
    pub fn new(config: &ScheduleConfig, peak: f64, total: u64, steps_per_epoch: u64) -> Self {
        let warmup = steps(config.warmup_steps, total);
        let curve = Curve::of(config, peak, [warmup, total], steps_per_epoch);
        Self { curve, peak, warmup, total }
    }

    /// The rate of the optimizer step with this number, from 0.
    pub fn at(&self, step: u64) -> f64 {
        self.at_peak(step, self.peak)
    }

    /// The same with another peak.
    pub fn at_peak(&self, step: u64, peak: f64) -> f64 {
        peak * self.factor(step)
    }

    fn factor(&self, step: u64) -> f64 {
        let ramp = (step < self.warmup).then(|| step as f64 / self.warmup.max(1) as f64);
        match (&self.curve, ramp) {
            (Curve::Step { .. } | Curve::Multistep { .. } | Curve::OneCycle(_), ramp) => {
                ramp.unwrap_or(1.0) * self.after_warmup(step)
            }
            (Curve::StableDecay { floor, .. }, Some(ramp)) => ramp * (1.0 - floor) + floor,
            (_, Some(ramp)) => ramp,
            (_, None) => self.after_warmup(step),
        }
    }

    fn after_warmup(&self, step: u64) -> f64 {
        let rest = self.total.saturating_sub(self.warmup).max(1) as f64;
        let progress = step.saturating_sub(self.warmup) as f64 / rest;
        match &self.curve {
            Curve::Constant => 1.0,
            Curve::Linear => self.total.saturating_sub(step) as f64 / rest,
            Curve::Cosine { floor } => (half_cosine(progress) * (1.0 - floor) + floor).max(0.0),
            Curve::Restarts { .. } if progress >= 1.0 => 0.0,
            Curve::Restarts { cycles } => half_cosine((cycles * progress) % 1.0),
            Curve::Polynomial { end, power } => (1.0 - end) * (1.0 - progress).max(0.0).powf(*power) + end,
            Curve::InverseSqrt { timescale } => {
                let since = step.saturating_sub(self.warmup) as f64;
                1.0 / ((since + timescale) / timescale).sqrt()
            }
            Curve::StableDecay { stable, decay, shape, floor } => {
                let falling = step as i64 - self.warmup as i64 - stable;
                match falling {
                    ..0 => 1.0,
                    n if n >= *decay => *floor,
                    n => {
                        let left = shape.left(n as f64 / (*decay).max(1) as f64);
                        (left * (1.0 - floor) + floor).max(0.0)
                    }
                }
            }
            Curve::Step { period, gamma } => gamma.powf((step / period) as f64),
            Curve::Multistep { at, gamma } => {
                gamma.powf(at.iter().filter(|&&milestone| milestone <= step).count() as f64)
            }
            Curve::OneCycle(cycle) => cycle.factor(step.min(self.total.saturating_sub(1))),
        }
    }
}

impl Curve {
    fn of(config: &ScheduleConfig, peak: f64, [warmup, total]: [u64; 2], steps_per_epoch: u64) -> Self {
        let gamma = config.gamma.unwrap_or(0.1);
        let count = |every: Every| match every {
            Every::Steps(n) => n,
            Every::Epochs(n) => n.saturating_mul(steps_per_epoch.max(1)),
            Every::Minutes(_) => u64::MAX, // refused by the rules: resuming would not be exact
        };
        match config.lr_scheduler_type {
            // The falls of a plateau are a state of the run: `plateau`.
            SchedulerType::Constant | SchedulerType::ReduceLrOnPlateau => Self::Constant,
            SchedulerType::Linear => Self::Linear,
            SchedulerType::Cosine => Self::Cosine { floor: 0.0 },
            SchedulerType::CosineWithMinLr => Self::Cosine { floor: config.min_lr_rate.unwrap_or(0.0) },
            SchedulerType::CosineWithRestarts => {
                Self::Restarts { cycles: config.num_cycles.unwrap_or(1) as f64 }
            }
            SchedulerType::Polynomial => {
                let end = config.lr_end.unwrap_or(LR_END) / peak;
                Self::Polynomial { end, power: config.power.unwrap_or(1.0) }
            }
            SchedulerType::InverseSqrt => {
                let timescale = config.timescale.unwrap_or(if warmup == 0 { 10_000 } else { warmup });
                Self::InverseSqrt { timescale: timescale as f64 }
            }
            SchedulerType::WarmupStableDecay => {
                let decay = steps(config.num_decay_steps.unwrap_or(0.0), total) as i64;
                let stable = match config.num_stable_steps {
                    Some(stable) => steps(stable, total) as i64,
                    None => total as i64 - warmup as i64 - decay,
                };
                let (shape, floor) =
                    (config.decay_type.unwrap_or_default(), config.min_lr_ratio.unwrap_or(0.0));
                Self::StableDecay { stable, decay, shape, floor }
            }
            SchedulerType::Step => Self::Step { period: config.step_size.map_or(u64::MAX, count), gamma },
            SchedulerType::Multistep => {
                let at = config.milestones.iter().flatten().map(|&every| count(every)).collect();
                Self::Multistep { at, gamma }
            }
            SchedulerType::Exponential => {
                let period = match config.gamma_per {
                    Some(GammaPer::Epoch) => steps_per_epoch.max(1),
                    Some(GammaPer::Step) | None => 1,
                };
                Self::Step { period, gamma }
            }
            SchedulerType::OneCycle => Self::OneCycle(OneCycle::new(config, total)),
        }
    }
}

impl OneCycle {
    fn new(config: &ScheduleConfig, total: u64) -> Self {
        let total = total as f64;
        let rise = config.pct_start.unwrap_or(0.3) * total;
        let start = 1.0 / config.div_factor.unwrap_or(25.0);
        let end = start / config.final_div_factor.unwrap_or(1e4);
        let mut phases = vec![(rise - 1.0, start, 1.0)];
        match config.three_phase.unwrap_or(false) {
            true => phases.extend([(2.0 * rise - 2.0, 1.0, start), (total - 1.0, start, end)]),
            false => phases.push((total - 1.0, 1.0, end)),
        }
        Self { phases, way: config.anneal_strategy.unwrap_or_default() }
    }

    fn factor(&self, step: u64) -> f64 {
        let step = step as f64;
        let mut begin = 0.0;
        for (i, &(end, from, to)) in self.phases.iter().enumerate() {
            if step <= end || i + 1 == self.phases.len() {
                // A phase without length is at its end.
                let done = if end == begin { 1.0 } else { (step - begin) / (end - begin) };
                return match self.way {
                    AnnealStrategy::Cos => to + (from - to) * half_cosine(done),
                    AnnealStrategy::Linear => (to - from) * done + from,
                };
            }
            begin = end;
        }
        1.0
    }
}

impl DecayType {
    /// What is left of a fall of which this share is done.
    fn left(self, done: f64) -> f64 {
        match self {
            Self::Linear => 1.0 - done,
            Self::Cosine => half_cosine(done),
            Self::OneMinusSqrt => 1.0 - done.sqrt(),
        }
    }
}

/// Where `polynomial` ends unless told.
pub(crate) const LR_END: f64 = 1e-7;

fn half_cosine(done: f64) -> f64 {
    0.5 * (1.0 + (PI * done).cos())
}

/// A number of steps, or a fraction of all.
pub(crate) fn steps(count: f64, total: u64) -> u64 {
    if count < 1.0 { (total as f64 * count).ceil() as u64 } else { count as u64 }
}

//! How fast steps are: samples, tokens and milliseconds of the newest ones.
//! Owns the window of times, and takes them from the loop, which has them anyway; never waits for a device.

use std::collections::VecDeque;
use std::time::Duration;

use kiln_core::event::Pace;

use crate::bench::Timing;

/// Steps that are summed up, where fewer lie between two lines of the log.
const FEWEST: u64 = 100;
/// Steps that are remembered at most.
const MOST: u64 = 10_000;

/// One optimizer step, as far as its speed goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// From its first batch to its update.
    pub(crate) took: Duration,
    /// The part of it that was spent waiting for data.
    pub(crate) waited: Duration,
    /// Samples read.
    pub(crate) samples: u64,
    /// Tokens read; 0 where samples are no texts.
    pub(crate) tokens: u64,
    /// Floating-point operations of the model, forward and backward.
    pub(crate) flops: u64,
}

/// The newest steps.
#[derive(Debug)]
pub(crate) struct PaceMeter {
    newest: VecDeque<Pass>,
    most: usize,
    /// Of the device, 1e12 operations a second.
    peak: Option<f64>,
}

impl PaceMeter {
    /// For lines every `logging_steps`, on a device of at most `peak` 1e12 operations a second.
    pub(crate) fn new(logging_steps: u64, peak: Option<f64>) -> Self {
        Self { newest: VecDeque::new(), most: logging_steps.clamp(FEWEST, MOST) as usize, peak }
    }

    /// Counts a step.
    pub(crate) fn step(&mut self, pass: Pass) {
        if self.newest.len() == self.most {
            self.newest.pop_front();
        }
        self.newest.push_back(pass);
    }

    /// What they come to; zeros before the first.
    pub(crate) fn pace(&self) -> Pace {
        let took: Vec<Duration> = self.newest.iter().map(|pass| pass.took).collect();
        let Some(timing) = Timing::of(&took, 1) else { return Pace::default() };
        let seconds = took.iter().sum::<Duration>().as_secs_f64().max(1e-9);
        let waited: Duration = self.newest.iter().map(|pass| pass.waited).sum();
        let samples: u64 = self.newest.iter().map(|pass| pass.samples).sum();
        let tokens: u64 = self.newest.iter().map(|pass| pass.tokens).sum();
        let flops: u64 = self.newest.iter().map(|pass| pass.flops).sum();
        let model_tflops = (flops > 0).then(|| flops as f64 / seconds / 1e12);
        Pace {
            model_tflops,
            model_flops_utilisation: model_tflops.zip(self.peak).map(|(reached, peak)| reached / peak),
            samples_per_second: samples as f64 / seconds,
            tokens_per_second: (tokens > 0).then(|| tokens as f64 / seconds),
            step_p50_ms: timing.p50_ms,
            step_p95_ms: timing.p95_ms,
            data_wait_share: (waited.as_secs_f64() / seconds).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(ms: u64, tokens: u64) -> Pass {
        let (took, waited) = (Duration::from_millis(ms), Duration::from_millis(ms / 4));
        Pass { took, waited, samples: 8, tokens, flops: 30_000_000_000 }
    }

    #[test]
    fn the_newest_hundred_steps_count_and_older_ones_do_not() {
        let mut meter = PaceMeter::new(1, Some(4.0));
        assert_eq!(meter.pace(), Pace::default());
        meter.step(pass(60_000, 0)); // a first step that compiles
        (0..100).for_each(|n| meter.step(pass(if n < 90 { 20 } else { 40 }, 0)));
        let pace = meter.pace();
        assert_eq!((pace.step_p50_ms, pace.step_p95_ms, pace.tokens_per_second), (20.0, 40.0, None));
        assert!((pace.samples_per_second - 800.0 / 2.2).abs() < 1e-6, "{pace:?}");
        assert!((pace.data_wait_share - 0.25).abs() < 1e-9, "{pace:?}");
        // 3e12 operations in 2.2 seconds.
        assert!((pace.model_tflops.unwrap() - 3.0 / 2.2).abs() < 1e-9, "{pace:?}");
        assert!((pace.model_flops_utilisation.unwrap() - 3.0 / 2.2 / 4.0).abs() < 1e-9, "{pace:?}");
    }

    #[test]
    fn lines_farther_apart_sum_up_all_steps_between_them() {
        let mut meter = PaceMeter::new(300, None);
        (0..300).for_each(|_| meter.step(pass(10, 50)));
        assert_eq!(meter.newest.len(), 300);
        assert_eq!(meter.pace().model_flops_utilisation, None);
        assert!((meter.pace().tokens_per_second.unwrap() - 5000.0).abs() < 1e-6);
    }
}

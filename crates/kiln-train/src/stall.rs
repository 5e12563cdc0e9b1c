//! Whether steps wait for data: the share of their time, told once when it is large.
//! Owns the two sums; never changes the run. The loop feeds it, and tells what it answers.

use std::time::Duration;

/// Steps of a process that are not counted: threads start, kernels are tuned.
const FIRST: u64 = 5;
/// Steps before anything is said.
const ENOUGH: u64 = 50;
/// Share that is worth a word.
const LARGE: f64 = 0.25;

/// Time in steps, and the part of it that was spent waiting for samples.
#[derive(Debug, Default)]
pub(crate) struct StallMeter {
    steps: u64,
    waited: Duration,
    total: Duration,
    told: bool,
}

impl StallMeter {
    /// Counts a step; answers what to tell, once.
    pub(crate) fn step(&mut self, waited: Duration, total: Duration, workers: usize) -> Option<String> {
        self.steps += 1;
        if self.steps <= FIRST {
            return None;
        }
        self.waited += waited;
        self.total += total;
        let share = self.waited.as_secs_f64() / self.total.as_secs_f64().max(f64::MIN_POSITIVE);
        if self.told || self.steps < FIRST + ENOUGH || share < LARGE {
            return None;
        }
        self.told = true;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let advice = match workers < cores {
            true => format!("raise data.loader.workers (now {workers}, the machine has {cores} processors)"),
            false => format!(
                "{workers} threads on {cores} processors prepare samples: make images smaller on the disk"
            ),
        };
        Some(format!("data wait {:.0} % of the step: {advice}", 100.0 * share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_share_is_told_once_and_a_small_one_never() {
        let ms = Duration::from_millis;
        let told = |waited: u64, workers| {
            let mut meter = StallMeter::default();
            (0..200).filter_map(|_| meter.step(ms(waited), ms(100), workers)).collect::<Vec<_>>()
        };
        assert_eq!(told(24, 1), Vec::<String>::new());
        let [text] = &told(34, 0)[..] else { panic!("told more or less than once") };
        assert!(text.starts_with("data wait 34 % of the step: raise data.loader.workers (now 0, "), "{text}");
        let [text] = &told(90, 10_000)[..] else { panic!("told more or less than once") };
        assert!(text.contains("make images smaller"), "{text}");
    }
}

//! Times of equal steps, summed up without assuming how they are distributed.
//! Owns the statistics: no step is left out; the median and the 95th percentile are little moved by a few slow ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds of the measured steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// How many were measured.
    pub steps: usize,
    /// The median.
    pub p50_ms: f64,
    /// Lower end of the 95 % confidence interval of the median, by order statistics.
    pub p50_low_ms: f64,
    /// Its upper end.
    pub p50_high_ms: f64,
    /// The 95th percentile (nearest rank).
    pub p95_ms: f64,
    /// Samples in the median time.
    pub samples_per_sec: f64,
}

impl Timing {
    /// Sums up; `None` without a time. Each step took `batch` samples.
    pub fn of(times: &[Duration], batch: usize) -> Option<Self> {
        let mut ms: Vec<f64> = times.iter().map(|t| t.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let n = ms.len();
        let rank = |r: f64| ms.get((r.max(1.0) as usize).min(n) - 1).copied();
        let (middle, half) = (n as f64 / 2.0, 0.98 * (n as f64).sqrt());
        if n == 0 {
            return None;
        }
        let p50_ms = match n % 2 {
            1 => rank(middle.ceil())?,
            _ => (rank(middle)? + rank(middle + 1.0)?) / 2.0,
        };
        Some(Self {
            steps: n,
            p50_ms,
            p50_low_ms: rank((middle - half).floor())?,
            p50_high_ms: rank((middle + half).ceil() + 1.0)?,
            p95_ms: rank((0.95 * n as f64).ceil())?,
            samples_per_sec: batch as f64 * 1e3 / p50_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: &[u64]) -> Timing {
        let times: Vec<Duration> = ms.iter().map(|t| Duration::from_millis(*t)).collect();
        Timing::of(&times, 8).unwrap()
    }

    #[test]
    fn medians_intervals_and_percentiles_are_those_of_the_ranks() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let timing = of(&hundred);
        // The interval of ranks 40 to 61 covers the median of 100 with 95 % (binomial).
        assert_eq!((timing.p50_ms, timing.p50_low_ms, timing.p50_high_ms), (50.5, 40.0, 61.0));
        assert_eq!((timing.p95_ms, timing.steps), (95.0, 100));
        assert!((timing.samples_per_sec - 8000.0 / 50.5).abs() < 1e-9);
    }

    #[test]
    fn few_times_have_a_wide_interval_and_none_has_no_numbers() {
        let timing = of(&[30, 10, 20]);
        assert_eq!((timing.p50_ms, timing.p50_low_ms, timing.p50_high_ms), (20.0, 10.0, 30.0));
        assert_eq!(of(&[7]).p95_ms, 7.0);
        assert!(Timing::of(&[], 1).is_none());
    }
}

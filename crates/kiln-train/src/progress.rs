//! Where a run is: everything of a checkpoint that is not a tensor. A loop that starts from it draws the same
//! batches and the same random numbers as one that was never interrupted.

use crate::config::BestMetric;
use serde::{Deserialize, Serialize};

/// Position, metric state and best so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Whole passes over the training samples done.
    pub epoch: u64,
    /// Batches of the current pass that are used up.
    pub batch: usize,
    /// The run's seed; with the position it gives every random number.
    pub seed: u64,
    /// Hash of the config without what may change on resume.
    pub config_hash: String,
    /// Training samples, to notice data that changed.
    pub train_samples: usize,
    /// Losses since the last line of `metrics.jsonl`.
    pub window: Window,
    /// Bytes of `metrics.jsonl` up to here; what lies behind was written after this checkpoint.
    pub metrics_bytes: u64,
    /// Best validation result so far.
    pub best: Option<Scored>,
    /// Newest validation result.
    pub newest: Option<Scored>,
    /// Evaluations since the best.
    pub stale_evaluations: u64,
    /// An evaluation of this step was due and was interrupted.
    pub pending_evaluation: bool,
    /// The run ended before its last step, for this reason.
    pub stopped_early: Option<String>,
    /// Seconds trained, over all resumes.
    pub seconds: f64,
}

/// A validation result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Its optimizer step.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of correct answers.
    pub accuracy: f64,
    /// Unweighted mean F1 over classes.
    pub macro_f1: f64,
}

impl Scored {
    /// Whether it beats `other` by the chosen metric; of equal accuracies the lower loss wins.
    pub fn beats(&self, other: Option<&Scored>, metric: BestMetric) -> bool {
        other.is_none_or(|other| match metric {
            BestMetric::Accuracy => {
                self.accuracy > other.accuracy || (self.accuracy == other.accuracy && self.loss < other.loss)
            }
            BestMetric::Loss => self.loss < other.loss,
        })
    }
}

/// A mean over samples, in double precision and stored as bits: JSON numbers need not survive to the last bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    sum_bits: u64,
    samples: u64,
}

impl Window {
    /// Adds the mean loss of so many samples.
    pub fn add(&mut self, loss: f32, samples: u64) {
        let sum = f64::from_bits(self.sum_bits) + f64::from(loss) * samples as f64;
        *self = Self { sum_bits: sum.to_bits(), samples: self.samples + samples };
    }

    /// The mean so far, and starts again.
    pub fn take(&mut self) -> f64 {
        let mean = f64::from_bits(self.sum_bits) / self.samples.max(1) as f64;
        *self = Self::default();
        mean
    }
}

impl Progress {
    /// The start of a run.
    pub fn new(seed: u64, config_hash: String, train_samples: usize) -> Self {
        Self {
            step: 0,
            epoch: 0,
            batch: 0,
            seed,
            config_hash,
            train_samples,
            window: Window::default(),
            metrics_bytes: 0,
            best: None,
            newest: None,
            stale_evaluations: 0,
            pending_evaluation: false,
            stopped_early: None,
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(accuracy: f64, loss: f64) -> Scored {
        Scored { step: 1, loss, accuracy, macro_f1: accuracy }
    }

    #[test]
    fn every_number_comes_back_to_the_bit() {
        // 14/15 is one that a fast JSON reader gets wrong by one unit in the last place.
        for n in 1..200 {
            for k in 0..=n {
                let mut progress = Progress::new(1, String::new(), 1);
                let share = f64::from(k) / f64::from(n);
                progress.best = Some(scored(share, (1.0 + share).ln()));
                progress.window.add(share as f32, 3);
                let text = serde_json::to_string(&progress).unwrap();
                assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress, "{k}/{n}");
            }
        }
    }

    #[test]
    fn a_tie_goes_to_the_lower_loss() {
        let old = scored(0.5, 1.0);
        for (new, metric, expected) in [
            (scored(0.6, 2.0), BestMetric::Accuracy, true),
            (scored(0.5, 0.9), BestMetric::Accuracy, true),
            (scored(0.5, 1.0), BestMetric::Accuracy, false),
            (scored(0.4, 0.1), BestMetric::Accuracy, false),
            (scored(0.4, 0.9), BestMetric::Loss, true),
            (scored(0.9, 1.0), BestMetric::Loss, false),
        ] {
            assert_eq!(new.beats(Some(&old), metric), expected, "{new:?} {metric:?}");
        }
        assert!(old.beats(None, BestMetric::Loss));
    }
}

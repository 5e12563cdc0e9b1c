//! Where a run is: everything of a checkpoint that is not a tensor. A loop that starts from it draws the same
//! batches and the same random numbers as one that was never interrupted.

use kiln_core::Precision;
use kiln_core::event::Metrics;
use kiln_eval::tasks::Metric;
use serde::{Deserialize, Serialize};

use crate::pass::LossScale;
use crate::plateau::PlateauState;
use crate::tensorboard::EventsAt;

/// Position, metric state and best so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Whole passes over the training samples done.
    pub epoch: u64,
    /// Batches of the current pass that are used up, after `skipped`.
    pub batch: usize,
    /// Samples of the current pass that were used up in batches of another size.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub skipped: usize,
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
    /// The same of TensorBoard's event files, where they are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsAt>,
    /// Best validation result so far.
    pub best: Option<Scored>,
    /// The best results whose checkpoints are kept, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Scored>,
    /// Newest validation result.
    pub newest: Option<Scored>,
    /// Evaluations since the best.
    pub stale_evaluations: u64,
    /// An evaluation of this step was due and was interrupted.
    pub pending_evaluation: bool,
    /// The run ended before its last step, for this reason.
    pub stopped_early: Option<String>,
    /// That reason is a budget of time or tokens: a resumed run with more of it goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_time: bool,
    /// Tokens read, padding left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens: u64,
    /// Seconds trained, over all resumes.
    pub seconds: f64,
    /// Of these, how long saves and logging kept the loop waiting.
    #[serde(default)]
    pub blocked: Blocked,
    /// How often the weights were taken into their average.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub averaged: u64,
    /// The factor of the loss, in float16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// Steps in a row that were left out because something was not finite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_in_a_row: u64,
    /// Steps that are left out since the run went back for them, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutStep>,
    /// The learning rate that falls on plateaus, from the first evaluation on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plateau: Option<PlateauState>,
}

/// A step whose batch is not learned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutStep {
    /// The optimizer step, from 1.
    pub step: u64,
    /// What was not finite in it: `loss is NaN`.
    pub reason: String,
}

/// Seconds in which the loop did not train.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Blocked {
    /// While a snapshot was taken, and until the save before was done.
    pub saving: f64,
    /// While steps were logged and told.
    pub logging: f64,
}

/// A validation result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Its optimizer step.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// The task's metrics.
    #[serde(flatten)]
    pub metrics: Metrics,
}

impl Scored {
    /// The chosen metric; `None` where it is not defined.
    pub fn number(&self, metric: Metric) -> Option<f64> {
        match metric.name {
            "loss" => Some(self.loss),
            name => self.metrics.get(name).and_then(serde_json::Value::as_f64),
        }
    }

    /// Whether it beats `other` by the chosen metric; of equals the lower loss wins. A metric that is not defined
    /// loses to any number.
    pub fn beats(&self, other: Option<&Scored>, metric: Metric) -> bool {
        let Some(other) = other else { return true };
        let rank = |scored: &Scored| {
            scored.number(metric).map_or(f64::NEG_INFINITY, |x| if metric.higher_is_better { x } else { -x })
        };
        let (own, others) = (rank(self), rank(other));
        own > others || (own == others && self.loss < other.loss)
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
    pub fn new(seed: u64, config_hash: String, train_samples: usize, precision: Precision) -> Self {
        Self {
            loss_scale: LossScale::of(precision),
            step: 0,
            epoch: 0,
            batch: 0,
            skipped: 0,
            seed,
            config_hash,
            train_samples,
            window: Window::default(),
            metrics_bytes: 0,
            events: None,
            best: None,
            kept: Vec::new(),
            newest: None,
            stale_evaluations: 0,
            pending_evaluation: false,
            stopped_early: None,
            out_of_time: false,
            tokens: 0,
            seconds: 0.0,
            blocked: Blocked::default(),
            averaged: 0,
            skipped_in_a_row: 0,
            left_out: Vec::new(),
            plateau: None,
        }
    }
}

impl Progress {
    /// The pass under way, and its samples that were used in batches of another size.
    pub(crate) fn pass(&self) -> (u64, usize) {
        (self.epoch, self.skipped)
    }

    /// A pass over the samples is done.
    pub(crate) fn next_pass(&mut self) {
        (self.epoch, self.batch, self.skipped) = (self.epoch + 1, 0, 0);
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_nothing(n: &usize) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use kiln_eval::tasks::LOSS;

    use super::*;

    fn scored(accuracy: f64, loss: f64) -> Scored {
        let mut metrics = Metrics::new();
        metrics.insert("accuracy".into(), accuracy.into());
        Scored { step: 1, loss, metrics }
    }

    #[test]
    fn every_number_comes_back_to_the_bit() {
        // 14/15 is one that a fast JSON reader gets wrong by one unit in the last place.
        for n in 1..200 {
            for k in 0..=n {
                let mut progress = Progress::new(1, String::new(), 1, Precision::F32);
                let share = f64::from(k) / f64::from(n);
                progress.best = Some(scored(share, (1.0 + share).ln()));
                let best = Some((2.0 + share).sqrt());
                progress.plateau = Some(PlateauState { best, ..PlateauState::new(share.exp()) });
                progress.window.add(share as f32, 3);
                let text = serde_json::to_string(&progress).unwrap();
                assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress, "{k}/{n}");
            }
        }
    }

    #[test]
    fn a_tie_goes_to_the_lower_loss() {
        const ACCURACY: Metric = Metric { name: "accuracy", higher_is_better: true };
        let old = scored(0.5, 1.0);
        for (new, metric, expected) in [
            (scored(0.6, 2.0), ACCURACY, true),
            (scored(0.5, 0.9), ACCURACY, true),
            (scored(0.5, 1.0), ACCURACY, false),
            (scored(0.4, 0.1), ACCURACY, false),
            (scored(0.4, 0.9), LOSS, true),
            (scored(0.9, 1.0), LOSS, false),
        ] {
            assert_eq!(new.beats(Some(&old), metric), expected, "{new:?} {metric:?}");
        }
        assert!(old.beats(None, LOSS));
        let undefined = Scored { step: 2, loss: 0.1, metrics: Metrics::new() };
        assert!(!undefined.beats(Some(&old), ACCURACY) && old.beats(Some(&undefined), ACCURACY));
    }
}

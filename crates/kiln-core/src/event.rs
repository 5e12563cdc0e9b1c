//! What happens in a run, told as it happens. The order of events is the loop:
//!
//! ```text
//! Note*, Started
//!   per optimizer step:  Step
//!     when due:          Evaluated
//!   once it is written:  Saved (steps may have gone by; before the end, all are told)
//! Finished | Stopped
//! ```
//!
//! Callbacks observe and may ask to stop; they never change the run. The progress bar and trackers are
//! callbacks; there is no second hook system. (`metrics.jsonl` and TensorBoard's event files are part of the run's
//! state and the loop's own: a resumed run cuts them to its checkpoint.)

use std::path::Path;

use serde::Serialize;

/// The numbers of one optimizer step.
#[derive(Debug, Clone, Serialize)]
pub struct StepInfo {
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// Passes over the training samples, as a fraction.
    pub epoch: f64,
    /// Mean loss over the step's samples.
    pub loss: f32,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f32,
    /// Norm of this step's update over the norm of the weights before it, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_ratio: Option<f64>,
    /// Memory in use, MiB: of the device as its pool has reserved it, on the processor of this process; where it is known
    /// and was not asked for within the last tenth of a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<f64>,
    /// Samples, or scored tokens, in this step.
    pub samples: u64,
    /// Seconds since the process started.
    pub elapsed: f64,
    /// Seconds of this step spent waiting for data.
    pub data_wait: f64,
    /// How fast the newest steps were.
    #[serde(flatten)]
    pub pace: Pace,
}

/// How fast the newest steps of this process were: those since the last logged one, or where these are fewer the newest
/// 100. Time between steps (evaluation, saving, logging) is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pace {
    /// Samples read a second: images, rows, texts, windows of a corpus.
    pub samples_per_second: f64,
    /// Tokens read a second, padding left out; for texts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Median of the steps' milliseconds.
    pub step_p50_ms: f64,
    /// Their 95th percentile.
    pub step_p95_ms: f64,
    /// Share of their time that was spent waiting for data.
    pub data_wait_share: f64,
    /// 1e12 floating-point operations of the model a second, forward and backward, as PyTorch's counter counts them: what is
    /// computed twice to save memory counts once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_tflops: Option<f64>,
    /// The same as a share of `log.peak_tflops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_flops_utilisation: Option<f64>,
}

/// Metrics by name, the main one first; null where one is not defined.
pub type Metrics = serde_json::Map<String, serde_json::Value>;

/// The numbers of one evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct EvalInfo {
    /// Optimizer steps done.
    pub step: u64,
    /// Which split.
    pub split: &'static str,
    /// Mean loss.
    pub loss: f64,
    /// The task's metrics by name; the first is its main one.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The best so far by the configured metric.
    pub is_best: bool,
}

/// A moment of a run.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Something worth knowing before the first step: the device and why, what was loaded, where it resumes.
    Note(&'a str),
    /// The loop begins or continues.
    Started {
        /// Steps done before.
        step: u64,
        /// Steps in all.
        total: u64,
        /// Steps of an epoch.
        steps_per_epoch: u64,
    },
    /// An optimizer step ended.
    Step(&'a StepInfo),
    /// The validation or test split was scored.
    Evaluated(&'a EvalInfo),
    /// A split is being scored.
    Evaluating {
        /// Which split.
        split: &'static str,
        /// Samples scored.
        done: usize,
        /// Samples in all.
        total: usize,
    },
    /// A checkpoint was committed.
    Saved {
        /// Its folder.
        path: &'a Path,
        /// Steps done.
        step: u64,
    },
    /// The last step is done.
    Finished {
        /// Steps done.
        step: u64,
    },
    /// The run ends before its last step.
    Stopped {
        /// Steps done.
        step: u64,
        /// Why, in words.
        reason: &'a str,
    },
}

/// Observes a run.
pub trait Callback {
    /// Told of every event, in order.
    fn on(&mut self, event: &Event<'_>);

    /// Asked after every step and evaluation; a reason ends the run, as finished.
    fn stop(&self) -> Option<String> {
        None
    }
}

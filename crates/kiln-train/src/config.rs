//! The whole config of a run: top-level keys and the tables that training owns.
//! Owns the words and their defaults; starts nothing. `Plan` resolves it against the data.

mod optimizer;
mod schedule;

use std::path::PathBuf;

pub use kiln_core::TaskConfig;
use kiln_core::{Every, Precision};
use kiln_data::config::DataConfig;
use kiln_models::LoraConfig;
use kiln_models::SaveOptions;
use kiln_models::config::ModelConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::average::AverageConfig;
pub use crate::distillation::DistillationConfig;
pub use crate::finetune::{FinetuneConfig, GroupConfig};
pub use crate::loss::{ClassWeights, LossConfig};
pub use crate::run_log::LogConfig;
pub use optimizer::{
    AdafactorConfig, AdagradConfig, AdamConfig, AdamwConfig, AdjustLr, LambConfig, LionConfig, MuonConfig,
    OptimizerConfig, RmspropConfig, SgdConfig,
};
pub use schedule::{
    AnnealStrategy, DecayType, GammaPer, OwnKey, ScheduleConfig, SchedulerType, ThresholdMode,
};

/// A run, as configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "kiln config")]
pub struct Config {
    /// Every random choice of the run follows from it.
    #[serde(default = "seed")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
    /// `auto`, `cpu`, `cuda:0`, `vulkan:0`, `wgpu:0`, `metal:0`, `rocm:0` or `ndarray`.
    #[serde(default = "device")]
    pub device: String,
    /// Refuse a device that does not give the same bits each time. `cpu` gives them with any number of threads on processors
    /// of the same kind; `wgpu` on the same GPU and driver; `cuda`, `vulkan`, `metal` and `rocm` choose kernels by measuring
    /// them, and are refused, as is `ndarray`.
    #[serde(default)]
    pub deterministic: bool,
    /// `f32`, `bf16` or `f16`: what matrix products, convolutions and attention compute in. Weights, optimizer, norms and
    /// losses are float32 in each. With `f16` the loss is scaled, and steps that overflow are left out and said.
    #[serde(default)]
    pub precision: Precision,
    /// Folder that run folders are made in.
    #[serde(default = "output_dir")]
    pub output_dir: PathBuf,
    /// Name of the run folder; by default the config's name and the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_name: Option<String>,
    /// What is learned.
    #[serde(default)]
    pub task: TaskConfig,
    /// Samples.
    pub data: DataConfig,
    /// The net.
    pub model: ModelConfig,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// What trains, when, and at which rate; by default everything, always, at one rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finetune: Option<FinetuneConfig>,
    /// Low-rank adapters instead of the model's own weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// An average of the weights over the steps, beside those that are trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageConfig>,
    /// The learning rate over time.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// What training minimises; by default the task's own formula, every class alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossConfig>,
    /// A trained model whose answers are learned beside the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation: Option<DistillationConfig>,
    /// The loop.
    pub train: TrainConfig,
    /// Evaluation during training.
    #[serde(default)]
    pub evaluate: EvaluateConfig,
    /// Checkpoints.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    /// What is written down beside `metrics.jsonl`.
    #[serde(default)]
    pub log: LogConfig,
    /// The model folder that a run leaves.
    #[serde(default)]
    pub export: SaveOptions,
}

/// The loop. Exactly one of `epochs` and `max_steps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainConfig {
    /// Passes over the training samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: Option<u64>,
    /// Optimizer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub max_steps: Option<u64>,
    /// Minutes of training and evaluation, over all resumes, after which the run ends as if its steps were done. The
    /// schedule is that of `epochs` or `max_steps` all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub max_minutes: Option<f64>,
    /// Tokens of training texts, padding left out and over all passes, after which the run ends as if its steps were done. The
    /// schedule is that of `epochs` or `max_steps` all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub token_budget: Option<u64>,
    /// Batches whose gradients make one step; equal to one step on the big batch. Where they do not divide an epoch, its last
    /// step has fewer, and is one step on what they hold.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub gradient_accumulation_steps: u64,
    /// Largest global gradient norm; larger gradients are scaled down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-12, max = 1e12))]
    pub max_grad_norm: Option<f64>,
    /// What becomes of a step whose loss or gradients are not finite; in each case nothing of it reaches weights, optimizer,
    /// average or running statistics, and its samples are named in `metrics.jsonl`.
    #[serde(default)]
    pub on_nonfinite: OnNonfinite,
    /// What becomes of a run when a device's memory runs out.
    #[serde(default)]
    pub on_out_of_memory: OnOutOfMemory,
    /// Share of the target spread over all classes.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub label_smoothing_factor: f64,
    /// Evaluations without improvement after which training stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub early_stopping_patience: Option<u64>,
    /// Train on the first so many batches of the first pass alone, again and again, each time augmented anew: to see whether
    /// a net can learn them by heart. Steps, schedule and evaluations are those of the whole data. The same as
    /// `kiln train --overfit-batches`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub overfit_batches: Option<u64>,
    /// Keep only the inputs of a net's blocks from the forward pass and compute the rest again in the backward one: less
    /// memory for about a third more time, and to the bit the same numbers on the processor. For `bert`, `roberta`,
    /// `distilbert`, `gpt2`, `vit`, `convnext` and `ft_transformer`.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// Optimizer steps between lines of `metrics.jsonl`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub logging_steps: u64,
}

/// See [`TrainConfig::on_nonfinite`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNonfinite {
    /// The run ends, within 10 steps.
    #[default]
    Stop,
    /// The run goes on with the next step; 10 of them in a row end it.
    Skip,
    /// The run goes back to the newest checkpoint whose weights are finite and trains again without the step; after 10 times
    /// it ends. This also undoes an update that made weights infinite, which `skip` cannot.
    Rewind,
}

/// See [`TrainConfig::on_out_of_memory`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOutOfMemory {
    /// The run ends, and says how it could go on.
    #[default]
    Stop,
    /// The run goes on in a new process, from its newest checkpoint, with batches of half the size and twice as many of them
    /// a step: the same steps, but for nets with batch norms, whose batches are smaller. The change is recorded.
    Halve,
}

/// Evaluation during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EvaluateConfig {
    /// How often the validation split is scored: `"500 steps"`, `"1 epoch"`, `"10 minutes"`.
    pub every: Every,
    /// The number that chooses the best checkpoint and stops early: `loss` or a metric of the task; by default the
    /// task's first (`accuracy` for classification).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_for_best_model: Option<String>,
}

/// Checkpoints. They are written beside training, which waits only while the tensors are noted, and for the save before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CheckpointConfig {
    /// How often everything needed to resume is saved: `"500 steps"`, `"1 epoch"`, `"10 minutes"`.
    pub every: Every,
    /// Newest checkpoints that are kept.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_last: usize,
    /// Keep the best checkpoint too (`true`), or so many of the best (`3`), and make the best the final model; with `false`
    /// the last weights are the final model.
    pub keep_best: KeepBest,
    /// What a save that fails does: `stop` ends the run, with the checkpoints before intact; `continue` says so and trains on.
    pub on_error: OnError,
}

/// How many of the best checkpoints stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeepBest {
    /// One, or none.
    One(bool),
    /// So many.
    Most(#[schemars(range(min = 1, max = 1_000_000))] usize),
}

impl KeepBest {
    /// How many.
    pub fn most(self) -> usize {
        match self {
            KeepBest::One(one) => usize::from(one),
            KeepBest::Most(most) => most,
        }
    }
}

/// What a save that fails does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// End the run.
    #[default]
    Stop,
    /// Say so, and train on.
    Continue,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { every: Every::Epochs(1), metric_for_best_model: None }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: Every::Epochs(1),
            keep_last: 2,
            keep_best: KeepBest::One(true),
            on_error: OnError::Stop,
        }
    }
}

fn seed() -> u64 {
    42
}

fn device() -> String {
    "auto".into()
}

fn output_dir() -> PathBuf {
    "runs".into()
}

fn one() -> u64 {
    1
}

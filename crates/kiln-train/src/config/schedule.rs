//! The `[schedule]` table: curves and their numbers.
//! Owns the words, which key belongs to which curve, and the defaults; `schedule` has the arithmetic.

use kiln_core::Every;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The learning rate over time: from 0 to `learning_rate` in `warmup_steps`, then by type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScheduleConfig {
    /// The curve.
    pub lr_scheduler_type: SchedulerType,
    /// Optimizer steps (1 or more), or a fraction of all steps (below 1).
    #[schemars(range(min = 0.0))]
    pub warmup_steps: f64,
    /// Where `cosine_with_min_lr` ends, as a share of the peak; for no other curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_lr_rate: Option<f64>,
    /// Falls of `cosine_with_restarts`; 1 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub num_cycles: Option<u64>,
    /// The rate in which `polynomial` ends; 1e-7 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub lr_end: Option<f64>,
    /// The power of `polynomial`; 1 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1000.0))]
    pub power: Option<f64>,
    /// Steps in which `inverse_sqrt` falls by the root of 2; the warm-up's, or 10,000 where there is none, without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub timescale: Option<u64>,
    /// Steps (1 or more) or fraction of all steps (below 1) in which `warmup_stable_decay` falls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e12))]
    pub num_decay_steps: Option<f64>,
    /// Steps or fraction of all steps for which `warmup_stable_decay` stays; all that the others leave, without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e12))]
    pub num_stable_steps: Option<f64>,
    /// How `warmup_stable_decay` falls; `cosine` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_type: Option<DecayType>,
    /// Where `warmup_stable_decay` begins and ends, as a share of the peak; 0 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_lr_ratio: Option<f64>,
    /// How often `step` falls: `"30 epochs"`, `"1000 steps"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<Every>,
    /// When `multistep` falls: `["30 epochs", "60 epochs"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones: Option<Vec<Every>>,
    /// Factor of each fall of `step`, `multistep` (0.1 without it) and `exponential`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub gamma: Option<f64>,
    /// What `exponential` applies `gamma` after: every epoch, as PyTorch's users mean it, or every optimizer step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma_per: Option<GammaPer>,
    /// Fraction of all steps in which `one_cycle` rises; 0.3 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub pct_start: Option<f64>,
    /// `one_cycle` starts at the peak divided by this; 25 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e12))]
    pub div_factor: Option<f64>,
    /// `one_cycle` ends at its start divided by this; 10,000 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e12))]
    pub final_div_factor: Option<f64>,
    /// How `one_cycle` goes between its ends; `cos` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anneal_strategy: Option<AnnealStrategy>,
    /// Whether `one_cycle` falls as long as it rose, back to its start, and then to its end; false without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub three_phase: Option<bool>,
    /// Factor of each fall of `reduce_lr_on_plateau`; 0.1 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub factor: Option<f64>,
    /// Evaluations without improvement that `reduce_lr_on_plateau` lets pass; 10 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub patience: Option<u64>,
    /// By how much a number must be better to count for `reduce_lr_on_plateau`; 1e-4 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e12))]
    pub threshold: Option<f64>,
    /// Whether `threshold` is a share of the best (`rel`, also without it) or a difference (`abs`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_mode: Option<ThresholdMode>,
    /// Evaluations after a fall of `reduce_lr_on_plateau` that do not count; 0 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub cooldown: Option<u64>,
    /// The rate below which `reduce_lr_on_plateau` does not fall; 0 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub min_lr: Option<f64>,
}

/// Curves, by the names of `transformers.get_scheduler` where it has them, else of `torch.optim.lr_scheduler`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerType {
    /// Stays.
    #[default]
    Constant,
    /// Falls to 0 along a line.
    Linear,
    /// Falls to 0 along half a cosine.
    Cosine,
    /// Falls to `min_lr_rate` of the peak along half a cosine.
    CosineWithMinLr,
    /// Falls to 0 along half a cosine, `num_cycles` times, each from the peak.
    CosineWithRestarts,
    /// Falls to `lr_end` as a power of what remains.
    Polynomial,
    /// Falls with the inverse root of the steps since the warm-up.
    InverseSqrt,
    /// Stays, then falls in `num_decay_steps`.
    WarmupStableDecay,
    /// Falls by `gamma` every `step_size`, counted from the start of the run (StepLR).
    Step,
    /// Falls by `gamma` at each of `milestones`, counted from the start of the run (MultiStepLR).
    Multistep,
    /// Falls by `gamma` every epoch or every step, as `gamma_per` says (ExponentialLR).
    Exponential,
    /// Rises and falls once (OneCycleLR). The learning rate alone: momentum is left as it is.
    OneCycle,
    /// Falls by `factor` when evaluations stop improving `evaluate.metric_for_best_model` (ReduceLROnPlateau).
    ReduceLrOnPlateau,
}

/// A fall of `warmup_stable_decay`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DecayType {
    /// A line.
    #[serde(rename = "linear")]
    Linear,
    /// Half a cosine.
    #[default]
    #[serde(rename = "cosine")]
    Cosine,
    /// 1 less the root of what is done.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// The unit of `exponential`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GammaPer {
    /// A pass over the training samples.
    Epoch,
    /// An optimizer step.
    Step,
}

/// A way of `one_cycle`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnnealStrategy {
    /// Half a cosine.
    #[default]
    Cos,
    /// A line.
    Linear,
}

/// What the threshold of `reduce_lr_on_plateau` is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// A share of the best number.
    #[default]
    Rel,
    /// A difference from it.
    Abs,
}

/// A key of some curves, and an example for those that cannot do without it.
pub type OwnKey = (&'static str, Option<&'static str>);

impl SchedulerType {
    /// The keys of this curve alone.
    pub fn keys(self) -> &'static [OwnKey] {
        match self {
            Self::Constant | Self::Linear | Self::Cosine => &[],
            Self::CosineWithMinLr => {
                &[("min_lr_rate", Some("min_lr_rate = 0.1, a tenth of the learning rate"))]
            }
            Self::CosineWithRestarts => &[("num_cycles", None)],
            Self::Polynomial => &[("lr_end", None), ("power", None)],
            Self::InverseSqrt => &[("timescale", None)],
            Self::WarmupStableDecay => &[
                ("num_decay_steps", Some("num_decay_steps = 0.2, the last fifth of all steps")),
                ("num_stable_steps", None),
                ("decay_type", None),
                ("min_lr_ratio", None),
            ],
            Self::Step => &[("step_size", Some("step_size = \"30 epochs\"")), ("gamma", None)],
            Self::Multistep => {
                &[("milestones", Some("milestones = [\"30 epochs\", \"60 epochs\"]")), ("gamma", None)]
            }
            Self::Exponential => &[
                ("gamma", Some("gamma = 0.95")),
                ("gamma_per", Some("gamma_per = \"epoch\", as PyTorch's ExponentialLR is stepped")),
            ],
            Self::OneCycle => &[
                ("pct_start", None),
                ("div_factor", None),
                ("final_div_factor", None),
                ("anneal_strategy", None),
                ("three_phase", None),
            ],
            Self::ReduceLrOnPlateau => &[
                ("factor", None),
                ("patience", None),
                ("threshold", None),
                ("threshold_mode", None),
                ("cooldown", None),
                ("min_lr", None),
            ],
        }
    }

    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Constant,
        Self::Linear,
        Self::Cosine,
        Self::CosineWithMinLr,
        Self::CosineWithRestarts,
        Self::Polynomial,
        Self::InverseSqrt,
        Self::WarmupStableDecay,
        Self::Step,
        Self::Multistep,
        Self::Exponential,
        Self::OneCycle,
        Self::ReduceLrOnPlateau,
    ];
}

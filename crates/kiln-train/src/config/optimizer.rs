//! The `[optimizer]` table: kinds of update rules and their numbers.
//! Owns the words and their defaults, which are those of the reference that each kind names; `optim` has the arithmetic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The update rule, with its reference's semantics and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Decoupled weight decay (Loshchilov and Hutter, 2017), as `torch.optim.AdamW`.
    Adamw(AdamwConfig),
    /// Momentum SGD, as `torch.optim.SGD`.
    Sgd(SgdConfig),
    /// Adaptive moments with an L2 penalty (Kingma and Ba, 2014), as `torch.optim.Adam`.
    Adam(AdamConfig),
    /// Steps divided by a running root mean square (Hinton, 2012), as `torch.optim.RMSprop`.
    Rmsprop(RmspropConfig),
    /// Steps divided by the root of all squares so far (Duchi et al., 2011), as `torch.optim.Adagrad`.
    Adagrad(AdagradConfig),
    /// Second moments kept by row and column (Shazeer and Stern, 2018), as `torch.optim.Adafactor`.
    Adafactor(AdafactorConfig),
    /// Signs of an interpolated momentum (Chen et al., 2023), as `timm.optim.Lion`.
    Lion(LionConfig),
    /// Adam with a trust ratio for each parameter (You et al., 2019), as `timm.optim.Lamb`.
    Lamb(LambConfig),
    /// Orthogonalised momentum for matrices (Jordan et al., 2024), as `torch.optim.Muon`; AdamW for all else.
    Muon(MuonConfig),
}

/// `kind = "adamw"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdamwConfig {
    /// Peak learning rate.
    #[serde(default = "thousandth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// Decoupled weight decay.
    #[serde(default = "hundredth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Decay rates of the two moments.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the denominator.
    #[serde(default = "eps")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// Decay biases and norm weights too (PyTorch does; fine-tuning recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self {
            learning_rate: thousandth(),
            weight_decay: hundredth(),
            betas: betas(),
            eps: eps(),
            decay_bias_and_norm: true,
        }
    }
}

/// `kind = "sgd"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SgdConfig {
    /// Peak learning rate.
    #[serde(default = "thousandth")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub learning_rate: f64,
    /// Share of the previous step that is kept.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Share of the gradient left out of the momentum buffer.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dampening: f64,
    /// Nesterov's momentum; needs `momentum` and no `dampening`.
    #[serde(default)]
    pub nesterov: bool,
    /// L2 penalty added to the gradient.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Decay biases and norm weights too (PyTorch does; fine-tuning recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

/// `kind = "adam"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdamConfig {
    /// Peak learning rate.
    #[serde(default = "thousandth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// L2 penalty added to the gradient; `adamw` has decoupled decay.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Decay rates of the two moments.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the denominator.
    #[serde(default = "eps")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// Divide by the largest second moment so far (Reddi et al., 2018).
    #[serde(default)]
    pub amsgrad: bool,
    /// Decay biases and norm weights too (PyTorch does; fine-tuning recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

/// `kind = "rmsprop"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RmspropConfig {
    /// Peak learning rate.
    #[serde(default = "hundredth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// L2 penalty added to the gradient.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Share of the running mean square that a step keeps.
    #[serde(default = "alpha")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Added to the denominator, after the root.
    #[serde(default = "eps")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// Share of the previous step that is kept.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Divide by the running standard deviation instead.
    #[serde(default)]
    pub centered: bool,
    /// Decay biases and norm weights too (PyTorch does; fine-tuning recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

/// `kind = "adagrad"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdagradConfig {
    /// Peak learning rate.
    #[serde(default = "hundredth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// L2 penalty added to the gradient.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// The rate of a parameter's n-th step is divided by 1 + (n - 1) times this.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub lr_decay: f64,
    /// Sum of squares before the first step.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub initial_accumulator_value: f64,
    /// Added to the denominator.
    #[serde(default = "adagrad_eps")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// Decay biases and norm weights too (PyTorch does; fine-tuning recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

/// `kind = "adafactor"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdafactorConfig {
    /// Peak learning rate, relative to a parameter's root mean square; never above 1 / sqrt(step).
    #[serde(default = "hundredth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// The n-th step takes a share of n to this power into the second moments.
    #[serde(default = "beta2_decay")]
    #[schemars(range(min = -10.0, max = 0.0))]
    pub beta2_decay: f64,
    /// Smallest root of a second moment, and smallest root mean square of a parameter.
    #[serde(default = "adafactor_eps")]
    pub eps: [f64; 2],
    /// Root mean square above which a step is scaled down (`d` in PyTorch).
    #[serde(default = "one")]
    #[schemars(range(min = 1.0, max = 1e6))]
    pub clip_threshold: f64,
    /// Decay biases and norm weights too (PyTorch does; fine-tuning recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

/// `kind = "lion"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LionConfig {
    /// Peak learning rate; about a tenth of AdamW's.
    #[serde(default = "lion_learning_rate")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// Decoupled weight decay; about ten times AdamW's.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight_decay: f64,
    /// Share of the momentum in the step, and share of it that is kept.
    #[serde(default = "lion_betas")]
    pub betas: [f64; 2],
    /// Decay biases and norm weights too (PyTorch does; fine-tuning recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

/// `kind = "lamb"`. timm's own clipping is `train.max_grad_norm = 1.0` here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LambConfig {
    /// Peak learning rate.
    #[serde(default = "thousandth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// Weight decay, a part of the step that the trust ratio scales.
    #[serde(default = "hundredth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Decay rates of the two moments.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the denominator.
    #[serde(default = "lamb_eps")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// Hold trust ratios to at most 1.
    #[serde(default)]
    pub trust_clip: bool,
    /// Scale parameters without weight decay by a trust ratio too.
    #[serde(default)]
    pub always_adapt: bool,
    /// Decay biases and norm weights too (timm's recipes do not).
    #[serde(default = "yes")]
    pub decay_bias_and_norm: bool,
}

/// `kind = "muon"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MuonConfig {
    /// Peak learning rate of the matrices.
    #[serde(default = "thousandth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// Decoupled weight decay of the matrices.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Share of the momentum that is kept.
    #[serde(default = "muon_momentum")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Nesterov's momentum.
    #[serde(default = "yes")]
    pub nesterov: bool,
    /// Iterations of Newton and Schulz.
    #[serde(default = "ns_steps")]
    #[schemars(range(min = 1, max = 99))]
    pub ns_steps: usize,
    /// How the rate of a matrix follows its shape.
    #[serde(default)]
    pub adjust_lr_fn: AdjustLr,
    /// Matrices that AdamW updates, as patterns over parameter names; by default embeddings and heads. Convolutions and
    /// all that is no matrix are always AdamW's.
    #[serde(default = "adamw_parameters")]
    pub adamw_parameters: Vec<String>,
    /// AdamW of all other parameters; the schedule scales its rate as it does the matrices'.
    #[serde(default)]
    pub adamw: AdamwConfig,
}

/// Factors of the learning rate of a matrix of R rows and C columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdjustLr {
    /// The root of R / C, at least 1 (Jordan).
    #[default]
    Original,
    /// 0.2 times the root of the larger of R and C: rates and decays as for AdamW (Liu et al., 2025).
    MatchRmsAdamw,
}

/// Embeddings and heads of every family: the names that kiln, `transformers` and timm give them.
fn adamw_parameters() -> Vec<String> {
    let embeddings = ["*embed*", "*wte.*", "*wpe.*", "*tokenizer*"];
    let heads = [
        "head*",
        "fc.*",
        "linear.*",
        "classifier*",
        "score.*",
        "lm_head.*",
        "cls.*",
        "*vocab*",
        "*.output.linear.*",
    ];
    embeddings.into_iter().chain(heads).map(String::from).collect()
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn tenth() -> f64 {
    1e-1
}

fn hundredth() -> f64 {
    1e-2
}

fn thousandth() -> f64 {
    1e-3
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn eps() -> f64 {
    1e-8
}

fn alpha() -> f64 {
    0.99
}

fn adagrad_eps() -> f64 {
    1e-10
}

fn beta2_decay() -> f64 {
    -0.8
}

/// The first is the distance from 1 to the next number of single precision, as PyTorch's default.
fn adafactor_eps() -> [f64; 2] {
    [f64::from(f32::EPSILON), 1e-3]
}

fn lion_learning_rate() -> f64 {
    1e-4
}

fn lion_betas() -> [f64; 2] {
    [0.9, 0.99]
}

fn lamb_eps() -> f64 {
    1e-6
}

fn muon_momentum() -> f64 {
    0.95
}

fn ns_steps() -> usize {
    5
}

//! An average of the weights over the steps, beside the weights that are trained: exponential (Polyak and Juditsky, 1992)
//! or of equal parts (stochastic weight averaging: Izmailov et al., 2018, arXiv 1803.05407).
//! Owns the averaged tensors, kept in float32 on the model's device; never trains and never scores.
//!
//! References: timm's `ModelEmaV3` and `torch.optim.swa_utils.AveragedModel` with `use_buffers`: parameters and running
//! statistics are averaged alike, so that no pass over the data is needed to set the statistics afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use kiln_core::{Every, LoadReport, Net, StateDict};
use kiln_nn::ops;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::optim::unless;
use crate::plan::Plan;
use crate::snapshot::Tensors;

/// An average of the weights over the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AverageConfig {
    /// Exponential: recent steps weigh more. As timm's `ModelEmaV3`.
    Ema(EmaConfig),
    /// Equal parts of the last share of the run (stochastic weight averaging). As `torch.optim.swa_utils.AveragedModel`
    /// with `use_buffers`; the learning rate stays that of `[schedule]`, of which `constant` suits it.
    Swa(SwaConfig),
}

/// `kind = "ema"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmaConfig {
    /// Share of the average that a step leaves.
    #[serde(default = "decay")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay: f64,
    /// Begin with a small decay that grows as 1 - (1 + step / `warmup_gamma`) ^ -`warmup_power`.
    #[serde(default)]
    pub warmup: bool,
    /// Of `warmup` alone; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e12))]
    pub warmup_gamma: Option<f64>,
    /// Of `warmup` alone; by default 2/3, which suits a million steps. 3/4 suits fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub warmup_power: Option<f64>,
    /// Steps up to which the average is the weights themselves.
    #[serde(default)]
    pub update_after_step: u64,
    /// Which weights are scored and become the model.
    #[serde(default)]
    pub evaluate: Weights,
}

/// `kind = "swa"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwaConfig {
    /// Share of all steps after which averaging begins.
    #[serde(default = "start")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub start: f64,
    /// How often the weights are taken into the average: `"1 epoch"`, `"100 steps"`.
    #[serde(default = "every")]
    pub every: Every,
    /// Which weights are scored and become the model; before there is an average, the trained ones are scored.
    #[serde(default)]
    pub evaluate: Weights,
}

/// Which of the two sets of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// The average.
    #[default]
    Average,
    /// As trained.
    Raw,
}

fn decay() -> f64 {
    0.9999
}

fn start() -> f64 {
    0.75
}

fn every() -> Every {
    Every::Epochs(1)
}

impl AverageConfig {
    /// Which weights are scored and become the model.
    pub fn evaluate(&self) -> Weights {
        match self {
            AverageConfig::Ema(c) => c.evaluate,
            AverageConfig::Swa(c) => c.evaluate,
        }
    }

    /// Weight that the trained values get in the average after optimizer step `step` (from 1), given how often the
    /// average was updated before; `None` where it is left alone.
    pub fn weight(&self, step: u64, updates: u64, plan: &Plan) -> Option<f64> {
        match self {
            AverageConfig::Ema(c) => Some(1.0 - c.decay_at(step)),
            AverageConfig::Swa(c) => {
                let begun = step as f64 > c.start * plan.total_steps as f64;
                let due = c.every.is_due(step, plan.steps_per_epoch, Duration::ZERO);
                (begun && (due || step == plan.total_steps)).then(|| 1.0 / (updates + 1) as f64)
            }
        }
    }
}

impl EmaConfig {
    /// The decay of the update after optimizer step `step`, from 1.
    fn decay_at(&self, step: u64) -> f64 {
        match step.saturating_sub(self.update_after_step + 1) {
            0 => 0.0,
            n if self.warmup => {
                let (gamma, power) =
                    (self.warmup_gamma.unwrap_or(1.0), self.warmup_power.unwrap_or(2.0 / 3.0));
                (1.0 - (1.0 + n as f64 / gamma).powf(-power)).min(self.decay)
            }
            _ => self.decay,
        }
    }
}

/// The same values in another shape.
fn shaped(data: TensorData, shape: Vec<usize>) -> TensorData {
    let (bytes, _, dtype) = data.into_parts();
    TensorData::from_bytes(bytes, shape, dtype)
}

/// The average of one net's weights.
pub struct Average {
    config: AverageConfig,
    /// By PyTorch name: shape and flat value `[N]`.
    values: BTreeMap<String, (Vec<usize>, Tensor<1>)>,
    updates: u64,
}

impl Average {
    /// Without an update.
    pub fn new(config: &AverageConfig) -> Self {
        Self { config: config.clone(), values: BTreeMap::new(), updates: 0 }
    }

    /// Takes the weights after optimizer step `step` (from 1) into the average, where one is due; `planned` is the step as the
    /// plan counts it. Where `bad` `[1]`, which may still be unread on the device, is true, the average keeps its bits but
    /// counts an update.
    pub fn update(
        &mut self,
        net: &dyn Net,
        step: u64,
        planned: u64,
        plan: &Plan,
        bad: Option<&Tensor<1, Bool>>,
    ) {
        let step = if matches!(self.config, AverageConfig::Ema(_)) { step } else { planned };
        let Some(weight) = self.config.weight(step, self.updates, plan) else { return };
        let mut before = std::mem::take(&mut self.values);
        for (info, value) in net.values() {
            let average = match before.remove(&info.name) {
                Some((_, old)) => match bad {
                    Some(bad) => unless(bad, ops::lerp(old.clone(), value, weight), old),
                    None => ops::lerp(old, value, weight),
                },
                None => value,
            };
            self.values.insert(info.name, (info.shape, average));
        }
        self.updates += 1;
    }

    /// How often the weights were taken in.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Goes back to an earlier count, after updates that left the values alone.
    pub fn count_again(&mut self, updates: u64) {
        self.updates = updates;
        if updates == 0 {
            self.values.clear();
        }
    }

    /// The averaged weights by name; `None` before the first update.
    pub fn state(&self) -> Option<StateDict> {
        let one = |(name, (shape, value)): (&String, &(Vec<usize>, Tensor<1>))| {
            (name.clone(), shaped(value.to_data(), shape.clone()))
        };
        (self.updates > 0).then(|| self.values.iter().map(one).collect())
    }

    /// The same for a save.
    pub(crate) fn tensors(&self) -> Option<Tensors> {
        let mut all = Tensors::default();
        for (name, (shape, value)) in &self.values {
            all.insert(name.clone(), shape.clone(), value.clone());
        }
        (self.updates > 0).then_some(all)
    }

    /// Goes on from a saved state.
    fn set(&mut self, state: &StateDict, updates: u64, device: &Device) {
        let device = device.clone().inner();
        let one = |(name, data): (&String, &TensorData)| {
            let flat = shaped(data.clone(), vec![data.num_elements()]);
            (name.clone(), (data.shape().to_vec(), Tensor::from_data(flat, (&device, data.dtype()))))
        };
        self.values = state.iter().map(one).collect();
        self.updates = updates;
    }

    /// Which weights are scored and become the model.
    pub fn evaluate(&self) -> Weights {
        self.config.evaluate()
    }
}

/// Brings the average of a run, if it has one, to where a checkpoint had it.
///
/// # Errors
/// The checkpoint's average is not of this net's weights: what differs.
pub(crate) fn restore(
    average: &mut Option<Average>,
    checkpoint: &Checkpoint,
    net: &dyn Net,
    device: &Device,
) -> Result<(), String> {
    let Some(average) = average else { return Ok(()) };
    let Some(state) = &checkpoint.average else {
        *average = Average::new(&average.config);
        return Ok(());
    };
    let report = LoadReport::of(&net.parameters(), state);
    if !report.is_exact() {
        return Err(format!("average: {report}"));
    }
    average.set(state, checkpoint.progress.averaged, device);
    Ok(())
}

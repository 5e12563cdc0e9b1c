//! Update rules with PyTorch's semantics, over flat parameters `[N]` by name.
//! Owns the moments, kept on the model's device in the parameter's dtype and saved by parameter name, so that a
//! loaded state lands on the device it is told and a parameter without state is noticed. Never sees a module.
//!
//! Why not Burn's: `ModuleOptimizer` keys its state by random parameter ids and loads it onto the default device.

mod adamw;
mod clip;
mod sgd;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use kiln_core::net::ParamInfo;
use kiln_core::{Gradients, Net, StateDict};

pub use adamw::AdamW;
pub use clip::{clip, global_norm};
pub use sgd::Sgd;

use crate::config::OptimizerConfig;

/// One parameter's update.
pub trait Rule: Send {
    /// The new value `[N]` from the old one, the gradient and the the parameter's learning rate and weight decay.
    /// The first call for a parameter gets an empty state.
    fn update(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        state: &mut Slots,
        lr: f64,
        weight_decay: f64,
    ) -> Tensor<1>;

    /// Names of the tensors in a parameter's state after its first update.
    fn slots(&self) -> &'static [&'static str];

    /// The configured weight decay.
    fn weight_decay(&self) -> f64;

    /// Whether biases and norm weights (parameters of one dimension) are decayed.
    fn decays_bias_and_norm(&self) -> bool;
}

/// How one parameter's updates differ from the others'.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Factor of the schedule's learning rate.
    pub rate_scale: f64,
    /// Weight decay instead of the rule's.
    pub weight_decay: Option<f64>,
}

impl Default for Setting {
    fn default() -> Self {
        Self { rate_scale: 1.0, weight_decay: None }
    }
}

/// Settings by parameter name; a parameter without one has the default.
pub type Settings = BTreeMap<String, Setting>;

/// One parameter's state.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    /// Updates so far.
    pub step: u64,
    /// In the order of `Rule::slots`, each `[N]`.
    pub tensors: Vec<Tensor<1>>,
}

/// A rule with the state of every parameter.
pub struct Optimizer {
    rule: Box<dyn Rule>,
    states: BTreeMap<String, Slots>,
    settings: Settings,
}

/// A saved optimizer state that does not fit the model or the rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("optimizer state: {0}")]
pub struct StateError(String);

impl Optimizer {
    /// The configured rule, without state.
    pub fn new(config: &OptimizerConfig) -> Self {
        let rule: Box<dyn Rule> = match config {
            OptimizerConfig::Adamw(c) => Box::new(AdamW::from(c)),
            OptimizerConfig::Sgd(c) => Box::new(Sgd::from(c)),
        };
        Self { rule, states: BTreeMap::new(), settings: Settings::new() }
    }

    /// The same with rates and decays of its own for some parameters. Biases and norm weights that the rule does not
    /// decay are not decayed by a setting either.
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// One step: every parameter that has a gradient is updated, the others are left alone.
    pub fn step(&mut self, net: Box<dyn Net>, mut gradients: Gradients, lr: f64) -> Box<dyn Net> {
        let Self { rule, states, settings } = self;
        net.update(&mut |info: &ParamInfo, value| {
            let Some(gradient) = gradients.0.remove(&info.name) else { return value };
            let state = states.entry(info.name.clone()).or_default();
            let own = settings.get(&info.name).copied().unwrap_or_default();
            let weight_decay = match info.shape.len() > 1 || rule.decays_bias_and_norm() {
                true => own.weight_decay.unwrap_or(rule.weight_decay()),
                false => 0.0,
            };
            rule.update(value, gradient, state, lr * own.rate_scale, weight_decay)
        })
    }

    /// The state by name: `step.PARAMETER` (`[1]`, i64) and `SLOT.PARAMETER` (`[N]`, the parameter's dtype).
    pub fn state(&self) -> StateDict {
        let mut out = StateDict::new();
        for (name, state) in &self.states {
            out.insert(format!("step.{name}"), [state.step as i64].into());
            for (slot, tensor) in self.rule.slots().iter().zip(&state.tensors) {
                out.insert(format!("{slot}.{name}"), tensor.to_data());
            }
        }
        out
    }

    /// Replaces the state by a saved one, on `device`, with the dtypes and values it was saved with.
    ///
    /// # Errors
    /// A tensor belongs to no trainable parameter of `net`, is missing, or has another size.
    pub fn load_state(
        &mut self,
        saved: &StateDict,
        net: &dyn Net,
        device: &Device,
    ) -> Result<(), StateError> {
        let device = device.clone().inner();
        let mut states = BTreeMap::new();
        let mut used = 0;
        for info in net.parameters().into_iter().filter(|p| p.trainable) {
            let Some(step) = saved.get(&format!("step.{}", info.name)) else { continue };
            let step =
                step.as_slice::<i64>().map_err(|e| StateError(format!("step.{}: {e:?}", info.name)))?;
            let mut slots = Slots { step: step.first().copied().unwrap_or(0) as u64, tensors: Vec::new() };
            for slot in self.rule.slots() {
                let key = format!("{slot}.{}", info.name);
                let data = saved.get(&key).ok_or_else(|| StateError(format!("{key} is missing")))?;
                let expected: usize = info.shape.iter().product();
                if data.num_elements() != expected {
                    let got = data.num_elements();
                    return Err(StateError(format!("{key}: expected {expected} elements, got {got}")));
                }
                slots.tensors.push(Tensor::from_data(data.clone(), (&device, data.dtype())));
            }
            used += 1 + slots.tensors.len();
            states.insert(info.name, slots);
        }
        if used != saved.len() {
            return Err(StateError(format!(
                "{} of {} tensors belong to no parameter of this model and optimizer",
                saved.len() - used,
                saved.len()
            )));
        }
        self.states = states;
        Ok(())
    }
}

//! Update rules with PyTorch's semantics, over flat parameters `[N]` by name.
//! Owns the moments, kept on the model's device in the parameter's dtype and saved by parameter name, so that a
//! loaded state lands on the device it is told and a parameter without state is noticed. Never sees a module.
//!
//! Why not Burn's: `ModuleOptimizer` keys its state by random parameter ids and loads it onto the default device.

mod adafactor;
mod adagrad;
mod adam;
mod adamw;
mod clip;
mod lamb;
mod lion;
mod moved;
mod muon;
mod pieces;
mod rmsprop;
mod sgd;

use std::collections::BTreeMap;

use burn::tensor::{Bool, Device, Tensor};
use kiln_core::net::ParamInfo;
use kiln_core::{Gradients, Net, StateDict};

pub use adafactor::Adafactor;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use adamw::AdamW;
pub use clip::{clip, clip_unread, global_norm, norm};
pub use lamb::Lamb;
pub use lion::Lion;
pub(crate) use moved::Moved;
pub use muon::Muon;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use crate::config::OptimizerConfig;
use crate::snapshot::Tensors;

impl OptimizerConfig {
    /// The configured rule.
    pub fn rule(&self) -> Box<dyn Rule> {
        match self {
            Self::Adamw(c) => Box::new(AdamW::from(c)),
            Self::Sgd(c) => Box::new(Sgd::from(c)),
            Self::Adam(c) => Box::new(Adam::from(c)),
            Self::Rmsprop(c) => Box::new(RmsProp::from(c)),
            Self::Adagrad(c) => Box::new(Adagrad::from(c)),
            Self::Adafactor(c) => Box::new(Adafactor::from(c)),
            Self::Lion(c) => Box::new(Lion::from(c)),
            Self::Lamb(c) => Box::new(Lamb::from(c)),
            Self::Muon(c) => Box::new(Muon::from(c)),
        }
    }
}

/// One parameter's update.
pub trait Rule: Send {
    /// What the config says of rate and decay; for the parameters that the rule is named for, if not for all.
    fn base(&self) -> Base;

    /// The same for this parameter.
    fn base_of(&self, _info: &ParamInfo) -> Base {
        self.base()
    }

    /// Which of its rules updates this parameter, where it has several.
    fn name_of(&self, _info: &ParamInfo) -> Option<&'static str> {
        None
    }

    /// The tensors in this parameter's state after its first update, in their order.
    fn slots(&self, info: &ParamInfo) -> Vec<Slot>;

    /// The new value `[N]` from the old one and the gradient. The first call for a parameter gets a state without
    /// tensors.
    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1>;
}

/// Rate and decay, as configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Base {
    /// At the schedule's peak.
    pub learning_rate: f64,
    /// L2 penalty or decoupled decay, as the rule has it.
    pub weight_decay: f64,
    /// Whether biases and norm weights (parameters of one dimension) are decayed.
    pub decay_bias_and_norm: bool,
}

impl Base {
    /// The weight decay of a parameter that has none of its own, or one of `own`.
    pub fn decay(&self, info: &ParamInfo, own: Option<f64>) -> f64 {
        match info.shape.len() > 1 || self.decay_bias_and_norm {
            true => own.unwrap_or(self.weight_decay),
            false => 0.0,
        }
    }
}

/// One update of one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The parameter, with the shape that its flat value has lost.
    pub info: &'a ParamInfo,
    /// Its learning rate now.
    pub learning_rate: f64,
    /// Its weight decay.
    pub weight_decay: f64,
}

/// A tensor of a parameter's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// What it is called before the parameter's name.
    pub name: &'static str,
    /// How many values it has.
    pub elements: usize,
}

impl Slot {
    /// Slots as large as the parameter.
    fn whole(names: &[&'static str], info: &ParamInfo) -> Vec<Slot> {
        let elements = info.shape.iter().product();
        names.iter().map(|name| Slot { name, elements }).collect()
    }
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
    /// Updates so far, in [`Rule::update`] the present one included.
    pub step: u64,
    /// In the order of [`Rule::slots`], flat.
    pub tensors: Vec<Tensor<1>>,
    /// What they are called.
    names: Vec<&'static str>,
}

impl Slots {
    /// Takes all `K` tensors out, so that their memory can be used again; zeros like `gradient` at the first update.
    fn take<const K: usize>(&mut self, gradient: &Tensor<1>) -> [Tensor<1>; K] {
        <[Tensor<1>; K]>::try_from(std::mem::take(&mut self.tensors))
            .unwrap_or_else(|_| std::array::from_fn(|_| gradient.zeros_like()))
    }
}

/// A rule with the state of every parameter.
pub struct Optimizer {
    rule: Box<dyn Rule>,
    states: BTreeMap<String, Slots>,
    settings: Settings,
}

/// `new`, or where `bad` `[1]` is true, `old`; both `[N]`. Not by arithmetic, for nothing times NaN is NaN.
pub(crate) fn unless(bad: &Tensor<1, Bool>, new: Tensor<1>, old: Tensor<1>) -> Tensor<1> {
    let dims = new.dims();
    new.mask_where(bad.clone().expand(dims), old)
}

/// A saved optimizer state that does not fit the model or the rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("optimizer state: {0}")]
pub struct StateError(String);

impl Optimizer {
    /// The configured rule, without state.
    pub fn new(config: &OptimizerConfig) -> Self {
        Self { rule: config.rule(), states: BTreeMap::new(), settings: Settings::new() }
    }

    /// The same with rates and decays of its own for some parameters. Biases and norm weights that the rule does not
    /// decay are not decayed by a setting either.
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// One step: every parameter that has a gradient is updated, the others are left alone.
    pub fn step(&mut self, net: Box<dyn Net>, gradients: Gradients, lr: f64) -> Box<dyn Net> {
        self.step_unless(net, gradients, lr, None)
    }

    /// The same; where `bad` `[1]`, which may still be unread on the device, is true, values and moments keep their bits.
    /// Steps are counted all the same: see [`Optimizer::count_again`].
    pub fn step_unless(
        &mut self,
        net: Box<dyn Net>,
        gradients: Gradients,
        lr: f64,
        bad: Option<&Tensor<1, Bool>>,
    ) -> Box<dyn Net> {
        self.apply(net, gradients, lr, bad, None)
    }

    /// The same, and how far it moved the weights, which costs a copy of the largest parameter and some passes over all.
    pub(crate) fn measured_step(
        &mut self,
        net: Box<dyn Net>,
        gradients: Gradients,
        lr: f64,
        bad: Option<&Tensor<1, Bool>>,
    ) -> (Box<dyn Net>, Moved) {
        let mut moved = Moved::default();
        let net = self.apply(net, gradients, lr, bad, Some(&mut moved));
        (net, moved)
    }

    fn apply(
        &mut self,
        net: Box<dyn Net>,
        mut gradients: Gradients,
        lr: f64,
        bad: Option<&Tensor<1, Bool>>,
        mut moved: Option<&mut Moved>,
    ) -> Box<dyn Net> {
        let Self { rule, states, settings } = self;
        let (peak, measures) = (rule.base().learning_rate, moved.is_some());
        net.update(&mut |info: &ParamInfo, value| {
            let Some(gradient) = gradients.0.remove(&info.name) else { return value };
            let state = states.entry(info.name.clone()).or_default();
            if state.step == 0 {
                state.names = rule.slots(info).into_iter().map(|slot| slot.name).collect();
            }
            state.step += 1;
            let own = settings.get(&info.name).copied().unwrap_or_default();
            let base = rule.base_of(info);
            let share = if base.learning_rate == peak { 1.0 } else { base.learning_rate / peak };
            let at = Step {
                info,
                learning_rate: lr * own.rate_scale * share,
                weight_decay: base.decay(info, own.weight_decay),
            };
            let mut note = |before: Option<Tensor<1>>, after: &Tensor<1>| {
                if let (Some(moved), Some(before)) = (moved.as_deref_mut(), before) {
                    moved.add(before, after);
                }
            };
            let Some(bad) = bad else {
                let before = measures.then(|| value.clone());
                let after = rule.update(value, gradient, state, &at);
                note(before, &after);
                return after;
            };
            let (old, moments) = (value.clone(), state.tensors.clone());
            let new = rule.update(value, gradient, state, &at);
            // Without moments before, there is nothing to keep: whoever counts again drops the new ones.
            state.tensors.iter_mut().zip(moments).for_each(|(new, old)| *new = unless(bad, new.clone(), old));
            let after = unless(bad, new, old.clone());
            note(Some(old), &after);
            after
        })
    }

    /// Updates of each parameter so far.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.states.iter().map(|(name, state)| (name.clone(), state.step)).collect()
    }

    /// Goes back to earlier counts, after steps that left values and moments alone.
    pub fn count_again(&mut self, counts: &BTreeMap<String, u64>) {
        self.states.retain(|name, _| counts.contains_key(name));
        for (name, state) in &mut self.states {
            state.step = counts.get(name).copied().unwrap_or(0);
        }
    }

    /// The state by name: `step.PARAMETER` (`[1]`, i64) and `SLOT.PARAMETER` (flat, the
    /// parameter's dtype).
    pub fn state(&self) -> StateDict {
        let mut out = StateDict::new();
        for (name, state) in &self.states {
            out.insert(format!("step.{name}"), [state.step as i64].into());
            for (slot, tensor) in state.names.iter().zip(&state.tensors) {
                out.insert(format!("{slot}.{name}"), tensor.to_data());
            }
        }
        out
    }

    /// The same for a save.
    pub(crate) fn tensors(&self) -> Tensors {
        let mut all = Tensors::default();
        for (name, state) in &self.states {
            all.insert_data(format!("step.{name}"), [state.step as i64].into());
            for (slot, tensor) in state.names.iter().zip(&state.tensors) {
                all.insert(format!("{slot}.{name}"), vec![tensor.dims()[0]], tensor.clone());
            }
        }
        all
    }

    /// Bytes of the state once every trainable parameter was updated.
    pub(crate) fn bytes_after_a_step(&self, net: &dyn Net) -> u64 {
        let of =
            |info: &ParamInfo| self.rule.slots(info).iter().map(|slot| 4 * slot.elements as u64).sum::<u64>();
        net.parameters().iter().filter(|info| info.trainable).map(|info| 8 + of(info)).sum()
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
            let mut slots = Slots { step: step.first().copied().unwrap_or(0) as u64, ..Slots::default() };
            for Slot { name, elements } in self.rule.slots(&info) {
                let key = format!("{name}.{}", info.name);
                let data = saved.get(&key).ok_or_else(|| StateError(format!("{key} is missing")))?;
                let got = data.num_elements();
                if got != elements {
                    return Err(StateError(format!("{key}: expected {elements} elements, got {got}")));
                }
                slots.names.push(name);
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

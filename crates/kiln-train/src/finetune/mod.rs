//! Fine-tuning: which parameters train at a step, at which rate and decay, and the adapters.
//! Owns the resolution of `[finetune]` and `[lora]` against a model; never an update (`optim`) or a forward pass.
//! The loop asks it before every step; everything is a function of the step alone, so that a resumed run goes on the
//! same.

mod config;
mod layers;
mod table;

use std::collections::BTreeSet;

use kiln_core::net::ParamInfo;
use kiln_core::{Every, Net, StateDict};
use kiln_models::lora::is_factor;
use kiln_models::names::Names;
use kiln_models::{Lora, Model, ModelError};

pub use config::{FinetuneConfig, GroupConfig};
pub use layers::Layers;
pub use table::table;

use crate::config::Config;
use crate::error::TrainError;
use crate::optim::{Rule, Setting, Settings};
use crate::plan::Plan;

/// What trains, when, and at which rate.
#[derive(Debug, Clone)]
pub struct Finetune {
    /// The adapters, if any.
    pub lora: Option<Lora>,
    freeze: Names,
    train_only: Option<Names>,
    layers: Option<Layers>,
    /// Optimizer steps between thawing one layer and the next.
    span: Option<u64>,
    groups: Vec<Names>,
    settings: Settings,
    parameters: Vec<ParamInfo>,
}

impl Finetune {
    /// Resolves the config against `model`, gives it its adapters and freezes what does not train before the first
    /// step.
    ///
    /// # Errors
    /// A pattern that matches nothing, layers asked of a net without blocks, adapters that do not fit, or nothing
    /// left to train.
    pub fn new(config: &Config, model: &mut Model, plan: &Plan) -> Result<Self, TrainError> {
        let base: BTreeSet<String> = trainable(model).into_iter().map(|p| p.name).collect();
        let lora = match &config.lora {
            Some(lora) => Some(kiln_models::lora::attach(model, lora, config.seed)?),
            None => None,
        };
        let own = |p: &ParamInfo| base.contains(&p.name) || is_factor(&p.name);
        let parameters: Vec<ParamInfo> = model.net.parameters().into_iter().filter(own).collect();
        let own = Self::resolved(config, lora, parameters, plan)?;
        own.set(&mut *model.net, 0);
        Ok(own)
    }

    /// What [`Finetune::new`] would answer, and the faults that it would find, for a model without values.
    ///
    /// # Errors
    /// As [`Finetune::new`].
    pub fn check(config: &Config, model: &mut Model) -> Result<Self, TrainError> {
        let mut parameters = trainable(model);
        let lora = match &config.lora {
            Some(lora) => Some(kiln_models::lora::outline(model, lora)?),
            None => None,
        };
        parameters.extend(lora.iter().flat_map(Lora::factors));
        let one_batch = Plan::new(config, config.data.loader().batch_size);
        Self::resolved(config, lora, parameters, &one_batch)
    }

    /// The config against the names of a model's parameters and adapters.
    fn resolved(
        config: &Config,
        lora: Option<Lora>,
        parameters: Vec<ParamInfo>,
        plan: &Plan,
    ) -> Result<Self, TrainError> {
        let table = config.finetune.clone().unwrap_or_default();
        let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
        let patterns = |key: &str, list: &[String]| {
            let compiled = Names::new(key, list)?;
            compiled.all_used(key, "parameter", &names, false)?;
            Ok::<_, ModelError>(compiled)
        };
        let layered = table.layer_decay.is_some() || table.unfreeze_every.is_some();
        let layers = layered.then(|| Layers::of(&names).ok_or_else(no_blocks)).transpose()?;
        let groups = (table.groups.iter().enumerate())
            .map(|(i, g)| patterns(&format!("finetune.groups.{i}.parameters"), &g.parameters))
            .collect::<Result<Vec<_>, _>>()?;
        let mut own = Self {
            freeze: patterns("finetune.freeze", &table.freeze)?,
            train_only: match table.train_only.is_empty() {
                true => None,
                false => Some(patterns("finetune.train_only", &table.train_only)?),
            },
            span: table.unfreeze_every.and_then(|every| span(every, plan)),
            settings: Settings::new(),
            lora,
            layers,
            groups,
            parameters,
        };
        own.settings = own.resolve(&table, &*config.optimizer.rule());
        match own.parameters.iter().any(|p| own.trains(&p.name, 0)) {
            true => Ok(own),
            false => Err(nothing_trains().into()),
        }
    }

    /// Rates and decays by parameter, for the optimizer.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    fn resolve(&self, table: &FinetuneConfig, rule: &dyn Rule) -> Settings {
        let setting = |p: &ParamInfo| {
            let group = self.group(&p.name).and_then(|i| table.groups.get(i));
            let by_layer = match (&self.layers, table.layer_decay) {
                (Some(layers), Some(decay)) => decay.powi((layers.top() - layers.number(&p.name)) as i32),
                _ => 1.0,
            };
            let own_rate = group.and_then(|g| g.learning_rate);
            let rate_scale = own_rate.map_or(by_layer, |rate| rate / rule.base_of(p).learning_rate);
            Setting { rate_scale, weight_decay: group.and_then(|g| g.weight_decay) }
        };
        self.parameters.iter().map(|p| (p.name.clone(), setting(p))).collect()
    }

    /// The last group that matches.
    fn group(&self, name: &str) -> Option<usize> {
        self.groups.iter().rposition(|names| names.matches(name))
    }

    /// Whether a parameter trains in the optimizer step with this number, from 0.
    pub fn trains(&self, name: &str, step: u64) -> bool {
        let allowed = self.lora.as_ref().is_none_or(|lora| lora.trains(name))
            && self.train_only.as_ref().is_none_or(|only| only.matches(name))
            && !self.freeze.matches(name);
        allowed && step >= self.thaws_at(name)
    }

    /// The first step in which gradual unfreezing lets a parameter train.
    fn thaws_at(&self, name: &str) -> u64 {
        match (&self.layers, self.span) {
            (Some(layers), Some(span)) => (layers.top() - layers.number(name)) as u64 * span,
            _ => 0,
        }
    }

    /// Freezes and thaws as the step with this number needs it.
    pub fn set(&self, net: &mut dyn Net, step: u64) {
        net.set_trainable(&|name| self.trains(name, step));
    }

    /// As [`Finetune::set`], where this step differs from the one before.
    pub fn thaw(&self, net: &mut dyn Net, step: u64) {
        if self.span.is_some_and(|span| step > 0 && step.is_multiple_of(span)) {
            self.set(net, step);
        }
    }

    /// The base model's state with the adapters merged into the weights.
    ///
    /// # Errors
    /// The state is not of the net that this was made for.
    pub fn merged(&self, mut state: StateDict) -> Result<StateDict, TrainError> {
        if let Some(lora) = &self.lora {
            lora.merge(&mut state)?;
        }
        Ok(state)
    }

    /// Parameters that can train or were frozen, without running statistics.
    pub(crate) fn parameters(&self) -> &[ParamInfo] {
        &self.parameters
    }
}

/// The parameters that could train: running statistics never do.
fn trainable(model: &Model) -> Vec<ParamInfo> {
    model.net.parameters().into_iter().filter(|p| p.trainable).collect()
}

fn span(every: Every, plan: &Plan) -> Option<u64> {
    match every {
        Every::Steps(n) => Some(n),
        Every::Epochs(n) => Some(n * plan.steps_per_epoch),
        Every::Minutes(_) => None, // refused by the rules: resuming would not be exact
    }
}

fn no_blocks() -> ModelError {
    ModelError::Config {
        message: "[finetune]: `layer_decay` and `unfreeze_every` need a model of numbered blocks, and this one has none"
            .into(),
        remedy: "leave them out, or give rates by [[finetune.groups]]".into(),
    }
}

fn nothing_trains() -> ModelError {
    ModelError::Config {
        message: "nothing is left to train: every parameter is frozen".into(),
        remedy: "freeze less in [finetune], or name what trains in train_only".into(),
    }
}

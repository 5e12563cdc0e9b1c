//! Low-rank adaptation (Hu et al., 2021) of a net: which layers get an adapter, what else trains, merging.
//! Owns the choice and the arithmetic of a merge; never a forward pass (kiln-nn) or files (`peft`).
//! kiln-train attaches it before the first step and merges after the last.
//!
//! Reference: `peft.LoraConfig`; A uniform in ±1/sqrt(IN), B zero. Rank-stabilised scale: Kalajdzievski, 2023.
//!
//! Shapes: `R` rank, `IN` features read, `OUT` features written.

use std::path::PathBuf;

use burn::tensor::TensorData;
use kiln_core::adapter::{Adaptable, NewAdapter};
use kiln_core::net::ParamInfo;
use kiln_core::seed::{Purpose, mix};
use kiln_core::{Net, StateDict, TaskKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::Names;
use crate::{Card, Model, ModelError, families, peft};

/// The word for every linear layer that is not saved whole.
const ALL_LINEAR: &str = "all-linear";

/// Low-rank adapters: the model's own weights are frozen, small factors beside them train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoraConfig {
    /// A PEFT adapter folder to start from; rank, alpha and modules are then the adapter's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Width of the factors.
    #[serde(default = "rank")]
    #[schemars(range(min = 1, max = 65536))]
    pub rank: usize,
    /// The adapter's answer is multiplied by alpha / rank.
    #[serde(default = "alpha")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub alpha: f64,
    /// Probability of zeroing an adapter's input in training.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// Multiply by alpha / sqrt(rank) instead.
    #[serde(default)]
    pub use_rslora: bool,
    /// Linear layers that get an adapter, by name or last part of the name, `*` allowed; `all-linear` is all of them.
    #[serde(default = "targets")]
    pub target_modules: Vec<String>,
    /// Modules that train as a whole and are saved with the adapter; by default the head of a classifier or regressor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules_to_save: Option<Vec<String>>,
}

fn rank() -> usize {
    8
}

fn alpha() -> f64 {
    16.0
}

fn targets() -> Vec<String> {
    vec![ALL_LINEAR.into()]
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            pretrained: None,
            rank: rank(),
            alpha: alpha(),
            dropout: 0.0,
            use_rslora: false,
            target_modules: targets(),
            modules_to_save: None,
        }
    }
}

/// The adapters of a net.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// `R`
    pub rank: usize,
    /// See [`LoraConfig::alpha`].
    pub alpha: f64,
    /// See [`LoraConfig::dropout`].
    pub dropout: f64,
    /// See [`LoraConfig::use_rslora`].
    pub use_rslora: bool,
    /// The layers that carry one, in module order.
    pub layers: Vec<Adaptable>,
    /// Modules that train and are saved whole.
    pub saved: Vec<String>,
}

impl Lora {
    /// What the product of the factors is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// The factors, as a net with these adapters lists them.
    pub fn factors(&self) -> Vec<ParamInfo> {
        let of = |name, shape: [usize; 2]| ParamInfo { name, shape: shape.to_vec(), trainable: true };
        let both =
            |l: &Adaptable| [of(name_a(l), [self.rank, l.input]), of(name_b(l), [l.output, self.rank])];
        self.layers.iter().flat_map(both).collect()
    }

    /// Whether a parameter belongs to an adapter or to a module that is saved whole.
    pub fn trains(&self, parameter: &str) -> bool {
        is_factor(parameter) || self.saved.iter().any(|module| is_in(parameter, module))
    }

    /// Adds every adapter to its layer's weight and takes its factors out: what is left are the base model's names.
    ///
    /// # Errors
    /// A weight or factor is missing or has another shape.
    pub fn merge(&self, state: &mut StateDict) -> Result<(), ModelError> {
        for layer in &self.layers {
            let (a, b) = (take(state, &name_a(layer))?, take(state, &name_b(layer))?);
            self.shift(state, layer, &a, &b, self.scale())?;
        }
        Ok(())
    }

    /// The reverse of [`Lora::merge`]: takes the adapters that `factors` holds off the weights and puts the factors
    /// back. Weights come back to within rounding.
    ///
    /// # Errors
    /// As [`Lora::merge`].
    pub fn unmerge(&self, state: &mut StateDict, factors: &StateDict) -> Result<(), ModelError> {
        for layer in &self.layers {
            for name in [name_a(layer), name_b(layer)] {
                let factor = factors.get(&name).ok_or_else(|| absent(&name))?.clone();
                state.insert(name, factor);
            }
            let (a, b) = (state[&name_a(layer)].clone(), state[&name_b(layer)].clone());
            self.shift(state, layer, &a, &b, -self.scale())?;
        }
        Ok(())
    }

    /// W += scale * B A, in double precision and in the weight's layout.
    fn shift(
        &self,
        state: &mut StateDict,
        layer: &Adaptable,
        a: &TensorData,
        b: &TensorData,
        scale: f64,
    ) -> Result<(), ModelError> {
        let name = format!("{}.weight", layer.name);
        let weight = state.get_mut(&name).ok_or_else(|| absent(&name))?;
        let (a, b, mut values) = (floats(a, &name)?, floats(b, &name)?, floats(weight, &name)?);
        let (rank, input, output) = (self.rank, layer.input, layer.output);
        if (a.len(), b.len(), values.len()) != (rank * input, output * rank, output * input) {
            let message = format!("{name}: the weight and its adapter do not have the sizes of rank {rank}");
            return Err(ModelError::config(message, "report this as a fault"));
        }
        let mut row = vec![0.0f64; input];
        for o in 0..output {
            row.fill(0.0);
            for r in 0..rank {
                let factor = f64::from(b[o * rank + r]) * scale;
                row.iter_mut().zip(&a[r * input..]).for_each(|(sum, a)| *sum += factor * f64::from(*a));
            }
            for (i, sum) in row.iter().enumerate() {
                let at = if layer.fan_in_fan_out { i * output + o } else { o * input + i };
                values[at] = (f64::from(values[at]) + sum) as f32;
            }
        }
        *weight = TensorData::new(values, weight.shape().clone()).convert_dtype(weight.dtype());
        Ok(())
    }
}

/// Gives `model` the adapters that the config asks for, new or from a PEFT folder, and freezes everything else.
///
/// # Errors
/// Patterns that match nothing, no layer left to adapt, an adapter that does not fit this model.
pub fn attach(model: &mut Model, config: &LoraConfig, seed: u64) -> Result<Lora, ModelError> {
    let lora = match &config.pretrained {
        Some(folder) => peft::attach(model, folder, config.dropout)?,
        None => new(model, config, seed)?,
    };
    model.net.set_trainable(&|name| lora.trains(name));
    Ok(lora)
}

/// The adapters that [`attach`] would give, which are only looked for: of an adapter folder no values are read.
///
/// # Errors
/// As [`attach`].
pub fn outline(model: &mut Model, config: &LoraConfig) -> Result<Lora, ModelError> {
    match &config.pretrained {
        Some(folder) => peft::outline(model, folder, config.dropout),
        None => find(model, config),
    }
}

/// What new adapters go to.
fn find(model: &mut Model, config: &LoraConfig) -> Result<Lora, ModelError> {
    let LoraConfig { rank, alpha, dropout, use_rslora, .. } = *config;
    let saved = saved(model, config.modules_to_save.as_deref())?;
    let layers = layers(&*model.net, &config.target_modules, &saved)?;
    Ok(Lora { rank, alpha, dropout, use_rslora, layers, saved })
}

fn new(model: &mut Model, config: &LoraConfig, seed: u64) -> Result<Lora, ModelError> {
    let lora = find(model, config)?;
    let Lora { rank, dropout, .. } = lora;
    let scale = lora.scale();
    model.net.adapt(&mut |layer| {
        let index = lora.layers.iter().position(|own| own.name == layer.name)?;
        let a = uniform(seed, index, [rank, layer.input]);
        let b = TensorData::zeros::<f32, _>([layer.output, rank]);
        Some(NewAdapter { a, b, scale, dropout })
    });
    Ok(lora)
}

/// The modules that train whole: those that `patterns` name, or the head and what the pretrained file did not have.
fn saved(model: &mut Model, patterns: Option<&[String]>) -> Result<Vec<String>, ModelError> {
    let modules = modules(&*model.net);
    let missing = model.report.as_ref().map_or(&[][..], |report| &report.missing);
    let Some(patterns) = patterns else {
        let new = missing.iter().filter_map(|name| name.rsplit_once('.')).map(|(module, _)| module);
        let wanted: Vec<&str> = default_heads(&model.card).into_iter().chain(new).collect();
        return Ok(outermost(modules.into_iter().filter(|m| wanted.contains(&m.as_str())).collect()));
    };
    let (key, names) = ("lora.modules_to_save", modules.iter().map(String::as_str).collect::<Vec<_>>());
    let wanted = Names::new(key, patterns)?;
    wanted.all_used(key, "module", &names, true)?;
    let saved = outermost(modules.into_iter().filter(|m| wanted.matches_end(m)).collect());
    let frozen: Vec<&str> = (missing.iter().map(String::as_str))
        .filter(|name| !saved.iter().any(|module| is_in(name, module)))
        .collect();
    if !frozen.is_empty() {
        let names = frozen.join(", ");
        model.notes.push(format!("new and frozen, by `{key}`: {names}: what is random there stays random"));
    }
    Ok(saved)
}

/// A module inside another one of the list is saved with it.
fn outermost(modules: Vec<String>) -> Vec<String> {
    let outer = |m: &&String| !modules.iter().any(|other| other != *m && is_in(m, other));
    modules.iter().filter(outer).cloned().collect()
}

/// A classifier's or regressor's layers behind the base model; a language model's head is the embedding or pretrained.
fn default_heads(card: &Card) -> Vec<&'static str> {
    let Ok(family) = families::of_card(card, std::path::Path::new("")) else { return Vec::new() };
    if card.task().map_or(true, TaskKind::is_language_modeling) {
        return Vec::new();
    }
    let base = family.base_prefix();
    let behind = |head: &&str| !head.is_empty() && (base.is_empty() || !head.starts_with(base));
    family.heads(card).unwrap_or_default().into_iter().filter(behind).collect()
}

/// Every module's name, in module order.
fn modules(net: &dyn Net) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for p in net.parameters() {
        for (i, _) in p.name.match_indices('.') {
            if !found.iter().any(|m| *m == p.name[..i]) {
                found.push(p.name[..i].to_string());
            }
        }
    }
    found
}

fn layers(net: &dyn Net, targets: &[String], saved: &[String]) -> Result<Vec<Adaptable>, ModelError> {
    let mut candidates = net.adaptable();
    candidates.retain(|layer| !saved.iter().any(|m| layer.name == *m || is_in(&layer.name, m)));
    if !targets.iter().any(|t| t == ALL_LINEAR) {
        let key = "lora.target_modules";
        let wanted = Names::new(key, targets)?;
        let names: Vec<&str> = candidates.iter().map(|l| l.name.as_str()).collect();
        wanted.all_used(key, "linear layer", &names, true)?;
        candidates.retain(|layer| wanted.matches_end(&layer.name));
    }
    match candidates.is_empty() {
        true => Err(ModelError::config(
            "[lora]: this model has no linear layer to adapt",
            "leave [lora] out, or choose another model",
        )),
        false => Ok(candidates),
    }
}

/// Uniform in ±1/sqrt(IN), which is `torch.nn.init.kaiming_uniform_` with a = sqrt(5); the same on every device.
fn uniform(seed: u64, layer: usize, shape: [usize; 2]) -> TensorData {
    let bound = 1.0 / (shape[1].max(1) as f64).sqrt();
    let value = |i: u64| {
        let bits = mix(seed, Purpose::Init, &[layer as u64, i]) >> 11;
        ((bits as f64 / (1u64 << 52) as f64 - 1.0) * bound) as f32
    };
    TensorData::new((0..(shape[0] * shape[1]) as u64).map(value).collect(), shape)
}

pub(crate) fn name_a(layer: &Adaptable) -> String {
    format!("{}.lora_A.weight", layer.name)
}

pub(crate) fn name_b(layer: &Adaptable) -> String {
    format!("{}.lora_B.weight", layer.name)
}

/// Whether a parameter is an adapter's.
pub fn is_factor(parameter: &str) -> bool {
    parameter.ends_with(".lora_A.weight") || parameter.ends_with(".lora_B.weight")
}

pub(crate) fn is_in(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

fn take(state: &mut StateDict, name: &str) -> Result<TensorData, ModelError> {
    state.remove(name).ok_or_else(|| absent(name))
}

fn absent(name: &str) -> ModelError {
    ModelError::config(format!("{name} is missing from the weights"), "give the weights of the adapted model")
}

fn floats(data: &TensorData, name: &str) -> Result<Vec<f32>, ModelError> {
    data.clone().convert::<f32>().try_to_vec().map_err(|e| {
        ModelError::config(format!("{name} cannot be read as numbers: {e:?}"), "report this as a fault")
    })
}

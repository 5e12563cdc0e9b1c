//! PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`, as `peft` writes and reads them.
//! Owns the format and the check that an adapter fits its base; never the arithmetic (`lora`).
//! `lora::attach` reads a folder, a finished run writes one.
//!
//! Reference: `peft` 0.21 `save_pretrained`. Tensor names are `base_model.model.` and the base model's names. Not read:
//! DoRA, biases, patterns of ranks, embeddings and convolutions with adapters; each is refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use kiln_core::adapter::{Adaptable, NewAdapter};
use kiln_core::files::{self, FileError};
use kiln_core::{LoadReport, Net, StateDict, TaskKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dialect::{self, Dialect};
use crate::lora::{Lora, is_factor, is_in, name_a, name_b};
use crate::weights::{self, WeightsError};
use crate::{Card, Model, ModelError, families};

/// The adapter's description.
pub const CONFIG: &str = "adapter_config.json";
/// The adapter's tensors.
pub const TENSORS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// `adapter_config.json`, as far as kiln uses it.
#[derive(Debug, Serialize, Deserialize)]
struct AdapterConfig {
    #[serde(default)]
    peft_type: String,
    #[serde(default)]
    task_type: Option<String>,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    /// The base model's commit on the Hub.
    #[serde(default)]
    revision: Option<String>,
    #[serde(default = "eight")]
    r: usize,
    #[serde(default = "eight_f")]
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default = "none")]
    bias: String,
    #[serde(default)]
    inference_mode: bool,
    #[serde(default)]
    target_modules: Value,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn eight() -> usize {
    8
}

fn eight_f() -> f64 {
    8.0
}

fn none() -> String {
    "none".into()
}

/// Writes the adapters of `state` and the modules saved with them into `folder`, creating it if needed. `base` is
/// the path that the model started from; what came from the Hub is recorded by its name there, as peft does.
///
/// # Errors
/// Whatever the system reports while writing; a state that lacks a factor.
pub fn save(
    folder: &Path,
    lora: &Lora,
    state: &StateDict,
    card: &Card,
    base: Option<&str>,
) -> Result<(), ModelError> {
    let names = families::of_card(card, folder)?.module_names(card)?;
    let own = state.iter().filter(|(name, _)| lora.trains(name));
    let own = names.write(own.map(|(name, data)| (name.clone(), data.clone())).collect());
    let tensors: StateDict = own.into_iter().map(|(name, data)| (format!("{PREFIX}{name}"), data)).collect();
    let needed = lora.layers.iter().flat_map(|l| [name_a(l), name_b(l)]);
    if let Some(absent) = needed.into_iter().find(|name| !state.contains_key(name)) {
        return Err(ModelError::config(
            format!("{absent} is missing from the weights"),
            "report this as a fault",
        ));
    }
    let config = AdapterConfig {
        peft_type: "LORA".into(),
        task_type: task_type(card).map(str::to_string),
        base_model_name_or_path: base.map(|path| pulled(path).map_or(path.to_string(), |(name, _)| name)),
        revision: base.and_then(pulled).map(|(_, commit)| commit),
        r: lora.rank,
        lora_alpha: lora.alpha,
        lora_dropout: lora.dropout,
        use_rslora: lora.use_rslora,
        fan_in_fan_out: lora.layers.iter().any(|l| l.fan_in_fan_out),
        bias: none(),
        inference_mode: true,
        target_modules: lora.layers.iter().map(|l| names.theirs(&l.name)).collect::<Vec<_>>().into(),
        modules_to_save: (!lora.saved.is_empty())
            .then(|| lora.saved.iter().map(|module| names.theirs(module)).collect()),
        rest: Map::new(),
    };
    fs::create_dir_all(folder).map_err(FileError::at(folder, "create"))?;
    files::write_atomic(&folder.join(TENSORS), &weights::to_safetensors(&tensors, &[("format", "pt")])?)?;
    let mut text = serde_json::to_string_pretty(&config)
        .map_err(|e| ModelError::config(format!("{CONFIG}: {e}"), "report this as a fault"))?;
    text.push('\n');
    files::write_atomic(&folder.join(CONFIG), text.as_bytes())?;
    Ok(())
}

/// Name and commit of a model in the cache of the Hub: `models--org--name/snapshots/commit`.
fn pulled(path: &str) -> Option<(String, String)> {
    let mut parts = Path::new(path).iter().rev().filter_map(|part| part.to_str());
    let (commit, snapshots, folder) = (parts.next()?, parts.next()?, parts.next()?);
    let name = folder.strip_prefix("models--").filter(|_| snapshots == "snapshots")?;
    Some((name.replace("--", "/"), commit.to_string()))
}

/// `peft.TaskType` of a model class; images have none.
fn task_type(card: &Card) -> Option<&'static str> {
    let sequence =
        card.architectures.first().is_some_and(|class| class.ends_with("ForSequenceClassification"));
    match card.task().ok()? {
        TaskKind::TokenClassification => Some("TOKEN_CLS"),
        TaskKind::CausalLanguageModeling => Some("CAUSAL_LM"),
        TaskKind::Classification | TaskKind::MultiLabelClassification | TaskKind::Regression if sequence => {
            Some("SEQ_CLS")
        }
        _ => None,
    }
}

/// Gives `model` the adapters of a folder and loads the modules saved with them.
///
/// # Errors
/// Not an adapter folder, a kind of adapter that kiln does not have, or an adapter for another base model.
pub(crate) fn attach(model: &mut Model, folder: &Path, dropout: f64) -> Result<Lora, ModelError> {
    let (lora, state, note) = read(model, folder, dropout, weights::read)?;
    let scale = lora.scale();
    model.net.adapt(&mut |layer| {
        let (a, b) = (state.get(&name_a(layer))?.clone(), state.get(&name_b(layer))?.clone());
        Some(NewAdapter { a, b, scale, dropout })
    });
    model.net.load_state(&state);
    model.notes.extend(note);
    Ok(lora)
}

/// The adapters of a folder, for a model that does not get them: their values are not read.
///
/// # Errors
/// As [`attach`].
pub(crate) fn outline(model: &Model, folder: &Path, dropout: f64) -> Result<Lora, ModelError> {
    Ok(read(model, folder, dropout, weights::outline)?.0)
}

/// The card of `card`'s model under the head that an adapter's folder holds whole; as it is where the folder holds none.
///
/// # Errors
/// As [`attach`], where the tensors cannot be read.
pub(crate) fn headed(card: Card, folder: &Path) -> Result<Card, ModelError> {
    let suffix = match read_config(folder)?.task_type.as_deref() {
        Some("SEQ_CLS") => "ForSequenceClassification",
        Some("TOKEN_CLS") => "ForTokenClassification",
        _ => return Ok(card),
    };
    let tensors = weights::outline(&tensors_file(folder))?;
    let last = ["classifier.weight", "classifier.out_proj.weight", "score.weight"];
    let head = tensors.iter().find(|(name, _)| last.iter().any(|end| name.ends_with(end)));
    let Some(classes) = head.and_then(|(_, data)| data.shape().first().copied()) else { return Ok(card) };
    let mut card = card;
    if card.is_headless() {
        let class = card.architectures.first().and_then(|class| class.strip_suffix("Model"));
        card.architectures = class.map(|class| format!("{class}{suffix}")).into_iter().collect();
    }
    if card.num_labels() != classes {
        card.id2label = (0..classes).map(|i| (i, format!("LABEL_{i}"))).collect();
        card.label2id = card.id2label.iter().map(|(i, name)| (name.clone(), *i)).collect();
    }
    Ok(card)
}

fn tensors_file(folder: &Path) -> PathBuf {
    let file = [TENSORS, "adapter_model.bin"].map(|name| folder.join(name)).into_iter().find(|f| f.is_file());
    file.unwrap_or_else(|| folder.join(TENSORS))
}

/// How a file's tensors are read: with their values or without.
type Reader = fn(&Path) -> Result<StateDict, WeightsError>;

/// A folder's adapters with their tensors, which fit the model, and what a person should know of them.
fn read(
    model: &Model,
    folder: &Path,
    dropout: f64,
    reader: Reader,
) -> Result<(Lora, StateDict, Option<String>), ModelError> {
    let config = read_config(folder)?;
    let path = folder.join(TENSORS);
    let state = read_tensors(folder, &*model.net, &model.card, reader)?;
    let lora = fit(&*model.net, &state, &config, &path, dropout)?;
    if let Some(m) = LoadReport::of(&model.net.parameters(), &state).mismatched.first() {
        let message = format!("{}: expected {:?}, as the model has it, got {:?}", m.name, m.expected, m.got);
        return Err(another_base(&path, message));
    }
    Ok((lora, state, base_note(&config, folder)))
}

fn base_note(config: &AdapterConfig, folder: &Path) -> Option<String> {
    let base = config.base_model_name_or_path.as_ref().filter(|base| !base.is_empty())?;
    Some(format!("adapter: {}, trained on {base}", folder.display()))
}

/// How adapters spell the net's modules, ours first.
fn spellings(card: &Card, folder: &Path) -> Result<Vec<Dialect>, ModelError> {
    let family = families::of_card(card, folder)?;
    Ok(std::iter::once(family.module_names(card)?).chain(family.dialects(card)?).collect())
}

fn read_config(folder: &Path) -> Result<AdapterConfig, ModelError> {
    let path = folder.join(CONFIG);
    let fault = |message: String, remedy: &str| ModelError::Card {
        path: path.clone(),
        message,
        remedy: remedy.into(),
    };
    let config: AdapterConfig = serde_json::from_str(&files::read_text(&path)?)
        .map_err(|e| fault(e.to_string(), "give a folder that peft's save_pretrained wrote"))?;
    let plain = "give a plain LoRA adapter: peft_type LORA, bias none, one rank for all layers";
    if config.peft_type != "LORA" {
        return Err(fault(format!("peft_type is {:?}, expected \"LORA\"", config.peft_type), plain));
    }
    if config.bias != "none" {
        return Err(fault(format!("bias is {:?}, expected \"none\"", config.bias), plain));
    }
    if config.r == 0 {
        return Err(fault("r is 0, expected at least 1".into(), plain));
    }
    const UNSUPPORTED: [&str; 10] = [
        "use_dora",
        "lora_bias",
        "rank_pattern",
        "alpha_pattern",
        "layer_replication",
        "trainable_token_indices",
        "target_parameters",
        "use_qalora",
        "use_bdlora",
        "alora_invocation_tokens",
    ];
    // These start from weights that the base model does not have.
    let moved = config.rest.get("init_lora_weights").and_then(Value::as_str).filter(|start| {
        ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|word| start.starts_with(word))
    });
    if let Some(start) = moved {
        return Err(fault(format!("init_lora_weights is {start:?}, which changes the base model"), plain));
    }
    let used = |key: &&&str| config.rest.get(**key).is_some_and(|v| !is_off(v));
    match UNSUPPORTED.iter().find(used) {
        Some(key) => Err(fault(format!("{key} is {}, which kiln does not have", config.rest[*key]), plain)),
        None => Ok(config),
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The folder's tensors under the net's names.
fn read_tensors(folder: &Path, net: &dyn Net, card: &Card, reader: Reader) -> Result<StateDict, ModelError> {
    let spellings = spellings(card, folder)?;
    let state = reader(&tensors_file(folder))?;
    let known: BTreeSet<String> = net
        .adaptable()
        .into_iter()
        .map(|l| l.name)
        .chain(net.parameters().into_iter().map(|p| p.name))
        .collect();
    let rename = |name: String| {
        let bare = name.strip_prefix(PREFIX).unwrap_or(&name).to_string();
        let others = spellings.iter().flat_map(|dialect| dialect.candidates(&bare));
        let mut all = std::iter::once(bare.clone()).chain(others);
        all.find(|own| known.contains(layer_of(own).unwrap_or(own))).unwrap_or(bare)
    };
    // A pointwise convolution's factors are convolutions too.
    let flat = |name: &str, data: TensorData| match data.shape()[..] {
        [rows, columns, 1, 1] if is_factor(name) => dialect::pointwise_as_linear(data, &[rows, columns]),
        _ => data,
    };
    Ok(state.into_iter().map(|(name, data)| (rename(name.clone()), flat(&name, data))).collect())
}

/// The layer whose factor a name is.
fn layer_of(name: &str) -> Option<&str> {
    is_factor(name).then(|| &name[..name.len() - ".lora_A.weight".len()])
}

/// Checks every tensor against the net: factors of layers that it has, in its sizes, and whole modules.
fn fit(
    net: &dyn Net,
    state: &StateDict,
    config: &AdapterConfig,
    path: &Path,
    dropout: f64,
) -> Result<Lora, ModelError> {
    let adaptable = net.adaptable();
    let wanted: BTreeSet<&str> = state.keys().filter_map(|name| layer_of(name)).collect();
    if wanted.is_empty() {
        return Err(another_base(path, "no tensor is called ...lora_A.weight".into()));
    }
    if let Some(stray) = wanted.iter().find(|name| !adaptable.iter().any(|l| l.name == **name)) {
        return Err(another_base(path, format!("it adapts {stray}, which is no linear layer of this model")));
    }
    let layers: Vec<Adaptable> = adaptable.into_iter().filter(|l| wanted.contains(l.name.as_str())).collect();
    for layer in &layers {
        check_factor(state, &name_a(layer), [config.r, layer.input], path)?;
        check_factor(state, &name_b(layer), [layer.output, config.r], path)?;
    }
    let saved = whole_modules(net, state, path)?;
    let AdapterConfig { r, lora_alpha, use_rslora, .. } = *config;
    Ok(Lora { rank: r, alpha: lora_alpha, dropout, use_rslora, layers, saved })
}

fn check_factor(state: &StateDict, name: &str, expected: [usize; 2], path: &Path) -> Result<(), ModelError> {
    match state.get(name).map(|data| data.shape().to_vec()) {
        Some(got) if got == expected => Ok(()),
        Some(got) => Err(another_base(
            path,
            format!("{name}: expected {expected:?} by this model and the adapter's rank, got {got:?}"),
        )),
        None => Err(another_base(path, format!("{name} is missing"))),
    }
}

/// The modules that the file holds whole; every parameter of each must be there.
fn whole_modules(net: &dyn Net, state: &StateDict, path: &Path) -> Result<Vec<String>, ModelError> {
    let parameters: Vec<String> = net.parameters().into_iter().map(|p| p.name).collect();
    let mut modules: BTreeMap<String, ()> = BTreeMap::new();
    for name in state.keys().filter(|name| layer_of(name).is_none()) {
        let Some((module, _)) = name.rsplit_once('.').filter(|_| parameters.contains(name)) else {
            return Err(another_base(path, format!("{name} is no parameter of this model")));
        };
        modules.insert(module.to_string(), ());
    }
    for module in modules.keys() {
        if let Some(absent) = parameters.iter().find(|p| is_in(p, module) && !state.contains_key(*p)) {
            return Err(another_base(
                path,
                format!("{absent} is missing, though {module} is saved with the adapter"),
            ));
        }
    }
    Ok(modules.into_keys().collect())
}

pub(crate) fn another_base(path: &Path, message: String) -> ModelError {
    let remedy =
        "give the adapter of this base model, with as many classes, or the base model of this adapter";
    WeightsError::content(path, format!("the adapter does not fit: {message}"), remedy).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_in_the_hubs_cache_has_its_name_there() {
        let of = |path: &str| pulled(path).map(|(name, commit)| name + "@" + &commit);
        let cache = "/home/me/.cache/huggingface/hub";
        assert_eq!(
            of(&format!("{cache}/models--org--tiny-bert/snapshots/0123/")).unwrap(),
            "org/tiny-bert@0123"
        );
        assert_eq!(of("models--gpt2/snapshots/45").unwrap(), "gpt2@45");
        assert_eq!(of("/models/snapshots/org"), None);
        assert_eq!(of("/home/me/models--org--tiny"), None);
    }
}

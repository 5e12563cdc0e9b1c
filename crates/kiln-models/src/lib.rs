//! Model families, one file each: config to net; pretrained weights in, Hugging Face folders out.
//! Owns architectures, tensor files and the rule of what may be missing; never trains.
//! Hands [`Model`]s to kiln-train and kiln-eval, and tensor files to checkpoints.

pub mod card;
pub mod config;
pub mod cost;
pub mod dialect;
mod error;
pub mod families;
pub mod lora;
mod merge;
pub mod names;
pub mod peft;
mod preprocessing;
pub mod presets;
mod pretrained;
mod timm;
pub mod weights;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
use kiln_core::device::processor;
use kiln_core::files::{self, FileError};
use kiln_core::seed::{Purpose, mix};
use kiln_core::{InputSpec, LoadReport, Net, StateDict, TaskKind};

pub use card::Card;
pub use config::ModelConfig;
pub use error::ModelError;
pub use families::{Activation, FAMILIES, Facts, Family, with_blocks};
pub use lora::{Lora, LoraConfig};
pub use merge::merge;
pub use preprocessing::{BroughtPreprocessing, brought_preprocessing};
pub use pretrained::brought_classes;
pub use weights::{SaveOptions, SaveType, WeightsError};

/// A net with the description that goes beside its weights.
pub struct Model {
    /// The net itself.
    pub net: Box<dyn Net>,
    /// What `config.json` says about it.
    pub card: Card,
    /// What became of every tensor of the weights it started from; `None` for a model from scratch.
    pub report: Option<LoadReport>,
    /// What a person should know about the load: a new head, converted tensors, unused buffers.
    pub notes: Vec<String>,
}

/// Builds the net a config asks for: seeded, initialised, then loaded with `pretrained` if the config names one.
///
/// `device` is an autodiff device for training. The same seed gives the same weights on the same device.
///
/// # Errors
/// Sizes that do not fit the input, the classes or the pretrained weights; unreadable or unfitting weights.
pub fn build(
    config: &ModelConfig,
    input: &InputSpec,
    labels: &[String],
    task: TaskKind,
    device: &Device,
    seed: u64,
) -> Result<Model, ModelError> {
    let (family, card) = described(config, input, labels, task)?;
    let mut net = start(family, &card, device, mix(seed, Purpose::Init, &[]))?;
    let Some(path) = config.pretrained() else {
        return Ok(Model { net, card, report: None, notes: Vec::new() });
    };
    let fitted = pretrained::fit(&*net, weights::read(path)?, family, &card, path)?;
    let (report, notes) = fitted.load(net.as_mut());
    Ok(Model { net, card, report: Some(report), notes })
}

/// The model that [`build`] would build, without values: no weight is drawn, and of the pretrained files only the
/// headers are read.
///
/// # Errors
/// As [`build`], but for what only the weights' values show.
pub fn outline(
    config: &ModelConfig,
    input: &InputSpec,
    labels: &[String],
    task: TaskKind,
    device: &Device,
) -> Result<Model, ModelError> {
    let (family, card) = described(config, input, labels, task)?;
    let net = family.net(&card, device)?;
    let Some(path) = config.pretrained() else {
        return Ok(Model { net, card, report: None, notes: Vec::new() });
    };
    let fitted = pretrained::fit(&*net, weights::outline(path)?, family, &card, path)?;
    Ok(Model { net, card, report: Some(fitted.report), notes: fitted.notes })
}

/// A config's family and the card of its net.
fn described(
    config: &ModelConfig,
    input: &InputSpec,
    labels: &[String],
    task: TaskKind,
) -> Result<(&'static dyn Family, Card), ModelError> {
    let family = families::of_config(config)?;
    card::check_labels(labels, task)?;
    Ok((family, family.card(config, input, labels, task)?))
}

/// The net with its initial weights. Backends draw other numbers from the same seed, so the processor draws them for
/// all, where it is built in: a run starts from the same weights on every device.
fn start(family: &dyn Family, card: &Card, device: &Device, seed: u64) -> Result<Box<dyn Net>, ModelError> {
    match processor().filter(|processor| processor != device) {
        Some(processor) => {
            let mut net = initialised(family, card, device, seed)?;
            net.load_state(&initialised(family, card, &processor, seed)?.state());
            Ok(net)
        }
        None => initialised(family, card, device, seed),
    }
}

/// A net with weights drawn on `device`, alone: a backend's generator is one for the whole process, and a second net
/// built at the same time would take some of this one's numbers.
fn initialised(
    family: &dyn Family,
    card: &Card,
    device: &Device,
    seed: u64,
) -> Result<Box<dyn Net>, ModelError> {
    static DRAWING: Mutex<()> = Mutex::new(());
    let _alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    let net = family.net(card, device)?;
    net.init();
    Ok(net)
}

/// Opens a folder with `config.json` and weights that kiln or, for `bert`, `transformers` wrote. Every tensor of the
/// net must be in the file with its shape, the head too.
///
/// # Errors
/// A missing or faulty `config.json`, a model type kiln does not have, unreadable or unfitting weights.
pub fn open(folder: &Path, device: &Device) -> Result<Model, ModelError> {
    let card = Card::read(folder)?;
    let family = families::of_card(&card, folder)?;
    if card.is_headless() && family.embedding_card(&card).is_some() {
        return Err(headless(&card, folder));
    }
    open_as(card, family, folder, device)
}

/// Opens a folder of an encoder for sentence embeddings, `[B, D]` a batch: the mean over the last hidden states of real
/// tokens, of length 1. A head in the file is left out, which the notes say.
///
/// # Errors
/// As [`open`], and a family that has no such net.
pub fn open_embedder(folder: &Path, device: &Device) -> Result<Model, ModelError> {
    let card = Card::read(folder)?;
    let family = families::of_card(&card, folder)?;
    let without_head = family.embedding_card(&card).ok_or_else(|| ModelError::Card {
        path: folder.join(card::FILE),
        message: format!("a model of type {:?} has no sentence embeddings", card.model_type),
        remedy: "give a text encoder: BERT, RoBERTa or DistilBERT".into(),
    })?;
    open_as(without_head, family, folder, device)
}

fn open_as(card: Card, family: &dyn Family, folder: &Path, device: &Device) -> Result<Model, ModelError> {
    let card = Card { kiln_input: Some(family.input(&card)?), ..card };
    let mut net = initialised(family, &card, device, 0)?; // every weight is read below
    let state = weights::read(folder)?;
    let fitted = pretrained::fit_exactly(&*net, state, family, &card, folder)?;
    let (report, notes) = fitted.load(net.as_mut());
    Ok(Model { net, card, report: Some(report), notes })
}

/// A bare encoder was asked for answers.
fn headless(card: &Card, folder: &Path) -> ModelError {
    ModelError::Card {
        path: folder.join(card::FILE),
        message: format!("{} is an encoder without a head: it gives no labels", card.architectures.join(", ")),
        remedy: "train a head on it first, with [model] pretrained set to this folder; for sentence embeddings: kiln \
                 predict --embed"
            .into(),
    }
}

/// As [`save_as`], float32 in one file where it is not very large.
///
/// # Errors
/// As [`save_as`].
pub fn save(folder: &Path, card: &Card, state: &StateDict) -> Result<(), ModelError> {
    save_as(folder, card, state, &SaveOptions::default(), &[])
}

/// Writes `config.json` and `model.safetensors` (metadata `format=pt`; shards with an index where it is large) into
/// `folder`, creating it if needed. Each file is replaced as a whole and synced. Tensors are named as the implementation
/// names them that the card's `config.json` belongs to. `notes` stand beside the tensors ([`weights::metadata`]).
///
/// # Errors
/// Whatever the system reports while writing; a tensor of a type that safetensors lacks, or with a value that the
/// type asked for cannot hold.
pub fn save_as(
    folder: &Path,
    card: &Card,
    state: &StateDict,
    options: &SaveOptions,
    notes: &[(&str, &str)],
) -> Result<(), ModelError> {
    fs::create_dir_all(folder).map_err(FileError::at(folder, "create"))?;
    let family = families::of_card(card, folder)?;
    let mut state = state.clone();
    family.give_out(card, &mut state)?;
    let dialects = family.dialects(card)?;
    let state = match dialects.first() {
        Some(dialect) => dialect.write(state),
        None => state,
    };
    weights::write(folder, &state, options, notes)?;
    files::write_atomic(&folder.join(card::FILE), card.stored_as(options.dtype).to_json().as_bytes())?;
    Ok(())
}

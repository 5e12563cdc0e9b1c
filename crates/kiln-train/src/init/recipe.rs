//! Which model, which sizes, how many passes: what a person would begin with for such data.
//! Owns these choices and says them; knows the data by their sketch alone. Part of `init`.

use std::path::{Path, PathBuf};

use kiln_data::sketch::{Sketch, SketchInputs};
use kiln_models::{Card, FAMILIES, ModelError, presets};

use super::Asked;
use crate::error::TrainError;

/// Images with a shorter side of at most this are kept at their size and read by a small net.
const SMALL: usize = 48;

/// The numbers of a config, and lines of its tables.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Recipe {
    pub(super) model: Vec<String>,
    pub(super) channels: Option<usize>,
    pub(super) transforms: Vec<String>,
    pub(super) batch_size: usize,
    pub(super) epochs: usize,
    pub(super) learning_rate: &'static str,
    pub(super) weight_decay: &'static str,
    pub(super) clip: bool,
    pub(super) notes: Vec<String>,
}

impl Recipe {
    /// For data of this kind; a model that was asked for is taken, with sizes that it reads.
    pub(super) fn new(
        sketch: &Sketch,
        asked: &Asked,
        place: &impl Fn(&Path) -> PathBuf,
    ) -> Result<Self, TrainError> {
        let kind = kind(asked)?;
        let pretrained = asked.pretrained.as_deref();
        let mut recipe = match &sketch.inputs {
            SketchInputs::Images { one_size, side, grey, .. } => {
                images(sketch, kind, asked, *one_size, *side, *grey)
            }
            SketchInputs::Text { max_length, .. } => text(sketch, kind, asked, *max_length)?,
            SketchInputs::Columns { .. } => columns(sketch, kind),
        };
        if let Some(path) = pretrained {
            recipe.model.push(format!("pretrained = {}", super::quoted(&place(path).display().to_string())));
        }
        if !["train.epochs", "train.max_steps", "data.loader.batch_size"].iter().any(|key| asked.says(key)) {
            recipe.notes.push(format!(
                "{} epochs of batches of {}, for {} training samples that were counted",
                recipe.epochs, recipe.batch_size, sketch.samples
            ));
        }
        Ok(recipe)
    }
}

/// The family that was asked for, by its own name, a preset or a folder of weights.
fn kind(asked: &Asked) -> Result<Option<String>, ModelError> {
    if let Some(kind) = &asked.kind {
        return Ok(Some(kind.clone()));
    }
    if let Some(preset) = &asked.preset {
        return presets::config(preset).map(|config| Some(config.kind().to_string()));
    }
    match &asked.pretrained {
        Some(folder) if folder.is_dir() => {
            let model = folder.join("model");
            let folder: &Path = if model.join("config.json").is_file() { &model } else { folder };
            let card = Card::read(folder)?;
            let family = FAMILIES.iter().find(|family| family.reads(&card));
            family.map(|family| Some(family.name().to_string())).ok_or_else(|| {
                let message = format!("{}: no family of kiln's reads this model", folder.display());
                ModelError::Config { message, remedy: "see `kiln models ls`".into() }
            })
        }
        Some(file) => Err(ModelError::Config {
            message: format!(
                "model.pretrained={}: a file of weights does not say which model it is of",
                file.display()
            ),
            remedy: "say it, for example: model.preset=resnet18".into(),
        }),
        None => Ok(None),
    }
}

/// Passes so that about `steps` samples are seen, within bounds.
fn epochs(samples: usize, seen: usize, low: usize, high: usize) -> usize {
    (seen / samples.max(1)).clamp(low, high)
}

/// `most`, or less where that would be fewer than eight batches: a power of two from 4.
fn batch(samples: usize, most: usize) -> usize {
    let mut size = most;
    while size > 4 && samples / size < 8 {
        size /= 2;
    }
    size
}

fn images(
    sketch: &Sketch,
    kind: Option<String>,
    asked: &Asked,
    one_size: Option<(usize, usize)>,
    side: usize,
    grey: bool,
) -> Recipe {
    let small = side <= SMALL && asked.preset.is_none() && asked.pretrained.is_none();
    let kind = kind.unwrap_or_else(|| if small { "cnn" } else { "resnet" }.into());
    let mut recipe = Recipe { weight_decay: "0.05", ..Recipe::default() };
    recipe.model.push(format!("kind = \"{kind}\""));
    let from_scratch = matches!(kind.as_str(), "cnn" | "mlp");
    let preset = match (&asked.preset, kind.as_str()) {
        (Some(preset), _) => Some(preset.clone()),
        (None, "resnet") if asked.pretrained.is_none() => {
            let preset = if small { "cifar_resnet18" } else { "resnet18" };
            recipe.notes.push(format!("the model is a guess: {preset}; others: kiln models ls"));
            Some(preset.to_string())
        }
        (None, "cnn") => {
            recipe.notes.push("small images: a small net; for more accuracy and time: kind = \"resnet\", preset = \"cifar_resnet18\"".into());
            None
        }
        _ => None,
    };
    if let Some(preset) = &preset {
        recipe.model.push(format!("preset = \"{preset}\""));
    }
    if kind == "cnn" {
        recipe.model.push("channels = [32, 64]".into());
        recipe.model.push("hidden = 128".into());
    }
    let stored = sketch.kind == "idx";
    let channels = if grey && from_scratch { 1 } else { 3 };
    recipe.channels = match (channels, stored) {
        (1, true) | (3, false) => None,
        (channels, _) => Some(channels),
    };
    let folder = asked.pretrained.as_ref().is_some_and(|path| path.is_dir());
    match folder {
        true => recipe
            .notes
            .push("images are prepared as the pretrained folder says; add transforms to augment them".into()),
        false => {
            recipe.transforms = transforms(&preset, one_size, side, small || from_scratch, channels, grey)
        }
    }
    if asked.pretrained.is_none() && !from_scratch {
        recipe.model.push("# pretrained = \"resnet18.pth\"              # torchvision's or timm's weights: far better from few images".into());
    }
    recipe.batch_size = batch(sketch.samples, if small { 64 } else { 32 });
    recipe.epochs = epochs(sketch.samples, 30_000, 5, 30);
    recipe.learning_rate = match (asked.pretrained.is_some(), kind.as_str()) {
        (true, _) => "1e-4",
        (false, "vit" | "convnext") => "3e-4",
        _ => "1e-3",
    };
    recipe
}

fn transforms(
    preset: &Option<String>,
    one_size: Option<(usize, usize)>,
    side: usize,
    keep: bool,
    channels: usize,
    grey: bool,
) -> Vec<String> {
    let normalize = match channels {
        1 => "    { kind = \"normalize\", mean = [0.5], std = [0.25] },",
        _ => {
            "    { kind = \"normalize\", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] },   # ImageNet's"
        }
    };
    let flip = match grey {
        true => {
            "    # { kind = \"random_horizontal_flip\" },     # only where a mirrored image keeps its class: digits do not"
        }
        false => "    { kind = \"random_horizontal_flip\" },       # take it out where left and right matter",
    };
    let mut lines = vec!["transforms = [".to_string()];
    match (keep, one_size) {
        (true, Some((h, w))) if side <= SMALL => {
            let padding = (h.min(w) / 8).max(1);
            let size = if h == w { h.to_string() } else { format!("[{h}, {w}]") };
            lines.push(format!("    {{ kind = \"random_crop\", size = {size}, padding = {padding} }},"));
        }
        (true, _) => {
            let size = side.clamp(8, 64);
            lines.push(format!("    {{ kind = \"resize\", size = [{size}, {size}] }},      # the shape may change: all images get one size"));
        }
        (false, _) => {
            let size = size_of(preset.as_deref());
            lines.push(format!(
                "    {{ kind = \"random_resized_crop\", size = {size} }},   # in evaluation: resize, then the centre"
            ));
        }
    }
    lines.push(flip.into());
    lines.push(normalize.into());
    lines.push("]".into());
    lines
}

/// The side of the images that a preset reads.
fn size_of(preset: Option<&str>) -> usize {
    match presets::inputs(preset.unwrap_or("resnet18")) {
        [kiln_core::InputSpec::Image { height, .. }, _] => height,
        _ => 224,
    }
}

fn text(
    sketch: &Sketch,
    kind: Option<String>,
    asked: &Asked,
    max_length: usize,
) -> Result<Recipe, TrainError> {
    let kind = kind.unwrap_or_else(|| "textcnn".into());
    let mut recipe = Recipe { weight_decay: "0.01", ..Recipe::default() };
    recipe.model.push(format!("kind = \"{kind}\""));
    if let Some(preset) = &asked.preset {
        recipe.model.push(format!("preset = \"{preset}\""));
    }
    let tokenizer = match (kind.as_str(), &asked.pretrained) {
        (_, Some(_)) => format!("tokenizer = {{ max_length = {max_length} }}"),
        ("textcnn", None) => {
            recipe.model.push("# much better from few texts: kind = \"bert\" with pretrained = a Hugging Face folder, and without".into());
            recipe.model.push("# kind = \"words\" in [data] tokenizer".into());
            format!(
                "tokenizer = {{ kind = \"words\", max_length = {max_length} }}   # words of the training texts"
            )
        }
        (other, None) => {
            return Err(ModelError::Config {
                message: format!(
                    "model.kind = \"{other}\" needs a tokenizer, and no pretrained folder says which"
                ),
                remedy: "add model.pretrained=FOLDER, or write a config with data.tokenizer.path".into(),
            }
            .into());
        }
    };
    recipe.transforms.push(tokenizer);
    recipe.notes.push(format!(
        "texts are cut at {max_length} tokens: 99 of 100 should fit, estimated from their words"
    ));
    recipe.batch_size = batch(sketch.samples, 32);
    let tuned = asked.pretrained.is_some();
    recipe.epochs = if tuned { 3 } else { epochs(sketch.samples, 40_000, 3, 10) };
    recipe.learning_rate = if tuned { "5e-5" } else { "1e-3" };
    recipe.clip = tuned;
    Ok(recipe)
}

fn columns(sketch: &Sketch, kind: Option<String>) -> Recipe {
    let kind = kind.unwrap_or_else(|| "mlp".into());
    let mut recipe = Recipe { weight_decay: "0.01", learning_rate: "1e-3", ..Recipe::default() };
    recipe.model.push(format!("kind = \"{kind}\""));
    if kind == "mlp" {
        recipe.model.push("hidden = [128, 128]                       # often a little better and slower: kind = \"ft_transformer\"".into());
        recipe.model.push("dropout = 0.1".into());
    }
    recipe.batch_size = batch(sketch.samples, if sketch.samples > 20_000 { 256 } else { 32 });
    recipe.epochs = epochs(sketch.samples, 40_000, 10, 100);
    recipe
}

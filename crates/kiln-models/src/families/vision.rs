//! What the families for images share: the folder a person brought, the keys of both dialects, channels and sizes.
//! Owns the rule that a brought folder keeps its dialect and its keys, save those that the data decides.
//! Never an architecture. Hands cards to the families.
//!
//! Shapes: `C` channels, `H W` pixels.

use std::path::{Path, PathBuf};

use kiln_core::{InputSpec, TaskKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Family, wrong_input};
use crate::card::{self, Card};
use crate::{ModelError, timm};

/// One side of a square, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Area {
    /// A square.
    Side(usize),
    /// Height and width.
    Sides([usize; 2]),
}

impl Area {
    /// Height and width.
    pub(super) fn sides(self) -> [usize; 2] {
        match self {
            Area::Side(side) => [side, side],
            Area::Sides(sides) => sides,
        }
    }

    /// As both dialects write it.
    pub(super) fn json([height, width]: [usize; 2]) -> Value {
        if height == width { json!(height) } else { json!([height, width]) }
    }
}

/// `C`, `H` and `W` of the data.
pub(super) fn image(family: &str, input: &InputSpec) -> Result<[usize; 3], ModelError> {
    match input {
        InputSpec::Image { channels, height, width } => Ok([*channels, *height, *width]),
        other => Err(wrong_input(family, "images", other)),
    }
}

/// The input of a card that kiln did not write.
pub(super) fn input(card: &Card, channels: usize, [height, width]: [usize; 2]) -> InputSpec {
    card.kiln_input.clone().unwrap_or(InputSpec::Image { channels, height, width })
}

/// The card of the folder to start from, if `pretrained` is a folder with a `config.json`; a run's is in its `model/`.
pub(super) fn brought(pretrained: Option<&PathBuf>, family: &dyn Family) -> Result<Option<Card>, ModelError> {
    let Some(path) = pretrained.filter(|path| path.is_dir()) else { return Ok(None) };
    let folders = [path.clone(), path.join("model")];
    let Some(folder) = folders.into_iter().find(|f| f.join(card::FILE).is_file()) else { return Ok(None) };
    let card = Card::read(&folder)?;
    if family.reads(&card) { Ok(Some(card)) } else { Err(another_family(&card, family, &folder)) }
}

fn another_family(card: &Card, family: &dyn Family, folder: &Path) -> ModelError {
    let is = match timm::architecture(&card.sizes) {
        Some(architecture) => format!("architecture is {architecture:?}"),
        None => format!("model_type is {:?}", card.model_type),
    };
    ModelError::Card {
        path: folder.join(card::FILE),
        message: format!("{is}, which [model] kind = {:?} does not read", family.name()),
        remedy: "give a folder of that kind, or choose the [model] kind that these weights are of".into(),
    }
}

/// A model from scratch needs a preset; a bare file of weights too.
pub(super) fn no_preset(kind: &str, presets: &str) -> ModelError {
    ModelError::config(
        format!("[model] kind = {kind:?} has neither a preset nor a pretrained folder with a config.json"),
        format!("set preset to one of {presets}, or pretrained to such a folder"),
    )
}

/// The card of a net in timm's form.
pub(super) fn timm_card(
    mut keys: Map<String, Value>,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    timm::finish(&mut keys, image, labels);
    Card::new(timm::CLASS, timm::MODEL_TYPE, input, labels, task, &keys)
}

/// The card of a net in `transformers`' form. The weights are written as float32, whatever they came as.
pub(super) fn transformers_card(
    brought: &Card,
    mut keys: Map<String, Value>,
    input: &InputSpec,
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    for stored in ["torch_dtype", "dtype"] {
        keys.remove(stored);
    }
    let class = brought.architectures.first().map_or("", String::as_str);
    Card::new(class, &brought.model_type, input, labels, task, &keys)
}

/// The channels of the data must be those of the weights.
pub(super) fn check_channels(kind: &str, weights: usize, data: usize) -> Result<(), ModelError> {
    if weights == data {
        return Ok(());
    }
    Err(ModelError::config(
        format!(
            "[model] kind = {kind:?}: the pretrained weights read {weights} channels, the data has {data}"
        ),
        format!("give images with {weights} channels, or train without pretrained weights"),
    ))
}

/// A key of `[model]` that names a size must agree with the brought folder.
pub(super) fn check_same<T: PartialEq + std::fmt::Debug>(
    key: &str,
    given: Option<T>,
    own: T,
) -> Result<(), ModelError> {
    match given {
        Some(given) if given != own => Err(ModelError::config(
            format!("[model] {key} = {given:?}, but the pretrained folder's {} says {own:?}", card::FILE),
            format!("remove {key} from [model]: it comes from the pretrained folder"),
        )),
        _ => Ok(()),
    }
}

/// The name of a preset, as timm has it.
pub(super) fn preset_name(preset: &impl Serialize) -> String {
    serde_json::to_value(preset).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default()
}

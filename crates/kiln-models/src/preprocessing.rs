//! How the images were prepared that a brought checkpoint was trained on: its `preprocessor_config.json`
//! (`transformers`) or `pretrained_cfg` (timm). Owns reading the two; never pixels (kiln-data prepares them).
//! kiln-data can take its defaults from here.

use std::path::Path;

use serde_json::Value;

use crate::card;

/// What a checkpoint expects of its images. A field is `None` where the folder does not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BroughtPreprocessing {
    /// Subtracted from each channel, of pixels between 0 and 1.
    pub mean: Option<Vec<f64>>,
    /// Divides each channel after that.
    pub std: Option<Vec<f64>>,
    /// Height and width of the net's input.
    pub size: Option<[usize; 2]>,
    /// `nearest`, `bilinear`, `bicubic` or `lanczos`.
    pub interpolation: Option<String>,
    /// The share of the resized image's side that the centre crop keeps.
    pub crop_fraction: Option<f64>,
}

/// What the folder says on how its images were prepared; `None` where it says nothing that can be read.
pub fn brought_preprocessing(folder: &Path) -> Option<BroughtPreprocessing> {
    let read = |name: &str| -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(name)).ok()?).ok()
    };
    let timm = || {
        let card = read(card::FILE)?;
        card.get("architecture")?;
        Some(from_timm(card.get("pretrained_cfg").unwrap_or(&card)))
    };
    let found = read("preprocessor_config.json").map(|keys| from_transformers(&keys)).or_else(timm)?;
    (found != BroughtPreprocessing::default()).then_some(found)
}

fn from_timm(keys: &Value) -> BroughtPreprocessing {
    BroughtPreprocessing {
        mean: numbers(keys.get("mean")),
        std: numbers(keys.get("std")),
        size: keys.get("input_size").and_then(|s| Some([side(s.get(1)?)?, side(s.get(2)?)?])),
        interpolation: keys.get("interpolation").and_then(Value::as_str).map(String::from),
        crop_fraction: keys.get("crop_pct").and_then(Value::as_f64),
    }
}

/// `crop_size` is the input's size where the image is cropped, `size` where it is only resized.
fn from_transformers(keys: &Value) -> BroughtPreprocessing {
    let on = |key: &str| keys.get(key).and_then(Value::as_bool).unwrap_or(false);
    let normalised = |key| numbers(keys.get(key)).filter(|_| on("do_normalize"));
    let resized = keys.get("size").and_then(area);
    let cropped = keys.get("crop_size").and_then(area).filter(|_| on("do_center_crop"));
    let fraction = || Some(cropped?[0] as f64 / resized?[0] as f64);
    BroughtPreprocessing {
        mean: normalised("image_mean"),
        std: normalised("image_std"),
        size: cropped.or(resized),
        interpolation: keys.get("resample").and_then(Value::as_u64).and_then(filter_name).map(String::from),
        crop_fraction: keys.get("crop_pct").and_then(Value::as_f64).or_else(fraction),
    }
}

/// A square's side, `{"height", "width"}`, or `{"shortest_edge"}`.
fn area(value: &Value) -> Option<[usize; 2]> {
    let square = |side| [side, side];
    side(value)
        .map(square)
        .or_else(|| Some([side(value.get("height")?)?, side(value.get("width")?)?]))
        .or_else(|| side(value.get("shortest_edge")?).map(square))
}

fn side(value: &Value) -> Option<usize> {
    value.as_u64().map(|side| side as usize)
}

fn numbers(value: Option<&Value>) -> Option<Vec<f64>> {
    value?.as_array()?.iter().map(Value::as_f64).collect()
}

/// Pillow's number of a resampling filter.
fn filter_name(number: u64) -> Option<&'static str> {
    ["nearest", "lanczos", "bilinear", "bicubic"].get(usize::try_from(number).ok()?).copied()
}

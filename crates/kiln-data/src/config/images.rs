//! `[data]` of images with one class each: folders, IDX, NumPy and tar files.
//! Owns the words and their defaults; opens no file. The layout reads them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fill, LoaderConfig, MixupConfig, SourceConfig, Transform, is_false};
use crate::transforms::{PresetOrList, preset_or_list};

/// Images with one class each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageData {
    /// Several sources instead of `path` or `train`, each with files (and columns) of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceConfig>,
    /// Folder that holds the splits: `train/`, `validation/` (or `val/`, `valid/`) and `test/`; without these, one
    /// folder a class, split by the fractions. For IDX: the folder of `train-images-idx3-ubyte[.gz]` and its siblings.
    /// For WebDataset: the shards; in a folder, `train-*.tar`, `validation-*.tar` and `test-*.tar` are the splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<PathBuf>,
    /// Training folder, instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub train: Option<PathBuf>,
    /// Validation folder, instead of `path` or a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub validation: Option<PathBuf>,
    /// Test folder, instead of `path` or a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub test: Option<PathBuf>,
    /// Share of the training samples to validate on, stratified by class and fixed by a hash of each sample's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub validation_fraction: Option<f64>,
    /// Share of the training samples to test on, stratified by class and fixed by a hash of each sample's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub test_fraction: Option<f64>,
    /// Names of the classes in index order; by default the folders' names, sorted, or the digits of an IDX file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Ending of the member that holds a sample's class (WebDataset): `cls` (the default), `txt`, or `json.KEY` for a
    /// value of a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_member: Option<String>,
    /// Names of the arrays of images and classes (NumPy); by default those that Keras and MedMNIST use, or `x` and `y`. A
    /// file is then one set of samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrays: Option<[String; 2]>,
    /// Colour channels of the model's input: 3 (RGB) or 1 (grey).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub channels: Option<usize>,
    /// What shows behind transparent pixels: a level, or red, green and blue. Without it alpha is dropped, as Pillow's
    /// `convert` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Fill>,
    /// Applied in order, or the name of a preset. Random ones act in training only; where a `random_crop` stands, evaluation
    /// crops the centre.
    #[serde(default, deserialize_with = "preset_or_list")]
    #[schemars(with = "PresetOrList")]
    pub transforms: Vec<Transform>,
    /// Mixes the images of each training batch, and their classes: MixUp and CutMix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixup: Option<MixupConfig>,
    /// Let `kiln check` pass although a training input, exactly the same, is also in validation or test.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_leakage: bool,
    /// Batches.
    #[serde(default)]
    pub loader: LoaderConfig,
}

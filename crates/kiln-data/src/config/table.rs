//! `[data]` of tables: CSV, TSV, JSON Lines and Parquet.
//! Owns the words and their defaults, and what a column may be called; opens no file. The layout reads them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Fill, LoaderConfig, MixupConfig, SourceConfig, TextTransform, TokenizerConfig, Transform, is_false,
};
use crate::transforms::{PresetOrList, preset_or_list};

/// Rows with labels: a text column, a column of image files, or columns of numbers and categories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TableData {
    /// Several sources instead of `path` or `train`, each with files (and columns) of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceConfig>,
    /// One file of all rows, split by the fractions. Parquet: also a folder, whose files `train-*`, `validation-*` and
    /// `test-*` (in it or in its `data/`) are the splits; without such names all its files are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<PathBuf>,
    /// Training file, instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub train: Option<PathBuf>,
    /// Validation file, instead of a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub validation: Option<PathBuf>,
    /// Test file, instead of a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub test: Option<PathBuf>,
    /// Share of the training rows to validate on, stratified by class and fixed by a hash of each row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub validation_fraction: Option<f64>,
    /// Share of the training rows to test on, stratified by class and fixed by a hash of each row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub test_fraction: Option<f64>,
    /// The first row names the columns (CSV and TSV).
    #[serde(default = "yes")]
    pub header: bool,
    /// Column of text to tokenize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Column>,
    /// Column of a second text: both are read as a pair, the longer cut first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<Column>,
    /// Key of a list of words (JSON Lines, Parquet), with a list of tags in `label`; instead of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Column>,
    /// Column of image files, relative to the table's folder; instead of `text`. Parquet: also of images themselves,
    /// as bytes or as `{bytes, path}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Column>,
    /// Columns of numbers; instead of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<Column>>,
    /// Columns of categories: words, or numbers that only name a kind. Values that no training row has are one
    /// category of their own, with those that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<Column>>,
    /// Column of the class or the number to learn; a list for several numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<LabelColumns>,
    /// What stands between the classes of one row, where a row may have several (multi-label classification).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<String>,
    /// Label values in index order; by default all values of the training rows, sorted (by number where all are).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Text to token ids.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// What is done to texts before they are tokenized, in order; kept in the model folder. Random ones act in training
    /// only. Other tools that read the folder's tokenizer.json do none of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text_transforms: Vec<TextTransform>,
    /// What is done to columns of numbers.
    #[serde(default)]
    pub table: NumbersConfig,
    /// Colour channels of images: 3 (RGB, the default) or 1 (grey).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub channels: Option<usize>,
    /// What shows behind transparent pixels of images: a level, or red, green and blue. Without it alpha is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Fill>,
    /// What is done to images, in order, or the name of a preset. Random ones act in training only.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "preset_or_list")]
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

/// A column by its name in the header (or JSON key), or by its place from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// Place from 0.
    Index(usize),
    /// Name.
    Name(String),
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Column::Index(i) => write!(f, "{i}"),
            Column::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// The column of the label, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LabelColumns {
    /// Place of one column from 0.
    Index(usize),
    /// Name of one column.
    Name(String),
    /// Several columns.
    Several(Vec<Column>),
}

impl LabelColumns {
    /// One column or more.
    pub fn columns(&self) -> Vec<Column> {
        match self {
            LabelColumns::Index(i) => vec![Column::Index(*i)],
            LabelColumns::Name(name) => vec![Column::Name(name.clone())],
            LabelColumns::Several(columns) => columns.clone(),
        }
    }
}

impl TableData {
    /// Columns of the label; none where there is no label.
    pub fn label_columns(&self) -> Vec<Column> {
        self.label.as_ref().map(LabelColumns::columns).unwrap_or_default()
    }
}

/// What is done to columns of numbers; fitted on the training rows, kept in the model folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NumbersConfig {
    /// How numbers are scaled.
    pub numeric: Numeric,
    /// What a missing number (an empty field, `NA`, `NaN`, `null`) becomes.
    pub missing: Missing,
}

/// How numbers are scaled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Numeric {
    /// `(x - mean) / std` of the training rows, as scikit-learn's `StandardScaler`.
    #[default]
    Standard,
    /// As they are.
    None,
}

/// What a missing number becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// A fault of the row.
    #[default]
    Fail,
    /// The mean of the training rows.
    Mean,
}

fn yes() -> bool {
    true
}

//! The `[data]` table of a config: where samples come from, how they are split, transformed and batched.
//! Owns the words and their defaults; opens no file. `Dataset::open` reads it.

mod corpus;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::mixup::{MixupConfig, MixupMode};
pub use crate::text_transforms::{
    CollapseWhitespace, DroppedAs, Lowercase, Part, Pattern, RandomDelete, RandomInsert, RandomSwap, Replace,
    ReplaceSynonyms, Rewrite, StripAccents, TextTransform, Texts, TokenDropout, UnicodeForm,
    UnicodeNormalize, text_faults,
};
pub use crate::transforms::{
    AugMix, AutoAugment, AutoAugmentPolicy, CenterCrop, ColorJitter, Erased, ErasedWith, Fault, Fill,
    GaussianBlur, Interpolation, Normalize, Pad, Padding, PaddingMode, Preset, PresetName, RandAugment,
    RandomAdjustSharpness, RandomAffine, RandomAutocontrast, RandomCrop, RandomEqualize, RandomErasing,
    RandomGrayscale, RandomHorizontalFlip, RandomInvert, RandomPerspective, RandomPosterize,
    RandomResizedCrop, RandomRotation, RandomSolarize, RandomVerticalFlip, Resize, Shear, Size, Span,
    ThreeAugment, Transform, TrivialAugmentWide, WarpInterpolation, expand, faults,
};
use crate::transforms::{PresetOrList, preset_or_list};
pub use corpus::*;

/// Where samples come from and what is done to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DataConfig {
    /// Images in one folder per class; classes sorted by name, as torchvision's ImageFolder.
    ImageFolder(ImageData),
    /// IDX files as MNIST ships them, plain or gzipped.
    Idx(ImageData),
    /// NumPy `.npz` files: images as `uint8` `[N, H, W]` or `[N, H, W, C]`, classes as whole numbers, under Keras' names
    /// (`x_train`, `y_train`, `x_test`, ...), MedMNIST's (`train_images`, ...), or `x` and `y`.
    Npz(ImageData),
    /// Images in plain tar files (WebDataset), which may be larger than memory: members `key.jpg` and `key.cls` are one
    /// sample. `path` is a file, a folder, or a pattern: `shards/train-{000..015}.tar`, `shards/*.tar`.
    Webdataset(ImageData),
    /// Comma-separated rows.
    Csv(TableData),
    /// Tab-separated rows.
    Tsv(TableData),
    /// One JSON object a line.
    Jsonl(TableData),
    /// Parquet: a file, a folder of files, or a Hugging Face dataset folder (`data/train-*.parquet`).
    Parquet(TableData),
    /// A word and its tag a line, a blank line between sentences (CoNLL shared tasks).
    Conll(ConllData),
    /// Plain text for causal language modelling.
    Text(CorpusData),
}

impl DataConfig {
    /// How its samples become batches.
    pub fn loader(&self) -> &LoaderConfig {
        match self {
            DataConfig::ImageFolder(data)
            | DataConfig::Idx(data)
            | DataConfig::Webdataset(data)
            | DataConfig::Npz(data) => &data.loader,
            DataConfig::Csv(data)
            | DataConfig::Tsv(data)
            | DataConfig::Jsonl(data)
            | DataConfig::Parquet(data) => &data.loader,
            DataConfig::Conll(data) => &data.loader,
            DataConfig::Text(data) => &data.loader,
        }
    }
}

impl DataConfig {
    /// The keys of images that are no table's.
    pub fn images(&self) -> Option<&ImageData> {
        match self {
            DataConfig::ImageFolder(data)
            | DataConfig::Idx(data)
            | DataConfig::Webdataset(data)
            | DataConfig::Npz(data) => Some(data),
            DataConfig::Csv(_)
            | DataConfig::Tsv(_)
            | DataConfig::Jsonl(_)
            | DataConfig::Parquet(_)
            | DataConfig::Conll(_)
            | DataConfig::Text(_) => None,
        }
    }

    /// The keys of a table.
    pub fn table(&self) -> Option<&TableData> {
        match self {
            DataConfig::Csv(data)
            | DataConfig::Tsv(data)
            | DataConfig::Jsonl(data)
            | DataConfig::Parquet(data) => Some(data),
            DataConfig::ImageFolder(_)
            | DataConfig::Idx(_)
            | DataConfig::Webdataset(_)
            | DataConfig::Npz(_)
            | DataConfig::Conll(_)
            | DataConfig::Text(_) => None,
        }
    }

    /// How texts and words become tokens; plain text has its own way.
    pub fn tokenizer(&self) -> Option<&TokenizerConfig> {
        match self {
            DataConfig::Conll(data) => Some(&data.tokenizer),
            _ => self.table().map(|table| &table.tokenizer),
        }
    }

    /// What is done to texts before they are tokenized.
    pub fn text_transforms(&self) -> &[TextTransform] {
        match self {
            DataConfig::Conll(data) => &data.text_transforms,
            _ => self.table().map_or(&[], |table| &table.text_transforms),
        }
    }

    /// Replaces what is done to texts before they are tokenized; samples of other kinds have no such transforms.
    pub fn set_text_transforms(&mut self, transforms: Vec<TextTransform>) {
        match self {
            DataConfig::Conll(data) => data.text_transforms = transforms,
            DataConfig::Csv(data)
            | DataConfig::Tsv(data)
            | DataConfig::Jsonl(data)
            | DataConfig::Parquet(data) => data.text_transforms = transforms,
            DataConfig::ImageFolder(_)
            | DataConfig::Idx(_)
            | DataConfig::Webdataset(_)
            | DataConfig::Npz(_)
            | DataConfig::Text(_) => {}
        }
    }

    /// Whether the same input may be in training and in another split. Blocks of plain text are not compared.
    pub fn allows_leakage(&self) -> bool {
        match self {
            DataConfig::Conll(data) => data.allow_leakage,
            DataConfig::Text(_) => true,
            _ => {
                self.images().is_some_and(|data| data.allow_leakage)
                    || self.table().is_some_and(|data| data.allow_leakage)
            }
        }
    }

    /// How training batches of images are mixed.
    pub fn mixup(&self) -> Option<MixupConfig> {
        self.images().and_then(|data| data.mixup).or_else(|| self.table()?.mixup)
    }

    /// Replaces what is done to images; samples of other kinds have no transforms.
    pub fn set_transforms(&mut self, transforms: Vec<Transform>) {
        match self {
            DataConfig::ImageFolder(data)
            | DataConfig::Idx(data)
            | DataConfig::Webdataset(data)
            | DataConfig::Npz(data) => data.transforms = transforms,
            DataConfig::Csv(data)
            | DataConfig::Tsv(data)
            | DataConfig::Jsonl(data)
            | DataConfig::Parquet(data) => {
                data.transforms = transforms;
            }
            DataConfig::Conll(_) | DataConfig::Text(_) => {}
        }
    }
}

/// Images with one class each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageData {
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

/// Rows with labels: a text column, a column of image files, or columns of numbers and categories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TableData {
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

/// Sentences in words, each word with its tag: columns between blanks or tabs, a blank line between sentences;
/// `-DOCSTART-` lines are no words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConllData {
    /// One file of all sentences, split by the fractions.
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
    /// Share of the training sentences to validate on, fixed by a hash of each sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub validation_fraction: Option<f64>,
    /// Share of the training sentences to test on, fixed by a hash of each sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub test_fraction: Option<f64>,
    /// Place of the word in its line, from 0; from the line's end where negative (-1 is the last).
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub token_column: i64,
    /// Place of the tag in its line, as `token_column`.
    #[serde(default = "last")]
    #[schemars(range(min = -1000, max = 1000))]
    pub tag_column: i64,
    /// Tags in index order; by default all tags of the training sentences, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Words to token ids.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// What is done to each word before it is tokenized, in order; kept in the model folder. Normalisers only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text_transforms: Vec<TextTransform>,
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

/// Text to token ids through a Hugging Face `tokenizer.json`. Its own padding and truncation are replaced by these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TokenizerConfig {
    /// Where the tokenizer comes from.
    pub kind: TokenizerKind,
    /// `tokenizer.json`, or a folder that holds one; by default the one beside the pretrained weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<PathBuf>,
    /// Longest sequence in tokens, special tokens included; longer texts are cut.
    #[schemars(range(min = 3, max = 1_000_000))]
    pub max_length: usize,
    /// Words of the vocabulary at most, the most frequent (`kind = "words"`).
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_vocab: usize,
    /// How often a word must be in the training texts to have an id of its own (`kind = "words"`).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_frequency: u64,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self { kind: TokenizerKind::File, path: None, max_length: 512, max_vocab: 30_000, min_frequency: 1 }
    }
}

/// Where a tokenizer comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerKind {
    /// A `tokenizer.json`.
    #[default]
    File,
    /// Built from the training texts: lower-case words and punctuation marks.
    Words,
}

/// How samples become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoaderConfig {
    /// Samples a batch.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: usize,
    /// Samples a batch in evaluation; by default `batch_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub eval_batch_size: Option<usize>,
    /// Threads that prepare samples; 0 prepares them between steps. The batches are the same for any number.
    #[schemars(range(min = 0, max = 1024))]
    pub workers: usize,
    /// Batches kept ready.
    #[schemars(range(min = 1, max = 1024))]
    pub prefetch: usize,
    /// Shuffle the training samples each epoch.
    pub shuffle: bool,
    /// What is shuffled. `shards` reads each file of Parquet or tar once, from its start to its end, in a random order of
    /// files: for data that is larger than memory on a disk whose seeks are dear.
    pub shuffle_by: ShuffleBy,
    /// Samples that `shuffle_by = "shards"` mixes at a time.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub shuffle_buffer: usize,
    /// Leave out the last training batch when it is not full.
    pub drop_last: bool,
    /// How often a chosen training sample is in an epoch, each time augmented anew; an epoch stays as long, with as many
    /// fewer samples (repeated augmentation, timm's `aug_repeats`).
    #[schemars(range(min = 1, max = 100))]
    pub repeats: usize,
    /// Put texts of similar length into one training batch, so that less is padding.
    pub length_bucketing: bool,
    /// What a sample that cannot be read does: a damaged image, a missing file.
    pub on_bad_sample: OnBadSample,
    /// Share of a split's samples that may be left out, rounded up; one more ends the run.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub max_bad_fraction: f64,
}

/// What is shuffled each epoch; the order is a function of seed and epoch in both cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShuffleBy {
    /// All samples.
    #[default]
    Samples,
    /// Shards (tar files, row groups of Parquet), and samples within `shuffle_buffer`.
    Shards,
}

/// What a sample that cannot be read does. The other samples keep their places in every case: a batch is made of the
/// good ones of its samples, and a training batch without any takes the next good sample of the pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadSample {
    /// Ends the run.
    #[default]
    Fail,
    /// Is left out, counted, and named with the reason in the run's `bad_samples.jsonl`. Rows of CSV, TSV, JSON Lines and
    /// Parquet too: damaged ones and those without a usable label. A class that is not known always ends the run, and so does a
    /// faulty line of CoNLL.
    Skip,
    /// As `skip`, and a copy of its file is left in the run's `quarantine` folder (not of rows, which no file holds alone).
    Quarantine,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 32,
            eval_batch_size: None,
            workers: 2,
            prefetch: 4,
            shuffle: true,
            shuffle_by: ShuffleBy::Samples,
            shuffle_buffer: 10_000,
            drop_last: false,
            repeats: 1,
            length_bucketing: false,
            on_bad_sample: OnBadSample::Fail,
            max_bad_fraction: 0.01,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn last() -> i64 {
    -1
}

fn yes() -> bool {
    true
}

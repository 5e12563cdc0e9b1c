//! The `[data]` table of a config: where samples come from, how they are split, transformed and batched.
//! Owns the words and their defaults; opens no file. `Dataset::open` reads it.

mod conll;
mod corpus;
mod images;
mod loader;
mod sources;
mod table;
mod tokenizer;

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
pub use conll::*;
pub use corpus::*;
pub use images::*;
pub use loader::*;
pub use sources::*;
pub use table::*;
pub use tokenizer::*;

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
    /// The same, to be changed.
    pub fn loader_mut(&mut self) -> &mut LoaderConfig {
        match self {
            DataConfig::ImageFolder(data)
            | DataConfig::Idx(data)
            | DataConfig::Webdataset(data)
            | DataConfig::Npz(data) => &mut data.loader,
            DataConfig::Csv(data)
            | DataConfig::Tsv(data)
            | DataConfig::Jsonl(data)
            | DataConfig::Parquet(data) => &mut data.loader,
            DataConfig::Conll(data) => &mut data.loader,
            DataConfig::Text(data) => &mut data.loader,
        }
    }

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

fn is_false(value: &bool) -> bool {
    !value
}

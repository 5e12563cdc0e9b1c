//! `[[data.sources]]`: several sources of samples as one data set.
//! Owns the words, and what `[data]` and a source say together; opens no file. parts.rs opens them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Column, ConllData, DataConfig, ImageData, LabelColumns, LoaderConfig, TableData, TokenizerConfig,
};

/// One of several sources. What a key here does not say is as `[data]` says it; where one of the columns that the model
/// reads is named here, none of those is taken from there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SourceConfig {
    /// Its share of the training samples, in proportion to those of the others: 3 and 1 are three quarters and one. Without
    /// weights every sample of each source is in each epoch once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub weight: Option<f64>,
    /// What its files are; by default `data.kind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<SourceKind>,
    /// As `data.path`, of this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<PathBuf>,
    /// Training samples, instead of `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub train: Option<PathBuf>,
    /// Validation samples; those of all sources are validated on together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub validation: Option<PathBuf>,
    /// Test samples; those of all sources are tested on together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub test: Option<PathBuf>,
    /// The first row names the columns (CSV and TSV).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Column of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Column>,
    /// Column of a second text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<Column>,
    /// Key of a list of words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Column>,
    /// Column of image files or images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Column>,
    /// Columns of numbers, in the order of the other sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<Column>>,
    /// Columns of categories, in the order of the other sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<Column>>,
    /// Column of the class or the number to learn; a list for several numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<LabelColumns>,
    /// What stands between the classes of one row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<String>,
    /// Ending of the member that holds a sample's class (WebDataset).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_member: Option<String>,
    /// Names of the arrays of images and classes (NumPy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrays: Option<[String; 2]>,
    /// Place of the word in its line (CoNLL).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub token_column: Option<i64>,
    /// Place of the tag in its line (CoNLL).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub tag_column: Option<i64>,
}

/// What a source's files are, as `data.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Images in one folder per class.
    ImageFolder,
    /// IDX files.
    Idx,
    /// NumPy `.npz` files.
    Npz,
    /// Images in tar files.
    Webdataset,
    /// Comma-separated rows.
    Csv,
    /// Tab-separated rows.
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// Parquet.
    Parquet,
    /// A word and its tag a line.
    Conll,
}

/// Leaves of a `[data]` what it says beside its sources; whether that names samples.
macro_rules! beside {
    ($data:expr) => {{
        ($data.sources, $data.path, $data.train) = (Vec::new(), None, None);
        ($data.validation_fraction, $data.test_fraction) = (None, None);
        $data.validation.is_some() || $data.test.is_some()
    }};
}
impl DataConfig {
    /// `[[data.sources]]`
    pub fn sources(&self) -> &[SourceConfig] {
        match self {
            DataConfig::Conll(data) => &data.sources,
            DataConfig::Text(_) => &[],
            _ => {
                let images = self.images().map(|data| &data.sources);
                images.or_else(|| self.table().map(|data| &data.sources)).map_or(&[], Vec::as_slice)
            }
        }
    }

    /// Each source as a `[data]` of its own; `[data]` itself where it lists none.
    pub fn parts(&self) -> Vec<DataConfig> {
        match self.sources() {
            [] => vec![self.clone()],
            sources => sources.iter().map(|source| source.within(self)).collect(),
        }
    }

    /// The validation and test samples that `[data]` names beside its sources.
    pub(crate) fn beside_sources(&self) -> Option<DataConfig> {
        let mut own = self.clone();
        let there = match &mut own {
            DataConfig::Text(_) => return None,
            DataConfig::Conll(data) => beside!(data),
            DataConfig::ImageFolder(data)
            | DataConfig::Idx(data)
            | DataConfig::Webdataset(data)
            | DataConfig::Npz(data) => beside!(data),
            DataConfig::Csv(data)
            | DataConfig::Tsv(data)
            | DataConfig::Jsonl(data)
            | DataConfig::Parquet(data) => beside!(data),
        };
        there.then_some(own)
    }

    fn source_kind(&self) -> Option<SourceKind> {
        Some(match self {
            DataConfig::ImageFolder(_) => SourceKind::ImageFolder,
            DataConfig::Idx(_) => SourceKind::Idx,
            DataConfig::Npz(_) => SourceKind::Npz,
            DataConfig::Webdataset(_) => SourceKind::Webdataset,
            DataConfig::Csv(_) => SourceKind::Csv,
            DataConfig::Tsv(_) => SourceKind::Tsv,
            DataConfig::Jsonl(_) => SourceKind::Jsonl,
            DataConfig::Parquet(_) => SourceKind::Parquet,
            DataConfig::Conll(_) => SourceKind::Conll,
            DataConfig::Text(_) => return None,
        })
    }
}

/// Puts a source's paths in place of those of `[data]`.
macro_rules! places {
    ($data:expr, $source:expr) => {{
        $data.sources = Vec::new();
        ($data.path, $data.train) = ($source.path.clone(), $source.train.clone());
        ($data.validation, $data.test) = ($source.validation.clone(), $source.test.clone());
    }};
}

impl SourceConfig {
    fn within(&self, data: &DataConfig) -> DataConfig {
        let Some(kind) = self.kind.or_else(|| data.source_kind()) else { return data.clone() };
        match kind {
            SourceKind::ImageFolder => DataConfig::ImageFolder(self.images(data, kind)),
            SourceKind::Idx => DataConfig::Idx(self.images(data, kind)),
            SourceKind::Npz => DataConfig::Npz(self.images(data, kind)),
            SourceKind::Webdataset => DataConfig::Webdataset(self.images(data, kind)),
            SourceKind::Csv => DataConfig::Csv(self.table(data, kind)),
            SourceKind::Tsv => DataConfig::Tsv(self.table(data, kind)),
            SourceKind::Jsonl => DataConfig::Jsonl(self.table(data, kind)),
            SourceKind::Parquet => DataConfig::Parquet(self.table(data, kind)),
            SourceKind::Conll => DataConfig::Conll(self.conll(data)),
        }
    }

    fn images(&self, data: &DataConfig, kind: SourceKind) -> ImageData {
        let mut own = data.images().cloned().unwrap_or_else(|| {
            let shared = Shared::of(data);
            let table = data.table();
            ImageData {
                validation_fraction: shared.validation_fraction,
                test_fraction: shared.test_fraction,
                classes: shared.classes,
                channels: table.and_then(|table| table.channels),
                background: table.and_then(|table| table.background.clone()),
                transforms: table.map(|table| table.transforms.clone()).unwrap_or_default(),
                mixup: table.and_then(|table| table.mixup),
                allow_leakage: data.allows_leakage(),
                loader: shared.loader,
                ..Default::default()
            }
        });
        places!(own, self);
        // What `[data]` says for its own kind of files says nothing of another.
        own.label_member = own.label_member.filter(|_| kind == SourceKind::Webdataset);
        own.label_member = self.label_member.clone().or(own.label_member);
        own.arrays = self.arrays.clone().or(own.arrays.filter(|_| kind == SourceKind::Npz));
        // IDX images are grey where nobody says otherwise, and all sources are read alike.
        own.channels = own.channels.or(matches!(data, DataConfig::Idx(_)).then_some(1));
        own
    }

    fn table(&self, data: &DataConfig, kind: SourceKind) -> TableData {
        let mut own = data.table().cloned().unwrap_or_else(|| {
            let shared = Shared::of(data);
            let images = data.images();
            TableData {
                validation_fraction: shared.validation_fraction,
                test_fraction: shared.test_fraction,
                header: true,
                classes: shared.classes,
                tokenizer: shared.tokenizer,
                text_transforms: data.text_transforms().to_vec(),
                channels: images
                    .and_then(|images| images.channels)
                    .or(matches!(data, DataConfig::Idx(_)).then_some(1)),
                background: images.and_then(|images| images.background.clone()),
                transforms: images.map(|images| images.transforms.clone()).unwrap_or_default(),
                mixup: images.and_then(|images| images.mixup),
                allow_leakage: data.allows_leakage(),
                loader: shared.loader,
                ..Default::default()
            }
        });
        places!(own, self);
        let headed = !matches!(kind, SourceKind::Csv | SourceKind::Tsv);
        own.header = self.header.unwrap_or(own.header || headed);
        let columns = self.text.is_some() || self.tokens.is_some() || self.image.is_some();
        if columns || self.text_pair.is_some() || self.features.is_some() || self.categories.is_some() {
            (own.text, own.text_pair, own.tokens) =
                (self.text.clone(), self.text_pair.clone(), self.tokens.clone());
            (own.image, own.features, own.categories) =
                (self.image.clone(), self.features.clone(), self.categories.clone());
        }
        own.label = self.label.clone().or(own.label);
        own.label_separator = self.label_separator.clone().or(own.label_separator);
        own
    }

    fn conll(&self, data: &DataConfig) -> ConllData {
        let mut own = match data {
            DataConfig::Conll(own) => own.clone(),
            _ => {
                let shared = Shared::of(data);
                ConllData {
                    validation_fraction: shared.validation_fraction,
                    test_fraction: shared.test_fraction,
                    token_column: 0,
                    tag_column: -1,
                    classes: shared.classes,
                    tokenizer: shared.tokenizer,
                    text_transforms: data.text_transforms().to_vec(),
                    allow_leakage: data.allows_leakage(),
                    loader: shared.loader,
                    ..Default::default()
                }
            }
        };
        places!(own, self);
        own.token_column = self.token_column.unwrap_or(own.token_column);
        own.tag_column = self.tag_column.unwrap_or(own.tag_column);
        own
    }
}

/// What every kind of `[data]` has.
struct Shared {
    validation_fraction: Option<f64>,
    test_fraction: Option<f64>,
    classes: Option<Vec<String>>,
    tokenizer: TokenizerConfig,
    loader: LoaderConfig,
}

impl Shared {
    fn of(data: &DataConfig) -> Self {
        let images = data.images().map(|d| (d.validation_fraction, d.test_fraction, &d.classes));
        let table = data.table().map(|d| (d.validation_fraction, d.test_fraction, &d.classes));
        let words = match data {
            DataConfig::Conll(d) => Some((d.validation_fraction, d.test_fraction, &d.classes)),
            _ => None,
        };
        let (validation_fraction, test_fraction, classes) = match images.or(table).or(words) {
            Some((validation, test, classes)) => (validation, test, classes.clone()),
            None => (None, None, None),
        };
        let tokenizer = data.tokenizer().cloned().unwrap_or_default();
        Self { validation_fraction, test_fraction, classes, tokenizer, loader: data.loader().clone() }
    }
}

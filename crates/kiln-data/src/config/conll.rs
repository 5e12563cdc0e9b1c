//! `[data] kind = "conll"`: sentences in words, each with its tag.
//! Owns the words and their defaults; opens no file. The layout reads them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LoaderConfig, SourceConfig, TextTransform, TokenizerConfig, is_false};

/// Sentences in words, each word with its tag: columns between blanks or tabs, a blank line between sentences;
/// `-DOCSTART-` lines are no words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConllData {
    /// Several sources instead of `path` or `train`, each with files (and columns) of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceConfig>,
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

fn last() -> i64 {
    -1
}

//! `[data] kind = "text"`: plain text to learn a language model from.
//! Owns the words and their defaults; opens no file. The text source reads them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LoaderConfig;

/// Plain text, cut into blocks of tokens; a folder's `.txt` files follow each other in the order of their paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CorpusData {
    /// A text file, or a folder of `.txt` files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<PathBuf>,
    /// Training text, instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub train: Option<PathBuf>,
    /// Validation text, instead of a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub validation: Option<PathBuf>,
    /// Test text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub test: Option<PathBuf>,
    /// Share of the text's characters to validate on: its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.9))]
    pub validation_fraction: Option<f64>,
    /// Tokens that a sample reads; it learns the token after each of them.
    #[serde(default = "block_size")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub block_size: usize,
    /// Tokens between the starts of training samples; by default `block_size`, so that samples do not overlap. With 1
    /// every place of the text starts a sample. Evaluation never overlaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub stride: Option<usize>,
    /// Text to token ids.
    #[serde(default)]
    pub tokenizer: CorpusTokenizer,
    /// Batches.
    #[serde(default)]
    pub loader: LoaderConfig,
}

/// How plain text becomes token ids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CorpusTokenizer {
    /// Where the vocabulary comes from.
    pub kind: CorpusTokenizerKind,
    /// `tokenizer.json`, or a folder that holds one; by default the one beside the pretrained weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<PathBuf>,
}

/// Where the vocabulary comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorpusTokenizerKind {
    /// A `tokenizer.json`.
    #[default]
    File,
    /// Every character of `path` (or of `train`) is a token; ids follow the characters' order in Unicode.
    Characters,
}

fn block_size() -> usize {
    256
}

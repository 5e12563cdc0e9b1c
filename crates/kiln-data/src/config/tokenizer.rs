//! `[data.tokenizer]`: how texts become token ids.
//! Owns the words and their defaults; opens no file. The program of texts reads them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

//! Text to token ids through a Hugging Face `tokenizer.json`, truncated to one length.
//! Owns the tokenizer and its source bytes; never pads (a batch does). Padding and truncation written in the file are
//! replaced by the config's. Hands ids and segments to the loader.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::files;
use serde_json::{Map, Value};
use tokenizers::{Tokenizer, TruncationParams};

use crate::batch::Features;
use crate::error::DataError;

/// A tokenizer with its file.
#[derive(Debug, Clone)]
pub(crate) struct TextProgram {
    tokenizer: Arc<Tokenizer>,
    /// `tokenizer.json`, byte for byte.
    pub(crate) source: Arc<[u8]>,
    /// `tokenizer_config.json` beside it, empty where there is none.
    pub(crate) config: Map<String, Value>,
    pub(crate) max_length: usize,
    pub(crate) vocab_size: usize,
    pub(crate) pad_id: u32,
}

/// Words that stand for padding in the vocabularies of BERT, RoBERTa, T5 and GPT fine-tunes.
const PAD_TOKENS: [&str; 4] = ["[PAD]", "<pad>", "<|pad|>", "<|padding|>"];

impl TextProgram {
    /// Reads `tokenizer.json`, or the one in a folder.
    pub(crate) fn open(path: &Path, max_length: usize) -> Result<Self, DataError> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        let source = std::fs::read(&path).map_err(DataError::opening(&path, "a tokenizer.json"))?;
        Self::new(source, neighbour(&path)?, &path, max_length)
    }

    /// From a `tokenizer.json`'s bytes; errors name `path`.
    pub(crate) fn new(
        source: Vec<u8>,
        config: Map<String, Value>,
        path: &Path,
        max_length: usize,
    ) -> Result<Self, DataError> {
        let mut tokenizer = Tokenizer::from_bytes(&source).map_err(|e| {
            fault(path, format!("not a tokenizer.json: {e}"), "give a fast tokenizer's tokenizer.json")
        })?;
        let pad_id = pad_id(&tokenizer).ok_or_else(|| {
            let problem =
                format!("no padding token: neither a padding section nor one of {}", PAD_TOKENS.join(" "));
            fault(path, problem, "add a padding section that names the pad token")
        })?;
        let special =
            tokenizer.get_post_processor().map_or(0, |p| tokenizers::PostProcessor::added_tokens(p, false));
        if max_length <= special {
            let problem = format!("max_length {max_length} leaves no room beside {special} special tokens");
            return Err(fault(path, problem, "raise data.tokenizer.max_length"));
        }
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|e| fault(path, e.to_string(), "raise data.tokenizer.max_length"))?;
        let vocab_size = tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            source: source.into(),
            config,
            max_length,
            vocab_size,
            pad_id,
        })
    }

    /// Ids and segments of one text, special tokens included, at most `max_length`.
    pub(crate) fn run(&self, text: &str) -> Result<Features, DataError> {
        let encoding =
            self.tokenizer.encode_fast(text, true).map_err(|e| DataError::Text { problem: e.to_string() })?;
        Ok(Features::Tokens { ids: encoding.get_ids().to_vec(), types: encoding.get_type_ids().to_vec() })
    }
}

/// The file that a config means: its own path, else the pretrained folder's.
pub(crate) fn locate(path: Option<&Path>, folder: Option<&Path>) -> Result<PathBuf, DataError> {
    path.or(folder).map(Path::to_path_buf).ok_or_else(|| {
        DataError::config(
            "tokenizer.path",
            "text needs a tokenizer, and there is no pretrained folder to take it from",
            "set data.tokenizer.path to a tokenizer.json, or model.pretrained to a folder that holds one",
        )
    })
}

fn pad_id(tokenizer: &Tokenizer) -> Option<u32> {
    let by_file = tokenizer.get_padding().map(|p| p.pad_id);
    by_file.or_else(|| PAD_TOKENS.iter().find_map(|token| tokenizer.token_to_id(token)))
}

fn neighbour(path: &Path) -> Result<Map<String, Value>, DataError> {
    let path = path.with_file_name("tokenizer_config.json");
    if !path.is_file() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&files::read(&path)?)
        .map_err(|e| fault(&path, format!("not a JSON object: {e}"), "repair or remove it"))
}

fn fault(path: &Path, problem: String, remedy: &str) -> DataError {
    DataError::Tokenizer { path: path.into(), problem, remedy: remedy.into() }
}

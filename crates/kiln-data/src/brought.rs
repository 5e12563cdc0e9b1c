//! The program of a text model's folder that kiln did not write: its tokenizer, and the lengths that the folder states.
//! Owns reading those; images and tables without kiln's own program are refused. Hands a [`Preprocessor`] to whoever asks
//! the model.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::DataError;
use crate::preprocessor::{Preprocessor, Program};
use crate::text_program::TextProgram;

const TOKENIZER: &str = "tokenizer.json";
/// Files of Hugging Face folders that state the longest sequence, and the key in each.
const LENGTHS: [(&str, &str); 2] =
    [("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")];

impl Preprocessor {
    /// As [`load`](Self::load); for a folder of a text model that kiln did not write, its `tokenizer.json`, with texts
    /// cut to the shortest of the model's `longest` and the lengths that the folder states. Tables have their texts in
    /// the column `text`.
    ///
    /// # Errors
    /// As [`load`](Self::load), and a `tokenizer.json` that cannot be used.
    pub fn load_or_bring(folder: &Path, longest: usize) -> Result<Self, DataError> {
        let own = |file: &str| read(&folder.join(file)).is_some_and(|fields| fields.contains_key("kiln"));
        let tokenizer = folder.join(TOKENIZER);
        if own("tokenizer_config.json") || own("preprocessor_config.json") || !tokenizer.is_file() {
            return Self::load(folder);
        }
        let text = TextProgram::open(&tokenizer, max_length(folder, longest), false)?;
        let columns = serde_json::from_value(json!({"header": true, "wanted": {"text": "text"}}));
        let columns = columns.map_err(|e| DataError::Program { path: tokenizer, problem: e.to_string() })?;
        Ok(Self::new(Program::Text { text, columns }))
    }
}

/// `model_max_length` is a number beyond any memory where the tokenizer has no limit.
fn max_length(folder: &Path, longest: usize) -> usize {
    let stated = |(file, key): (&str, &str)| read(&folder.join(file))?.get(key)?.as_u64();
    let lengths = LENGTHS.into_iter().filter_map(stated).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    lengths.fold(longest, usize::min)
}

fn read(path: &Path) -> Option<Map<String, Value>> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

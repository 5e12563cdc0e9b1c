//! The files of a model folder that say how samples become its input, and their hashes.
//! Owns which files those are; never reads a program from them (preprocessor.rs does). The model folder records the
//! hashes beside the weights, and refuses files that are no longer the same.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::DataError;
use crate::preprocessor::{IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE};

/// The BLAKE3 hash of each of the pipeline's files that are in a folder, in hexadecimal digits.
///
/// # Errors
/// A file cannot be read.
pub fn pipeline_hashes(folder: &Path) -> Result<BTreeMap<String, String>, DataError> {
    let mut hashes = BTreeMap::new();
    for file in [IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE] {
        let path = folder.join(file);
        if path.is_file() {
            let bytes = std::fs::read(&path).map_err(DataError::opening(&path, "a model folder's file"))?;
            hashes.insert(file.to_string(), blake3::hash(&bytes).to_hex().to_string());
        }
    }
    Ok(hashes)
}

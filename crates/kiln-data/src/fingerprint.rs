//! What an argument of `kiln predict` held when it was read: a hash that changes when its inputs do.
//! Owns what is hashed; never decodes. Batch prediction keeps it beside the answers and compares it before it goes on.

use std::fs::{self, File};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_core::files::FileError;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::source::folder::images_in;
use crate::source::sqlite;

/// An input and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The argument.
    pub input: String,
    /// What was hashed: `content` of a file, `listing` of a folder (names, sizes and times of change), the `text` itself,
    /// or of a `stream` nothing: it differs from every other.
    pub of: String,
    /// BLAKE3, hexadecimal.
    pub hash: String,
}

/// Hashes an argument of `kiln predict`.
///
/// # Errors
/// A file or folder that cannot be read.
pub fn fingerprint(input: &str) -> Result<Fingerprint, DataError> {
    if input == "-" {
        // What is read once cannot be compared: no two streams are the same.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let hash = format!("{now}-{}", std::process::id());
        return Ok(Fingerprint { input: input.into(), of: "stream".into(), hash });
    }
    let database = sqlite::Place::of(input).map(|place| place.file);
    let path = database.as_deref().unwrap_or(Path::new(input));
    let mut hasher = blake3::Hasher::new();
    let of = if path.is_file() {
        content(path, &mut hasher)?;
        if database.is_some() {
            // What was written last may still be in the log beside the file.
            let log = path
                .with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy()));
            if log.is_file() {
                content(&log, &mut hasher)?;
            }
        }
        "content"
    } else if path.is_dir() {
        listing(path, &mut hasher)?;
        "listing"
    } else {
        hasher.update(input.as_bytes());
        "text"
    };
    Ok(Fingerprint { input: input.into(), of: of.into(), hash: hasher.finalize().to_hex().to_string() })
}

fn content(path: &Path, hasher: &mut blake3::Hasher) -> Result<(), DataError> {
    let file = File::open(path).map_err(FileError::at(path, "open"))?;
    hasher.update_reader(file).map_err(FileError::at(path, "read"))?;
    Ok(())
}

fn listing(folder: &Path, hasher: &mut blake3::Hasher) -> Result<(), DataError> {
    for file in images_in(folder)? {
        let meta = fs::metadata(&file).map_err(FileError::at(&file, "look at"))?;
        let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let name = file.strip_prefix(folder).unwrap_or(&file).display();
        let nanos = changed.map_or(0, |since| since.as_nanos());
        hasher.update(format!("{name}\n{} {nanos}\n", meta.len()).as_bytes());
    }
    Ok(())
}

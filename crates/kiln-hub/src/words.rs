//! What pull and push are asked and what they answer, in builds with and without the Hub.
//! Owns no behaviour. The command shows them.

use std::path::{Path, PathBuf};

/// A model in the cache.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The folder to open.
    pub folder: PathBuf,
    /// Which commit it is.
    pub commit: String,
    /// Bytes that came now; what the cache had is not asked for again.
    pub bytes: u64,
    /// Why the cache was used without asking the Hub, where that was not asked for.
    pub note: Option<String>,
}

/// What to push.
#[derive(Debug, Clone)]
pub struct Push<'a> {
    /// The model folder.
    pub folder: &'a Path,
    /// The commit's first line.
    pub message: &'a str,
    /// Whether only its owners see a model that is made now.
    pub private: bool,
}

/// What was pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The commit.
    pub commit: String,
    /// Its page.
    pub url: String,
    /// The files in it.
    pub files: Vec<String>,
    /// Bytes that went up as large files.
    pub bytes: u64,
}

//! Writing files so that a reader sees the old one or the new one, never half of one, also after a power cut:
//! a temporary sibling, synced, renamed, and the folder synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files of a Hugging Face folder that say how text and images become a model's input. Small, and the same for every
/// fine-tuned form of the model.
pub const OF_INPUTS: [&str; 13] = [
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// An input/output error with the path it happened at.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {source}", path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was being done, as in "cannot {action}".
    pub action: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: wraps the system's error.
    pub fn at<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> FileError + 'a {
        move |source| FileError { path: path.to_path_buf(), action, source }
    }

    /// What to do about it, where the system's error says enough to know.
    pub fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space on that disk, then continue with --resume".into())
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("choose a folder that you may write to (output_dir=...)".into())
            }
            _ => None,
        }
    }
}

/// Replaces `path` with `bytes` atomically and durably.
///
/// # Errors
/// Whatever the system reports; `path` is then as it was, and no temporary file is left.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let folder = parent(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kiln-").suffix(".tmp");
    #[cfg(unix)] // as any new file (less the umask): temporary files are private by default
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(FileError::at(path, "create"))?;
    file.write_all(bytes).map_err(FileError::at(path, "write"))?;
    file.as_file().sync_all().map_err(FileError::at(path, "sync"))?;
    file.persist(path).map_err(|e| FileError::at(path, "rename into place")(e.error))?;
    sync_folder(folder)
}

/// Writes a new file durably inside a folder that is itself not yet visible to readers.
///
/// # Errors
/// Whatever the system reports.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = File::create(path).map_err(FileError::at(path, "create"))?;
    file.write_all(bytes).map_err(FileError::at(path, "write"))?;
    file.sync_all().map_err(FileError::at(path, "sync"))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Whatever the system reports.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(FileError::at(folder, "sync"))
}

/// Reads a whole file.
///
/// # Errors
/// Whatever the system reports.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::at(path, "read"))
}

/// Reads a whole text file.
///
/// # Errors
/// Whatever the system reports, and text that is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(FileError::at(path, "read"))
}

/// Bytes that this user may still write to the disk that holds `path`; `None` where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    None
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn says_how_much_a_disk_has_left() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_space(dir.path()).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_space(&dir.path().join("nothing/here")), None);
    }

    #[test]
    fn names_the_path_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/such/folder/a.json");
        let error = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("no/such/folder/a.json") && error.contains("cannot create"), "{error}");
    }
}

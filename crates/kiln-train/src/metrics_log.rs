//! `metrics.jsonl`: one JSON object a logged step or evaluation. Part of the run's state: a resumed run first cuts
//! off the lines that were written after its checkpoint, so that every step stands there exactly once.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use kiln_core::files::FileError;
use serde::Serialize;

/// The open log.
#[derive(Debug)]
pub(crate) struct MetricsLog {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl MetricsLog {
    /// Opens (or makes) the log and cuts it to its first `bytes` bytes.
    ///
    /// # Errors
    /// The system refuses, or the log is shorter than that.
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self, FileError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(FileError::at(path, "open"))?;
        let length = file.metadata().map_err(FileError::at(path, "read"))?.len();
        if length < bytes {
            let short =
                format!("expected at least the {bytes} bytes that the checkpoint recorded, got {length}");
            return Err(FileError::at(path, "continue")(std::io::Error::other(short)));
        }
        file.set_len(bytes).map_err(FileError::at(path, "truncate"))?;
        file.seek(SeekFrom::End(0)).map_err(FileError::at(path, "seek"))?;
        Ok(Self { path: path.to_path_buf(), file, bytes })
    }

    /// Appends one line. It is in the kernel's hands when this returns, and survives a kill of the process.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        let mut text = serde_json::to_vec(line).map_err(|e| FileError::at(&self.path, "write")(e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(FileError::at(&self.path, "write"))?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The open file.
    pub(crate) fn file(&self) -> (&Path, &File) {
        (&self.path, &self.file)
    }
}

//! The files that answers are written to: one file a kind.
//! Owns the list of kinds; never where a file goes or when it is there.

mod csv;
mod jsonl;
mod parquet;
mod sqlite;

use std::path::Path;

use super::columns::Columns;
use super::parts::Parts;
use super::{BatchError, Identity};

/// A kind of file.
pub(super) struct Format {
    /// Its endings.
    endings: &'static [&'static str],
    /// Columns that fit into it.
    pub(super) most_columns: Option<usize>,
    write: fn(&Source<'_>) -> Result<(), BatchError>,
}

/// Every kind.
const FORMATS: &[Format] = &[jsonl::FORMAT, csv::FORMAT, parquet::FORMAT, sqlite::FORMAT];

/// What is written, and where.
struct Source<'a> {
    /// The file to write, which is not there yet.
    path: &'a Path,
    /// What errors call it.
    named: &'a Path,
    parts: &'a Parts,
    identity: &'a Identity,
}

impl Source<'_> {
    /// The columns of all answers; a pass over them.
    fn columns(&self) -> Result<Columns, BatchError> {
        let mut columns = Columns::default();
        for line in self.parts.answers() {
            columns.see(&line?);
        }
        Ok(columns)
    }

    /// For `map_err`.
    fn fault(&self, error: impl std::fmt::Display) -> BatchError {
        BatchError::Write { path: self.named.into(), problem: error.to_string() }
    }
}

/// The kind that a file's ending names.
pub(super) fn of(path: &Path) -> Result<&'static Format, BatchError> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    FORMATS.iter().find(|format| format.endings.contains(&ending)).ok_or_else(|| {
        let all: Vec<String> =
            FORMATS.iter().flat_map(|f| f.endings).map(|ending| format!(".{ending}")).collect();
        BatchError::Ending { path: path.into(), expected: all.join(", ") }
    })
}

impl Format {
    /// Writes the answers of all parts to `path`, synced; errors call it `named`.
    pub(super) fn write(
        &self,
        path: &Path,
        named: &Path,
        parts: &Parts,
        identity: &Identity,
    ) -> Result<(), BatchError> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(kiln_core::files::FileError::at(path, "remove")(e).into());
            }
            _ => {}
        }
        (self.write)(&Source { path, named, parts, identity })
    }
}

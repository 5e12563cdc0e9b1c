//! The formats of tables: which reader makes rows of a file or a stream.
//! Owns that choice; never parses (rows.rs, jsonl.rs and parquet do). Hands rows to the table source and to prediction.

use std::io::{BufReader, Read};
use std::path::Path;

use super::jsonl::Objects;
use super::parquet::ParquetRows;
use super::rows::{Row, Rows, Separated};
use crate::config::Column;
use crate::error::DataError;
use crate::preprocessor::Columns;

/// What a table's file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Separated(Separated),
    Jsonl,
    Parquet,
}

/// Rows from a file or a stream.
pub(crate) type RowIter = Box<dyn Iterator<Item = Result<Row, DataError>> + Send>;

/// Rows of a stream that errors call `path`.
pub(crate) fn stream(
    input: impl Read + Send + 'static,
    path: &Path,
    format: Format,
    columns: &Columns,
    label: &[Column],
) -> Result<RowIter, DataError> {
    Ok(match format {
        Format::Separated(kind) => Box::new(Rows::new(input, path, kind, columns, label)?),
        Format::Jsonl => Box::new(Objects::new(BufReader::new(input), path, columns, label)?),
        Format::Parquet => Box::new(ParquetRows::open(path, columns, label)?),
    })
}

/// Rows of a file.
pub(crate) fn rows(
    path: &Path,
    format: Format,
    columns: &Columns,
    label: &[Column],
) -> Result<RowIter, DataError> {
    let file = DataError::open(path, "a table")?;
    stream(file, path, format, columns, label)
}

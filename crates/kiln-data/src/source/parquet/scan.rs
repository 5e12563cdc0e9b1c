//! Whole columns of a Parquet file as typed values, without rows.
//! Owns nothing but the way over the row groups; values.rs reads them, as it does for rows.

use std::path::Path;

use super::ParquetFile;
use super::values::{Cells, read};
use crate::config::Column;
use crate::error::DataError;

/// A column of a Parquet file: the values of its row groups one after the other.
#[derive(Debug)]
pub struct ScannedColumn {
    rows: usize,
    groups: Vec<Cells>,
}

/// Reads columns of a Parquet file as the file types them: whole numbers of 64 bits, floats of 32 and 64, booleans, bytes.
///
/// # Errors
/// The file is absent, damaged or no Parquet; a column that it lacks or that holds other types.
pub fn scan(path: &Path, columns: &[String]) -> Result<Vec<ScannedColumn>, DataError> {
    let file = ParquetFile::open(path)?;
    let leaves = columns.iter().map(|name| file.leaf(&Column::Name(name.clone())));
    let leaves = leaves.collect::<Result<Vec<usize>, _>>()?;
    let mut scanned: Vec<ScannedColumn> =
        leaves.iter().map(|_| ScannedColumn { rows: 0, groups: Vec::new() }).collect();
    for group in 0..file.groups() {
        let (cells, rows) = read(&file, group, &leaves)?;
        for (column, cells) in scanned.iter_mut().zip(cells) {
            column.rows += rows;
            column.groups.push(cells);
        }
    }
    Ok(scanned)
}

impl ScannedColumn {
    /// Rows, with those of nulls.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The sum of all numbers (of strings and bytes: of their lengths), by which two readings are held against each other.
    pub fn checksum(&self) -> f64 {
        self.groups.iter().map(Cells::sum).sum()
    }
}

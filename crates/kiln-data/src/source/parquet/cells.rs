//! Every column of a Parquet file as plain cells, for a look at tables whose columns nobody has named yet.
//! Owns which columns can be shown (single values and lists of them; images are only said to be images); never makes a
//! sample.

use std::sync::Arc;

use super::file::ParquetFile;
use super::values::{Value, read};
use crate::config::Column;
use crate::error::DataError;
use crate::look::Cell;

/// Rows of one file.
pub(crate) struct AnyRows {
    file: Arc<ParquetFile>,
    columns: Vec<Shown>,
    group: usize,
    rows: std::vec::IntoIter<Vec<Cell>>,
}

/// How a column is shown.
enum Shown {
    Leaf {
        leaf: usize,
        names: Option<Vec<String>>,
    },
    /// Images, or something deeper than a list.
    Opaque {
        image: bool,
    },
}

/// A file's columns.
pub(crate) fn names(file: &ParquetFile) -> Vec<String> {
    file.names().to_vec()
}

impl AnyRows {
    pub(crate) fn new(file: Arc<ParquetFile>) -> Self {
        let shown = |name: &String| {
            let column = Column::Name(name.clone());
            let kind = file.kind(&column);
            let text = kind != "bytes" && !kind.contains("fixed") && !kind.contains("int96");
            match file.leaf(&column) {
                Ok(leaf) if text => Shown::Leaf { leaf, names: file.class_names(name) },
                _ => Shown::Opaque { image: file.image(&column).is_ok() },
            }
        };
        let columns = file.names().iter().map(shown).collect();
        Self { file, columns, group: 0, rows: Vec::new().into_iter() }
    }

    /// The next row; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Cell>>, DataError> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            if self.group == self.file.groups() {
                return Ok(None);
            }
            let leaves: Vec<usize> = self
                .columns
                .iter()
                .filter_map(|column| match column {
                    Shown::Leaf { leaf, .. } => Some(*leaf),
                    Shown::Opaque { .. } => None,
                })
                .collect();
            let (mut columns, n) = read(&self.file, self.group, &leaves)?;
            self.group += 1;
            let mut row = || {
                let mut own = columns.iter_mut();
                self.columns
                    .iter()
                    .map(|column| match column {
                        Shown::Leaf { names, .. } => {
                            let value = own.next().map_or(Value::Null, |own| own.next());
                            cell(value, names.as_deref())
                        }
                        Shown::Opaque { image } => Cell::Opaque { image: *image },
                    })
                    .collect()
            };
            self.rows = (0..n).map(|_| row()).collect::<Vec<Vec<Cell>>>().into_iter();
        }
    }
}

fn cell(value: Value, names: Option<&[String]>) -> Cell {
    match (value, names) {
        (Value::Null, _) => Cell::Missing,
        (Value::Int(-1), Some(_)) => Cell::Missing,
        (Value::Int(i), Some(names)) => {
            let name = usize::try_from(i).ok().and_then(|i| names.get(i));
            Cell::Class(name.cloned().unwrap_or_else(|| i.to_string()))
        }
        (Value::Bool(is), _) => Cell::Text(is.to_string()),
        (Value::Int(i), None) => Cell::Number(i as f64),
        (Value::Single(x), _) => number(f64::from(x)),
        (Value::Double(x), _) => number(x),
        (Value::Bytes(bytes), _) => Cell::Text(String::from_utf8_lossy(bytes.data()).into_owned()),
        (Value::List(list), names) => Cell::List(list.into_iter().map(|v| cell(v, names).word()).collect()),
    }
}

fn number(x: f64) -> Cell {
    if x.is_nan() { Cell::Missing } else { Cell::Number(x) }
}

//! Rows of Parquet files, row group by row group, with Hugging Face's class names and images in a column.
//! Owns which columns are read and their refusals, each with `file:row`; never keeps more than one row group.
//! Hands `Row`s to the table source and to prediction; `Pictures` reads the images of single rows.

mod cells;
mod file;
mod pictures;
mod readme;
mod scan;
mod values;

use std::path::Path;
use std::sync::Arc;

pub(crate) use cells::{AnyRows, names};
pub(crate) use file::ParquetFile;
use parquet::data_type::ByteArray;
pub(crate) use pictures::{Groups, Pictures};
pub use scan::{ScannedColumn, scan};
use values::{Cells, Value, read};

use super::rows::{Cell, Row, row};
use crate::config::{Column, Missing};
use crate::error::DataError;
use crate::preprocessor::{Columns, Wanted};
use crate::split::Raw;

/// Rows of one file.
pub(crate) struct ParquetRows {
    file: Arc<ParquetFile>,
    wanted: Fields,
    missing: Missing,
    /// The labels' columns, with Hugging Face's class names where the file has them.
    label: Vec<(Field, Option<Vec<String>>)>,
    /// The next row group, and the rows of the last one from the next row on.
    group: usize,
    rows: Option<Rows>,
    /// Rows handed out.
    done: u64,
    failed: bool,
}

/// A column's name and its leaf in the file.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    leaf: usize,
}

/// What makes one sample.
enum Fields {
    Text(Field),
    /// Paths; `None` where the images are in the file and have no paths.
    Image(Option<Field>),
    Pair(Field, Field),
    Words(Field),
    Row {
        numbers: Vec<Field>,
        categories: Vec<Field>,
    },
}

/// The columns of one row group, in the order of `ParquetRows::fields`.
struct Rows {
    columns: Vec<Cells>,
    left: usize,
}

impl ParquetRows {
    pub(crate) fn open(path: &Path, columns: &Columns, label: &[Column]) -> Result<Self, DataError> {
        Self::new(Arc::new(ParquetFile::open(path)?), columns, label)
    }

    /// Finds the columns.
    pub(crate) fn new(
        file: Arc<ParquetFile>,
        columns: &Columns,
        label: &[Column],
    ) -> Result<Self, DataError> {
        let field = |column: &Column| -> Result<Field, DataError> {
            Ok(Field { name: file.name(column)?, leaf: file.leaf(column)? })
        };
        let wanted = match (&columns.wanted, &columns.pair) {
            (Wanted::Text(a), Some(b)) => Fields::Pair(field(a)?, field(b)?),
            (Wanted::Text(column), None) => Fields::Text(field(column)?),
            (Wanted::Image(column), _) => {
                let name = file.name(column)?;
                Fields::Image(file.image(column)?.path.map(|leaf| Field { name, leaf }))
            }
            (Wanted::Words { tokens, .. }, _) => Fields::Words(field(tokens)?),
            (Wanted::Features(numbers), _) => Fields::Row {
                numbers: numbers.iter().map(field).collect::<Result<_, _>>()?,
                categories: columns.categories.iter().map(field).collect::<Result<_, _>>()?,
            },
        };
        let named = |column: &Column| -> Result<_, DataError> {
            let field = field(column)?;
            let names = match file.class_names(&field.name) {
                Some(names) => Some(names),
                None => readme::class_names(file.path(), &field.name)?,
            };
            Ok((field, names))
        };
        let label = label.iter().map(named).collect::<Result<_, _>>()?;
        let missing = columns.missing;
        Ok(Self { file, wanted, missing, label, group: 0, rows: None, done: 0, failed: false })
    }

    /// The class names that the file gives its label's column.
    pub(crate) fn class_names(&self) -> Option<Vec<String>> {
        self.label.first().and_then(|(_, names)| names.clone())
    }

    /// Every column that is read: inputs, then labels.
    fn fields(&self) -> Vec<&Field> {
        let inputs: Vec<&Field> = match &self.wanted {
            Fields::Text(field) | Fields::Words(field) => vec![field],
            Fields::Image(path) => path.iter().collect(),
            Fields::Pair(a, b) => vec![a, b],
            Fields::Row { numbers, categories } => numbers.iter().chain(categories).collect(),
        };
        inputs.into_iter().chain(self.label.iter().map(|(field, _)| field)).collect()
    }

    fn read_group(&mut self) -> Result<(), DataError> {
        let leaves: Vec<usize> = self.fields().into_iter().map(|field| field.leaf).collect();
        let (columns, left) = read(&self.file, self.group, &leaves)?;
        self.group += 1;
        self.rows = Some(Rows { columns, left });
        Ok(())
    }

    /// Whether there is a next row; reads its row group where need be.
    fn advance(&mut self) -> Result<bool, DataError> {
        while self.rows.as_ref().is_none_or(|rows| rows.left == 0) {
            if self.group == self.file.groups() {
                return Ok(false);
            }
            self.read_group()?;
        }
        self.done += 1;
        Ok(true)
    }

    /// The next row of a group that has one. Each column moves on by one cell, whatever is wrong with the others.
    fn row(&self, rows: &mut Rows) -> Result<Row, DataError> {
        rows.left -= 1;
        let mut cells = rows.columns.iter_mut().map(Cells::next).collect::<Vec<_>>().into_iter();
        let mut next = || cells.next().unwrap_or(Value::Null);
        let raw = match &self.wanted {
            Fields::Text(field) => Raw::Text(self.text(field, next())?),
            Fields::Image(None) => Raw::Text(String::new()),
            Fields::Image(Some(field)) => match next() {
                Value::Null => Raw::Text(String::new()),
                path => Raw::Text(self.text(field, path)?),
            },
            Fields::Pair(a, b) => Raw::Pair(self.text(a, next())?, self.text(b, next())?),
            Fields::Words(field) => Raw::Words(self.words(field, next())?),
            Fields::Row { numbers, categories } => Raw::Row {
                numbers: numbers.iter().map(|field| self.number(field, &next())).collect::<Result<_, _>>()?,
                categories: categories
                    .iter()
                    .map(|field| self.category(field, next()))
                    .collect::<Result<_, _>>()?,
            },
        };
        let label = self.label.iter().map(|(field, names)| self.label(field, names.as_deref(), next()));
        let label = label.collect::<Result<Vec<_>, _>>()?;
        if let (Raw::Words(words), Some(Cell::List(tags))) = (&raw, label.first())
            && words.len() != tags.len()
        {
            return Err(
                self.fault(&format!("one tag a word, {}", words.len()), &format!("{} tags", tags.len()))
            );
        }
        Ok(Row { line: self.done, raw, label })
    }

    fn text(&self, field: &Field, value: Value) -> Result<String, DataError> {
        match value {
            Value::Bytes(bytes) => self.utf8(field, &bytes),
            other => Err(self.fault(&format!("a string in \"{}\"", field.name), &other.to_string())),
        }
    }

    fn utf8(&self, field: &Field, bytes: &ByteArray) -> Result<String, DataError> {
        String::from_utf8(bytes.data().to_vec()).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let byte = e.as_bytes().get(at).copied().unwrap_or_default();
            let expected = format!("UTF-8 text in \"{}\"", field.name);
            self.fault(&expected, &format!("{byte:#04x} at byte {at}"))
        })
    }

    fn words(&self, field: &Field, value: Value) -> Result<Vec<String>, DataError> {
        match value {
            Value::List(words) => words.into_iter().map(|word| self.text(field, word)).collect(),
            other => Err(self.fault(&format!("a list of strings in \"{}\"", field.name), &other.to_string())),
        }
    }

    fn number(&self, field: &Field, value: &Value) -> Result<f32, DataError> {
        if let (Value::Null, Missing::Mean) = (value, self.missing) {
            return Ok(f32::NAN);
        }
        let number = value.number().map(|number| number as f32);
        if let (Some(true), Missing::Mean) = (number.map(f32::is_nan), self.missing) {
            return Ok(f32::NAN);
        }
        number.filter(|number| number.is_finite()).ok_or_else(|| {
            let remedy = match value {
                Value::Null => "set data.table.missing = \"mean\", or drop the row",
                _ => "repair the value, drop the row, or name the column in data.categories",
            };
            let expected = format!("a finite number in \"{}\"", field.name);
            row(self.file.path(), self.done, &expected, &value.to_string(), remedy)
        })
    }

    fn category(&self, field: &Field, value: Value) -> Result<String, DataError> {
        match value {
            Value::Null => Ok(String::new()),
            value => self.word(field, None, value).map(|word| word.trim().to_string()),
        }
    }

    fn label(&self, field: &Field, names: Option<&[String]>, value: Value) -> Result<Cell, DataError> {
        match value {
            Value::Null => Ok(Cell::Word(String::new())),
            Value::List(list) => {
                let words = list.into_iter().map(|value| self.word(field, names, value));
                words.collect::<Result<_, _>>().map(Cell::List)
            }
            value => self.word(field, names, value).map(Cell::Word),
        }
    }

    /// One word of a label or a category; by its class name where the file has names. -1 is Hugging Face's sign for no
    /// label.
    fn word(&self, field: &Field, names: Option<&[String]>, value: Value) -> Result<String, DataError> {
        match (value, names) {
            (Value::Int(-1), Some(_)) => Ok(String::new()),
            (Value::Int(i), Some(names)) => {
                let name = usize::try_from(i).ok().and_then(|i| names.get(i).cloned());
                name.ok_or_else(|| {
                    let expected = format!("0 to {} in \"{}\"", names.len().saturating_sub(1), field.name);
                    self.fault(&expected, &i.to_string())
                })
            }
            (Value::Bytes(bytes), _) => self.utf8(field, &bytes),
            (value @ (Value::Int(_) | Value::Single(_) | Value::Double(_) | Value::Bool(_)), _) => {
                Ok(value.to_string())
            }
            (other, _) => {
                let expected = format!("a string, number or boolean in \"{}\"", field.name);
                Err(self.fault(&expected, &other.to_string()))
            }
        }
    }

    fn fault(&self, expected: &str, got: &str) -> DataError {
        row(self.file.path(), self.done, expected, got, "repair the row or drop it")
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(true) => {
                let mut rows = self.rows.take()?;
                let row = self.row(&mut rows);
                self.rows = Some(rows);
                Some(row)
            }
            Ok(false) => None,
            Err(fault) => {
                self.failed = true;
                Some(Err(fault))
            }
        }
    }
}

//! Rows of JSON Lines files: one object a line, columns by key.
//! Owns parsing and its refusals, each with `file:line`; never keeps a whole file. Blank lines hold no row.
//! Hands `Row`s to the table source and to prediction.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::rows::{Row, labelled, nearest, row};
use crate::config::{Column, Missing};
use crate::error::DataError;
use crate::preprocessor::{Columns, Wanted};
use crate::split::Raw;

/// Objects of one file.
pub(crate) struct Objects<R> {
    path: PathBuf,
    input: R,
    line: u64,
    buffer: Vec<u8>,
    columns: Columns,
    label: Vec<Column>,
    failed: bool,
}

impl<R: BufRead> Objects<R> {
    pub(crate) fn new(input: R, path: &Path, columns: &Columns, label: &[Column]) -> Result<Self, DataError> {
        let all = columns.inputs();
        if let Some(Column::Index(i)) = all.into_iter().chain(label).find(|c| matches!(c, Column::Index(_))) {
            let problem = format!("column {i}: the keys of a JSON object have no order");
            return Err(DataError::config("kind", problem, "name the columns of JSON Lines by their keys"));
        }
        Ok(Self {
            path: path.into(),
            input,
            line: 0,
            buffer: Vec::new(),
            columns: columns.clone(),
            label: label.to_vec(),
            failed: false,
        })
    }

    /// The next line that is not blank.
    fn read(&mut self) -> Result<Option<Row>, DataError> {
        loop {
            self.buffer.clear();
            let n = self
                .input
                .read_until(b'\n', &mut self.buffer)
                .map_err(DataError::opening(&self.path, "a table"))?;
            if n == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !self.buffer.trim_ascii().is_empty() {
                return self.parse().map(Some);
            }
        }
    }

    fn parse(&self) -> Result<Row, DataError> {
        let bytes =
            self.buffer.strip_prefix(b"\xEF\xBB\xBF").filter(|_| self.line == 1).unwrap_or(&self.buffer);
        let fault = |expected: &str, got: &str| row(&self.path, self.line, expected, got, "repair the line");
        let text = std::str::from_utf8(bytes).map_err(|e| fault("UTF-8 text", &e.to_string()))?;
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| fault("a JSON object", &e.to_string()))?;
        let raw = match &self.columns.wanted {
            Wanted::Text(column) | Wanted::Image(column) => match self.value(&object, column)? {
                Value::String(text) => Raw::Text(text.clone()),
                other => return Err(fault(&format!("a string in {}", key(column)), &other.to_string())),
            },
            Wanted::Features(numbers) => Raw::Row {
                numbers: numbers.iter().map(|c| self.number(&object, c)).collect::<Result<_, _>>()?,
                categories: self
                    .columns
                    .categories
                    .iter()
                    .map(|c| self.category(&object, c))
                    .collect::<Result<_, _>>()?,
            },
        };
        let label = self.label.iter().map(|column| self.label(&object, column)).collect::<Result<_, _>>()?;
        Ok(Row { line: self.line, raw, label })
    }

    fn value<'a>(&self, object: &'a Map<String, Value>, column: &Column) -> Result<&'a Value, DataError> {
        object.get(key(column)).ok_or_else(|| {
            let there: Vec<String> = object.keys().cloned().collect();
            let remedy = match nearest(key(column), &there) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => "every line needs the key".into(),
            };
            row(&self.path, self.line, &format!("the key \"{}\"", key(column)), &there.join(", "), &remedy)
        })
    }

    fn number(&self, object: &Map<String, Value>, column: &Column) -> Result<f32, DataError> {
        let value = self.value(object, column)?;
        if value.is_null() && self.columns.missing == Missing::Mean {
            return Ok(f32::NAN);
        }
        value.as_f64().map(|v| v as f32).filter(|v| v.is_finite()).ok_or_else(|| {
            let expected = format!("a finite number in \"{}\"", key(column));
            row(&self.path, self.line, &expected, &value.to_string(), "repair the value or drop the row")
        })
    }

    fn category(&self, object: &Map<String, Value>, column: &Column) -> Result<String, DataError> {
        match self.value(object, column)? {
            Value::String(word) => Ok(word.trim().to_string()),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            Value::Null => Ok(String::new()),
            other => {
                let expected = format!("a string, number or boolean in \"{}\"", key(column));
                Err(row(&self.path, self.line, &expected, &other.to_string(), "repair the line"))
            }
        }
    }

    fn label(&self, object: &Map<String, Value>, column: &Column) -> Result<String, DataError> {
        match object.get(key(column)) {
            Some(Value::String(word)) => labelled(&self.path, self.line, word),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Some(Value::Null) => labelled(&self.path, self.line, ""),
            None => self.value(object, column).map(Value::to_string),
            Some(other) => {
                let expected = "a label (string, number or boolean)";
                Err(row(&self.path, self.line, expected, &other.to_string(), "repair the line"))
            }
        }
    }
}

impl<R: BufRead> Iterator for Objects<R> {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose();
        // A line that could not be read at all would come back for ever.
        self.failed = matches!(row, Some(Err(DataError::File(_))));
        row
    }
}

/// An index was refused when the file was opened.
fn key(column: &Column) -> &str {
    match column {
        Column::Name(name) => name,
        Column::Index(_) => "",
    }
}

//! Rows of JSON Lines files: one object a line, columns by key.
//! Owns parsing and its refusals, each with `file:line`; never keeps a whole file. Blank lines hold no row.
//! Hands `Row`s to the table source and to prediction.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::rows::{Cell, Row, nearest, row};
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
    /// The JSON type of each label, and the line that showed it first.
    kinds: Vec<std::cell::Cell<Option<(&'static str, u64)>>>,
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
            kinds: vec![std::cell::Cell::new(None); label.len()],
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
        let raw = self.raw(&object)?;
        let label = (0..self.label.len()).map(|k| self.label(&object, k)).collect::<Result<Vec<_>, _>>()?;
        if let (Raw::Words(words), Some(Cell::List(tags))) = (&raw, label.first())
            && words.len() != tags.len()
        {
            return Err(fault(&format!("one tag a word, {}", words.len()), &format!("{} tags", tags.len())));
        }
        Ok(Row { line: self.line, raw, label })
    }

    /// The sample of one object; faults are of the line that was read last.
    pub(crate) fn raw(&self, object: &Map<String, Value>) -> Result<Raw, DataError> {
        Ok(match &self.columns.wanted {
            Wanted::Text(column) | Wanted::Image(column) => {
                let text = self.text(object, column)?;
                match &self.columns.pair {
                    Some(second) => Raw::Pair(text, self.text(object, second)?),
                    None => Raw::Text(text),
                }
            }
            Wanted::Words { tokens, .. } => Raw::Words(self.words(object, tokens)?),
            Wanted::Features(numbers) => Raw::Row {
                numbers: numbers.iter().map(|c| self.number(object, c)).collect::<Result<_, _>>()?,
                categories: self
                    .columns
                    .categories
                    .iter()
                    .map(|c| self.category(object, c))
                    .collect::<Result<_, _>>()?,
            },
        })
    }

    /// Counts a line that the caller parsed itself.
    pub(crate) fn at_line(&mut self, line: u64) {
        self.line = line;
    }

    fn text(&self, object: &Map<String, Value>, column: &Column) -> Result<String, DataError> {
        match self.value(object, column)? {
            Value::String(text) => Ok(text.clone()),
            other => {
                let expected = format!("a string in {}", key(column));
                Err(row(&self.path, self.line, &expected, &other.to_string(), "repair the line"))
            }
        }
    }

    fn words(&self, object: &Map<String, Value>, column: &Column) -> Result<Vec<String>, DataError> {
        let value = self.value(object, column)?;
        let words = value.as_array().and_then(|list| {
            list.iter().map(|word| word.as_str().map(String::from)).collect::<Option<Vec<_>>>()
        });
        words.ok_or_else(|| {
            let expected = format!("a list of strings in \"{}\"", key(column));
            row(&self.path, self.line, &expected, &value.to_string(), "repair the line")
        })
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

    fn label(&self, object: &Map<String, Value>, k: usize) -> Result<Cell, DataError> {
        let column = &self.label[k];
        let value = self.value(object, column)?;
        self.one_type(&self.kinds[k], column, value)?;
        let cell = match value {
            Value::Array(list) => list.iter().map(word).collect::<Option<_>>().map(Cell::List),
            Value::Null => Some(Cell::Word(String::new())),
            value => word(value).map(Cell::Word),
        };
        cell.ok_or_else(|| {
            let expected = "a label (string, number or boolean, or a list of these)";
            row(&self.path, self.line, expected, &value.to_string(), "repair the line")
        })
    }
}

impl<R> Objects<R> {
    /// Refuses a label of another JSON type than those before it: 1 and "1" would silently be one class.
    fn one_type(
        &self,
        first: &std::cell::Cell<Option<(&'static str, u64)>>,
        column: &Column,
        value: &Value,
    ) -> Result<(), DataError> {
        let kind = match value {
            // Lists have refusals of their own, by task.
            Value::Null | Value::Array(_) | Value::Object(_) => return Ok(()),
            Value::String(_) => "a string",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a boolean",
        };
        match first.get() {
            Some((before, line)) if before != kind => {
                let expected = format!("{before} in \"{}\", as in line {line}", key(column));
                let remedy = "write all values of the column in one type";
                Err(row(&self.path, self.line, &expected, &value.to_string(), remedy))
            }
            Some(_) => Ok(()),
            None => {
                first.set(Some((kind, self.line)));
                Ok(())
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

/// One word of a label.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(word) => Some(word.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An index was refused when the file was opened.
fn key(column: &Column) -> &str {
    match column {
        Column::Name(name) => name,
        Column::Index(_) => "",
    }
}

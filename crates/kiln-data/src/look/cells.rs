//! A table as it is, column by column, before anybody has said what a column means.
//! Owns the reading of any kind of table to plain cells; never makes a sample. Hands rows to stats, `init` and `split`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder, Terminator};
use serde_json::{Map, Value};

use crate::error::DataError;
use crate::source::parquet::{AnyRows, ParquetFile, names};
use crate::source::rows::{MISSING, Separated, row};
use crate::source::table::Format;

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// Empty, or `null`.
    Missing,
    /// Text; in CSV and TSV also a number.
    Text(String),
    /// A number that the file says is one.
    Number(f64),
    /// A class by its name, where the file has names (Hugging Face).
    Class(String),
    /// A list.
    List(Vec<String>),
    /// Bytes, or something deeper.
    Opaque { image: bool },
}

impl Cell {
    /// What a label of this cell is called.
    pub(crate) fn word(&self) -> String {
        match self {
            Cell::Missing => String::new(),
            Cell::Text(word) | Cell::Class(word) => word.clone(),
            Cell::Number(x) if x.fract() == 0.0 && x.abs() < 1e15 => format!("{}", *x as i64),
            Cell::Number(x) => format!("{x}"),
            Cell::List(list) => list.join(" "),
            Cell::Opaque { .. } => String::new(),
        }
    }

    /// Whether it is a word that stands for no number: `NA`, `null`.
    pub(crate) fn stands_for_nothing(&self) -> bool {
        matches!(self, Cell::Text(word) if MISSING.contains(&word.trim().to_lowercase().as_str()))
    }

    /// The number that it is or says.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Cell::Number(x) => Some(*x),
            Cell::Text(word) => word.trim().parse::<f64>().ok().filter(|x| x.is_finite()),
            Cell::Missing | Cell::Class(_) | Cell::List(_) | Cell::Opaque { .. } => None,
        }
    }
}

/// An open table.
pub(crate) struct Sheet {
    path: PathBuf,
    /// The columns; JSON keys as they appear, so that there may be more after a row.
    pub(crate) names: Vec<String>,
    rows: Kind,
    width: usize,
}

enum Kind {
    Separated { reader: Box<csv::Reader<File>>, pending: Option<ByteRecord> },
    Jsonl { reader: BufReader<File>, line: u64 },
    Parquet(Box<AnyRows>),
}

impl Sheet {
    /// Opens a table; without `header` columns are called by their places from 0.
    pub(crate) fn open(path: &Path, format: Format, header: bool) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::opening(path, "a table"))?;
        let path = path.to_path_buf();
        match format {
            Format::Jsonl => {
                let rows = Kind::Jsonl { reader: BufReader::new(file), line: 0 };
                Ok(Self { path, names: Vec::new(), rows, width: 0 })
            }
            Format::Parquet => {
                let file = Arc::new(ParquetFile::open(&path)?);
                let names = names(&file);
                let width = names.len();
                let rows = Kind::Parquet(Box::new(AnyRows::new(file)));
                Ok(Self { path, names, rows, width })
            }
            Format::Separated(kind) => {
                let mut reader = separated(file, kind);
                let mut first = ByteRecord::new();
                if !next_record(&mut reader, &mut first).map_err(|e| broken(&path, &e))? {
                    return Err(row(&path, 1, "a first row", "an empty file", "give a file with rows"));
                }
                let width = first.len();
                let mut names: Vec<String> = (0..width).map(|i| i.to_string()).collect();
                let mut pending = Some(first);
                if header {
                    let record = pending.take().unwrap_or_default();
                    names = (0..width).map(|i| field(&path, &record, i)).collect::<Result<_, _>>()?;
                }
                Ok(Self { path, names, rows: Kind::Separated { reader: Box::new(reader), pending }, width })
            }
        }
    }

    /// The next row, as many cells as there are names now; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Cell>>, DataError> {
        match &mut self.rows {
            Kind::Parquet(cells) => cells.next(),
            Kind::Separated { reader, pending } => {
                let record = match pending.take() {
                    Some(record) => record,
                    None => {
                        let mut record = ByteRecord::new();
                        if !next_record(reader, &mut record).map_err(|e| broken(&self.path, &e))? {
                            return Ok(None);
                        }
                        record
                    }
                };
                let number = record.position().map_or(1, csv::Position::line);
                if record.len() != self.width {
                    let expected = format!("{} columns, as in the first row", self.width);
                    let remedy = "quote fields that hold the separator, or repair the row";
                    return Err(row(&self.path, number, &expected, &record.len().to_string(), remedy));
                }
                let cells = (0..self.width).map(|i| field(&self.path, &record, i).map(text));
                cells.collect::<Result<_, _>>().map(Some)
            }
            Kind::Jsonl { reader, line } => {
                let mut bytes = Vec::new();
                loop {
                    bytes.clear();
                    let n = reader
                        .read_until(b'\n', &mut bytes)
                        .map_err(DataError::opening(&self.path, "a table"))?;
                    if n == 0 {
                        return Ok(None);
                    }
                    *line += 1;
                    if !bytes.trim_ascii().is_empty() {
                        break;
                    }
                }
                let number = *line;
                let own = bytes.strip_prefix(b"\xEF\xBB\xBF").filter(|_| number == 1).unwrap_or(&bytes);
                let object: Map<String, Value> = serde_json::from_slice(own).map_err(|e| {
                    row(&self.path, number, "a JSON object", &e.to_string(), "repair the line")
                })?;
                for key in object.keys() {
                    if !self.names.contains(key) {
                        self.names.push(key.clone());
                    }
                }
                let cells = self.names.iter().map(|name| object.get(name).map_or(Cell::Missing, json));
                Ok(Some(cells.collect()))
            }
        }
    }
}

/// A reader of records as kiln reads them everywhere.
pub(crate) fn separated<R: std::io::Read>(input: R, kind: Separated) -> csv::Reader<R> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).terminator(Terminator::Any(b'\n'));
    match kind {
        Separated::Comma => builder.delimiter(b','),
        Separated::Tab => builder.delimiter(b'\t').quoting(false),
    };
    builder.from_reader(input)
}

/// The next record that is not blank.
pub(crate) fn next_record<R: std::io::Read>(
    reader: &mut csv::Reader<R>,
    record: &mut ByteRecord,
) -> Result<bool, csv::Error> {
    crate::source::rows::read(reader, record)
}

pub(crate) fn broken(path: &Path, error: &csv::Error) -> DataError {
    let line = error.position().map_or(1, csv::Position::line);
    row(path, line, "a readable row", &error.to_string(), "check the file")
}

fn field(path: &Path, record: &ByteRecord, i: usize) -> Result<String, DataError> {
    crate::source::rows::cell(path, record, i).map(String::from)
}

fn text(word: String) -> Cell {
    if word.trim().is_empty() { Cell::Missing } else { Cell::Text(word) }
}

fn json(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Missing,
        Value::Bool(is) => Cell::Text(is.to_string()),
        Value::Number(x) => x.as_f64().map_or(Cell::Missing, Cell::Number),
        Value::String(word) if word.trim().is_empty() => Cell::Missing,
        Value::String(word) => Cell::Text(word.clone()),
        Value::Array(list) => Cell::List(list.iter().map(|v| json(v).word()).collect()),
        Value::Object(_) => Cell::Opaque { image: false },
    }
}

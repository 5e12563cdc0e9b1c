//! Rows of CSV and TSV files one by one, with and without labels.
//! Owns parsing and its refusals, each with `file:line`; never keeps a whole file. Blank lines hold no row.
//! Hands `Row`s to the table source (all) and to prediction (one at a time).

use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use crate::config::{Column, Missing};
use crate::error::DataError;
use crate::preprocessor::{Columns, Wanted};
use crate::split::Raw;

/// One row: its line from 1, its sample, the word of its class.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) raw: Raw,
    /// One a label column.
    pub(crate) label: Vec<Cell>,
}

/// What a label's column holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Cell {
    /// One word, empty where there is none.
    Word(String),
    /// A JSON list.
    List(Vec<String>),
}

/// How fields are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separated {
    /// By commas, quoted as RFC 4180 says.
    Comma,
    /// By tabs; a quote is a character like any other.
    Tab,
}

/// Rows of one file.
pub(crate) struct Rows<R> {
    path: PathBuf,
    reader: Reader<R>,
    record: ByteRecord,
    /// The first row, where it is data.
    pending: bool,
    width: usize,
    wanted: Cells,
    missing: Missing,
    label: Vec<usize>,
    failed: bool,
}

enum Cells {
    Text(usize),
    Pair(usize, usize),
    Row { numbers: Vec<usize>, categories: Vec<usize> },
}

impl<R: Read> Rows<R> {
    /// Reads the first row and finds the columns in it.
    pub(crate) fn new(
        input: R,
        path: &Path,
        kind: Separated,
        columns: &Columns,
        label: &[Column],
    ) -> Result<Self, DataError> {
        let mut builder = ReaderBuilder::new();
        // Lines end at `\n`, with or without a `\r` before it: the reader's own CRLF mode miscounts lines by one.
        builder.has_headers(false).flexible(true).terminator(Terminator::Any(b'\n'));
        match kind {
            Separated::Comma => builder.delimiter(b','),
            Separated::Tab => builder.delimiter(b'\t').quoting(false),
        };
        let mut reader = builder.from_reader(input);
        let mut record = ByteRecord::new();
        if !read(&mut reader, &mut record).map_err(|e| broken(path, &e))? {
            return Err(row(path, 1, "a first row", "an empty file", "give a file with rows"));
        }
        let names = match columns.header {
            true => Some(
                (0..record.len())
                    .map(|i| cell(path, &record, i).map(String::from))
                    .collect::<Result<Vec<_>, _>>()?,
            ),
            false => None,
        };
        let width = record.len();
        let find = |column: &Column| place(column, names.as_deref(), width, path);
        let wanted = match &columns.wanted {
            Wanted::Text(column) | Wanted::Image(column) => match &columns.pair {
                Some(second) => Cells::Pair(find(column)?, find(second)?),
                None => Cells::Text(find(column)?),
            },
            Wanted::Words { .. } => {
                let problem = "the cells of a CSV or TSV file hold no lists of words";
                return Err(DataError::config("tokens", problem, "give JSON Lines, or kind = \"conll\""));
            }
            Wanted::Features(numbers) => Cells::Row {
                numbers: numbers.iter().map(find).collect::<Result<_, _>>()?,
                categories: columns.categories.iter().map(find).collect::<Result<_, _>>()?,
            },
        };
        let label = label.iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.into(),
            reader,
            record,
            pending: names.is_none(),
            width,
            wanted,
            missing: columns.missing,
            label,
            failed: false,
        })
    }

    fn row(&self) -> Result<Row, DataError> {
        let line = line_of(&self.record);
        let (got, width) = (self.record.len(), self.width);
        if got != width {
            let remedy = "quote fields that hold the separator, or repair the row";
            return Err(row(
                &self.path,
                line,
                &format!("{width} columns, as in the first row"),
                &got.to_string(),
                remedy,
            ));
        }
        let text = |i: usize| cell(&self.path, &self.record, i);
        let raw = match &self.wanted {
            Cells::Text(i) => Raw::Text(text(*i)?.to_string()),
            Cells::Pair(a, b) => Raw::Pair(text(*a)?.to_string(), text(*b)?.to_string()),
            Cells::Row { numbers, categories } => Raw::Row {
                numbers: numbers.iter().map(|&i| self.number(line, i, text(i)?)).collect::<Result<_, _>>()?,
                categories: categories
                    .iter()
                    .map(|&i| text(i).map(|word| word.trim().to_string()))
                    .collect::<Result<_, _>>()?,
            },
        };
        let word = |&i: &usize| text(i).map(|word| Cell::Word(word.to_string()));
        let label = self.label.iter().map(word).collect::<Result<_, _>>()?;
        Ok(Row { line, raw, label })
    }

    /// A finite number; NaN for a missing one where that is allowed.
    fn number(&self, line: u64, column: usize, word: &str) -> Result<f32, DataError> {
        let missing = MISSING.contains(&word.trim().to_lowercase().as_str());
        if missing && self.missing == Missing::Mean {
            return Ok(f32::NAN);
        }
        let value = word.trim().parse::<f32>().ok().filter(|v| v.is_finite());
        value.ok_or_else(|| {
            let expected = format!("a finite number in column {column}");
            let remedy = match missing {
                true => "set data.table.missing = \"mean\", or drop the row",
                false => "repair the value, drop the row, or name the column in data.categories",
            };
            row(&self.path, line, &expected, &format!("\"{word}\""), remedy)
        })
    }
}

/// What stands for a missing number, in lower case.
pub(crate) const MISSING: [&str; 6] = ["", "na", "n/a", "nan", "null", "none"];

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if !std::mem::take(&mut self.pending) {
            match read(&mut self.reader, &mut self.record) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => {
                    self.failed = true;
                    return Some(Err(broken(&self.path, &e)));
                }
            }
        }
        Some(self.row())
    }
}

/// A label that is there.
pub(crate) fn labelled(path: &Path, line: u64, word: &str) -> Result<String, DataError> {
    if word.trim().is_empty() {
        let remedy = "label the row or remove it";
        return Err(row(path, line, "a label", "an unlabelled row", remedy));
    }
    Ok(word.to_string())
}

fn place(column: &Column, names: Option<&[String]>, width: usize, path: &Path) -> Result<usize, DataError> {
    let found = match (column, names) {
        (Column::Index(i), _) => Some(*i).filter(|i| *i < width),
        (Column::Name(name), Some(names)) => unique(name, names, path)?,
        (Column::Name(_), None) => None,
    };
    found.ok_or_else(|| absent(column, names, width, path))
}

/// The place of a name; a name that stands twice is refused.
fn unique(name: &str, names: &[String], path: &Path) -> Result<Option<usize>, DataError> {
    let mut places = names.iter().enumerate().filter(|(_, n)| *n == name).map(|(i, _)| i);
    let first = places.next();
    match places.next() {
        Some(_) => Err(row(
            path,
            1,
            &format!("one column \"{name}\""),
            "two of that name",
            "rename one, or give its place from 0",
        )),
        None => Ok(first),
    }
}

fn absent(column: &Column, names: Option<&[String]>, width: usize, path: &Path) -> DataError {
    let column = match column {
        Column::Index(i) => i.to_string(),
        Column::Name(name) => format!("\"{name}\""),
    };
    let there = match names {
        Some(names) => names.to_vec(),
        None => vec![format!("0 to {} (header = false: columns have no names)", width.saturating_sub(1))],
    };
    let similar = names.and_then(|names| nearest(column.trim_matches('"'), names));
    DataError::Column { path: path.into(), column, there, similar }
}

/// The most similar name, if any is similar.
pub(crate) fn nearest(word: &str, names: &[String]) -> Option<String> {
    let score = |name: &String| strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase());
    let best = names.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) > 0.7).then(|| best.clone())
}

pub(crate) fn cell<'a>(path: &Path, record: &'a ByteRecord, i: usize) -> Result<&'a str, DataError> {
    let bytes = record.get(i).unwrap_or_default();
    std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let got = format!("{:#04x} at byte {at} of column {i}", bytes.get(at).copied().unwrap_or_default());
        row(path, line_of(record), "UTF-8 text", &got, "convert the file to UTF-8")
    })
}

/// The next row that is not blank, without the `\r` of its line's end; false at the end of the file.
pub(crate) fn read<R: Read>(reader: &mut Reader<R>, record: &mut ByteRecord) -> Result<bool, csv::Error> {
    while reader.read_byte_record(record)? {
        let last = record.len() - 1;
        if let Some(cell) = record.get(last).and_then(|cell| cell.strip_suffix(b"\r")).map(<[u8]>::to_vec) {
            record.truncate(last);
            record.push_field(&cell);
        }
        if record.len() > 1 || record.get(0).is_some_and(|cell| !cell.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn line_of(record: &ByteRecord) -> u64 {
    record.position().map_or(1, csv::Position::line)
}

fn broken(path: &Path, error: &csv::Error) -> DataError {
    let line = error.position().map_or(1, csv::Position::line);
    let problem = format!("line {line} and what follows cannot be read: {error}");
    DataError::Unreadable { path: path.into(), problem, remedy: "check the file".into() }
}

/// A fault of one row.
pub(crate) fn row(path: &Path, line: u64, expected: &str, got: &str, remedy: &str) -> DataError {
    DataError::Row {
        path: path.into(),
        line,
        expected: expected.into(),
        got: got.into(),
        remedy: remedy.into(),
    }
}

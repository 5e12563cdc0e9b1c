//! A whole table in memory: texts or rows of numbers, and the word of each row's class.
//! Owns the rows; never parses (rows.rs and jsonl.rs do). Hands samples to `Split`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use kiln_core::TaskKind;

use super::jsonl::Objects;
use super::rows::{Row, Rows, Separated, row};
use super::{Source, class_index, only_classes};
use crate::config::Column;
use crate::error::DataError;
use crate::label::Label;
use crate::preprocessor::Columns;
use crate::split::Raw;

/// What a table's file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Separated(Separated),
    Jsonl,
}

/// Rows from a file or a stream.
pub(crate) type RowIter = Box<dyn Iterator<Item = Result<Row, DataError>> + Send>;

/// Rows of a stream that errors call `path`.
pub(crate) fn stream(
    input: impl Read + Send + 'static,
    path: &Path,
    format: Format,
    columns: &Columns,
    label: Option<&Column>,
) -> Result<RowIter, DataError> {
    Ok(match format {
        Format::Separated(kind) => Box::new(Rows::new(input, path, kind, columns, label)?),
        Format::Jsonl => Box::new(Objects::new(BufReader::new(input), path, columns, label)?),
    })
}

/// Rows of a file.
pub(crate) fn rows(
    path: &Path,
    format: Format,
    columns: &Columns,
    label: Option<&Column>,
) -> Result<RowIter, DataError> {
    let file = File::open(path).map_err(DataError::opening(path, "a table"))?;
    if path.is_dir() {
        return Err(DataError::Missing { path: path.into(), expected: "a table, not a folder".into() });
    }
    stream(file, path, format, columns, label)
}

/// One file, read whole.
#[derive(Debug)]
pub(crate) struct TableSource {
    path: PathBuf,
    lines: Vec<u64>,
    raws: Vec<Raw>,
    /// Distinct class words in order of appearance, and the place of each row's.
    words: Vec<String>,
    labels: Vec<usize>,
}

impl TableSource {
    pub(crate) fn open(
        path: &Path,
        format: Format,
        columns: &Columns,
        label: &Column,
    ) -> Result<Self, DataError> {
        let mut table =
            Self { path: path.into(), lines: vec![], raws: vec![], words: vec![], labels: vec![] };
        let mut known = std::collections::HashMap::new();
        for next in rows(path, format, columns, Some(label))? {
            let Row { line, raw, label } = next?;
            let word = label.unwrap_or_default();
            let place = *known.entry(word.clone()).or_insert(table.words.len());
            if place == table.words.len() {
                table.words.push(word);
            }
            table.lines.push(line);
            table.raws.push(raw);
            table.labels.push(place);
        }
        match table.raws.is_empty() {
            true => Err(row(path, 1, "at least one row", "none", "give a file with rows")),
            false => Ok(table),
        }
    }

    /// Columns and first row only.
    pub(crate) fn check(
        path: &Path,
        format: Format,
        columns: &Columns,
        label: &Column,
    ) -> Result<(), DataError> {
        match rows(path, format, columns, Some(label))?.next() {
            Some(first) => first.map(|_| ()),
            None => Err(row(path, 1, "at least one row", "none", "give a file with rows")),
        }
    }
}

impl Source for TableSource {
    fn len(&self) -> usize {
        self.raws.len()
    }

    fn name(&self, i: usize) -> String {
        format!("{}:{}", self.path.display(), self.lines[i])
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        Ok(self.raws[i].clone())
    }

    /// Sorted; by number where all are whole numbers.
    fn classes(&self) -> Vec<String> {
        let mut words = self.words.clone();
        let numbers: Option<Vec<i64>> = words.iter().map(|w| w.trim().parse().ok()).collect();
        match numbers {
            Some(_) => words.sort_by_key(|w| w.trim().parse::<i64>().unwrap_or_default()),
            None => words.sort(),
        }
        words
    }

    fn labels(&self, task: TaskKind, classes: &[String]) -> Result<Vec<Label>, DataError> {
        only_classes(task, || self.place())?;
        let first = |word: usize| self.labels.iter().position(|&w| w == word).unwrap_or_default();
        let index = |(k, word): (usize, &String)| class_index(word, classes, || self.name(first(k)));
        let map: Vec<usize> = self.words.iter().enumerate().map(index).collect::<Result<_, _>>()?;
        Ok(self.labels.iter().map(|&word| Label::Class(map[word])).collect())
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        match &self.raws[i] {
            Raw::Text(text) => hasher.update(text.as_bytes()),
            Raw::Row(values) => values.iter().fold(&mut hasher, |h, v| h.update(&v.to_le_bytes())),
            Raw::Image(image) => hasher.update(&image.pixels),
        };
        *hasher.finalize().as_bytes()
    }

    fn size(&self, _: usize) -> Result<Option<(usize, usize)>, DataError> {
        Ok(None)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

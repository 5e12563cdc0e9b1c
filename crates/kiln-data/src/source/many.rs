//! Labels of more than one word: several classes a row, and a tag for each word of a sentence.
//! Owns how cells become such labels, and their refusals with `file:line`; reads no file. The sources call it.

use std::collections::BTreeSet;
use std::path::Path;

use super::class_index;
use super::rows::{Cell, row};
use crate::error::DataError;
use crate::label::Label;

/// Where a label stands.
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    pub(crate) line: u64,
}

/// How a row says which of several classes apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Several {
    /// Between the classes of one cell.
    pub(crate) separator: Option<String>,
    /// The names of columns of 0 and 1, one a class; instead of one cell of names.
    pub(crate) flags: Option<Vec<String>>,
}

impl Several {
    /// Every class that the cells name. A separator that no cell holds is taken for a slip.
    pub(crate) fn classes(
        &self,
        cells: &[Cell],
        place: impl FnOnce() -> String,
    ) -> Result<Vec<String>, DataError> {
        if let Some(names) = &self.flags {
            return Ok(names.clone());
        }
        let lists = cells.iter().any(|cell| matches!(cell, Cell::List(_)));
        let separated = |separator: &str| {
            cells.iter().any(|cell| matches!(cell, Cell::Word(word) if word.contains(separator)))
        };
        match &self.separator {
            Some(separator) if !lists && !separated(separator) => {
                let problem = format!("no label of {} holds \"{separator}\"", place());
                let remedy =
                    "correct the separator, or name the classes in data.classes if no row has several";
                Err(DataError::config("label_separator", problem, remedy))
            }
            None if !lists => {
                let problem =
                    "one column of words, and nothing says what stands between the classes of a row";
                let remedy = "set label_separator, or list columns of 0 and 1: label = [\"a\", \"b\"]";
                Err(DataError::config("label", problem, remedy))
            }
            _ => Ok(cells.iter().flat_map(|cell| self.parts(cell)).collect()),
        }
    }

    /// 1 for each class of a row; a row may have none.
    pub(crate) fn label(
        &self,
        cells: &[&Cell],
        classes: &[String],
        place: &Place<'_>,
    ) -> Result<Label, DataError> {
        let mut hot = vec![0.0; classes.len()];
        let index = |word: &str| class_index(word, classes, || name(place));
        match &self.flags {
            Some(columns) => {
                for (cell, column) in cells.iter().zip(columns) {
                    hot[index(column)?] = flag(cell, column, place)?;
                }
            }
            None => {
                for word in cells.iter().flat_map(|cell| self.parts(cell)) {
                    hot[index(&word)?] = 1.0;
                }
            }
        }
        Ok(Label::MultiHot(hot))
    }

    /// The names in a cell, without blanks around them.
    fn parts(&self, cell: &Cell) -> Vec<String> {
        let words: Vec<&str> = match (cell, &self.separator) {
            (Cell::Word(word), Some(separator)) => word.split(separator.as_str()).collect(),
            (Cell::Word(word), None) => vec![word],
            (Cell::List(list), _) => list.iter().map(String::as_str).collect(),
        };
        words.into_iter().map(str::trim).filter(|word| !word.is_empty()).map(String::from).collect()
    }
}

/// 0 or 1.
fn flag(cell: &Cell, column: &str, place: &Place<'_>) -> Result<f32, DataError> {
    let word = match cell {
        Cell::Word(word) => word.trim().to_lowercase(),
        Cell::List(_) => "a list".into(),
    };
    match word.as_str() {
        "0" | "0.0" | "false" => Ok(0.0),
        "1" | "1.0" | "true" => Ok(1.0),
        _ => {
            let expected = format!("0 or 1 in \"{column}\"");
            Err(row(place.path, place.line, &expected, &format!("\"{word}\""), "repair the label"))
        }
    }
}

/// The tags of a sentence.
pub(crate) fn tags(cell: &Cell, classes: &[String], place: &Place<'_>) -> Result<Label, DataError> {
    let Cell::List(tags) = cell else {
        let remedy = "give one tag a word: [\"B-PER\", \"O\"]";
        return Err(row(place.path, place.line, "a list of tags", "a word", remedy));
    };
    let index = |tag: &String| class_index(tag, classes, || name(place));
    tags.iter().map(index).collect::<Result<_, _>>().map(Label::Tags)
}

fn name(place: &Place<'_>) -> String {
    format!("{}:{}", place.path.display(), place.line)
}

/// Each word of a cell.
pub(crate) fn items(cell: &Cell) -> Vec<String> {
    match cell {
        Cell::Word(word) => vec![word.clone()],
        Cell::List(list) => list.clone(),
    }
}

/// Once each, sorted; by number where all are whole numbers.
pub(crate) fn sorted(words: Vec<String>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    if words.iter().all(|word| word.trim().parse::<i64>().is_ok()) {
        words.sort_by_key(|word| word.trim().parse::<i64>().unwrap_or_default());
    }
    words
}

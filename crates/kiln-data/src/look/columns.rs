//! What the columns of a table hold: kinds of values, what is missing, how they are spread.
//! Owns the counting, in bounded memory; never guesses what a column is for (`init` does).

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;

use super::cells::{Cell, Sheet};
use super::samples::Range;
use crate::error::DataError;
use crate::source::table::Format;

/// Different values of a column that are told apart.
const DISTINCT: usize = 10_000;
/// Numbers that are kept for the median and the bars: the first ones.
const KEPT: usize = 500_000;
/// Values that are named.
const TOP: usize = 10;
/// Bars of numbers.
const BARS: usize = 20;

/// A column of a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnStats {
    /// As the header calls it, or its place from 0; behind `sources.N: ` where it is one of several sources'.
    pub name: String,
    /// `numbers`, `words` (few different values), `text`, `lists`, `images`, `mixed` or `empty`.
    pub kind: &'static str,
    /// Rows without a value; of numbers also `NA`, `null` and their like. `None` where that was not read (images).
    pub missing: Option<usize>,
    /// How many different values; `None` where there are more than 10,000 or nobody counted.
    pub distinct: Option<usize>,
    /// Of numbers; median and bars of the first 500,000.
    pub range: Option<Range>,
    /// The most frequent values, where there are few.
    pub top: Vec<(String, usize)>,
    /// How numbers are spread.
    pub bars: Option<Bars>,
}

/// Counts of numbers between equally wide borders.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bars {
    /// Left border of the first bar.
    pub from: f64,
    /// Right border of the last.
    pub to: f64,
    /// Numbers in each; a border belongs to the bar at its right, the last one to the last bar.
    pub counts: Vec<usize>,
}

impl Bars {
    /// `None` of no numbers.
    pub(crate) fn of(numbers: &[f64], bars: usize) -> Option<Self> {
        let from = numbers.iter().copied().min_by(f64::total_cmp)?;
        let to = numbers.iter().copied().max_by(f64::total_cmp)?;
        let width = (to - from) / bars as f64;
        let mut counts = vec![0; if width > 0.0 { bars } else { 1 }];
        for x in numbers {
            let place = if width > 0.0 { ((x - from) / width) as usize } else { 0 };
            let last = counts.len() - 1;
            counts[place.min(last)] += 1;
        }
        Some(Self { from, to, counts })
    }
}

/// What was counted of a column.
#[derive(Debug, Default, Clone)]
pub(crate) struct Profile {
    pub(crate) name: String,
    /// Rows that were read.
    pub(crate) rows: usize,
    pub(crate) missing: usize,
    /// Cells such as `NA`, also counted as texts.
    pub(crate) nothing_words: usize,
    pub(crate) numbers: usize,
    /// Numbers without a fraction.
    pub(crate) whole: usize,
    /// Numbers that are text in the file (CSV).
    pub(crate) texts: usize,
    pub(crate) classes: usize,
    pub(crate) lists: usize,
    pub(crate) opaque: usize,
    pub(crate) images: usize,
    /// Different values with their counts; empty when there were too many.
    pub(crate) values: HashMap<String, usize>,
    pub(crate) many: bool,
    /// Blank-separated words of all texts.
    pub(crate) words: usize,
    kept: Vec<f64>,
    /// Words of each text, of the first ones.
    lengths: Vec<u32>,
}

impl Profile {
    fn add(&mut self, cell: &Cell) {
        self.rows += 1;
        match cell {
            Cell::Missing => self.missing += 1,
            Cell::Opaque { image } => {
                self.opaque += 1;
                self.images += usize::from(*image);
            }
            Cell::List(_) => self.lists += 1,
            Cell::Class(_) => self.classes += 1,
            Cell::Text(_) | Cell::Number(_) => {
                self.nothing_words += usize::from(cell.stands_for_nothing());
                match cell.number() {
                    Some(x) => {
                        self.numbers += 1;
                        self.whole += usize::from(x.fract() == 0.0);
                        if self.kept.len() < KEPT {
                            self.kept.push(x);
                        }
                    }
                    None => self.texts += 1,
                }
            }
        }
        if let Cell::Text(text) = cell {
            let words = text.split_whitespace().count();
            self.words += words;
            if self.lengths.len() < KEPT {
                self.lengths.push(words as u32);
            }
        }
        if !self.many && !matches!(cell, Cell::Missing | Cell::Opaque { .. } | Cell::List(_)) {
            *self.values.entry(cell.word()).or_default() += 1;
            self.many = self.values.len() > DISTINCT;
            if self.many {
                self.values = HashMap::new();
            }
        }
    }

    /// Rows with a value.
    pub(crate) fn there(&self) -> usize {
        self.rows - self.missing
    }

    /// Whether all values are numbers, or words that stand for none.
    pub(crate) fn numeric(&self) -> bool {
        self.numbers > 0
            && self.numbers + self.nothing_words == self.there()
            && self.texts == self.nothing_words
    }

    /// Blank-separated words of a text, in the mean.
    pub(crate) fn mean_words(&self) -> f64 {
        self.words as f64 / (self.there().max(1)) as f64
    }

    /// Words that 99 of 100 texts do not exceed.
    pub(crate) fn long_words(&self) -> usize {
        let mut lengths = self.lengths.clone();
        lengths.sort_unstable();
        let place = (lengths.len() * 99).div_ceil(100).saturating_sub(1);
        lengths.get(place).map_or(0, |n| *n as usize)
    }

    /// The word for what it holds.
    pub(crate) fn kind(&self) -> &'static str {
        let there = self.there();
        match () {
            () if there == 0 => "empty",
            () if self.opaque > 0 => {
                if self.images > 0 {
                    "images"
                } else {
                    "mixed"
                }
            }
            () if self.lists == there => "lists",
            () if self.lists > 0 => "mixed",
            () if self.classes == there => "words",
            () if self.numeric() => "numbers",
            () if self.many || self.mean_words() > 4.0 => "text",
            () if self.values.len() > 100.max(there / 5) => "text",
            () => "words",
        }
    }

    pub(crate) fn stats(&self) -> ColumnStats {
        let kind = self.kind();
        let mut top: Vec<(String, usize)> = match kind {
            "words" => self.values.iter().map(|(value, n)| (value.clone(), *n)).collect(),
            _ => Vec::new(),
        };
        top.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        top.truncate(TOP);
        let numeric = kind == "numbers";
        let missing = self.missing + if numeric { self.nothing_words } else { 0 };
        let counted = !self.many && self.lists + self.opaque == 0;
        ColumnStats {
            name: self.name.clone(),
            kind,
            missing: (self.opaque == 0).then_some(missing),
            distinct: counted.then_some(self.values.len()),
            range: numeric.then(|| Range::of(self.kept.clone())).flatten(),
            top,
            bars: numeric.then(|| Bars::of(&self.kept, BARS)).flatten(),
        }
    }
}

/// The columns of some files of one table, and whether all rows were read: at most `limit`.
pub(crate) fn profile(
    files: &[PathBuf],
    format: Format,
    header: bool,
    limit: usize,
) -> Result<(Vec<Profile>, bool), DataError> {
    let mut columns: Vec<Profile> = Vec::new();
    let mut rows = 0;
    for file in files {
        let mut sheet = Sheet::open(file, format, header)?;
        while let Some(cells) = sheet.next()? {
            if rows == limit {
                return Ok((columns, false));
            }
            for (k, cell) in cells.iter().enumerate() {
                let name = &sheet.names[k];
                let place = columns.get(k).filter(|c| &c.name == name).map(|_| k);
                let place = place.or_else(|| columns.iter().position(|c| &c.name == name));
                let place = place.unwrap_or_else(|| {
                    // A key that no row had before was missing in all of them.
                    columns.push(Profile { name: name.clone(), rows, missing: rows, ..Profile::default() });
                    columns.len() - 1
                });
                columns[place].add(cell);
            }
            rows += 1;
            // A key that this row has not.
            columns.iter_mut().filter(|c| c.rows < rows).for_each(|c| c.add(&Cell::Missing));
        }
    }
    Ok((columns, true))
}

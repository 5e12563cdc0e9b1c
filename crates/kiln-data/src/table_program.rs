//! Rows of numbers and categories to a model's input: numbers scaled, categories to indices.
//! Owns what was fitted on the training rows, and its form on disk; never parses a file. Hands features to the loader.
//!
//! A category's index is its place among the sorted training values plus one; 0 is for a value that no training row
//! has, and for a missing one. A column of numbers that is constant in training becomes 0 there, and is not divided.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::batch::Features;
use crate::config::{Missing, Numeric, TableData};
use crate::error::DataError;
use crate::label::Label;
use crate::preprocessor::Columns;
use crate::split::{Raw, Split};

/// A column's mean and standard deviation (of the population; 1 where the column is constant).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Mean.
    pub mean: f32,
    /// Standard deviation.
    pub std: f32,
}

impl Scale {
    /// `(x - mean) / std`, computed in double precision.
    pub fn apply(self, x: f32) -> f32 {
        ((f64::from(x) - f64::from(self.mean)) / f64::from(self.std)) as f32
    }

    /// `x * std + mean`, computed in double precision.
    pub fn undo(self, x: f32) -> f32 {
        (f64::from(x) * f64::from(self.std) + f64::from(self.mean)) as f32
    }

    /// Of numbers, NaN left out; `None` of none.
    fn of(numbers: impl Iterator<Item = f32> + Clone) -> Option<Self> {
        let there = || numbers.clone().filter(|x| !x.is_nan()).map(f64::from);
        let n = there().count() as f64;
        if n == 0.0 {
            return None;
        }
        let mean = there().sum::<f64>() / n;
        let std = (there().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt() as f32;
        let constant = there().all(|x| Some(x) == there().next());
        Some(Self { mean: mean as f32, std: if constant || std == 0.0 { 1.0 } else { std } })
    }
}

/// How rows become numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableProgram {
    pub(crate) columns: Columns,
    /// Whether numbers are scaled; their means fill in for missing ones anyway.
    #[serde(default)]
    numeric: Numeric,
    /// One a column of numbers; none where they are left as they are.
    #[serde(default)]
    scales: Vec<Scale>,
    /// Values of each column of categories, sorted.
    #[serde(default)]
    categories: Vec<Vec<String>>,
}

impl TableProgram {
    /// Learns scales and categories from the training rows; without rows (in a check) there is nothing to learn.
    pub(crate) fn fit(columns: Columns, config: &TableData, rows: Option<&Split>) -> Result<Self, DataError> {
        let numeric = config.table.numeric;
        let (scales, categories) = (Vec::new(), vec![Vec::new(); columns.categories.len()]);
        let mut program = Self { columns, numeric, scales, categories };
        let Some(split) = rows else { return Ok(program) };
        let rows = split.usable().collect::<Result<Vec<_>, _>>()?;
        if numeric == Numeric::Standard || config.table.missing == Missing::Mean {
            program.scales =
                (0..program.columns.features()).map(|k| scale(&rows, k)).collect::<Result<_, _>>()?;
        }
        program.categories = (0..program.columns.categories.len()).map(|k| values(&rows, k)).collect();
        Ok(program)
    }

    /// Values that each column of categories may have, the unknown one included.
    pub(crate) fn cardinalities(&self) -> Vec<usize> {
        self.categories.iter().map(|values| values.len() + 1).collect()
    }

    /// One row; `None` where it has another number of columns.
    pub(crate) fn run(
        &self,
        numbers: &[f32],
        words: &[String],
        name: &str,
    ) -> Option<Result<Features, DataError>> {
        if numbers.len() != self.columns.features() || words.len() != self.categories.len() {
            return None;
        }
        let number = |(k, x): (usize, &f32)| self.number(k, *x).ok_or_else(|| missing(name, k));
        let index = |(values, word): (&Vec<String>, &String)| {
            values.binary_search(word).map_or(0, |place| place as u32 + 1)
        };
        let categories = self.categories.iter().zip(words).map(index).collect();
        let numbers = numbers.iter().enumerate().map(number).collect::<Result<_, _>>();
        Some(numbers.map(|numbers| Features::Row { numbers, categories }))
    }

    fn number(&self, k: usize, x: f32) -> Option<f32> {
        let scale = self.scales.get(k);
        let x = if x.is_nan() { scale.filter(|_| self.columns.missing == Missing::Mean)?.mean } else { x };
        Some(match scale.filter(|_| self.numeric == Numeric::Standard) {
            Some(scale) => scale.apply(x),
            None => x,
        })
    }
}

fn scale(rows: &[Raw], k: usize) -> Result<Scale, DataError> {
    let cell = |row: &Raw| match row {
        Raw::Row { numbers, .. } => numbers.get(k).copied().unwrap_or(f32::NAN),
        _ => f32::NAN,
    };
    Scale::of(rows.iter().map(cell)).ok_or_else(|| {
        let problem = "no training row has a number there";
        DataError::config(&format!("features.{k}"), problem, "leave the column out")
    })
}

fn values(rows: &[Raw], k: usize) -> Vec<String> {
    let word = |row: &Raw| match row {
        Raw::Row { categories, .. } => categories.get(k).filter(|word| !word.is_empty()).cloned(),
        _ => None,
    };
    rows.iter().filter_map(word).collect::<BTreeSet<_>>().into_iter().collect()
}

fn missing(name: &str, k: usize) -> DataError {
    DataError::Kind {
        place: name.into(),
        expected: "a number in every column",
        got: format!("none in feature {k}"),
    }
}

/// The scale of each number to learn; one that all training rows share teaches nothing and is refused.
pub(crate) fn targets(split: &Split, names: &[String]) -> Result<Vec<Scale>, DataError> {
    let label = |i: usize, k: usize| match split.label(i) {
        Label::Values(values) => values.get(k).copied().unwrap_or(f32::NAN),
        _ => f32::NAN,
    };
    let column = |(k, name): (usize, &String)| {
        let mut numbers = (0..split.len()).map(|i| label(i, k));
        let first = numbers.next().unwrap_or(f32::NAN);
        if split.len() > 1 && numbers.all(|x| x == first) {
            let problem = format!("\"{name}\" is {first} in all {} training rows", split.len());
            return Err(DataError::config(
                "label",
                problem,
                "there is nothing to learn: name another column",
            ));
        }
        Ok(Scale::of((0..split.len()).map(|i| label(i, k))).unwrap_or(Scale { mean: 0.0, std: 1.0 }))
    };
    names.iter().enumerate().map(column).collect()
}

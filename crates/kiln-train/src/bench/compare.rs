//! Two files of results side by side: which rows got slower by more than noise.
//! Owns the rule: a row is slower where its median grew by more than the share allowed and the confidence intervals of
//! the two medians do not meet.

use super::results::Results;
use super::row::{Key, Measured, Row};
use super::stats::Timing;

/// A row that both files have.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which.
    pub key: Key,
    /// `train` or `infer`; `status` where a row has lost its numbers.
    pub what: &'static str,
    /// Median milliseconds in the first file, and in the second.
    pub ms: Option<[f64; 2]>,
    /// How much larger the second is, as a share of the first.
    pub growth: Option<f64>,
    /// Whether it fails the comparison.
    pub slower: bool,
}

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Rows of both files, those left out that the first has no numbers of.
    pub both: Vec<Difference>,
    /// Rows of one file only: the key and which file has it.
    pub alone: Vec<(Key, &'static str)>,
}

impl Comparison {
    /// Whether any row got slower by more than allowed.
    pub fn fails(&self) -> bool {
        self.both.iter().any(|difference| difference.slower)
    }
}

/// Compares two files; `allowed` is a share of the first's median. Where a file has a row more than once, the last counts.
pub fn compare(first: &Results, second: &Results, allowed: f64) -> Comparison {
    let find = |rows: &[Row], key: &Key| rows.iter().rev().find(|row| row.key == *key).cloned();
    let mut keys: Vec<Key> = first.rows.iter().map(|row| row.key.clone()).collect();
    keys.sort();
    keys.dedup();
    let mut comparison = Comparison { both: Vec::new(), alone: Vec::new() };
    for key in keys {
        match (find(&first.rows, &key), find(&second.rows, &key)) {
            (Some(a), Some(b)) => comparison.both.extend(differences(&key, &a, &b, allowed)),
            _ => comparison.alone.push((key, "the first file")),
        }
    }
    for row in &second.rows {
        if find(&first.rows, &row.key).is_none() {
            comparison.alone.push((row.key.clone(), "the second file"));
        }
    }
    comparison
}

fn differences(key: &Key, a: &Row, b: &Row, allowed: f64) -> Vec<Difference> {
    match (&a.measured, &b.measured) {
        (Some(a), Some(b)) => [("train", train as fn(&Measured) -> &Timing), ("infer", infer)]
            .map(|(what, of)| difference(key, what, of(a), of(b), allowed))
            .into(),
        (Some(_), None) => {
            vec![Difference { key: key.clone(), what: "status", ms: None, growth: None, slower: true }]
        }
        (None, _) => Vec::new(),
    }
}

fn train(measured: &Measured) -> &Timing {
    &measured.train
}

fn infer(measured: &Measured) -> &Timing {
    &measured.infer
}

fn difference(key: &Key, what: &'static str, a: &Timing, b: &Timing, allowed: f64) -> Difference {
    let growth = b.p50_ms / a.p50_ms - 1.0;
    let slower = growth > allowed && b.p50_low_ms > a.p50_high_ms;
    Difference { key: key.clone(), what, ms: Some([a.p50_ms, b.p50_ms]), growth: Some(growth), slower }
}

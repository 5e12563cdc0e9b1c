//! Answers as a table: which columns they have, and each answer's cells.
//! Owns the way from nested JSON to columns, which is that of `pandas.json_normalize`: `probabilities.cat`. Writes no file.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Integer,
    Real,
    /// Lists of numbers.
    Numbers,
    /// Strings, and whatever else there is as JSON.
    Text,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Kind::Bool),
            Value::Number(number) if number.is_i64() => Some(Kind::Integer),
            Value::Number(_) => Some(Kind::Real),
            Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_number) => {
                Some(Kind::Numbers)
            }
            Value::String(_) | Value::Array(_) | Value::Object(_) => Some(Kind::Text),
        }
    }

    /// The kind that holds both.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Kind::Integer, Kind::Real) | (Kind::Real, Kind::Integer) => Kind::Real,
            _ => Kind::Text,
        }
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// The columns of all answers, in order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct Columns {
    list: Vec<(String, Option<Kind>)>,
    places: HashMap<String, usize>,
}

impl Columns {
    pub(super) fn of<'a>(lines: impl Iterator<Item = &'a Map<String, Value>>) -> Self {
        let mut columns = Self::default();
        lines.for_each(|line| columns.see(line));
        columns
    }

    /// Takes in the columns of a further answer.
    pub(super) fn see(&mut self, line: &Map<String, Value>) {
        each(line, &mut |name, value| {
            let at = match self.places.get(name) {
                Some(&at) => at,
                None => {
                    self.places.insert(name.into(), self.list.len());
                    self.list.push((name.into(), None));
                    self.list.len() - 1
                }
            };
            let kind = &mut self.list[at].1;
            *kind = match (*kind, Kind::of(value)) {
                (Some(a), Some(b)) => Some(a.with(b)),
                (a, b) => a.or(b),
            };
        });
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The columns; one that never held anything is of text.
    pub(super) fn list(&self) -> Vec<Column> {
        let column = |(name, kind): &(String, Option<Kind>)| Column {
            name: name.clone(),
            kind: kind.unwrap_or(Kind::Text),
        };
        self.list.iter().map(column).collect()
    }

    /// An answer's cells, by column; `Null` where it has none.
    pub(super) fn cells(&self, line: &Map<String, Value>) -> Vec<Value> {
        let mut cells = vec![Value::Null; self.list.len()];
        each(line, &mut |name, value| {
            if let Some(&at) = self.places.get(name) {
                cells[at] = value.clone();
            }
        });
        cells
    }
}

/// Every leaf of an answer with its dotted name. Lists are leaves.
fn each(line: &Map<String, Value>, see: &mut dyn FnMut(&str, &Value)) {
    fn walk(prefix: &str, fields: &Map<String, Value>, see: &mut dyn FnMut(&str, &Value)) {
        for (key, value) in fields {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Object(inner) => walk(&name, inner, see),
                value => see(&name, value),
            }
        }
    }
    walk("", line, see);
}

/// A cell as text: a string as it is, anything else as JSON; `None` for a missing one.
pub(super) fn text(cell: &Value) -> Option<String> {
    match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

//! Which columns of a table make a sample.
//! Owns the form that is stored with a model; finds no column in a file (the sources do).

use serde::{Deserialize, Serialize};

use crate::config::{Column, Missing};

/// Which columns of a table hold the sample, and whether its first row names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Columns {
    pub(crate) header: bool,
    pub(crate) wanted: Wanted,
    /// Beside `features`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) categories: Vec<Column>,
    /// Beside `text`: the second text of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pair: Option<Column>,
    /// What a missing number is.
    #[serde(default)]
    pub(crate) missing: Missing,
}

/// The columns that make one sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    Text(Column),
    Image(Column),
    Features(Vec<Column>),
    /// The key of a list of words (JSON Lines), and their column in a CoNLL file.
    Words {
        tokens: Column,
        token_column: i64,
    },
}

impl Columns {
    /// Of a table with a column of prompts, called `text`.
    pub(crate) fn text() -> Self {
        let wanted = Wanted::Text(Column::Name("text".into()));
        Self { header: true, wanted, pair: None, categories: Vec::new(), missing: Missing::default() }
    }

    /// The same columns under other names.
    pub(crate) fn renamed(&self, name: impl Fn(&Column) -> Column) -> Self {
        let wanted = match &self.wanted {
            Wanted::Text(column) => Wanted::Text(name(column)),
            Wanted::Image(column) => Wanted::Image(name(column)),
            Wanted::Features(columns) => Wanted::Features(columns.iter().map(&name).collect()),
            Wanted::Words { tokens, token_column } => {
                Wanted::Words { tokens: name(tokens), token_column: *token_column }
            }
        };
        let categories = self.categories.iter().map(&name).collect();
        Self { header: true, wanted, categories, pair: self.pair.as_ref().map(&name), missing: self.missing }
    }

    /// Every column that the model reads.
    pub(crate) fn inputs(&self) -> Vec<&Column> {
        match &self.wanted {
            Wanted::Text(column) | Wanted::Image(column) | Wanted::Words { tokens: column, .. } => {
                std::iter::once(column).chain(&self.pair).collect()
            }
            Wanted::Features(numbers) => numbers.iter().chain(&self.categories).collect(),
        }
    }

    /// `F`, or 0 for texts and images.
    pub(crate) fn features(&self) -> usize {
        match &self.wanted {
            Wanted::Text(_) | Wanted::Image(_) | Wanted::Words { .. } => 0,
            Wanted::Features(columns) => columns.len(),
        }
    }
}

//! What data there is and what can be learned from it, guessed by looking: for a config that nobody has written yet.
//! Owns the guesses about data, each of them said; never chooses a model (kiln-train does) and writes nothing.

mod folder;
mod roles;
mod table;

use std::path::{Path, PathBuf};

use kiln_core::TaskKind;

use crate::error::DataError;

/// What somebody has already said; the rest is guessed around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The label's column.
    pub label: Option<String>,
    /// The column of text.
    pub text: Option<String>,
    /// What is to be learned.
    pub task: Option<TaskKind>,
}

/// A guess at a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    /// `[data] kind`.
    pub kind: &'static str,
    /// `path`, or `train`, `validation` and `test`, with their paths.
    pub places: Vec<(&'static str, PathBuf)>,
    /// Whether train, validation and test have samples of their own.
    pub splits: [bool; 3],
    /// What is learned.
    pub task: TaskKind,
    /// What the model reads.
    pub inputs: SketchInputs,
    /// The label's column, of a table.
    pub label: Option<String>,
    /// Names of the classes in order, as far as they were seen; empty for a regression.
    pub classes: Vec<String>,
    /// Training samples that were counted.
    pub samples: usize,
    /// Samples of the rarest class that was seen.
    pub rarest: Option<usize>,
    /// Whether the first row names the columns.
    pub header: bool,
    /// Whether numbers are missing.
    pub missing: bool,
    /// What was seen, guessed or left out, a sentence each.
    pub notes: Vec<String>,
}

/// What a model reads of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum SketchInputs {
    /// Images.
    Images {
        /// The column of a table.
        column: Option<String>,
        /// `(H, W)` where all that were looked at have one size.
        one_size: Option<(usize, usize)>,
        /// The middle one of the shorter sides.
        side: usize,
        /// Whether all that were looked at are grey.
        grey: bool,
    },
    /// Texts.
    Text {
        /// The column.
        column: String,
        /// The column of the second text.
        pair: Option<String>,
        /// Tokens that 99 of 100 texts do not exceed, estimated from their words.
        max_length: usize,
    },
    /// Columns of a table.
    Columns {
        /// Numbers.
        features: Vec<String>,
        /// Categories.
        categories: Vec<String>,
    },
}

/// Looks at a file or folder.
///
/// # Errors
/// Nothing that kiln can read, files that are damaged, or a table that does not say what is to be learned: with what was
/// found and what to do.
pub fn sketch(data: &Path, wish: &Wish) -> Result<Sketch, DataError> {
    let meta = std::fs::metadata(data).map_err(DataError::opening(data, "a file or folder of data"))?;
    let sketch = if meta.is_dir() { folder::folder(data, wish)? } else { folder::file(data, wish)? };
    if sketch.samples == 0 {
        return Err(DataError::TooFew {
            place: data.display().to_string(),
            of: "to learn from".into(),
            needed: 1,
            got: 0,
        });
    }
    Ok(sketch)
}

/// A refusal that says what was found.
fn refused(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> DataError {
    DataError::Folder { path: path.into(), problem: problem.into(), remedy: remedy.into() }
}

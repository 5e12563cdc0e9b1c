//! Everything that can be wrong with data: where it is, what was expected, what was found, what to do.
//! Owns the wording; never prints it. Every part of this room returns it, kiln-cli shows it.

use std::path::PathBuf;

use kiln_core::exit::Exit;
use kiln_core::files::FileError;

/// A fault of the data, or of the `[data]` table that describes it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system could not read or write.
    #[error(transparent)]
    File(#[from] FileError),
    /// Keys of `[data]` that do not fit each other or the data.
    #[error("data.{field}: {problem}")]
    Config {
        /// Key below `data`, dotted.
        field: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A path that is not there.
    #[error("{}: not found, expected {expected}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// A folder of images that is not laid out as one folder per class.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// An image that cannot be used.
    #[error("{name}: expected {expected}, got {got}")]
    Image {
        /// The image's path, or `file:row`.
        name: String,
        /// What was expected.
        expected: String,
        /// What was found.
        got: String,
        /// What to do.
        remedy: String,
    },
    /// A byte of a binary file that is not what the format says.
    #[error("{}: byte {offset}: expected {expected}, got {got}", path.display())]
    Bytes {
        /// The file.
        path: PathBuf,
        /// Place from 0, after decompression.
        offset: usize,
        /// What was expected.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A row of a table that cannot be used.
    #[error("{}:{line}: expected {expected}, got {got}", path.display())]
    Row {
        /// The table.
        path: PathBuf,
        /// Line, or row of a Parquet file, from 1.
        line: u64,
        /// What was expected.
        expected: String,
        /// What was found.
        got: String,
        /// What to do.
        remedy: String,
    },
    /// A column that the table does not have.
    #[error("{}: no column {column}; the columns are {}", path.display(), there.join(", "))]
    Column {
        /// The table.
        path: PathBuf,
        /// The name or place asked for.
        column: String,
        /// The names there, or how many columns.
        there: Vec<String>,
        /// The nearest name.
        similar: Option<String>,
    },
    /// A class that the model or the training data does not have.
    #[error("{place}: class \"{class}\" is not one of the {} known classes ({})", known.len(), few(known))]
    Class {
        /// `file:row`, or the class's folder.
        place: String,
        /// The class found.
        class: String,
        /// The classes known.
        known: Vec<String>,
    },
    /// A class with too few samples to be split, or a split with none.
    #[error("{place}: expected at least {needed} samples {of}, got {got}")]
    TooFew {
        /// The file or folder.
        place: String,
        /// Of which class or split.
        of: String,
        /// How many are needed.
        needed: usize,
        /// How many there are.
        got: usize,
    },
    /// A file that is not what its kind says, or not what its siblings are.
    #[error("{}: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A `tokenizer.json` that cannot be used.
    #[error("{}: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A text that the tokenizer refuses.
    #[error("cannot tokenize: {problem}")]
    Text {
        /// What the tokenizer said.
        problem: String,
    },
    /// A model folder whose preprocessing cannot be read.
    #[error("{}: {problem}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Data of one kind given to a model of another.
    #[error("{place}: expected {expected}, got {got}")]
    Kind {
        /// The input's name.
        place: String,
        /// The kind the model reads.
        expected: &'static str,
        /// The kind it was given.
        got: String,
    },
    /// A decoder failed on a sample in a way that is a defect of kiln or of a library below it.
    #[error("{name}: preparing this sample crashed: {message}")]
    Crashed {
        /// The sample.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// More samples cannot be used than the config allows.
    #[error("{bad} of {total} samples cannot be used, {allowed} are allowed; the last: {last}")]
    TooManyBad {
        /// Samples left out.
        bad: usize,
        /// Samples of the split.
        total: usize,
        /// How many may be left out.
        allowed: usize,
        /// The one that was too many, with its fault.
        last: String,
    },
    /// The system refused a thread.
    #[error("cannot start a loader thread: {0}")]
    Thread(std::io::Error),
}

impl DataError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            DataError::File(e) => e.hint(),
            DataError::Config { remedy, .. }
            | DataError::Folder { remedy, .. }
            | DataError::Unreadable { remedy, .. }
            | DataError::Image { remedy, .. }
            | DataError::Row { remedy, .. }
            | DataError::Tokenizer { remedy, .. } => Some(remedy.clone()),
            DataError::Missing { .. } => {
                Some("check the path; relative paths start at the config's folder".into())
            }
            DataError::Bytes { .. } => {
                Some("the file is damaged or of another format: fetch it again".into())
            }
            DataError::Column { similar: Some(name), .. } => Some(format!("did you mean \"{name}\"?")),
            DataError::Column { .. } => Some("name a column of the file, or its place from 0".into()),
            DataError::Class { .. } => {
                Some("correct the label, or list every class in data.classes before training".into())
            }
            DataError::TooFew { .. } => {
                Some("add samples, drop the class, or give the splits as files".into())
            }
            DataError::Program { .. } => Some("export the model again with kiln".into()),
            DataError::Crashed { .. } => Some("convert or remove this file, and please report it".into()),
            DataError::TooManyBad { .. } => {
                Some("repair or remove them, or raise data.loader.max_bad_fraction".into())
            }
            DataError::Thread(_) => Some("lower data.loader.workers".into()),
            DataError::Kind { .. } | DataError::Text { .. } => None,
        }
    }

    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            DataError::File(_) | DataError::Thread(_) => Exit::Io,
            DataError::Config { .. } => Exit::Usage,
            _ => Exit::Data,
        }
    }

    /// Whether it is a fault of one sample, without which the others can be used.
    pub(crate) fn is_of_one_sample(&self) -> bool {
        matches!(
            self,
            DataError::Image { .. }
                | DataError::Missing { .. }
                | DataError::Row { .. }
                | DataError::Text { .. }
                | DataError::Kind { .. }
                | DataError::Crashed { .. }
        )
    }

    /// For faults between keys of `[data]`.
    pub(crate) fn config(field: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        DataError::Config { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Opens a file that must not be a folder.
    pub(crate) fn open(path: &std::path::Path, expected: &str) -> Result<std::fs::File, Self> {
        if path.is_dir() {
            return Err(DataError::Missing {
                path: path.into(),
                expected: format!("{expected}, not a folder"),
            });
        }
        std::fs::File::open(path).map_err(Self::opening(path, expected))
    }

    /// For a path that could not be opened: absent, or refused by the system.
    pub(crate) fn opening(path: &std::path::Path, expected: &str) -> impl FnOnce(std::io::Error) -> Self {
        let (path, expected) = (path.to_path_buf(), expected.to_string());
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                DataError::Missing { path, expected }
            }
            _ => DataError::File(FileError { path, action: "read", source }),
        }
    }
}

/// At most eight names.
fn few(names: &[String]) -> String {
    let shown = names.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown}, ...") } else { shown }
}

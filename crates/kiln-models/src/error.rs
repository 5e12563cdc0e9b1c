//! What can go wrong between a config, a folder of weights and a net.
//! Owns the words, the remedies and the exit code of each fault; never prints.
//! The command shows them.

use std::path::PathBuf;

use kiln_core::files::FileError;
use kiln_core::{Exit, LoadReport};

use crate::weights::WeightsError;

/// A model could not be built, opened or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The config asks for something that cannot be, or that disagrees with the data or the weights.
    #[error("{message}")]
    Config {
        /// What disagrees with what.
        message: String,
        /// What to change.
        remedy: String,
    },
    /// A `config.json` that cannot be used.
    #[error("{}: {message}", path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and column where it is not JSON.
        message: String,
        /// What to change.
        remedy: String,
    },
    /// The weights do not fit the net.
    #[error("{}: the weights do not fit the model: {report}", path.display())]
    Weights {
        /// The file or folder.
        path: PathBuf,
        /// Every tensor's fate.
        report: Box<LoadReport>,
        /// What to change.
        remedy: String,
    },
    /// The weights cannot be read.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] FileError),
}

impl ModelError {
    pub(crate) fn config(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        ModelError::Config { message: message.into(), remedy: remedy.into() }
    }

    /// The fault with the file it was found in, where it does not name one.
    pub(crate) fn at(self, path: &std::path::Path) -> Self {
        match self {
            ModelError::Config { message, remedy } => {
                ModelError::Card { path: path.to_path_buf(), message, remedy }
            }
            other => other,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ModelError::Config { remedy, .. }
            | ModelError::Card { remedy, .. }
            | ModelError::Weights { remedy, .. } => Some(remedy.clone()),
            ModelError::File(error) => error.hint(),
            ModelError::Io(error) => error.hint(),
        }
    }

    /// The exit code of the command.
    pub fn exit(&self) -> Exit {
        match self {
            ModelError::Config { .. } => Exit::Usage,
            ModelError::Card { .. } | ModelError::Weights { .. } => Exit::Data,
            ModelError::File(WeightsError::Io(_)) | ModelError::Io(_) => Exit::Io,
            ModelError::File(_) => Exit::Data,
        }
    }
}

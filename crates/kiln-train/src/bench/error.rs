//! Why a row has no numbers, or a file of results none that can be read.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_core::Precision;
use kiln_core::device::DeviceError;
use kiln_core::files::FileError;
use kiln_models::{ModelError, WeightsError};

use crate::error::TrainError;

/// Why something could not be measured or compared.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The config, its data or its model fail as they would in a run.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A precision in which the config cannot train.
    #[error("precision {asked}: not one that kiln knows")]
    Precision {
        /// What was asked for.
        asked: String,
    },
    /// The data cannot fill the batch.
    #[error("batch_size {asked}: the data fill a batch of {got} samples only")]
    Batch {
        /// What was asked for.
        asked: usize,
        /// The first batch.
        got: usize,
    },
    /// No step was to be measured.
    #[error("no step to measure: `steps` and `seconds` are 0")]
    NoSteps,
    /// `--check-loss` found no learning.
    #[error("the loss went from {first} to {last}: expected a finite loss below the first")]
    Loss {
        /// Of the first step.
        first: f32,
        /// Of the last step.
        last: f32,
    },
    /// Two devices that draw other random numbers cannot be compared.
    #[error("the net draws random numbers in training, and {first} and {second} draw different ones")]
    Draws {
        /// A device.
        first: String,
        /// The other.
        second: String,
    },
    /// Two devices that ran other layers, or have other parameters, cannot be compared.
    #[error("{first} and {second} do not have the same {what}: {difference}")]
    Unequal {
        /// A device.
        first: String,
        /// The other.
        second: String,
        /// `layers`, `gradients`, `parameters`.
        what: &'static str,
        /// Which one has what the other has not.
        difference: String,
    },
    /// Not a file of results.
    #[error("{}: not results of kiln bench: {reason}", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A process of one row cannot be started.
    #[error("{}: cannot start the process of a row: {source}", binary.display())]
    Child {
        /// This binary.
        binary: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl BenchError {
    /// Whether the row was never possible here, rather than tried in vain.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, BenchError::Precision { .. })
            || matches!(
                self,
                BenchError::Train(
                    TrainError::Device(DeviceError::NotBuiltIn { .. } | DeviceError::Absent { .. })
                        | TrainError::Precision { .. }
                )
            )
    }

    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            BenchError::Train(e) => e.exit(),
            BenchError::File(_) | BenchError::Child { .. } => Exit::Io,
            BenchError::Results { .. } => Exit::Data,
            BenchError::Precision { .. }
            | BenchError::Batch { .. }
            | BenchError::NoSteps
            | BenchError::Draws { .. } => Exit::Usage,
            BenchError::Loss { .. } | BenchError::Unequal { .. } => Exit::Failed,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            BenchError::Train(e) => e.hint(),
            BenchError::File(e) => e.hint(),
            BenchError::Batch { got, .. } => Some(format!("give batch_size={got} or less")),
            BenchError::Draws { .. } => {
                Some("set every dropout of the model to 0, and drop_path_rate".into())
            }
            BenchError::Results { .. } => Some("give a bench.json that `kiln bench -o DIR` wrote".into()),
            BenchError::Precision { .. } => {
                Some(format!("give one of {}", Precision::ALL.map(Precision::word).join(", ")))
            }
            BenchError::NoSteps
            | BenchError::Loss { .. }
            | BenchError::Unequal { .. }
            | BenchError::Child { .. } => None,
        }
    }
}

/// Whatever a run can fail with, a row can.
macro_rules! as_a_run_fails {
    ($($error:ty),*) => {
        $(impl From<$error> for BenchError {
            fn from(error: $error) -> Self {
                BenchError::Train(error.into())
            }
        })*
    };
}

as_a_run_fails!(
    DeviceError,
    ModelError,
    kiln_core::WrongInput,
    kiln_core::config::Report,
    kiln_data::DataError,
    kiln_eval::EvalError
);

impl From<WeightsError> for BenchError {
    fn from(error: WeightsError) -> Self {
        ModelError::from(error).into()
    }
}

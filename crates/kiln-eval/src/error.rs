//! Why a model could not be asked or scored.
//! Owns the errors of this room and wraps those of the rooms below; prints nothing.

use std::path::PathBuf;

use burn::tensor::DataError as TensorError;
use kiln_core::files::FileError;
use kiln_core::{Exit, TaskKind, WrongInput};
use kiln_data::DataError;
use kiln_models::ModelError;

use crate::scores::BadAnswer;

/// Why a model could not be opened, asked or scored.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model's files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// Data of another kind than the model reads.
    #[error(transparent)]
    Input(#[from] WrongInput),
    /// The folder holds no model.
    #[error("{}: not a model: expected {expected}", path.display())]
    NotAModel {
        /// What was asked for.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// A folder whose tokenizer is not its model's.
    #[error("{}: the tokenizer has {got} tokens, but the model has embeddings for {expected}", path.display())]
    Tokenizer {
        /// The folder.
        path: PathBuf,
        /// Embeddings.
        expected: usize,
        /// Tokens.
        got: usize,
    },
    /// A folder whose preprocessing is not the one that its weights were trained with.
    #[error("{}: not the preprocessing of these weights: {problem}", path.display())]
    Pipeline {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A model would be saved over something else.
    #[error("{}: exists already and is not a model folder; it was left alone", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The model gives another number of classes than the data or its own names.
    #[error("the model answers {got} numbers a sample, but there are {expected} classes")]
    Classes {
        /// Class names.
        expected: usize,
        /// Logits a sample.
        got: usize,
    },
    /// A kind of task that cannot be scored.
    #[error("{kind} cannot be scored by this build")]
    NoTask {
        /// The task.
        kind: TaskKind,
    },
    /// An answer of another kind than the task has.
    #[error(transparent)]
    Answered(#[from] BadAnswer),
    /// A sample without a class was to be scored.
    #[error("{name}: no label: only labelled samples can be scored")]
    Unlabelled {
        /// The sample.
        name: String,
    },
    /// A sample's answer cannot be scored.
    #[error("{name}: {reason}")]
    Answer {
        /// The sample.
        name: String,
        /// Why.
        reason: BadAnswer,
    },
    /// A prompt without a token.
    #[error("an empty prompt: there is nothing to continue")]
    EmptyPrompt,
    /// A model that reads no text was to continue one.
    #[error("the model reads no text, and cannot continue one")]
    NoText,
    /// A model that is no decoder was to continue a text.
    #[error("the model is no decoder, and cannot continue a text")]
    NoDecoder,
    /// The device's answer could not be read.
    #[error("the device's answer cannot be read: {0}")]
    Read(String),
}

impl EvalError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            EvalError::Data(error) => error.hint(),
            EvalError::Model(error) => error.hint(),
            EvalError::File(error) => error.hint(),
            EvalError::NotAModel { .. } => {
                Some("give a run folder that `kiln train` finished, or its model/ folder".into())
            }
            EvalError::Tokenizer { .. } => {
                Some("put the tokenizer.json that belongs to these weights into the folder".into())
            }
            EvalError::Pipeline { .. } => Some(
                "put back the file that `kiln train` left with these weights (the run's model/), or train again with \
                 the other preprocessing"
                    .into(),
            ),
            EvalError::Occupied { .. } => Some("give the model a folder of its own".into()),
            EvalError::Input(_) | EvalError::Classes { .. } => {
                Some("the data must be what the model was trained for".into())
            }
            EvalError::Unlabelled { .. } => Some("`kiln predict` answers samples without labels".into()),
            EvalError::Answer { .. } => Some(
                "the weights or the sample hold NaN or huge numbers; a lower learning_rate may help".into(),
            ),
            EvalError::EmptyPrompt => Some("give a text to start from, such as a line end".into()),
            EvalError::NoText | EvalError::NoDecoder => {
                Some("give a model trained on causal_language_modeling".into())
            }
            EvalError::Read(_) | EvalError::NoTask { .. } | EvalError::Answered(_) => None,
        }
    }

    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            EvalError::Data(error) => error.exit(),
            EvalError::Model(error) => error.exit(),
            EvalError::File(_) => Exit::Io,
            EvalError::Input(_)
            | EvalError::NotAModel { .. }
            | EvalError::Tokenizer { .. }
            | EvalError::Pipeline { .. }
            | EvalError::EmptyPrompt
            | EvalError::NoText
            | EvalError::NoDecoder
            | EvalError::Classes { .. }
            | EvalError::Unlabelled { .. } => Exit::Data,
            EvalError::Occupied { .. } => Exit::Usage,
            EvalError::Answer { .. }
            | EvalError::Read(_)
            | EvalError::NoTask { .. }
            | EvalError::Answered(_) => Exit::Failed,
        }
    }
}

impl From<TensorError> for EvalError {
    fn from(error: TensorError) -> Self {
        EvalError::Read(format!("{error:?}"))
    }
}

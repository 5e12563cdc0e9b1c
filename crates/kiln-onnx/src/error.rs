//! Why a model could not become an ONNX file, or such a file not be trusted.
//! Owns the words, the remedies and the exit code of each fault; never prints.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_core::files::FileError;
use kiln_data::DataError;
use kiln_eval::EvalError;
use kiln_models::ModelError;

/// A fault of an export or of a verification.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The model, its folder or its answers.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The model's files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's preprocessing.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// A family that cannot be drawn.
    #[error("{family}: this family has no ONNX form")]
    NoFamily {
        /// Its word in `[model] kind`.
        family: String,
    },
    /// A layer that the state lacks.
    #[error("{graph}: the model has no tensor {tensor}, which its ONNX form reads")]
    NoTensor {
        /// The family.
        graph: String,
        /// The layer's tensor.
        tensor: String,
    },
    /// A layer of the model that no node computes.
    #[error("{graph}: the layer of {tensor} has no ONNX form")]
    NotDrawn {
        /// The family.
        graph: String,
        /// The layer's tensor.
        tensor: String,
    },
    /// A weight that float16 cannot hold.
    #[error("{tensor}: holds {value}, and float16 ends at 65504")]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its largest value.
        value: f32,
    },
    /// A word of the command that does not fit the model.
    #[error("{message}")]
    Unfit {
        /// What does not fit what.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The folder to write to.
    #[error("{}: exists already; it was left alone", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is no ONNX model, or none of kiln's.
    #[error("{}: {problem}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The golden inputs and outputs are gone or are others.
    #[error("{}: {problem}", path.display())]
    Golden {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A runtime cannot run the file.
    #[error("{}: {case}: {runtime} failed: {problem}", path.display())]
    Runtime {
        /// The file.
        path: PathBuf,
        /// tract or ONNX Runtime.
        runtime: &'static str,
        /// Which golden case.
        case: String,
        /// The node and what is wrong with it.
        problem: String,
    },
    /// There is no ONNX Runtime to check with.
    #[error("{}: no ONNX Runtime: {problem}", path.display())]
    NoRuntime {
        /// The library that was tried.
        path: PathBuf,
        /// What the system or the library says.
        problem: String,
    },
    /// The file computes something else than the model it was made of.
    #[error(
        "{}: {case}: answers differ by {difference:e}, at most {allowed:e} is allowed",
        path.display()
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which golden case.
        case: String,
        /// The largest difference; NaN where an answer is no number.
        difference: f32,
        /// The largest allowed.
        allowed: f32,
    },
}

impl OnnxError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            OnnxError::Eval(error) => return error.hint(),
            OnnxError::Model(error) => return error.hint(),
            OnnxError::Data(error) => return error.hint(),
            OnnxError::File(error) => return error.hint(),
            OnnxError::NoFamily { .. } | OnnxError::NoTensor { .. } | OnnxError::NotDrawn { .. } => {
                "export it as format=safetensors, and report this layer"
            }
            OnnxError::TooLarge { .. } => "export with precision=f32",
            OnnxError::Unfit { remedy, .. } => remedy,
            OnnxError::Occupied { .. } => "give another folder with -o, or remove this one",
            OnnxError::NotOurs { .. } => {
                "give a model.onnx that `kiln export` wrote, as a whole; export it again if it is damaged"
            }
            OnnxError::Golden { .. } => {
                "keep the folder that `kiln export` wrote together and unchanged, or export again"
            }
            OnnxError::NoRuntime { .. } => {
                "give its library, 1.17 or newer, as --onnxruntime=PATH or in ORT_DYLIB_PATH; Python's package has it as \
                 onnxruntime/capi/libonnxruntime.so.VERSION"
            }
            OnnxError::Runtime { .. } => "report this with the node's name",
            OnnxError::Mismatch { .. } => {
                "do not use this file: it was altered, or this machine computes otherwise; export it again"
            }
        };
        Some(text.to_string())
    }

    /// The exit code of the command.
    pub fn exit(&self) -> Exit {
        match self {
            OnnxError::Eval(error) => error.exit(),
            OnnxError::Model(error) => error.exit(),
            OnnxError::Data(error) => error.exit(),
            OnnxError::File(_) => Exit::Io,
            OnnxError::Unfit { .. } | OnnxError::Occupied { .. } | OnnxError::NoRuntime { .. } => Exit::Usage,
            OnnxError::NotOurs { .. } => Exit::Data,
            OnnxError::NoFamily { .. }
            | OnnxError::NoTensor { .. }
            | OnnxError::NotDrawn { .. }
            | OnnxError::TooLarge { .. }
            | OnnxError::Golden { .. }
            | OnnxError::Runtime { .. }
            | OnnxError::Mismatch { .. } => Exit::Failed,
        }
    }
}

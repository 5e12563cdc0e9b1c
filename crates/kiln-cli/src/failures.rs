//! Library errors as the user reads them: message, hint and exit code.
//! Owns the translation of every room's error type; invents no wording of its own.

use kiln_core::Exit;
use kiln_core::device::DeviceError;
use kiln_core::files::FileError;
use kiln_data::DataError;
use kiln_eval::EvalError;
use kiln_models::ModelError;
use kiln_onnx::OnnxError;
use kiln_serve::batch::BatchError;

use crate::report::Failure;

fn failure(exit: Exit, message: String, hint: Option<String>) -> Failure {
    Failure { message, hint, exit }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        failure(error.exit(), error.to_string(), Some(error.hint()))
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        failure(Exit::Io, error.to_string(), error.hint())
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        failure(error.exit(), error.to_string(), error.hint())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        failure(error.exit(), error.to_string(), error.hint())
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        failure(error.exit(), error.to_string(), error.hint())
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        failure(error.exit(), error.to_string(), error.hint())
    }
}

impl From<OnnxError> for Failure {
    fn from(error: OnnxError) -> Self {
        failure(error.exit(), error.to_string(), error.hint())
    }
}

impl From<kiln_core::config::Report> for Failure {
    fn from(report: kiln_core::config::Report) -> Self {
        failure(report.exit(), report.to_string(), None)
    }
}

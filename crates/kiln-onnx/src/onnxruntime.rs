//! ONNX Runtime where somebody installed it: its library is opened when it is asked for, nothing is linked or fetched.
//! Owns the way to that library and a pass of a file through it; never says what is the same (`check`).
//! The processor computes. Graphs in int8 run as they are written: fused integer layers are another computation, whose
//! rounding depends on the processor.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, TensorData};
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use crate::OnnxError;
use crate::golden::Case;

/// Where the library is said to be, unless a path is given: the variable that programs with the `ort` crate read.
const VARIABLE: &str = "ORT_DYLIB_PATH";
/// How the system's loader knows it.
const NAME: &str = match () {
    () if cfg!(target_os = "windows") => "onnxruntime.dll",
    () if cfg!(target_os = "macos") => "libonnxruntime.dylib",
    () => "libonnxruntime.so",
};

/// A file in ONNX Runtime.
pub(crate) struct Runtime {
    session: Session,
    /// With the library that was opened.
    name: String,
}

impl Runtime {
    /// Opens a model with the library at `given`, else where [`VARIABLE`] says, else where the system finds it.
    ///
    /// # Errors
    /// There is no library, it is too old, or it refuses the file.
    pub(crate) fn open(model: &Path, given: Option<&Path>, fused: bool) -> Result<Self, OnnxError> {
        let library = match given {
            Some(path) => path.to_path_buf(),
            None => std::env::var_os(VARIABLE).map_or_else(|| NAME.into(), PathBuf::from),
        };
        let environment = environment(&library)?;
        let refused = |error: ort::Error| OnnxError::Runtime {
            path: model.into(),
            runtime: "ONNX Runtime",
            case: "loading".into(),
            problem: error.to_string(),
        };
        let level = if fused { GraphOptimizationLevel::All } else { GraphOptimizationLevel::Disable };
        let mut builder = Session::builder(&environment).map_err(refused)?;
        builder = builder.with_optimization_level(level).map_err(|error| refused(error.into()))?;
        let session = builder.commit_from_file(model).map_err(refused)?;
        Ok(Self { session, name: format!("ONNX Runtime ({})", library.display()) })
    }

    /// What computes.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The first output for a case's inputs; or what the runtime says, on one line.
    pub(crate) fn output(&mut self, case: &Case, output: &str) -> Result<Vec<f32>, String> {
        let names = self.session.inputs().iter().map(|input| input.name().to_string());
        let given = names.map(|name| {
            let data = case.inputs.get(&name).ok_or_else(|| format!("no golden input {name}"))?;
            Ok((name, value(data).map_err(|error| error.to_string())?))
        });
        let given = given.collect::<Result<Vec<_>, String>>()?;
        let line = |error: ort::Error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let answers = self.session.run(given).map_err(line)?;
        let answer = answers.get(output).ok_or_else(|| format!("no output {output}"))?;
        Ok(answer.try_extract_tensor::<f32>().map_err(line)?.1.to_vec())
    }
}

/// A process has one, so the first library that is opened stays.
fn environment(library: &Path) -> Result<Environment, OnnxError> {
    static OPENED: Mutex<Option<Environment>> = Mutex::new(None);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*opened {
        return Ok(environment.clone());
    }
    let absent = |problem: String| OnnxError::NoRuntime { path: library.into(), problem };
    let builder = ort::init_from(library).map_err(|error| absent(error.to_string()))?;
    let built = builder.with_telemetry(false).build().map_err(|error| absent(error.to_string()))?;
    Ok(opened.insert(built).clone())
}

fn value(data: &TensorData) -> ort::Result<SessionInputValue<'static>> {
    let shape: Vec<usize> = data.shape().to_vec();
    Ok(match data.dtype() {
        DType::I64 => Tensor::from_array((shape, data.iter::<i64>().collect::<Vec<_>>()))?.into(),
        _ => Tensor::from_array((shape, data.iter::<f32>().collect::<Vec<_>>()))?.into(),
    })
}

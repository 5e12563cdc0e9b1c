//! The check of an export, repeated from its files alone, on any machine: golden inputs through the graph, answers
//! compared. Owns the way from the metadata to the golden file; `check` runs, `golden` reads.

use std::path::Path;

use kiln_core::files;
use serde::Deserialize;
use tract_onnx::pb::ModelProto;

use crate::check::{self, Checked};
use crate::golden::Case;
use crate::int8::plain;
use crate::onnxruntime::Runtime;
use crate::{OnnxError, Precision, file, golden};

/// What the metadata say of the golden file.
#[derive(Deserialize)]
struct Golden {
    file: String,
    blake3: String,
    output: String,
    tolerance: f32,
}

/// Repeats the check of an exported `model.onnx`; its golden file must be beside it, unchanged.
///
/// # Errors
/// No ONNX model, none of kiln's, or one that was altered; a golden file that is gone or altered; answers that differ.
pub fn verify(path: &Path) -> Result<Vec<Checked>, OnnxError> {
    let Opened { mut model, said, cases } = open(path)?;
    model.graph.iter_mut().for_each(plain::widen);
    check::run(&model, path, &cases, said.tolerance)
}

/// As [`verify`], by the ONNX Runtime whose library is at `library`, else where `ORT_DYLIB_PATH` says, else where the system
/// finds one. Also says what computed.
///
/// # Errors
/// As [`verify`]; and there is no such library.
pub fn verify_by_onnxruntime(
    path: &Path,
    library: Option<&Path>,
) -> Result<(String, Vec<Checked>), OnnxError> {
    let Opened { model, said, cases } = open(path)?;
    let fused = file::said(&model, "kiln.precision") != Some(Precision::Int8.word());
    let mut runtime = Runtime::open(path, library, fused)?;
    let checked =
        check::each(path, &cases, said.tolerance, "ONNX Runtime", |case| runtime.output(case, &said.output))?;
    Ok((runtime.name().to_string(), checked))
}

/// A file of kiln's, unchanged since it was written.
struct Opened {
    model: ModelProto,
    said: Golden,
    cases: Vec<Case>,
}

fn open(path: &Path) -> Result<Opened, OnnxError> {
    let model = file::read(path)?;
    let not_ours = |problem: &str| OnnxError::NotOurs { path: path.into(), problem: problem.into() };
    let said = file::said(&model, "kiln.golden")
        .ok_or_else(|| not_ours("has no golden cases: `kiln export` did not write it"))?;
    file::check_seal(&model, path)?;
    let said: Golden =
        serde_json::from_str(said).map_err(|_| not_ours("its record of golden cases is damaged"))?;
    if Path::new(&said.file).file_name().is_none_or(|name| name != said.file.as_str()) {
        return Err(not_ours("its golden file is not beside it"));
    }
    let beside = path.with_file_name(&said.file);
    let fault = |problem: &str| OnnxError::Golden { path: beside.clone(), problem: problem.into() };
    if !beside.is_file() {
        return Err(fault("the golden inputs and outputs of this model are gone"));
    }
    let bytes = files::read(&beside)?;
    if blake3::hash(&bytes).to_hex().as_str() != said.blake3 {
        return Err(fault("not the golden inputs and outputs that this model was exported with"));
    }
    let cases = golden::read_bytes(&bytes, &beside, &said.output)?;
    if cases.is_empty() {
        return Err(fault("holds no case"));
    }
    Ok(Opened { model, said, cases })
}

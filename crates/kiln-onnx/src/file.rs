//! The file: a graph with what a reader must know beside it, and the weights in a second file where one would be too
//! large for the format (2 GB). Owns the metadata's keys; never a graph's nodes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use kiln_core::files::{self, FileError};
use prost::Message;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};

use crate::OnnxError;
use crate::graph::OPSET;

/// The model.
pub const MODEL: &str = "model.onnx";
/// Its weights, where the model is larger than [`LARGEST`].
pub const DATA: &str = "model.onnx.data";
/// Bytes of weights that stay inside of the model; protocol buffers end at 2 GiB.
pub const LARGEST: u64 = 2_000_000_000;
/// The version of the format that opset 18 came with.
const IR: i64 = 8;

/// Tensors below so many bytes stay inside, so that shapes can be read off the model alone.
const SMALL: usize = 1024;

/// A model of a graph.
pub(crate) fn model(graph: GraphProto, metadata: Vec<(String, String)>) -> ModelProto {
    let entry = |(key, value)| StringStringEntryProto { key, value };
    ModelProto {
        ir_version: IR,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "kiln".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        metadata_props: metadata.into_iter().map(entry).collect(),
        ..ModelProto::default()
    }
}

/// Writes the model into a folder that nobody reads yet.
///
/// # Errors
/// Whatever the system reports.
pub(crate) fn write(model: &mut ModelProto, folder: &Path, largest: u64) -> Result<(), OnnxError> {
    let tensors = || model.graph.iter().flat_map(|graph| &graph.initializer);
    if tensors().map(|tensor| tensor.raw_data.len() as u64).sum::<u64>() > largest {
        move_out(model, &folder.join(DATA))?;
    }
    let seal = seal(model, folder)?;
    model.metadata_props.push(StringStringEntryProto { key: SEAL.into(), value: seal });
    Ok(files::write_synced(&folder.join(MODEL), &model.encode_to_vec())?)
}

/// Under this key stands the seal.
const SEAL: &str = "kiln.blake3";

/// The hash of everything in a model and its data file but the seal itself.
fn seal(model: &ModelProto, folder: &Path) -> Result<String, FileError> {
    let mut bare = model.clone();
    bare.metadata_props.retain(|entry| entry.key != SEAL);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bare.encode_to_vec());
    let data = folder.join(DATA);
    if bare.graph.iter().flat_map(|graph| &graph.initializer).any(|one| one.data_location.is_some()) {
        let file = File::open(&data).map_err(FileError::at(&data, "open"))?;
        hasher.update_reader(file).map_err(FileError::at(&data, "read"))?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Refuses a model that is no longer what was written.
///
/// # Errors
/// As said; and the system refuses to read its data file.
pub(crate) fn check_seal(model: &ModelProto, path: &Path) -> Result<(), OnnxError> {
    let seal = seal(model, path.parent().unwrap_or(Path::new(".")))?;
    match said(model, SEAL) {
        Some(written) if written == seal => Ok(()),
        _ => Err(OnnxError::NotOurs { path: path.into(), problem: "altered since it was exported".into() }),
    }
}

/// Weights to a file of their own, each at a multiple of 4,096 bytes, so that it can be mapped.
fn move_out(model: &mut ModelProto, path: &Path) -> Result<(), FileError> {
    let mut file = BufWriter::new(File::create(path).map_err(FileError::at(path, "create"))?);
    let mut end = 0;
    let tensors = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for tensor in tensors.filter(|tensor| tensor.raw_data.len() >= SMALL) {
        let start = usize::next_multiple_of(end, 4096);
        let bytes = std::mem::take(&mut tensor.raw_data);
        file.write_all(&vec![0; start - end]).map_err(FileError::at(path, "write"))?;
        file.write_all(&bytes).map_err(FileError::at(path, "write"))?;
        end = start + bytes.len();
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        tensor.external_data = vec![
            entry("location", DATA.into()),
            entry("offset", start.to_string()),
            entry("length", bytes.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
    }
    let file = file.into_inner().map_err(|e| FileError::at(path, "write")(e.into_error()))?;
    file.sync_all().map_err(FileError::at(path, "sync"))
}

/// Reads a model's file; weights in another file stay there.
///
/// # Errors
/// The system refuses; the file is no ONNX model.
pub(crate) fn read(path: &Path) -> Result<ModelProto, OnnxError> {
    let bytes = files::read(path)?;
    let fault = |problem: String| OnnxError::NotOurs { path: path.into(), problem };
    let model = ModelProto::decode(bytes.as_slice()).map_err(|e| fault(format!("not an ONNX model: {e}")))?;
    match &model.graph {
        Some(graph) if !graph.node.is_empty() => Ok(model),
        _ => Err(fault("not an ONNX model: it has no graph".into())),
    }
}

/// What a model's metadata say under a key.
pub(crate) fn said<'a>(model: &'a ModelProto, key: &str) -> Option<&'a str> {
    model.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

//! The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
//! Owns a writer whose output depends on nothing but the tensors (no map order), and a reader that checks every
//! offset; never names or shapes of a net. Checkpoints use it for optimizer state too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use burn::tensor::{Bytes, DType, TensorData};
use kiln_core::StateDict;
use kiln_core::files::FileError;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value, json};

use super::WeightsError;

/// Element types that both sides have.
const TYPES: [(Dtype, &str, DType); 12] = [
    (Dtype::F64, "F64", DType::F64),
    (Dtype::F32, "F32", DType::F32),
    (Dtype::F16, "F16", DType::F16),
    (Dtype::BF16, "BF16", DType::BF16),
    (Dtype::I64, "I64", DType::I64),
    (Dtype::I32, "I32", DType::I32),
    (Dtype::I16, "I16", DType::I16),
    (Dtype::I8, "I8", DType::I8),
    (Dtype::U64, "U64", DType::U64),
    (Dtype::U32, "U32", DType::U32),
    (Dtype::U16, "U16", DType::U16),
    (Dtype::U8, "U8", DType::U8),
];

/// The file's bytes: the same for the same tensors and metadata, always. Wider types come first, so that every
/// tensor is aligned to its element size.
///
/// # Errors
/// A tensor of a type that safetensors lacks.
pub fn to_safetensors(state: &StateDict, metadata: &[(&str, &str)]) -> Result<Vec<u8>, WeightsError> {
    encode(&state.iter().collect::<Vec<_>>(), metadata)
}

/// As [`to_safetensors`], of tensors by reference.
pub(super) fn encode(
    tensors: &[(&String, &TensorData)],
    metadata: &[(&str, &str)],
) -> Result<Vec<u8>, WeightsError> {
    let outlines: Vec<Outline> = tensors
        .iter()
        .map(|(name, data)| Outline {
            name: (*name).clone(),
            shape: data.shape().to_vec(),
            dtype: data.dtype(),
            bytes: data.bytes().len(),
        })
        .collect();
    let (mut file, order) = head(&outlines, metadata)?;
    file.reserve_exact(outlines.iter().map(|one| one.bytes).sum());
    order.into_iter().for_each(|i| file.extend_from_slice(tensors[i].1.bytes()));
    Ok(file)
}

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: DType,
    /// Bytes of its values.
    pub bytes: usize,
}

/// What a file begins with, and the order in which the tensors' bytes follow, by index: for who writes them one by one.
/// The whole is what [`to_safetensors`] gives of tensors in the order of their names.
///
/// # Errors
/// A tensor of a type that safetensors lacks.
pub fn head(tensors: &[Outline], metadata: &[(&str, &str)]) -> Result<(Vec<u8>, Vec<usize>), WeightsError> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(tensors[i].dtype.size()));
    let mut header = Map::new();
    if !metadata.is_empty() {
        header
            .insert("__metadata__".into(), metadata.iter().map(|(k, v)| (k.to_string(), json!(v))).collect());
    }
    let mut end = 0;
    for &i in &order {
        let Outline { name, shape, dtype, bytes } = &tensors[i];
        let start = end;
        end += bytes;
        let entry = json!({"dtype": type_name(name, *dtype)?, "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let mut text = Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut file = Vec::with_capacity(8 + text.len());
    file.extend_from_slice(&(text.len() as u64).to_le_bytes());
    file.extend_from_slice(text.as_bytes());
    Ok((file, order))
}

fn type_name(tensor: &str, dtype: DType) -> Result<&'static str, WeightsError> {
    TYPES.iter().find(|(_, _, own)| *own == dtype).map(|(_, name, _)| *name).ok_or_else(|| {
        let message = format!("tensor {tensor} holds {dtype:?} values, which safetensors cannot store");
        WeightsError::content(Path::new("(to be written)"), message, "convert the tensor to float32 first")
    })
}

/// Reads every tensor; `name` is the file that `bytes` came from, for messages.
///
/// # Errors
/// A truncated or corrupt file: which part, where, how much was expected and found.
pub fn from_safetensors(bytes: &[u8], name: &Path) -> Result<StateDict, WeightsError> {
    let (start, header) = header(bytes, bytes.len() as u64, name)?;
    tensors(&header, name, |from, to| Bytes::from_bytes_vec(bytes[start + from..start + to].to_vec()))
}

/// Every tensor of a file, by its header: values are read when somebody looks at them.
///
/// # Errors
/// As [`from_safetensors`], and the system refuses.
pub(super) fn outline(path: &Path) -> Result<StateDict, WeightsError> {
    let (start, header) = read_header(path)?;
    tensors(&header, path, |from, to| Bytes::from_file(path, (to - from) as u64, (start + from) as u64))
}

/// What a file's header says beside the tensors.
///
/// # Errors
/// As [`outline`].
pub(super) fn metadata(path: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    let (_, header) = read_header(path)?;
    Ok(header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// As [`header`], of which only so much is read.
fn read_header(path: &Path) -> Result<(usize, Metadata), WeightsError> {
    let mut file = File::open(path).map_err(FileError::at(path, "open"))?;
    let length = file.metadata().map_err(FileError::at(path, "read"))?.len();
    let mut head = Vec::new();
    file.by_ref().take(8).read_to_end(&mut head).map_err(FileError::at(path, "read"))?;
    let text = head.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    file.take(text).read_to_end(&mut head).map_err(FileError::at(path, "read"))?;
    header(&head, length, path)
}

/// Where the tensors' bytes start, and the header, which fits a file of `length` bytes; `bytes` holds it at least.
fn header(bytes: &[u8], length: u64, name: &Path) -> Result<(usize, Metadata), WeightsError> {
    let fault = |message: String| WeightsError::content(name, message, "fetch or save the file again");
    let text = check_length(bytes, length).map_err(fault)?;
    let header =
        serde_json::from_slice(text).map_err(|e| fault(format!("not a valid safetensors file: {e}")))?;
    Ok((8 + text.len(), header))
}

/// The tensors that a header lists, each with the bytes that `read` has for its range.
fn tensors(
    header: &Metadata,
    name: &Path,
    read: impl Fn(usize, usize) -> Bytes,
) -> Result<StateDict, WeightsError> {
    let fault = |message: String| WeightsError::content(name, message, "fetch or save the file again");
    let one = |(tensor, info): (String, &TensorInfo)| {
        let dtype = stored_type(info.dtype).ok_or_else(|| {
            fault(format!("tensor {tensor} has type {:?}, which kiln does not read", info.dtype))
        })?;
        let (from, to) = info.data_offsets;
        let data = TensorData::try_from_bytes(read(from, to), info.shape.clone(), dtype);
        let data = data.map_err(|e| fault(format!("tensor {tensor}: {e}")))?;
        Ok((tensor, data))
    };
    header.tensors().into_iter().map(one).collect()
}

/// Booleans come as bytes: a file may hold others than 0 and 1.
fn stored_type(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::BOOL => Some(DType::U8),
        other => TYPES.iter().find(|(stored, _, _)| *stored == other).map(|(_, _, own)| *own),
    }
}

/// The header's text. Says how much is missing of a truncated file of `length` bytes, which the format's own reader
/// does not.
fn check_length(bytes: &[u8], length: u64) -> Result<&[u8], String> {
    let Some((size, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!(
            "truncated: expected at least 8 bytes (the header's length), got {}",
            bytes.len()
        ));
    };
    let header = u64::from_le_bytes(*size);
    let Some(text) = usize::try_from(header).ok().and_then(|n| rest.get(..n)) else {
        return Err(format!(
            "truncated or corrupt: the header at offset 8 should have {header} bytes, the file has {} after it",
            length.saturating_sub(8)
        ));
    };
    let Ok(Value::Object(entries)) = serde_json::from_slice::<Value>(text) else {
        return Ok(text); // the reader says what is wrong with the header
    };
    let ends = entries.values().filter_map(|e| e.get("data_offsets")?.get(1)?.as_u64());
    let expected = ends.max().unwrap_or(0).saturating_add(8).saturating_add(header);
    match expected == length {
        true => Ok(text),
        false => Err(format!("expected {expected} bytes by its header, got {length}")),
    }
}

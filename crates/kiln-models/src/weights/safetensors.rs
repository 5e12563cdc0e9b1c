//! The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.
//! Owns a writer whose output depends on nothing but the tensors (no map order), and a reader that checks every
//! offset; never names or shapes of a net. Checkpoints use it for optimizer state too.

use std::path::Path;

use burn::tensor::{Bytes, DType, TensorData};
use kiln_core::StateDict;
use safetensors::{Dtype, SafeTensors};
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
    let mut order = tensors.to_vec();
    order.sort_by_key(|(_, data)| std::cmp::Reverse(data.dtype().size()));
    let mut header = Map::new();
    if !metadata.is_empty() {
        header
            .insert("__metadata__".into(), metadata.iter().map(|(k, v)| (k.to_string(), json!(v))).collect());
    }
    let mut end = 0;
    for (name, data) in &order {
        let start = end;
        end += data.bytes().len();
        let entry = json!({"dtype": type_name(name, data.dtype())?, "shape": data.shape().to_vec(), "data_offsets": [start, end]});
        header.insert((*name).clone(), entry);
    }
    let mut text = Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut file = Vec::with_capacity(8 + text.len() + end);
    file.extend_from_slice(&(text.len() as u64).to_le_bytes());
    file.extend_from_slice(text.as_bytes());
    order.iter().for_each(|(_, data)| file.extend_from_slice(data.bytes()));
    Ok(file)
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
    let fault = |message: String| WeightsError::content(name, message, "fetch or save the file again");
    check_length(bytes).map_err(fault)?;
    let file =
        SafeTensors::deserialize(bytes).map_err(|e| fault(format!("not a valid safetensors file: {e}")))?;
    let mut state = StateDict::new();
    for (tensor, view) in file.iter() {
        let dtype = stored_type(view.dtype()).ok_or_else(|| {
            fault(format!("tensor {tensor} has type {:?}, which kiln does not read", view.dtype()))
        })?;
        let data = TensorData::try_from_bytes(
            Bytes::from_bytes_vec(view.data().to_vec()),
            view.shape().to_vec(),
            dtype,
        );
        state.insert(tensor.to_string(), data.map_err(|e| fault(format!("tensor {tensor}: {e}")))?);
    }
    Ok(state)
}

/// Booleans come as bytes: a file may hold others than 0 and 1.
fn stored_type(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::BOOL => Some(DType::U8),
        other => TYPES.iter().find(|(stored, _, _)| *stored == other).map(|(_, _, own)| *own),
    }
}

/// Says how much is missing of a truncated file, which the format's own reader does not.
fn check_length(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!(
            "truncated: expected at least 8 bytes (the header's length), got {}",
            bytes.len()
        ));
    };
    let header = u64::from_le_bytes(*length);
    let Some(text) = usize::try_from(header).ok().and_then(|n| rest.get(..n)) else {
        return Err(format!(
            "truncated or corrupt: the header at offset 8 should have {header} bytes, the file has {} after it",
            rest.len()
        ));
    };
    let Ok(Value::Object(entries)) = serde_json::from_slice::<Value>(text) else {
        return Ok(()); // the reader says what is wrong with the header
    };
    let ends = entries.values().filter_map(|e| e.get("data_offsets")?.get(1)?.as_u64());
    let expected = ends.max().unwrap_or(0).saturating_add(8).saturating_add(header);
    match expected == bytes.len() as u64 {
        true => Ok(()),
        false => Err(format!("expected {expected} bytes by its header, got {}", bytes.len())),
    }
}

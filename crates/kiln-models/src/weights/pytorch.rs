//! What `torch.save` wrote, read without running any of it: the pickle is parsed as data.
//! Owns the choice of which of a checkpoint's dictionaries are the weights; never executes or imports anything.
//! Hands tensors with the file's own types to `weights::read`.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{BoolStore, DType, TensorData};
use kiln_core::StateDict;
use pytorch_reader::{DType as Stored, PickleValue, PytorchReader, Tensor};

use super::{WeightsError, What};

/// Keys under which training scripts keep the weights, beside the optimizer and the like.
const WRAPPERS: [&str; 3] = ["state_dict.", "model_state_dict.", "model."];

pub(super) fn read(path: &Path, what: What) -> Result<StateDict, WeightsError> {
    let reader = PytorchReader::new(path).map_err(|e| {
        let remedy = "save the weights alone with torch.save(model.state_dict(), ...), or as safetensors";
        WeightsError::content(path, format!("not a readable PyTorch file: {e}"), remedy)
    })?;
    let tensors = unwrap(reader.into_tensors());
    if tensors.is_empty() {
        return Err(no_tensors(path));
    }
    tensors.into_iter().map(|(name, tensor)| Ok((name, data(path, &tensor, what)?))).collect()
}

/// The weights out of a checkpoint with more in it.
fn unwrap(tensors: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let Some(wrapper) = WRAPPERS.into_iter().find(|w| tensors.keys().any(|name| name.starts_with(w))) else {
        return tensors;
    };
    tensors.into_iter().filter_map(|(name, t)| Some((name.strip_prefix(wrapper)?.to_string(), t))).collect()
}

fn data(path: &Path, tensor: &Tensor, what: What) -> Result<TensorData, WeightsError> {
    let fault = |e: String| {
        WeightsError::content(path, format!("tensor {}: {e}", tensor.name), "fetch the file again")
    };
    let (shape, dtype) = (tensor.shape().to_vec(), dtype(tensor.dtype()));
    let bytes = match what {
        What::Values => tensor.read().map_err(|e| fault(e.to_string()))?,
        What::Outline => vec![0; shape.iter().product::<usize>() * dtype.size()],
    };
    TensorData::try_from_bytes_vec(bytes, shape, dtype).map_err(|e| fault(e.to_string()))
}

fn dtype(stored: Stored) -> DType {
    match stored {
        Stored::F64 => DType::F64,
        Stored::F32 => DType::F32,
        Stored::F16 => DType::F16,
        Stored::BF16 => DType::BF16,
        Stored::I64 => DType::I64,
        Stored::I32 => DType::I32,
        Stored::I16 => DType::I16,
        Stored::I8 => DType::I8,
        Stored::U64 => DType::U64,
        Stored::U32 => DType::U32,
        Stored::U16 => DType::U16,
        Stored::U8 => DType::U8,
        Stored::Bool => DType::Bool(BoolStore::Native),
    }
}

/// A pickle without tensors, with the Python objects it asks for by name.
fn no_tensors(path: &Path) -> WeightsError {
    let mut objects = Vec::new();
    if let Ok(value) = PytorchReader::read_pickle_data(path, None) {
        collect_objects(&value, &mut objects);
    }
    objects.sort();
    objects.dedup();
    let held = match objects.is_empty() {
        true => String::new(),
        false => format!("; it asks for the Python objects {}, which kiln never runs", objects.join(", ")),
    };
    WeightsError::content(
        path,
        format!("holds no tensors{held}"),
        "give a file that holds a state dict, from a source you trust",
    )
}

fn collect_objects(value: &PickleValue, found: &mut Vec<String>) {
    match value {
        PickleValue::Unsupported(name) => found.push(name.clone()),
        PickleValue::List(items) => items.iter().for_each(|item| collect_objects(item, found)),
        PickleValue::Dict(items) => items.values().for_each(|item| collect_objects(item, found)),
        _ => {}
    }
}

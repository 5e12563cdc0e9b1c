//! A graph in float16: its weights and everything computed from them; inputs and answers stay float32.
//! Owns that change alone. Norms take their means in float32 (`stash_type`), as PyTorch's do.

use half::f16;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, type_proto};

use crate::OnnxError;
use crate::blocks::LOWEST;
use crate::graph::{Attr, attribute};

/// Changes the graph.
///
/// # Errors
/// A weight beyond float16's largest number.
pub(crate) fn halve(graph: &mut GraphProto) -> Result<(), OnnxError> {
    graph.initializer.iter_mut().try_for_each(narrow)?;
    for node in graph.node.iter_mut().filter(|node| node.op_type == "Cast") {
        for to in node.attribute.iter_mut().filter(|a| a.name == "to" && a.i == DataType::Float as i64) {
            to.i = DataType::Float16 as i64;
        }
    }
    let floats: Vec<String> =
        graph.input.iter().filter(|input| is_float(input)).map(|input| input.name.clone()).collect();
    for name in floats {
        let inside = format!("{name}_float16");
        for read in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|read| **read == name) {
            *read = inside.clone();
        }
        graph.node.insert(0, cast(&name, &inside, DataType::Float16));
    }
    for name in graph.output.iter().map(|output| output.name.clone()).collect::<Vec<_>>() {
        let inside = format!("{name}_float16");
        let everywhere = graph.node.iter_mut().flat_map(|node| node.output.iter_mut().chain(&mut node.input));
        everywhere.filter(|value| **value == name).for_each(|value| *value = inside.clone());
        graph.node.push(cast(&inside, &name, DataType::Float));
    }
    Ok(())
}

fn is_float(input: &tract_onnx::pb::ValueInfoProto) -> bool {
    let value = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    matches!(value, Some(type_proto::Value::TensorType(t)) if t.elem_type == DataType::Float as i32)
}

fn narrow(tensor: &mut TensorProto) -> Result<(), OnnxError> {
    if tensor.data_type != DataType::Float as i32 {
        return Ok(());
    }
    let lowest = tensor.name == LOWEST;
    let mut raw = Vec::with_capacity(tensor.raw_data.len() / 2);
    for value in floats(&tensor.raw_data) {
        let near = if lowest { f16::MIN } else { f16::from_f32(value) };
        if !near.is_finite() && value.is_finite() {
            return Err(OnnxError::TooLarge { tensor: tensor.name.clone(), value });
        }
        raw.extend_from_slice(&near.to_le_bytes());
    }
    (tensor.raw_data, tensor.data_type) = (raw, DataType::Float16 as i32);
    Ok(())
}

/// The float32 values of a tensor's bytes.
pub(crate) fn floats(raw: &[u8]) -> impl Iterator<Item = f32> + '_ {
    raw.chunks_exact(4).filter_map(|bytes| bytes.first_chunk()).map(|bytes| f32::from_le_bytes(*bytes))
}

fn cast(from: &str, to: &str, kind: DataType) -> NodeProto {
    NodeProto {
        name: format!("{to}/Cast"),
        op_type: "Cast".into(),
        input: vec![from.into()],
        output: vec![to.into()],
        attribute: vec![attribute("to", &Attr::Int(kind as i64))],
        ..NodeProto::default()
    }
}

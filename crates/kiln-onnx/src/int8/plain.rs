//! The same graph with its constant int8 weights widened: what `DequantizeLinear` with one scale a channel means, for a
//! runtime that knows one scale a tensor (tract). Owns that arithmetic; the file itself is never changed by it.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

use crate::graph::tensor;
use crate::half::floats;

/// Widens every weight that is stored narrow.
pub(crate) fn widen(graph: &mut GraphProto) {
    let narrow: BTreeSet<&String> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "DequantizeLinear")
        .flat_map(|node| &node.input)
        .collect();
    let held: BTreeMap<String, TensorProto> = graph
        .initializer
        .iter()
        .filter(|one| narrow.contains(&one.name))
        .map(|one| (one.name.clone(), one.clone()))
        .collect();
    let mut widened = Vec::new();
    graph.node.retain(|node| {
        let input = |i: usize| node.input.get(i).and_then(|name| held.get(name));
        let (Some(values), Some(scales)) = (input(0), input(1)) else { return true };
        if node.op_type != "DequantizeLinear" {
            return true;
        }
        let axis = node.attribute.iter().find(|a| a.name == "axis").map_or(1, |a| a.i);
        let name = node.output.first().map_or("", String::as_str);
        match wide(values, scales, axis as usize, name) {
            Some(wide) => {
                widened.push(wide);
                false
            }
            None => true,
        }
    });
    graph.initializer.extend(widened);
}

fn wide(values: &TensorProto, scales: &TensorProto, axis: usize, name: &str) -> Option<TensorProto> {
    let shape: Vec<usize> = values.dims.iter().map(|n| *n as usize).collect();
    let integers: Vec<f32> = match DataType::try_from(values.data_type).ok()? {
        DataType::Int8 => values.raw_data.iter().map(|b| f32::from(b.cast_signed())).collect(),
        DataType::Int32 => values
            .raw_data
            .chunks_exact(4)
            .filter_map(|bytes| bytes.first_chunk())
            .map(|bytes| i32::from_le_bytes(*bytes) as f32)
            .collect(),
        _ => return None,
    };
    let scales: Vec<f32> = floats(&scales.raw_data).collect();
    let inner = shape.get(axis + 1..)?.iter().product::<usize>().max(1);
    let scale = |i: usize| scales.get(i / inner % scales.len().max(1)).copied().unwrap_or(1.0);
    let raw = integers.iter().enumerate().flat_map(|(i, v)| (v * scale(i)).to_le_bytes()).collect();
    Some(tensor(name, DataType::Float, &shape, raw))
}

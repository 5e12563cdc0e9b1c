//! Activations in int8 where a layer with int8 weights reads or a convolution writes them: `QuantizeLinear` and
//! `DequantizeLinear` around the value, which runtimes fuse into integer layers. Owns the choice of values and these nodes.
//!
//! A sum reads the narrow form only where both of its summands have one: residual nets add in integers, while the residual
//! stream of a transformer keeps its float32.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::ranges::Range;
use super::scale_name;
use crate::graph::{Attr, attribute, tensor};
use crate::half::floats;

/// The layers whose weight is stored narrow.
fn is_layer(node: &NodeProto, narrowed: &BTreeSet<String>) -> bool {
    matches!(node.op_type.as_str(), "Conv" | "MatMul")
        && node.input.get(1).is_some_and(|weight| narrowed.contains(weight))
}

/// The values that are to be narrow: what layers read and what convolutions write, behind a ReLU that alone reads it.
pub(crate) fn wanted(graph: &GraphProto, narrowed: &BTreeSet<String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for node in graph.node.iter().filter(|node| is_layer(node, narrowed)) {
        all.extend(node.input.first().cloned());
        if node.op_type == "Conv" {
            all.extend(node.output.first().map(|output| written(graph, output)));
        }
    }
    all
}

fn written(graph: &GraphProto, output: &str) -> String {
    let readers: Vec<&NodeProto> =
        graph.node.iter().filter(|node| node.input.iter().any(|name| name == output)).collect();
    match readers.as_slice() {
        [one] if matches!(one.op_type.as_str(), "Relu" | "Clip") => one.output.first().cloned(),
        _ => None,
    }
    .unwrap_or_else(|| output.to_string())
}

/// Puts the nodes in. `narrowed` weights are those of [`super::narrow_weights`].
pub(crate) fn narrow(graph: &mut GraphProto, narrowed: &BTreeSet<String>, ranges: &BTreeMap<String, Range>) {
    biases(graph, narrowed, ranges);
    let reads = |node: &NodeProto| match node.op_type.as_str() {
        "Add" => node.input.iter().all(|name| ranges.contains_key(name)),
        "MaxPool" | "GlobalAveragePool" | "Flatten" => true,
        _ => is_layer(node, narrowed),
    };
    let readers: Vec<bool> = graph.node.iter().map(reads).collect();
    for (node, reads) in graph.node.iter_mut().zip(readers) {
        let values = node.input.iter_mut().filter(|name| reads && ranges.contains_key(*name));
        values.for_each(|name| *name = wide_name(name));
    }
    let inputs: Vec<String> = graph.input.iter().map(|input| input.name.clone()).collect();
    let nodes = std::mem::take(&mut graph.node);
    let push = |graph: &mut GraphProto, name: &str| {
        if let Some(range) = ranges.get(name) {
            graph.initializer.extend(steps(name, *range));
            graph.node.extend(around(name));
        }
    };
    inputs.iter().for_each(|name| push(graph, name));
    for node in nodes {
        let outputs = node.output.clone();
        graph.node.push(node);
        outputs.iter().for_each(|name| push(graph, name));
    }
}

fn wide_name(name: &str) -> String {
    format!("{name}_narrow_and_wide")
}

/// Scale and zero point of a range: 0 is exact. Signed, as the weights: on processors without VNNI, ONNX Runtime's products of
/// unsigned and signed bytes saturate.
fn step((low, high): Range) -> (f32, i8) {
    let scale = (high - low) / 255.0;
    if scale > 0.0 { (scale, (-128.0 - low / scale).round().clamp(-128.0, 127.0) as i8) } else { (1.0, 0) }
}

fn steps(name: &str, range: Range) -> [TensorProto; 2] {
    let (scale, zero) = step(range);
    [
        tensor(&format!("{name}_step"), DataType::Float, &[], scale.to_le_bytes().to_vec()),
        tensor(&format!("{name}_zero"), DataType::Int8, &[], zero.to_le_bytes().to_vec()),
    ]
}

fn around(name: &str) -> [NodeProto; 2] {
    let node = |kind: &str, from: String, to: String| NodeProto {
        name: format!("{name}/{kind}"),
        op_type: kind.into(),
        input: vec![from, format!("{name}_step"), format!("{name}_zero")],
        output: vec![to],
        ..NodeProto::default()
    };
    let narrow = format!("{name}_narrow");
    [node("QuantizeLinear", name.into(), narrow.clone()), node("DequantizeLinear", narrow, wide_name(name))]
}

/// Biases of convolutions in int32, in steps of the products they are added to, as integer layers take them.
fn biases(graph: &mut GraphProto, narrowed: &BTreeSet<String>, ranges: &BTreeMap<String, Range>) {
    let mut before = Vec::new();
    let layers: Vec<[String; 3]> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "Conv" && is_layer(node, narrowed))
        .filter_map(|node| node.input.clone().try_into().ok())
        .collect();
    for [input, weight, bias] in layers {
        let Some(range) = ranges.get(&input) else { continue };
        let find = |graph: &GraphProto, name: &str| graph.initializer.iter().position(|one| one.name == name);
        let Some(scales) = find(graph, &scale_name(&weight)) else { continue };
        let scales: Vec<f32> =
            floats(&graph.initializer[scales].raw_data).map(|scale| scale * step(*range).0).collect();
        let Some(at) = find(graph, &bias) else { continue };
        let values: Vec<f32> = floats(&graph.initializer.remove(at).raw_data).collect();
        let near = |(value, scale): (&f32, &f32)| (value / scale).round_ties_even() as i32;
        let raw = values.iter().zip(&scales).flat_map(|pair| near(pair).to_le_bytes()).collect();
        let raw_scales = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let [integers, steps] = ["int32", "scale"].map(|of| format!("{bias}_{of}"));
        graph.initializer.push(tensor(&integers, DataType::Int32, &[values.len()], raw));
        graph.initializer.push(tensor(&steps, DataType::Float, &[scales.len()], raw_scales));
        before.push(NodeProto {
            name: format!("{bias}/DequantizeLinear"),
            op_type: "DequantizeLinear".into(),
            input: vec![integers, steps],
            output: vec![bias],
            attribute: vec![attribute("axis", &Attr::Int(0))],
            ..NodeProto::default()
        });
    }
    graph.node.splice(0..0, before);
}

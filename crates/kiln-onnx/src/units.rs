//! A regression's answers in the labels' own units: the graph multiplies by the deviations and adds the means that the
//! labels were scaled with in training, so that no reader has to know them. Owns those two nodes.
//!
//! Shapes: `K` numbers.

use kiln_data::Scale;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};

use crate::graph::tensor;

/// Adds the nodes behind `output`, which keeps its name; in float32 whatever the graph computes in.
pub(crate) fn undo(graph: &mut GraphProto, output: &str, scales: &[Scale]) {
    if scales.is_empty() {
        return;
    }
    let (scaled, product) = (format!("{output}_scaled"), format!("{output}_times_deviation"));
    let everywhere = graph.node.iter_mut().flat_map(|node| node.output.iter_mut().chain(&mut node.input));
    everywhere.filter(|value| *value == output).for_each(|value| *value = scaled.clone());
    let mut hold = |name: &str, of: fn(&Scale) -> f32| {
        let raw = scales.iter().flat_map(|scale| of(scale).to_le_bytes()).collect();
        graph.initializer.push(tensor(name, DataType::Float, &[scales.len()], raw));
    };
    hold("label_deviation", |scale| scale.std);
    hold("label_mean", |scale| scale.mean);
    let node = |kind: &str, inputs: [&str; 2], output: &str| NodeProto {
        name: format!("units/{kind}"),
        op_type: kind.into(),
        input: inputs.map(String::from).to_vec(),
        output: vec![output.into()],
        ..NodeProto::default()
    };
    graph.node.push(node("Mul", [&scaled, "label_deviation"], &product));
    graph.node.push(node("Add", [&product, "label_mean"], output));
}

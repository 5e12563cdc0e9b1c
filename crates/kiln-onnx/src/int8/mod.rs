//! A graph with weights in int8: one scale an output channel, values symmetric around 0 (`DequantizeLinear`); and, with
//! ranges of activations, these in int8 as well (`QuantizeLinear` and back), so that a runtime computes in integers.
//! Owns both changes; `ranges` measures activations. Norms, softmax, biases of linear layers, sums of a transformer's residual
//! stream and products of two activations stay float32.
//!
//! Only tensors of at least [`SMALL`] values are stored so: below, a file would not get smaller.

pub(crate) mod activations;
pub(crate) mod plain;
pub(crate) mod ranges;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::TensorData;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::export::{Calibration, F32};
use crate::golden::Case;
use crate::graph::{Attr, attribute, tensor};
use crate::half::floats;
use crate::{OnnxError, check, file, golden};

/// The side that scales of looked up rows are spread along.
const LAST_SIDE: &str = "last_side";
/// Smaller tensors stay float32.
const SMALL: usize = 256;

/// Narrows a float32 graph that was checked against `cases`, whose answers become the narrow graph's own; `finish` adds
/// what comes behind the answer. Gives the largest difference between the two.
///
/// # Errors
/// The float32 graph answers otherwise than the model; tract fails.
pub(crate) fn narrow(
    graph: &mut GraphProto,
    cases: &mut [Case],
    calibration: Option<Calibration<'_>>,
    finish: impl Fn(&mut GraphProto),
    path: &Path,
) -> Result<f32, OnnxError> {
    let mut wide = graph.clone();
    finish(&mut wide);
    check::run(&file::model(wide, Vec::new()), path, cases, F32)?;
    let before = graph.clone();
    let narrowed = narrow_weights(graph);
    if let Some(batches) = calibration {
        let wanted = activations::wanted(&before, &narrowed);
        let batches = batches.map(|batch| Ok(golden::named(&batch?.features)));
        activations::narrow(graph, &narrowed, &ranges::measure(&before, &wanted, batches)?);
    }
    finish(graph);
    let mut plain = graph.clone();
    plain::widen(&mut plain);
    let model = file::model(plain, Vec::new());
    let mut differs = 0f32;
    for case in cases {
        let answer = check::outputs(&model, Path::new("."), &case.inputs).map_err(|problem| {
            OnnxError::Runtime { path: path.into(), runtime: "tract", case: case.name.clone(), problem }
        })?;
        let answer = answer.into_iter().next().unwrap_or_default();
        let checked = check::compared(case, &answer, 1.0);
        differs = differs.max(checked.difference / checked.allowed);
        case.answer = TensorData::new(answer, case.answer.shape().clone());
    }
    Ok(differs)
}

/// What a channel of a weight is to the node that reads it: the side that scales run along.
fn channels(node: &NodeProto, input: usize) -> Option<usize> {
    match (node.op_type.as_str(), input) {
        ("Conv", 1) => Some(0),
        ("MatMul", 1) => Some(1),
        ("Gather", 0) | ("Transpose", 0) => Some(0), // a table of embeddings, also as the output layer
        _ => None,
    }
}

/// Stores the weights in int8 and gives the names of those that are: of layers, and of tables that are looked up.
pub(crate) fn narrow_weights(graph: &mut GraphProto) -> BTreeSet<String> {
    let mut sides: BTreeMap<String, usize> = BTreeMap::new();
    for node in &graph.node {
        for (i, name) in node.input.iter().enumerate() {
            sides.extend(channels(node, i).map(|side| (name.clone(), side)));
        }
    }
    let mut narrowed = BTreeSet::new();
    let mut before = Vec::new();
    let held = std::mem::take(&mut graph.initializer);
    for one in held {
        let large = one.dims.len() > 1 && one.dims.iter().product::<i64>() >= SMALL as i64;
        match sides.get(&one.name).filter(|_| large && one.data_type == DataType::Float as i32) {
            Some(side) => {
                let (values, scales) = narrowed_tensor(&one, *side);
                graph.initializer.extend([values, scales]);
                before.push(widen(&one.name, *side));
                narrowed.insert(one.name);
            }
            None => graph.initializer.push(one),
        }
    }
    let looked_up = look_up(graph, &narrowed);
    before.retain(|node| !looked_up.contains(&node.output[0]));
    graph.node.splice(0..0, before);
    narrowed
}

fn values_name(name: &str) -> String {
    format!("{name}_int8")
}

fn scale_name(name: &str) -> String {
    format!("{name}_scale")
}

/// `name` from its int8 form.
fn widen(name: &str, side: usize) -> NodeProto {
    NodeProto {
        name: format!("{name}/DequantizeLinear"),
        op_type: "DequantizeLinear".into(),
        input: vec![values_name(name), scale_name(name)],
        output: vec![name.into()],
        attribute: vec![attribute("axis", &Attr::Int(side as i64))],
        ..NodeProto::default()
    }
}

/// Values of -127 to 127 and the scale of each channel along `side`.
fn narrowed_tensor(one: &TensorProto, side: usize) -> (TensorProto, TensorProto) {
    let shape: Vec<usize> = one.dims.iter().map(|n| *n as usize).collect();
    let values: Vec<f32> = floats(&one.raw_data).collect();
    let (count, inner) = (shape[side], shape[side + 1..].iter().product::<usize>().max(1));
    let channel = |i: usize| i / inner % count;
    let mut most = vec![0f32; count];
    values.iter().enumerate().for_each(|(i, v)| most[channel(i)] = most[channel(i)].max(v.abs()));
    let scales: Vec<f32> = most.iter().map(|m| if *m > 0.0 { m / 127.0 } else { 1.0 }).collect();
    let near = |(i, v): (usize, &f32)| (v / scales[channel(i)]).round_ties_even().clamp(-127.0, 127.0) as i8;
    let raw = values.iter().enumerate().flat_map(|one| near(one).to_le_bytes()).collect();
    let scale = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
    (
        tensor(&values_name(&one.name), DataType::Int8, &shape, raw),
        tensor(&scale_name(&one.name), DataType::Float, &[count], scale),
    )
}

/// Tables that are looked up: rows are taken in int8 and widened after, so that no pass widens the whole table. Gives the
/// tables that nothing else reads.
fn look_up(graph: &mut GraphProto, narrowed: &BTreeSet<String>) -> BTreeSet<String> {
    let nodes = std::mem::take(&mut graph.node);
    let mut elsewhere = BTreeSet::new();
    let mut tables = BTreeSet::new();
    for node in nodes {
        match node.input.first().filter(|name| node.op_type == "Gather" && narrowed.contains(*name)).cloned()
        {
            Some(table) => {
                graph.node.extend(rows(&node, &table));
                tables.insert(table);
            }
            None => {
                elsewhere.extend(node.input.iter().filter(|name| narrowed.contains(*name)).cloned());
                graph.node.push(node);
            }
        }
    }
    if !tables.is_empty() {
        let raw = (-1i64).to_le_bytes().to_vec();
        graph.initializer.push(tensor(LAST_SIDE, DataType::Int64, &[1], raw));
    }
    tables.difference(&elsewhere).cloned().collect()
}

/// `Gather` of an int8 table and of its scales, and their product.
fn rows(node: &NodeProto, table: &str) -> [NodeProto; 5] {
    let ids = node.input.get(1).cloned().unwrap_or_default();
    let part = |of: &str| format!("{}_{of}", node.name);
    let made = |kind: &str, of: &str, input: Vec<String>, attributes| NodeProto {
        name: part(of),
        op_type: kind.into(),
        input,
        output: vec![format!("{}_output", part(of))],
        attribute: attributes,
        ..NodeProto::default()
    };
    let gather = |of: &str, from: String| {
        made("Gather", of, vec![from, ids.clone()], vec![attribute("axis", &Attr::Int(0))])
    };
    let (values, scales) = (gather("int8", values_name(table)), gather("scale", scale_name(table)));
    let cast = vec![attribute("to", &Attr::Int(DataType::Float as i64))];
    let wide = made("Cast", "wide", values.output.clone(), cast);
    let column = made("Unsqueeze", "column", vec![scales.output[0].clone(), LAST_SIDE.into()], vec![]);
    let mut product = made("Mul", "row", vec![wide.output[0].clone(), column.output[0].clone()], vec![]);
    product.output = node.output.clone();
    [values, scales, wide, column, product]
}

//! The least and greatest value of tensors in a graph, over samples: what static quantisation is calibrated with.
//! Owns that measurement, by tract; never a graph's change. Extremes are averaged over batches, so that one rare sample does
//! not make every step coarse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::TensorData;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};

use crate::{OnnxError, check, file};

/// Least and greatest, 0 among them.
pub(crate) type Range = (f32, f32);

/// The ranges of `wanted` over batches of inputs.
///
/// # Errors
/// tract fails.
pub(crate) fn measure(
    graph: &GraphProto,
    wanted: &BTreeSet<String>,
    batches: impl Iterator<Item = Result<BTreeMap<String, TensorData>, OnnxError>>,
) -> Result<BTreeMap<String, Range>, OnnxError> {
    let output = wanted.iter().map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() });
    let model = file::model(GraphProto { output: output.collect(), ..graph.clone() }, Vec::new());
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let mut count = 0.0;
    for batch in batches {
        let answers = one(&model, &batch?)?;
        for (name, values) in wanted.iter().zip(answers) {
            let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), v| (low.min(*v), high.max(*v)));
            let sum = sums.entry(name.clone()).or_default();
            *sum = (sum.0 + f64::from(low), sum.1 + f64::from(high));
        }
        count += 1.0;
    }
    Ok(sums
        .into_iter()
        .map(|(name, (low, high))| (name, ((low / count) as f32, (high / count) as f32)))
        .collect())
}

fn one(model: &ModelProto, batch: &BTreeMap<String, TensorData>) -> Result<Vec<Vec<f32>>, OnnxError> {
    check::outputs(model, Path::new("."), batch).map_err(|problem| OnnxError::Runtime {
        runtime: "tract",
        path: file::MODEL.into(),
        case: "calibration".into(),
        problem,
    })
}

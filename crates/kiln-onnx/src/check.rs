//! Runs a file on its golden cases with tract, an implementation of ONNX that shares no code with the model's own.
//! Owns that pass and the rule of what is the same; never writes. Shapes are fixed case by case: tract computes with
//! them known, and the file's are free.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::tensor::{DType, TensorData};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    InferenceFact, InferenceModelExt, IntoRunnable, TValue, TVec, Tensor, TractResult,
};

use crate::OnnxError;
use crate::golden::Case;

/// How one case went.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Its name.
    pub case: String,
    /// Shape of the answer.
    pub shape: Vec<usize>,
    /// The largest difference from the model's own answers.
    pub difference: f32,
    /// The largest allowed: the tolerance, times the largest answer where that is above 1.
    pub allowed: f32,
}

/// Every case of a model whose external data are in `folder`; `path` is for messages.
///
/// # Errors
/// tract fails, or an answer is another.
pub(crate) fn run(
    model: &ModelProto,
    path: &Path,
    cases: &[Case],
    tolerance: f32,
) -> Result<Vec<Checked>, OnnxError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    each(path, cases, tolerance, "tract", |case| {
        outputs(model, folder, &case.inputs).map(|mut all| all.pop().unwrap_or_default())
    })
}

/// Every case of a model as `runtime` answers it.
///
/// # Errors
/// The runtime fails, or an answer is another.
pub(crate) fn each(
    path: &Path,
    cases: &[Case],
    tolerance: f32,
    runtime: &'static str,
    mut answer: impl FnMut(&Case) -> Result<Vec<f32>, String>,
) -> Result<Vec<Checked>, OnnxError> {
    let one = |case: &Case| {
        let got = answer(case).map_err(|problem| OnnxError::Runtime {
            path: path.into(),
            runtime,
            case: case.name.clone(),
            problem,
        })?;
        let checked = compared(case, &got, tolerance);
        // Not `difference > allowed`: a difference that is no number is none that is allowed.
        if checked.difference <= checked.allowed {
            return Ok(checked);
        }
        Err(OnnxError::Mismatch {
            path: path.into(),
            case: case.name.clone(),
            difference: checked.difference,
            allowed: checked.allowed,
        })
    };
    cases.iter().map(one).collect()
}

pub(crate) fn compared(case: &Case, got: &[f32], tolerance: f32) -> Checked {
    let right: Vec<f32> = case.answer.iter::<f32>().collect();
    let largest = right.iter().fold(1.0f32, |most, value| most.max(value.abs()));
    // Once no number, always no number.
    let worse = |most: f32, (a, b): (&f32, &f32)| match (a - b).abs() {
        difference if most.is_nan() || difference <= most => most,
        difference => difference,
    };
    let difference = match right.len() == got.len() {
        true => right.iter().zip(got).fold(0.0, worse),
        false => f32::NAN,
    };
    let shape = case.answer.shape().to_vec();
    Checked { case: case.name.clone(), shape, difference, allowed: tolerance * largest }
}

/// Every output that tract gives for some inputs, by name; or what it says against the graph, on one line.
pub(crate) fn outputs(
    model: &ModelProto,
    folder: &Path,
    given: &BTreeMap<String, TensorData>,
) -> Result<Vec<Vec<f32>>, String> {
    let names = model.graph.iter().flat_map(|graph| &graph.input).map(|input| input.name.as_str());
    let data = names.map(|name| given.get(name).ok_or_else(|| format!("no golden input {name}")));
    let data = data.collect::<Result<Vec<_>, _>>()?;
    let line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // tract indexes by what a file says; a forged one may make it panic.
    match catch_unwind(AssertUnwindSafe(|| computed(model, folder, &data))) {
        Ok(outputs) => outputs.map_err(|error| line(format!("{error:#}"))),
        Err(_) => Err("it panicked".into()),
    }
}

fn computed(model: &ModelProto, folder: &Path, data: &[&TensorData]) -> TractResult<Vec<Vec<f32>>> {
    let inputs: TVec<Tensor> = data.iter().map(|data| tensor(data)).collect::<TractResult<_>>()?;
    let mut graph = tract_onnx::onnx().with_ignore_output_shapes(true).parse(model, folder.to_str())?.model;
    for (i, input) in inputs.iter().enumerate() {
        graph.set_input_fact(i, InferenceFact::dt_shape(input.datum_type(), input.shape()))?;
    }
    let inputs = inputs.into_iter().map(TValue::from).collect();
    let outputs = graph.into_optimized()?.into_runnable()?.run(inputs)?;
    outputs.iter().map(|one| Ok(one.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())).collect()
}

fn tensor(data: &TensorData) -> TractResult<Tensor> {
    let shape = data.shape().to_vec();
    match data.dtype() {
        DType::I64 => Tensor::from_shape(&shape, &data.iter::<i64>().collect::<Vec<_>>()),
        _ => Tensor::from_shape(&shape, &data.iter::<f32>().collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(right: &[f32], got: &[f32]) -> f32 {
        let answer = TensorData::new(right.to_vec(), [right.len()]);
        let case = Case { name: "c".into(), inputs: BTreeMap::new(), answer };
        let checked = compared(&case, got, 0.01);
        assert_eq!(checked.allowed, 0.01 * right.iter().fold(1.0f32, |most, v| most.max(v.abs())));
        checked.difference
    }

    #[test]
    fn the_largest_difference_counts_and_what_is_no_number_stays() {
        assert_eq!(difference(&[1.0, -8.0, 0.5], &[1.5, -6.0, 0.5]), 2.0);
        for place in 0..3 {
            let mut got = [1.0, 1.0, 1.0];
            got[place] = f32::NAN;
            assert!(difference(&[1.0, 1.0, 1.0], &got).is_nan(), "{place}");
        }
        assert!(difference(&[1.0], &[1.0, 1.0]).is_nan() && difference(&[1.0], &[]).is_nan());
    }
}

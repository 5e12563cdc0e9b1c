//! Weights, inputs and comparisons that the fixtures' script computes in the same way.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use kiln_core::{Input, InputSpec, Net, Output, StateDict, Tokens};
use kiln_models::ModelConfig;
use serde_json::Value;

/// As `wave` in make_models.py.
pub(crate) fn wave(n: usize, shape: &[usize], scale: f64) -> TensorData {
    let value = |i: u64| {
        let bits = (i * 2_654_435_761 + n as u64 * 1_013_904_223) & 0xFFFF_FFFF;
        let bits = (bits ^ (bits >> 15)).wrapping_mul(2_246_822_519) & 0xFFFF_FFFF;
        let bits = bits ^ (bits >> 13);
        ((bits as f64 / 2f64.powi(31) - 1.0) * scale) as f32
    };
    let count = shape.iter().product::<usize>() as u64;
    TensorData::new((0..count).map(value).collect(), shape.to_vec())
}

fn shifted(data: TensorData) -> TensorData {
    let values: Vec<f32> = data.try_to_vec::<f32>().unwrap().iter().map(|v| 1.0 + v).collect();
    TensorData::new(values, data.shape().clone())
}

/// As `weights` in make_models.py.
pub(crate) fn weights(net: &dyn Net) -> StateDict {
    let mut parameters = net.parameters();
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    parameters.into_iter().enumerate().map(|(n, p)| (p.name.clone(), value(n, &p.name, &p.shape))).collect()
}

/// The tensor that the fixtures' scripts compute for the `n`th name.
pub(crate) fn value(n: usize, name: &str, shape: &[usize]) -> TensorData {
    match shape.len() {
        1 if name.ends_with("running_var") => shifted(wave(n, shape, 0.5)),
        1 if name.ends_with("weight") => shifted(wave(n, shape, 0.3)),
        1 => wave(n, shape, 0.1),
        _ => wave(n, shape, (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
    }
}

pub(crate) fn config(json: Value) -> ModelConfig {
    serde_json::from_value(json).unwrap()
}

pub(crate) fn classes(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("class {i}")).collect()
}

pub(crate) fn image(channels: usize, side: usize) -> InputSpec {
    InputSpec::Image { channels, height: side, width: side }
}

pub(crate) fn fixture(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn fixture_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub(crate) fn pixels(shape: [usize; 4], scale: f64, device: &Device) -> Input {
    Input::Image(Tensor::from_data(wave(1000, &shape, scale), device))
}

/// Rows of integers as the fixtures hold them.
fn rows(value: &Value) -> (Vec<i64>, [usize; 2]) {
    let rows: Vec<Vec<i64>> = serde_json::from_value(value.clone()).unwrap();
    let shape = [rows.len(), rows[0].len()];
    (rows.into_iter().flatten().collect(), shape)
}

pub(crate) fn tokens(fixture: &Value, device: &Device) -> Input {
    let (ids, shape) = rows(&fixture["ids"]);
    let mask: Vec<bool> = rows(&fixture["mask"]).0.into_iter().map(|m| m == 1).collect();
    let types = if fixture["types"].is_null() { vec![0; ids.len()] } else { rows(&fixture["types"]).0 };
    Input::Tokens(Tokens {
        ids: Tensor::from_data(TensorData::new(ids, shape), device),
        mask: Tensor::from_data(TensorData::new(mask, shape), device),
        types: Tensor::from_data(TensorData::new(types, shape), device),
    })
}

pub(crate) fn logits(net: &dyn Net, input: Input) -> Tensor<2> {
    let Output::Logits(logits) = net.apply(input).unwrap() else { panic!("one answer a token") };
    logits
}

pub(crate) fn close(what: &str, got: Tensor<2>, expected: &Value, tolerance: f64) {
    let got: Vec<f32> = got.into_data().try_to_vec().unwrap();
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
        assert!(
            (*g as f64 - e).abs() <= tolerance * (1.0 + e.abs()),
            "{what}[{i}]: {g}, the reference has {e}"
        );
    }
}

/// The folder with real data, or `None` with a word on stderr.
pub(crate) fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("KILN_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: set KILN_TEST_DATA");
    }
    folder
}

//! What the reference tests share: fixtures, and the fill that `make_training.py` describes.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::panic, clippy::unwrap_used)]

pub mod runs;

use burn::tensor::{Device, TensorData};
use kiln_core::{Net, StateDict};
use serde_json::Value;

pub fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// `hash(k, i)` of `make_training.py`, in [-0.5, 0.5).
pub fn hashed(k: u64, i: u64) -> f64 {
    let mut x = (1_000_003u64.wrapping_mul(k).wrapping_add(i)) as u32;
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    f64::from(x ^ (x >> 16)) / 4_294_967_296.0 - 0.5
}

/// Fills every trainable parameter as the fixtures' script does; `scale` is given a matrix's or kernel's shape.
pub fn fill(net: &mut dyn Net, scale: impl Fn(&[usize]) -> f64) {
    let mut names: Vec<_> = net.parameters().into_iter().filter(|p| p.trainable).collect();
    names.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    let mut state = net.state();
    for (k, info) in names.iter().enumerate() {
        let count: usize = info.shape.iter().product();
        let value = |i: usize| {
            let h = hashed(k as u64 + 1, i as u64);
            match (info.shape.len() > 1, info.name.ends_with("weight")) {
                (true, _) => scale(&info.shape) * h,
                (false, true) => 1.0 + 0.2 * h,
                (false, false) => 0.2 * h,
            }
        };
        let values: Vec<f32> = (0..count).map(|i| value(i) as f32).collect();
        state.insert(info.name.clone(), TensorData::new(values, info.shape.clone()));
    }
    assert!(net.load_state(&state).is_exact());
}

pub fn cpu() -> Device {
    Device::flex().autodiff()
}

/// Keys of `metrics.jsonl` that depend on the clock.
const CLOCK: [&str; 10] = [
    "elapsed",
    "data_wait",
    "samples_per_second",
    "tokens_per_second",
    "step_p50_ms",
    "step_p95_ms",
    "data_wait_share",
    "model_tflops",
    "model_flops_utilisation",
    "memory_mib",
];

/// A line of `metrics.jsonl` without them.
pub fn clockless(mut line: Value) -> Value {
    CLOCK.iter().for_each(|key| drop(line.as_object_mut().unwrap().remove(*key)));
    line
}

/// Bytes of every tensor, for comparisons to the bit.
pub fn bits(state: &StateDict) -> Vec<(String, Vec<u8>)> {
    state.iter().map(|(name, data)| (name.clone(), data.as_bytes().to_vec())).collect()
}

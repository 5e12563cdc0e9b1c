//! The families for images against timm, transformers and torchvision: folders in either dialect are read, answer, learn
//! and are written as the reference has them.

mod folders;
mod learning;
mod refused;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln_core::{Input, InputSpec, Net, StateDict, TaskKind};
use kiln_models::dialect::Dialect;
use kiln_models::lora::{LoraConfig, attach};
use kiln_models::{Card, FAMILIES, Model, brought_preprocessing, build, open, save, weights as files};
use kiln_nn::cross_entropy;
use serde_json::{Value, json};

use crate::common::*;

pub(super) const FOLDERS: [&str; 16] = [
    "timm_vit",
    "timm_deit_distilled",
    "timm_convnext",
    "timm_convnext_atto",
    "timm_mobilenetv2",
    "timm_mobilenetv2_deeper",
    "timm_resnet18",
    "transformers_vit",
    "transformers_deit",
    "transformers_deit_teacher",
    "transformers_convnext",
    "transformers_mobilenet_v2",
    "transformers_mobilenet_v2_even",
    "transformers_resnet_basic",
    "transformers_resnet_bottleneck",
    "torchvision_mobilenet_v2",
];

pub(super) const CLASSES: usize = 5;
pub(super) const BATCH: usize = 4;
pub(super) const STEPS: u64 = 20;

pub(super) fn reference(name: &str) -> Value {
    fixture(&format!("vision/{name}"))
}

pub(super) fn of<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// The reference's tensors under its own names, as make_vision.py computes them.
pub(super) fn tensors(reference: &Value) -> StateDict {
    let shapes: BTreeMap<String, Vec<usize>> = of(&reference["tensors"]);
    shapes.into_iter().enumerate().map(|(n, (name, shape))| (name.clone(), value(n, &name, &shape))).collect()
}

/// The folder that the reference saved.
pub(super) fn write_folder(folder: &Path, reference: &Value) {
    let bytes = files::to_safetensors(&tensors(reference), &[("format", "pt")]).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    if !reference["config"].is_null() {
        fs::write(folder.join("config.json"), reference["config"].to_string()).unwrap();
    }
}

pub(super) fn spec(reference: &Value) -> InputSpec {
    let [channels, height, width]: [usize; 3] = of(&reference["image"]);
    InputSpec::Image { channels, height, width }
}

pub(super) fn pixels_of(reference: &Value, step: u64, device: &Device) -> Input {
    let [c, h, w]: [usize; 3] = of(&reference["image"]);
    Input::Image(Tensor::from_data(wave(1000 + step as usize, &[BATCH, c, h, w], 1.0), device))
}

pub(super) fn truth(step: u64, device: &Device) -> Tensor<1, Int> {
    let classes: Vec<i64> = (0..BATCH).map(|b| ((step as usize + 2 * b) % CLASSES) as i64).collect();
    Tensor::from_data(TensorData::new(classes, [BATCH]), device)
}

pub(super) fn dialect(card: &Card) -> Dialect {
    let family = FAMILIES.iter().find(|f| f.reads(card)).unwrap();
    family.dialects(card).unwrap().remove(0)
}

/// The words of the config's `[model]` that start from `folder`.
pub(super) fn start(name: &str, folder: &Path) -> Value {
    let kind =
        ["resnet", "convnext", "mobilenet", "vit", "deit"].into_iter().find(|k| name.contains(k)).unwrap();
    let kind = match kind {
        "mobilenet" => "mobilenet_v2",
        "deit" => "vit",
        other => other,
    };
    match name.starts_with("torchvision") {
        true => {
            json!({"kind": kind, "pretrained": folder.join("model.safetensors"), "preset": "mobilenetv2_100"})
        }
        false => json!({"kind": kind, "pretrained": folder}),
    }
}

pub(super) fn built(name: &str, reference: &Value, folder: &Path, device: &Device) -> Model {
    write_folder(folder, reference);
    let labels: Vec<String> = (0..CLASSES).map(|i| format!("class {i}")).collect();
    let started = config(start(name, folder));
    build(&started, &spec(reference), &labels, TaskKind::Classification, device, 1).unwrap()
}

/// Values within `tolerance` of the largest expected one.
pub(super) fn near(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(*g) - e).abs() / largest;
        assert!(off < tolerance, "{what}[{i}]: {g}, the reference has {e} ({off:.1e} of the largest)");
    }
}

/// As `seen` in make_vision.py: norm, and product with a wave.
pub(super) fn seen(tensor: &[f32], shape: &[usize]) -> [f64; 2] {
    let other: Vec<f32> = wave(7, shape, 1.0).try_to_vec().unwrap();
    let square: f64 = tensor.iter().map(|v| f64::from(*v).powi(2)).sum();
    [square.sqrt(), tensor.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()]
}

pub(super) fn flat<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

//! What training minimises, against torch, torchvision and timm: values and gradients.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use kiln_core::{Output, Target};
use kiln_data::{HostBatch, HostFeatures, HostTarget};
use kiln_eval::tasks::{self, Loss};
use serde_json::Value;

const CLASSES: [i64; 6] = [2, 0, 1, 1, 2, 0];
const TOKENS: [i64; 6] = [2, 0, -100, 1, 2, -100];

/// The numbers of `make_losses.py`.
fn rows(device: &Device, f: impl Fn(f64) -> f64) -> Tensor<2> {
    let values: Vec<f32> = (0..18).map(|i| f(f64::from(i)) as f32).collect();
    Tensor::from_data(TensorData::new(values, [6, 3]), device)
}

fn ids<const D: usize>(values: [i64; 6], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn by(case: &Value) -> Loss {
    Loss {
        kind: serde_json::from_value(case["kind"].clone()).unwrap(),
        label_smoothing: number(&case["label_smoothing"]),
        gamma: number(&case["gamma"]),
        class_weights: serde_json::from_value(case["class_weights"].clone()).unwrap(),
    }
}

fn cases() -> Vec<(String, Value)> {
    let all: Value = serde_json::from_str(include_str!("fixtures/losses.json")).unwrap();
    let cases = all["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 15);
    cases.iter().map(|(name, case)| (name.clone(), case.clone())).collect()
}

#[test]
fn losses_and_gradients_are_the_peers() {
    let device = Device::flex().autodiff();
    for (name, case) in cases() {
        let x = rows(&device, |i| 4.0 * (0.7 * i + 0.3).sin()).require_grad();
        let (output, target) = match case["target"].as_str().unwrap() {
            "tokens" => (
                Output::TokenLogits(x.clone().reshape([2, 3, 3])),
                Target::Tokens(ids(TOKENS, [2, 3], &device)),
            ),
            "classes" => (Output::Logits(x.clone()), Target::Classes(ids(CLASSES, [6], &device))),
            "shares" => {
                let shares = activation::softmax(rows(&device, |i| 2.0 * i.cos()), 1);
                (Output::Logits(x.clone()), Target::Soft(shares))
            }
            _ => {
                let hot = rows(&device, |i| f64::from(i % 4.0 == 0.0));
                (Output::Logits(x.clone()), Target::MultiHot(hot))
            }
        };
        let task = tasks::of(serde_json::from_value(case["task"].clone()).unwrap()).unwrap();
        let loss = task.loss(output, target, 4, &by(&case)).unwrap();
        let gradient: Vec<f32> = x.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
        let (got, expected) = (f64::from(loss.into_scalar::<f32>()), number(&case["loss"]));
        assert!((got - expected).abs() < 2e-6 * expected.max(1.0), "{name}: {got}, expected {expected}");
        let expected: Vec<f64> = serde_json::from_value(case["gradient"].clone()).unwrap();
        let largest = expected.iter().fold(0.0f64, |most, g| most.max(g.abs()));
        for (got, expected) in gradient.iter().zip(&expected) {
            let distance = (f64::from(*got) - expected).abs() / largest;
            assert!(distance < 1e-5, "{name}: {got}, expected {expected}");
        }
    }
}

/// A batch in two parts, each by its weight, is the batch.
#[test]
fn parts_of_a_batch_add_up_by_their_weights() {
    let device = Device::flex();
    let weight = |by: &Loss, values: &[i64]| {
        let features =
            HostFeatures::Image { values: vec![0.0; values.len()], shape: [values.len(), 1, 1, 1] };
        let target = Some(HostTarget::Classes(values.to_vec()));
        by.weight(&HostBatch { features, target, indices: (0..values.len()).collect(), padding: false })
    };
    for (name, case) in cases().into_iter().filter(|(_, case)| case["target"] == "classes") {
        let (by, task) =
            (by(&case), tasks::of(serde_json::from_value(case["task"].clone()).unwrap()).unwrap());
        let x = rows(&device, |i| 4.0 * (0.7 * i + 0.3).sin());
        let part = |from: usize, to: usize| {
            let output = Output::Logits(x.clone().narrow(0, from, to - from));
            let classes = ids(CLASSES, [6], &device).narrow(0, from, to - from);
            let loss = task.loss(output, Target::Classes(classes), (to - from) as u64, &by).unwrap();
            (f64::from(loss.into_scalar::<f32>()), weight(&by, &CLASSES[from..to]))
        };
        let (whole, one, other) = (part(0, 6), part(0, 2), part(2, 6));
        assert!((whole.1 - one.1 - other.1).abs() < 1e-9, "{name}");
        let joined = (one.0 * one.1 + other.0 * other.1) / (one.1 + other.1);
        assert!((joined - whole.0).abs() < 1e-6, "{name}: {joined}, expected {}", whole.0);
    }
}

#[test]
fn where_nothing_is_scored_the_loss_is_zero() {
    let device = Device::flex().autodiff();
    let x = rows(&device, |i| i).require_grad();
    let by = Loss { class_weights: vec![1.0, 0.0, 2.0], ..Loss::default() };
    let task = tasks::of(kiln_core::TaskKind::TokenClassification).unwrap();
    let target = Target::Tokens(ids([-100, 1, 1, 1, -100, -100], [2, 3], &device));
    let loss = task.loss(Output::TokenLogits(x.clone().reshape([2, 3, 3])), target, 3, &by).unwrap();
    let gradient: Vec<f32> = x.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
    assert_eq!(loss.into_scalar::<f32>(), 0.0);
    assert!(gradient.iter().all(|g| *g == 0.0), "{gradient:?}");
}

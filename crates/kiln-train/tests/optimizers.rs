//! Optimizers against `torch.optim` and `timm.optim`, 100 steps; their states saved, read back and refused.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::net::ParamInfo;
use kiln_core::{Forward, Gradients, Net};
use kiln_train::config::OptimizerConfig;
use kiln_train::optim::Optimizer;
use serde_json::{Value, json};
use support::{bits, cpu, fixture, floats};

/// The small problem of `make_optimizers.py`: 12 numbers in a `[2, 4]` weight and a `[4]` bias.
#[derive(Module, Debug)]
struct Twelve {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

/// Its large problem: the same and three more, 108 numbers.
#[derive(Module, Debug)]
struct Many {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    wide: Param<Tensor<2>>,
    tall: Param<Tensor<2>>,
    kernel: Param<Tensor<4>>,
}

impl Forward for Twelve {
    type In = Tensor<2>;
    type Out = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

impl Forward for Many {
    type In = Tensor<2>;
    type Out = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

const NAMES: [&str; 5] = ["weight", "bias", "wide", "tall", "kernel"];

/// The start values from one place to another, as a parameter.
fn part<const D: usize>(from: usize, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let values = from..from + shape.iter().product::<usize>();
    let values: Vec<f32> = values.map(|i| (i as f64 + 1.0).sin() as f32).collect();
    Param::from_tensor(Tensor::<1>::from_floats(values.as_slice(), device).reshape(shape))
}

fn twelve(device: &Device) -> Box<dyn Net> {
    Box::new(Twelve { weight: part(0, [2, 4], device), bias: part(8, [4], device) })
}

fn many(device: &Device) -> Box<dyn Net> {
    Box::new(Many {
        weight: part(0, [2, 4], device),
        bias: part(8, [4], device),
        wide: part(12, [4, 12], device),
        tall: part(60, [8, 3], device),
        kernel: part(84, [2, 2, 3, 2], device),
    })
}

/// The problem that a rule is tried on: those that look at shapes have the large one.
fn problem(kind: &str) -> Box<dyn Net> {
    if ["adafactor", "lamb", "muon"].contains(&kind) { many(&cpu()) } else { twelve(&cpu()) }
}

/// All numbers, parameter by parameter.
fn values(net: &dyn Net) -> Vec<f32> {
    let state = net.state();
    NAMES.iter().filter_map(|n| state.get(*n)).flat_map(|d| d.as_slice::<f32>().unwrap().to_vec()).collect()
}

fn gradients(net: &dyn Net, t: i32) -> Gradients {
    let (state, mut i) = (net.state(), 0.0f64);
    let large = state.len() > 2;
    let mut gradient = |p: &f32| {
        let u = if large { i + 0.3 * i * i } else { i };
        i += 1.0;
        (0.5 * (f64::from(*p) - u.cos()) + 0.1 * (0.7 * f64::from(t) + u).sin()) as f32
    };
    let mut all = Gradients::default();
    for (name, data) in NAMES.iter().filter_map(|n| state.get(*n).map(|data| (*n, data))) {
        let flat: Vec<f32> = data.as_slice::<f32>().unwrap().iter().map(&mut gradient).collect();
        all.0.insert(name.into(), Tensor::from_floats(flat.as_slice(), &Device::flex()));
    }
    all
}

fn config(case: &Value) -> OptimizerConfig {
    let mut table = case["options"].clone();
    table["kind"] = case["kind"].clone();
    let rename = |table: &mut Value| {
        if let Some(decay) = table.as_object_mut().unwrap().remove("decay_bias") {
            table["decay_bias_and_norm"] = decay;
        }
    };
    rename(&mut table);
    if let Some(adamw) = table.get_mut("adamw") {
        rename(adamw);
    }
    serde_json::from_value(table).unwrap()
}

fn rate(case: &Value, t: i32) -> f64 {
    case["options"]["learning_rate"].as_f64().unwrap() * (1.0 - f64::from(t - 1) / 200.0)
}

#[test]
fn a_hundred_steps_follow_the_references() {
    let fixture = fixture("optimizers.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 35);
    let mut worst = BTreeMap::<String, f64>::new();
    for case in cases {
        let kind = case["kind"].as_str().unwrap();
        let (mut optimizer, mut net) = (Optimizer::new(&config(case)), problem(kind));
        for t in 1..=100 {
            let g = gradients(&*net, t);
            net = optimizer.step(net, g, rate(case, t));
            let Some(expected) = case["after"].get(t.to_string()) else { continue };
            let (expected, got) = (floats(expected), values(&*net));
            assert_eq!(got.len(), expected.len());
            let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            for (got, expected) in got.iter().zip(expected) {
                let distance = (f64::from(*got) - expected).abs() / largest;
                let worst = worst.entry(kind.into()).or_default();
                *worst = worst.max(distance);
                assert!(
                    distance < 1e-6,
                    "{kind} {}: step {t}: expected {expected}, got {got} ({distance:.1e} away)",
                    case["options"]
                );
            }
        }
    }
    eprintln!("largest distances, of the largest parameter: {worst:?}");
}

/// Every rule, with each tensor of state that it can have.
fn every_rule() -> Vec<Value> {
    vec![
        json!({"kind": "adamw"}),
        json!({"kind": "sgd", "momentum": 0.9, "nesterov": true}),
        json!({"kind": "adam", "weight_decay": 0.1}),
        json!({"kind": "adam", "amsgrad": true}),
        json!({"kind": "rmsprop"}),
        json!({"kind": "rmsprop", "centered": true, "momentum": 0.9}),
        json!({"kind": "adagrad", "lr_decay": 0.01}),
        json!({"kind": "adafactor", "weight_decay": 0.1}),
        json!({"kind": "lion", "weight_decay": 0.1}),
        json!({"kind": "lamb"}),
        json!({"kind": "muon", "adamw_parameters": ["tall"]}),
    ]
}

#[test]
fn a_saved_state_continues_to_the_bit() {
    for rule in every_rule() {
        let config: OptimizerConfig = serde_json::from_value(rule.clone()).unwrap();
        let (mut optimizer, mut net) = (Optimizer::new(&config), many(&cpu()));
        for t in 1..=50 {
            let g = gradients(&*net, t);
            net = optimizer.step(net, g, 0.01);
        }
        let mut again = Optimizer::new(&config);
        let mut copy = many(&cpu());
        assert!(copy.load_state(&net.state()).is_exact());
        again.load_state(&optimizer.state(), &*copy, &cpu()).unwrap();
        assert_eq!(bits(&again.state()), bits(&optimizer.state()), "{rule}");
        for t in 51..=100 {
            let (g, h) = (gradients(&*net, t), gradients(&*copy, t));
            net = optimizer.step(net, g, 0.01);
            copy = again.step(copy, h, 0.01);
        }
        assert_eq!(bits(&net.state()), bits(&copy.state()), "{rule}");
        assert_eq!(bits(&optimizer.state()), bits(&again.state()), "{rule}");
        // What the state is for: without it the same steps lead elsewhere.
        let mut fresh = Optimizer::new(&config);
        copy = fresh.step(copy, gradients(&*net, 101), 0.01);
        net = optimizer.step(net, gradients(&*copy, 101), 0.01);
        assert_ne!(bits(&net.state()), bits(&copy.state()), "{rule}");
    }
}

#[test]
fn states_have_the_sizes_that_their_rule_needs() {
    let sizes = |rule: Value| -> Vec<(String, usize)> {
        let config: OptimizerConfig = serde_json::from_value(rule).unwrap();
        let mut optimizer = Optimizer::new(&config);
        optimizer.step(many(&cpu()), gradients(&*many(&cpu()), 1), 0.1);
        let state = optimizer.state().into_iter().filter(|(name, _)| !name.starts_with("step."));
        state.map(|(name, data)| (name, data.num_elements())).collect()
    };
    let expected = |all: &[(&str, usize)]| -> Vec<(String, usize)> {
        all.iter().map(|(name, n)| (name.to_string(), *n)).collect()
    };
    assert_eq!(
        sizes(json!({"kind": "adafactor"})),
        expected(&[
            ("col_var.kernel", 8),
            ("col_var.tall", 3),
            ("col_var.weight", 4),
            ("col_var.wide", 12),
            ("row_var.kernel", 12),
            ("row_var.tall", 8),
            ("row_var.weight", 2),
            ("row_var.wide", 4),
            ("variance.bias", 4),
        ])
    );
    assert_eq!(
        sizes(json!({"kind": "muon", "adamw_parameters": ["*t*l*"]})),
        expected(&[
            ("exp_avg.bias", 4),
            ("exp_avg.kernel", 24),
            ("exp_avg.tall", 24),
            ("exp_avg_sq.bias", 4),
            ("exp_avg_sq.kernel", 24),
            ("exp_avg_sq.tall", 24),
            ("momentum_buffer.weight", 8),
            ("momentum_buffer.wide", 48),
        ])
    );
}

#[test]
fn a_state_keeps_its_dtype_and_values() {
    let config: OptimizerConfig = serde_json::from_value(json!({"kind": "adamw"})).unwrap();
    let mut optimizer = Optimizer::new(&config);
    let net = optimizer.step(twelve(&cpu()), gradients(&*twelve(&cpu()), 1), 0.1);
    let mut state = optimizer.state();
    let half = state["exp_avg.bias"].clone().convert::<half::f16>();
    state.insert("exp_avg.bias".into(), half.clone());
    optimizer.load_state(&state, &*net, &cpu()).unwrap();
    assert_eq!(optimizer.state()["exp_avg.bias"], half);
}

#[test]
fn a_state_of_another_model_or_rule_is_refused() {
    let adamw: OptimizerConfig = serde_json::from_value(json!({"kind": "adamw"})).unwrap();
    let sgd: OptimizerConfig = serde_json::from_value(json!({"kind": "sgd", "momentum": 0.9})).unwrap();
    let mut optimizer = Optimizer::new(&adamw);
    let net = optimizer.step(twelve(&cpu()), gradients(&*twelve(&cpu()), 1), 0.1);
    let good = optimizer.state();
    let error = Optimizer::new(&sgd).load_state(&good, &*net, &cpu()).unwrap_err().to_string();
    assert!(
        error.contains("momentum_buffer.bias is missing") || error.contains("momentum_buffer.weight"),
        "{error}"
    );
    let mut stray = good.clone();
    stray.insert("exp_avg.other".into(), [1.0f32].into());
    let error = optimizer.load_state(&stray, &*net, &cpu()).unwrap_err().to_string();
    assert!(error.contains("1 of 7 tensors"), "{error}");
    let mut short = good.clone();
    short.insert("exp_avg.bias".into(), [1.0f32].into());
    let error = optimizer.load_state(&short, &*net, &cpu()).unwrap_err().to_string();
    assert!(error.contains("exp_avg.bias: expected 4 elements, got 1"), "{error}");
    let adafactor: OptimizerConfig = serde_json::from_value(json!({"kind": "adafactor"})).unwrap();
    let mut optimizer = Optimizer::new(&adafactor);
    let net = optimizer.step(many(&cpu()), gradients(&*many(&cpu()), 1), 0.1);
    let mut swapped = optimizer.state();
    let rows = swapped["row_var.wide"].clone();
    swapped.insert("col_var.wide".into(), rows);
    let error = optimizer.load_state(&swapped, &*net, &cpu()).unwrap_err().to_string();
    assert!(error.contains("col_var.wide: expected 12 elements, got 4"), "{error}");
}

#[test]
fn muon_leaves_embeddings_heads_and_convolutions_to_adamw() {
    let muon: OptimizerConfig = serde_json::from_value(json!({"kind": "muon"})).unwrap();
    let rule = muon.rule();
    let by = |name: &str, shape: &[usize]| {
        rule.name_of(&ParamInfo { name: name.into(), shape: shape.to_vec(), trainable: true }).unwrap()
    };
    for hidden in [
        "bert.encoder.layer.0.attention.self.query.weight",
        "bert.encoder.layer.0.output.dense.weight",
        "transformer.h.0.attn.c_attn.weight",
        "transformer.h.3.mlp.c_fc.weight",
        "vit.encoder.layer.1.intermediate.dense.weight",
        "blocks.0.mlp.fc1.weight",
        "layers.0.weight",
        "distilbert.transformer.layer.0.ffn.lin1.weight",
        "stages.0.blocks.0.mlp.fc1.weight",
    ] {
        assert_eq!(by(hidden, &[4, 4]), "muon", "{hidden}");
    }
    for (name, shape) in [
        ("bert.embeddings.word_embeddings.weight", &[9, 4][..]),
        ("transformer.wte.weight", &[9, 4]),
        ("transformer.wpe.weight", &[9, 4]),
        ("embedding.weight", &[9, 4]),
        ("classifier.weight", &[2, 4]),
        ("score.weight", &[2, 4]),
        ("lm_head.weight", &[9, 4]),
        ("head.weight", &[2, 4]),
        ("head.fc.weight", &[2, 4]),
        ("head_dist.weight", &[2, 4]),
        ("fc.weight", &[2, 4]),
        ("linear.weight", &[2, 4]),
        ("cls.predictions.decoder.weight", &[9, 4]),
        ("backbone.output.linear.weight", &[2, 4]),
        ("pos_embed", &[1, 5, 4]),
        ("layer1.0.conv1.weight", &[4, 4, 3, 3]),
        ("bert.encoder.layer.0.output.LayerNorm.weight", &[4]),
    ] {
        assert_eq!(by(name, shape), "adamw", "{name}");
    }
}

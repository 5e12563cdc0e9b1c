//! MLP with categories, FT-Transformer and TextCNN follow PyTorch: answers, loss, gradients and twenty steps of AdamW.
//! The fixtures are kiln-models' (`make_tables.py`), weights are computed on both sides.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use kiln_core::{Input, InputSpec, Net, Output, StateDict, Table, TaskKind, Tokens};
use kiln_nn::{cross_entropy, mse};
use kiln_train::optim::Optimizer;
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let path = format!("{}/../kiln-models/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// As `wave` in make_tables.py.
fn wave(n: usize, shape: &[usize], scale: f64) -> TensorData {
    let value = |i: u64| {
        let bits = (i * 2_654_435_761 + n as u64 * 1_013_904_223) & 0xFFFF_FFFF;
        let bits = (bits ^ (bits >> 15)).wrapping_mul(2_246_822_519) & 0xFFFF_FFFF;
        let bits = bits ^ (bits >> 13);
        ((bits as f64 / 2f64.powi(31) - 1.0) * scale) as f32
    };
    let count = shape.iter().product::<usize>() as u64;
    TensorData::new((0..count).map(value).collect(), shape.to_vec())
}

/// As `weights` in make_tables.py.
fn fill(net: &mut dyn Net) {
    let mut parameters = net.parameters();
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    let mut state = StateDict::new();
    for (n, p) in parameters.into_iter().enumerate() {
        let data = match p.shape.len() {
            1 if p.name.ends_with("weight") => {
                let small = wave(n, &p.shape, 0.3).try_to_vec::<f32>().unwrap();
                TensorData::new(small.into_iter().map(|x| 1.0 + x).collect(), p.shape.clone())
            }
            1 => wave(n, &p.shape, 0.1),
            _ => wave(n, &p.shape, (6.0 / p.shape[1..].iter().product::<usize>() as f64).sqrt()),
        };
        state.insert(p.name, data);
    }
    assert!(net.load_state(&state).is_exact());
}

fn net(config: &Value, input: &InputSpec, labels: usize, task: TaskKind, device: &Device) -> Box<dyn Net> {
    let labels: Vec<String> = (0..labels).map(|k| k.to_string()).collect();
    let config = serde_json::from_value(config.clone()).unwrap();
    let mut net = kiln_models::build(&config, input, &labels, task, device, 1).unwrap().net;
    fill(&mut *net);
    net
}

fn logits(net: &dyn Net, input: Input) -> Tensor<2> {
    let Output::Logits(logits) = net.apply(input).unwrap() else { panic!("one answer a token") };
    logits
}

fn floats(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

fn cpu() -> Device {
    Device::flex().autodiff()
}

fn follows(
    name: &str,
    config: Value,
    spec: &InputSpec,
    (labels, task): (usize, TaskKind),
    input: impl Fn(&Device) -> Input,
    loss: impl Fn(Tensor<2>, &Device) -> Tensor<1>,
) {
    let expected = fixture(name);
    let mut net = net(&config, spec, labels, task, &cpu());
    let wanted: Vec<f64> = serde_json::from_value(expected["logits"].clone()).unwrap();
    let largest = wanted.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    for (form, got) in [
        ("training", logits(&*net, input(&cpu()))),
        ("answering", logits(&*net.valid(), input(&Device::flex()))),
    ] {
        let got = floats(got);
        assert_eq!(got.len(), wanted.len(), "{name}");
        for (g, w) in got.iter().zip(&wanted) {
            assert!((f64::from(*g) - w).abs() <= 1e-4 * largest, "{name}, {form}: {g}, PyTorch has {w}");
        }
    }
    let first = loss(logits(&*net, input(&cpu())), &cpu());
    let relative = f64::from(first.clone().into_scalar::<f32>()) / expected["loss"].as_f64().unwrap() - 1.0;
    assert!(relative.abs() < 1e-5, "{name}: the loss differs by {relative}");
    let gradients = net.gradients(first).0;
    let norms = expected["gradient_norms"].as_object().unwrap();
    assert_eq!(gradients.keys().collect::<Vec<_>>(), {
        let mut names: Vec<_> = norms.keys().collect();
        names.sort();
        names
    });
    let largest = norms.values().filter_map(Value::as_f64).fold(0.0, f64::max);
    for (parameter, norm) in norms {
        let got = f64::from(gradients[parameter].clone().square().sum().sqrt().into_scalar::<f32>());
        let norm = norm.as_f64().unwrap();
        assert!((got - norm).abs() < 1e-3 * largest, "{name}: {parameter}: {got}, PyTorch has {norm}");
    }
    let rule =
        json!({"kind": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "decay_bias_and_norm": true});
    let mut optimizer = Optimizer::new(&serde_json::from_value(rule).unwrap());
    for (step, wanted) in expected["losses"].as_array().unwrap().iter().enumerate() {
        let now = loss(logits(&*net, input(&cpu())), &cpu());
        let (got, wanted) = (f64::from(now.clone().into_scalar::<f32>()), wanted.as_f64().unwrap());
        assert!((got / wanted - 1.0).abs() < 1e-3, "{name}: step {step}: {got}, PyTorch has {wanted}");
        let gradients = net.gradients(now);
        net = optimizer.step(net, gradients, 1e-3);
    }
}

fn rows(categories: &Value, device: &Device) -> Input {
    let rows: Vec<Vec<i64>> = serde_json::from_value(categories.clone()).unwrap();
    let shape = [rows.len(), rows[0].len()];
    let categories: Vec<i64> = rows.into_iter().flatten().collect();
    Input::Table(Table {
        numbers: Some(Tensor::from_data(wave(1000, &[4, 3], 2.0), device)),
        categories: Some(Tensor::from_data(TensorData::new(categories, shape), device)),
    })
}

fn table() -> InputSpec {
    InputSpec::Table { features: 3, cardinalities: vec![3, 5] }
}

fn squared(answers: Tensor<2>, device: &Device) -> Tensor<1> {
    mse(answers, Tensor::from_data(wave(1001, &[4, 2], 2.0), device))
}

#[test]
fn an_mlp_with_categories() {
    let categories = fixture("mlp")["categories"].clone();
    let config = json!({"kind": "mlp", "hidden": [8, 6]});
    follows("mlp", config, &table(), (2, TaskKind::Regression), |d| rows(&categories, d), squared);
}

#[test]
fn an_ft_transformer_like_its_authors() {
    let expected = fixture("ft_transformer");
    let categories = expected["categories"].clone();
    let config = json!({"kind": "ft_transformer", "d_block": 16, "attention_n_heads": 4, "ffn_d_hidden": 21,
        "attention_dropout": 0.0, "ffn_dropout": 0.0});
    let input = |d: &Device| rows(&categories, d);
    follows("ft_transformer", config, &table(), (2, TaskKind::Regression), input, squared);
    let default = net(&json!({"kind": "ft_transformer"}), &table(), 2, TaskKind::Regression, &Device::flex());
    let count: usize = default.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
    assert_eq!(Some(count as u64), expected["default_parameters"].as_u64());
}

/// Sentences padded to `width`, on the right or on the left.
fn sentences(rows: &[Vec<i64>], width: usize, left: bool, device: &Device) -> Input {
    let place = |row: &Vec<i64>| if left { width - row.len() } else { 0 };
    let (mut ids, mut mask) = (vec![1i64; rows.len() * width], vec![false; rows.len() * width]);
    for (b, row) in rows.iter().enumerate() {
        for (t, id) in row.iter().enumerate() {
            let at = b * width + place(row) + t;
            (ids[at], mask[at]) = (*id, true);
        }
    }
    let shape = [rows.len(), width];
    Input::Tokens(Tokens {
        ids: Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device),
        mask: Tensor::<2, Bool>::from_data(TensorData::new(mask, shape), device),
        types: Tensor::<2, Int>::zeros(shape, device),
    })
}

#[test]
fn a_textcnn_whatever_the_padding() {
    let rows: Vec<Vec<i64>> = serde_json::from_value(fixture("textcnn")["sentences"].clone()).unwrap();
    let config = json!({"kind": "textcnn", "embedding_size": 6, "kernel_sizes": [2, 3, 5], "num_filters": 4,
        "dropout": 0.0});
    let spec = InputSpec::Tokens { vocab_size: 12, max_length: 16, pad_id: 1 };
    let classes = |logits: Tensor<2>, device: &Device| {
        cross_entropy(logits, Tensor::<1, Int>::from_ints([2, 0, 1, 2], device), 0.0)
    };
    let task = (3, TaskKind::Classification);
    follows("textcnn", config.clone(), &spec, task, |d| sentences(&rows, 6, false, d), classes);
    let net = net(&config, &spec, 3, TaskKind::Classification, &Device::flex());
    let alone: Vec<f32> = rows
        .iter()
        .flat_map(|row| {
            floats(logits(&*net, sentences(std::slice::from_ref(row), row.len(), false, &Device::flex())))
        })
        .collect();
    for (width, left) in [(6, false), (6, true), (13, false), (13, true)] {
        let padded = floats(logits(&*net, sentences(&rows, width, left, &Device::flex())));
        for (a, b) in padded.iter().zip(&alone) {
            assert!((a - b).abs() < 1e-5, "width {width}, left {left}: {a}, alone {b}");
        }
    }
}

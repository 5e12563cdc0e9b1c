//! Twenty training steps follow PyTorch's: losses and gradient norms of BERT and a CIFAR ResNet, running statistics
//! of batch norm. The fixtures say how far single precision alone drives two right programs apart.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{Input, InputSpec, Net, Output, Tokens};
use kiln_models::config::ModelConfig;
use kiln_nn::loss::cross_entropy;
use kiln_train::config::{OptimizerConfig, ScheduleConfig};
use kiln_train::optim::{Optimizer, clip, global_norm};
use kiln_train::schedule::Schedule;
use serde_json::{Value, json};
use support::{cpu, fill, fixture, floats, hashed};

const STEPS: u64 = 20;

struct Recipe {
    optimizer: Value,
    schedule: Value,
    rate: f64,
    label_smoothing: f64,
}

/// Trains as the loop does and answers losses, gradient norms and the net.
fn train(
    mut net: Box<dyn Net>,
    recipe: &Recipe,
    batch: impl Fn(u64) -> (Input, Vec<i64>),
) -> (Vec<f64>, Vec<f64>, Box<dyn Net>) {
    let optimizer: OptimizerConfig = serde_json::from_value(recipe.optimizer.clone()).unwrap();
    let schedule: ScheduleConfig = serde_json::from_value(recipe.schedule.clone()).unwrap();
    let (mut optimizer, schedule) =
        (Optimizer::new(&optimizer), Schedule::new(&schedule, recipe.rate, STEPS, STEPS));
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..STEPS {
        let (input, classes) = batch(step);
        let Output::Logits(logits) = net.apply(input).unwrap() else { panic!("one answer a token") };
        let classes = Tensor::<1, Int>::from_data(TensorData::from(classes.as_slice()), &cpu());
        let loss = cross_entropy(logits, classes, recipe.label_smoothing);
        losses.push(f64::from(loss.clone().into_scalar::<f32>()));
        let gradients = net.gradients(loss);
        let norm = global_norm(&gradients);
        norms.push(f64::from(norm));
        net = optimizer.step(net, clip(gradients, norm, 1.0), schedule.at(step));
    }
    (losses, norms, net)
}

fn follow(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (step, (g, e)) in got.iter().zip(expected).enumerate() {
        let distance = (g / e - 1.0).abs();
        assert!(distance < tolerance, "{what} of step {step}: expected {e}, got {g} ({distance:.1e} away)");
    }
}

fn adamw() -> Value {
    json!({"kind": "adamw", "weight_decay": 0.01, "decay_bias_and_norm": false})
}

fn classes(n: usize) -> Vec<String> {
    (0..n).map(|k| k.to_string()).collect()
}

fn tokens(rows: &[Vec<i64>]) -> Input {
    let longest = rows.iter().map(Vec::len).max().unwrap();
    let padded: Vec<i64> = rows
        .iter()
        .flat_map(|r| r.iter().copied().chain(std::iter::repeat_n(0, longest - r.len())))
        .collect();
    let mask: Vec<bool> =
        rows.iter().flat_map(|r| (0..longest).map(|t| t < r.len()).collect::<Vec<_>>()).collect();
    let shape = [rows.len(), longest];
    Input::Tokens(Tokens {
        ids: Tensor::<2, Int>::from_data(TensorData::new(padded, shape), &cpu()),
        mask: Tensor::<2, Bool>::from_data(TensorData::new(mask, shape), &cpu()),
        types: Tensor::<2, Int>::zeros(shape, &cpu()),
    })
}

#[test]
fn tiny_bert_follows_transformers() {
    let fixture = fixture("tinybert20.json");
    let config: ModelConfig = serde_json::from_value(json!({
        "kind": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "max_position_embeddings": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }))
    .unwrap();
    let input = InputSpec::Tokens { vocab_size: 100, max_length: 64, pad_id: 0 };
    let mut net =
        kiln_models::build(&config, &input, &classes(2), kiln_core::TaskKind::Classification, &cpu(), 1)
            .unwrap()
            .net;
    fill(&mut *net, |_| 0.4);
    let recipe = Recipe {
        optimizer: adamw(),
        schedule: json!({"lr_scheduler_type": "linear", "warmup_steps": 2}),
        rate: 1e-3,
        label_smoothing: 0.0,
    };
    let (losses, norms, _) = train(net, &recipe, |s| {
        let s = s as i64;
        let row =
            |b: i64| (0..5 + (s + 3 * b) % 8).map(|t| 1 + (7 * s + 13 * b + 5 * t + t * t) % 99).collect();
        let rows: Vec<Vec<i64>> = (0..8).map(row).collect();
        let truth = rows.iter().enumerate().map(|(b, r)| (b as i64 + r[0]) % 2).collect();
        (tokens(&rows), truth)
    });
    follow("loss", &losses, &floats(&fixture["losses"]), 1e-4);
    follow("gradient norm", &norms, &floats(&fixture["grad_norms"]), 1e-3);
}

#[test]
fn a_cifar_resnet_follows_torch_with_its_running_statistics() {
    let fixture = fixture("resnet20.json");
    let config: ModelConfig = serde_json::from_value(json!({"kind": "resnet", "preset": "cifar20"})).unwrap();
    let input = InputSpec::Image { channels: 3, height: 16, width: 16 };
    let mut net =
        kiln_models::build(&config, &input, &classes(10), kiln_core::TaskKind::Classification, &cpu(), 1)
            .unwrap()
            .net;
    fill(&mut *net, |shape| 3.4 / (shape[1..].iter().product::<usize>() as f64).sqrt());
    let recipe = Recipe {
        optimizer: json!({"kind": "sgd", "momentum": 0.9, "nesterov": true, "weight_decay": 1e-3,
            "decay_bias_and_norm": false}),
        schedule: json!({"lr_scheduler_type": "cosine", "warmup_steps": 5}),
        rate: 0.005,
        label_smoothing: 0.1,
    };
    let (losses, norms, net) = train(net, &recipe, |s| {
        let truth: Vec<i64> = (0..8).map(|b| (3 * s as i64 + b) % 10).collect();
        let pixel = |i: usize| {
            let (class, channel) = (truth[i / 768] as f64, (i / 256 % 3) as f64);
            (2.0 * hashed(1000 + s, i as u64) + 0.5 * (class + channel).cos()) as f32
        };
        let pixels = TensorData::new((0..8 * 768).map(pixel).collect(), [8, 3, 16, 16]);
        (Input::Image(Tensor::from_data(pixels, &cpu())), truth)
    });
    follow("loss", &losses, &floats(&fixture["losses"]), 1e-4);
    // A ReLU at its kink turns a gradient on or off by the last digit of a sum: the first ten steps agree to 1e-6.
    follow("gradient norm", &norms[..10], &floats(&fixture["grad_norms"])[..10], 1e-6);
    follow("gradient norm", &norms, &floats(&fixture["grad_norms"]), 1e-2);
    let state = net.state();
    let statistics = fixture["recipe"]["running_statistics"].as_object().unwrap();
    assert!(statistics.len() >= 3);
    for (name, expected) in statistics {
        for (g, e) in state[name].as_slice::<f32>().unwrap().iter().zip(floats(expected)) {
            assert!((f64::from(*g) - e).abs() < 1e-4 * e.abs().max(0.1), "{name}: expected {e}, got {g}");
        }
    }
}

#[test]
fn minilm_follows_transformers_on_sst2() {
    let Ok(data) = std::env::var("KILN_TEST_DATA").map(std::path::PathBuf::from) else {
        eprintln!("skipped: set KILN_TEST_DATA");
        return;
    };
    let fixture = fixture("minilm20.json");
    let folder = data.join("all-MiniLM-L6-v2");
    let source: kiln_data::config::DataConfig = serde_json::from_value(json!({
        "kind": "tsv", "train": data.join("sst2/train.tsv"), "header": false, "text": 0, "label": 1,
        "tokenizer": {"max_length": 64}, "loader": {"batch_size": 16, "shuffle": false},
    }))
    .unwrap();
    let options = kiln_data::OpenOptions { tokenizer_folder: Some(&folder), ..Default::default() };
    let dataset = kiln_data::Dataset::open(&source, &options).unwrap();
    let config: ModelConfig = serde_json::from_value(json!({
        "kind": "bert", "pretrained": folder, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }))
    .unwrap();
    let mut net = kiln_models::build(
        &config,
        &dataset.input,
        &dataset.classes,
        kiln_core::TaskKind::Classification,
        &cpu(),
        1,
    )
    .unwrap()
    .net;
    let mut state = net.state();
    let head: Vec<f32> = (0..2 * 384).map(|i| (0.02 * f64::from(i).sin()) as f32).collect();
    state.insert("classifier.weight".into(), TensorData::new(head, [2, 384]));
    state.insert("classifier.bias".into(), TensorData::zeros::<f32, _>([2]));
    assert!(net.load_state(&state).is_exact());
    let recipe = Recipe {
        optimizer: adamw(),
        schedule: json!({"lr_scheduler_type": "linear", "warmup_steps": 2}),
        rate: 5e-5,
        label_smoothing: 0.0,
    };
    let train_split = dataset.train.unwrap();
    let order = kiln_data::Order::Train { seed: 0, epoch: 0 };
    let loader = kiln_data::Loader::new(&train_split, &dataset.preprocessor, source.loader(), order).unwrap();
    let batches = std::cell::RefCell::new(loader);
    let widths = floats(&fixture["recipe"]["tokens_per_row"]);
    let (losses, norms, _) = train(net, &recipe, |s| {
        let host = batches.borrow_mut().next().unwrap().unwrap();
        let Some(kiln_data::HostTarget::Classes(truth)) = host.target.clone() else { panic!("no classes") };
        let batch = kiln_data::collate(host, &cpu());
        let Input::Tokens(tokens) = &batch.input else { panic!("not tokens") };
        assert_eq!(tokens.ids.dims()[1] as f64, widths[s as usize], "padding of step {s}");
        (batch.input, truth)
    });
    follow("loss", &losses, &floats(&fixture["losses"]), 1e-4);
    follow("gradient norm", &norms, &floats(&fixture["grad_norms"]), 1e-2);
}

//! Fine-tuning against peft, torch and timm, and in whole runs: what is frozen stays, what thaws thaws on time, adapters
//! end merged, all of it to the bit after an interruption.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::{Path, PathBuf};

use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{Input, InputSpec, Net, Output, StateDict, TaskKind, Tokens};
use kiln_models::Model;
use kiln_nn::loss::cross_entropy;
use kiln_train::config::Config;
use kiln_train::finetune::{Finetune, Layers, table};
use kiln_train::optim::Optimizer;
use kiln_train::{Outcome, Plan, Start};
use serde_json::json;
use support::runs::{finished, go, new, newest};
use support::{bits, cpu, fill, fixture, floats, hashed};

const BERT: &str = "[model]\nkind = \"bert\"\nhidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 4\n\
    intermediate_size = 64\nmax_position_embeddings = 64\nhidden_dropout_prob = 0.0\n\
    attention_probs_dropout_prob = 0.0\n[data]\nkind = \"tsv\"\ntrain = \"t.tsv\"\ntext = 0\nlabel = 1\n\
    tokenizer.path = \"tokenizer.json\"\ntokenizer.max_length = 64\n[train]\nmax_steps = 20\n";

fn parsed(rest: &str) -> Config {
    let text = format!("{BERT}{rest}");
    kiln_train::load::from_resolved_toml(&text, Path::new("c.toml")).unwrap().config
}

/// The tiny BERT of make_training.py.
fn tiny_bert(config: &Config) -> Model {
    let input = InputSpec::Tokens { vocab_size: 100, max_length: 64, pad_id: 0 };
    let classes = ["0".to_string(), "1".to_string()];
    let task = TaskKind::Classification;
    let mut model = kiln_models::build(&config.model, &input, &classes, task, &cpu(), 1).unwrap();
    fill(&mut *model.net, |_| 0.4);
    model
}

/// Batch `s` of make_training.py's tiny BERT.
fn batch(s: i64) -> (Input, Vec<i64>) {
    let row = |b: i64| -> Vec<i64> {
        (0..5 + (s + 3 * b) % 8).map(|t| 1 + (7 * s + 13 * b + 5 * t + t * t) % 99).collect()
    };
    let rows: Vec<Vec<i64>> = (0..8).map(row).collect();
    let longest = rows.iter().map(Vec::len).max().unwrap();
    let padded: Vec<i64> =
        rows.iter().flat_map(|r| (0..longest).map(|t| r.get(t).copied().unwrap_or(0))).collect();
    let mask: Vec<bool> = rows.iter().flat_map(|r| (0..longest).map(|t| t < r.len())).collect();
    let shape = [8, longest];
    let truth = rows.iter().enumerate().map(|(b, r)| (b as i64 + r[0]) % 2).collect();
    let tokens = Tokens {
        ids: Tensor::<2, Int>::from_data(TensorData::new(padded, shape), &cpu()),
        mask: Tensor::<2, Bool>::from_data(TensorData::new(mask, shape), &cpu()),
        types: Tensor::<2, Int>::zeros(shape, &cpu()),
    };
    (Input::Tokens(tokens), truth)
}

/// Trains 20 steps as the loop does and compares every loss.
fn follows(name: &str, config: &Config, mut model: Model, finetune: &Finetune) -> Box<dyn Net> {
    let expected = floats(&fixture(name)["losses"]);
    let mut optimizer = Optimizer::new(&config.optimizer).with_settings(finetune.settings());
    for (s, expected) in expected.iter().enumerate() {
        let (input, truth) = batch(s as i64);
        let Output::Logits(logits) = model.net.apply(input).unwrap() else { panic!("one answer a token") };
        let truth = Tensor::<1, Int>::from_data(TensorData::from(truth.as_slice()), &cpu());
        let loss = cross_entropy(logits, truth, 0.0);
        let got = f64::from(loss.clone().into_scalar::<f32>());
        let distance = (got / expected - 1.0).abs();
        assert!(
            distance < 1e-4,
            "{name}: loss of step {s}: expected {expected}, got {got} ({distance:.1e} away)"
        );
        let gradients = model.net.gradients(loss);
        model.net = optimizer.step(model.net, gradients, config.optimizer.learning_rate());
    }
    model.net
}

#[test]
fn adapters_train_as_in_peft() {
    let config = parsed(
        "[optimizer]\nkind = \"adamw\"\nlearning_rate = 5e-3\n[lora]\nrank = 4\nalpha = 8\n\
         target_modules = [\"query\", \"value\", \"attention.output.dense\", \"intermediate.dense\"]\n",
    );
    let mut model = tiny_bert(&config);
    let finetune = Finetune::new(&config, &mut model, &Plan::new(&config, 160)).unwrap();
    let mut state = model.net.state();
    let factors: Vec<String> = state.keys().filter(|name| name.contains("lora_A")).cloned().collect();
    for (k, name) in factors.iter().enumerate() {
        let shape = state[name].shape().to_vec();
        let value = |i: usize| (0.4 * hashed(1001 + k as u64, i as u64)) as f32;
        state.insert(name.clone(), TensorData::new((0..shape.iter().product()).map(value).collect(), shape));
    }
    assert!(model.net.load_state(&state).is_exact());
    let expected = fixture("lora20.json");
    let groups = table(&finetune, &*config.optimizer.rule());
    let head = format!("model: {} parameters, {} train (9.15 %)", expected["all"], expected["trainable"]);
    assert!(groups.starts_with(&head), "{groups}");
    let net = follows("lora20.json", &config, model, &finetune);
    for (name, data) in net.state() {
        let moved = data != state[&name];
        let trains = name.contains("lora_") || name.starts_with("classifier.");
        assert_eq!(moved, trains, "{name}");
    }
}

#[test]
fn layer_decay_groups_and_freezing_train_as_in_torch() {
    let config = parsed(
        "[optimizer]\nkind = \"adamw\"\nlearning_rate = 1e-3\nweight_decay = 0.1\ndecay_bias_and_norm = false\n\
         [finetune]\nlayer_decay = 0.65\nfreeze = [\"*word_embeddings*\"]\n\
         [[finetune.groups]]\nparameters = [\"*\"]\nweight_decay = 0.1\n\
         [[finetune.groups]]\nparameters = [\"classifier.*\"]\nlearning_rate = 4e-3\nweight_decay = 0.3\n",
    );
    let mut model = tiny_bert(&config);
    let finetune = Finetune::new(&config, &mut model, &Plan::new(&config, 160)).unwrap();
    let net = follows("finetune20.json", &config, model, &finetune);
    let expected = fixture("finetune20.json");
    // The gradient of a key's bias is zero in theory: Adam makes steps of its rounding.
    for (name, data) in net.state().into_iter().filter(|(name, _)| !name.ends_with("key.bias")) {
        let norm = data.as_slice::<f32>().unwrap().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let expected = expected["norms_after"][&name].as_f64().unwrap();
        assert!((norm / expected - 1.0).abs() < 1e-5, "{name}: norm {norm}, torch has {expected}");
    }
}

#[test]
fn layers_are_those_of_timm() {
    for (net, assigned) in fixture("layers.json").as_object().unwrap() {
        let assigned: Vec<(String, usize)> = serde_json::from_value(assigned.clone()).unwrap();
        assert!(assigned.len() > 30);
        let names: Vec<&str> = assigned.iter().map(|(name, _)| name.as_str()).collect();
        let layers = Layers::of(&names).unwrap();
        for (name, layer) in &assigned {
            assert_eq!(layers.number(name), *layer, "{net}: {name}");
        }
    }
}

#[test]
fn the_groups_are_shown() {
    let config = parsed(
        "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.1\nweight_decay = 0.01\ndecay_bias_and_norm = false\n\
         [finetune]\nlayer_decay = 0.5\nfreeze = [\"*.LayerNorm.*\"]\nunfreeze_every = \"3 steps\"\n\
         [[finetune.groups]]\nparameters = [\"classifier.*\"]\nlearning_rate = 0.3\n",
    );
    let mut model = tiny_bert(&config);
    let finetune = Finetune::new(&config, &mut model, &Plan::new(&config, 160)).unwrap();
    let shown = table(&finetune, &*config.optimizer.rule());
    let rows: Vec<Vec<&str>> =
        shown.lines().skip(2).map(|l| l.split("  ").filter(|c| !c.is_empty()).collect()).collect();
    let row = |what: &str, rate: &str, decay: &str| {
        let is = |r: &&Vec<&str>| r[0] == what && r[3].trim() == rate && r[4].trim() == decay;
        rows.iter().find(is).unwrap_or_else(|| panic!("{what} {rate} {decay} is not in\n{shown}"))
    };
    assert_eq!(row("layer 0 of 3, from step 10", "1.250e-2", "0.01")[1].trim(), "3");
    row("layer 2 of 3, from step 4", "5.000e-2", "0");
    row("layer 3 of 3", "1.000e-1", "0.01");
    row("group 1", "3.000e-1", "0.01");
    assert_eq!(row("frozen", "-", "-")[1].trim(), "10");
}

// ---- whole runs --------------------------------------------------------------------------------------------------

fn digits(folder: &Path, rest: &str) -> PathBuf {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits");
    let text = format!(
        "device = \"cpu\"\noutput_dir = {out:?}\n[model]\nkind = \"mlp\"\nhidden = [32, 16]\n[data]\nkind = \"idx\"\n\
         path = {digits:?}\nvalidation_fraction = 0.1\n[optimizer]\nkind = \"adamw\"\n[checkpoint]\nkeep_best = false\n\
         [train]\nmax_steps = 25\n{rest}",
        out = folder.join("runs"),
    );
    let path = folder.join("c.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Optimizer steps that each parameter has had.
fn updates(state: &StateDict) -> Vec<(String, i64)> {
    let steps = state.iter().filter_map(|(name, data)| Some((name.strip_prefix("step.")?, data)));
    steps.map(|(name, data)| (name.to_string(), data.as_slice::<i64>().unwrap()[0])).collect()
}

#[test]
fn layers_thaw_on_time_and_a_resumed_run_thaws_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = digits(folder.path(), "[finetune]\nunfreeze_every = \"10 steps\"\nlayer_decay = 0.5\n");
    let whole = finished(go(&new(&path, &["run_name=whole"]), 0).unwrap());
    let expected = [("head", 25), ("layers.0", 5), ("layers.1", 15)]
        .into_iter()
        .flat_map(|(layer, n)| ["bias", "weight"].map(|p| (format!("{layer}.{p}"), n)));
    assert_eq!(updates(&newest(&whole.run).optimizer), expected.collect::<Vec<_>>());
    for (at, trained) in [(5, 2), (10, 2), (11, 4), (22, 6)] {
        let outcome = go(&new(&path, &[&format!("run_name=cut-{at}")]), at).unwrap();
        let Outcome::Interrupted { run, .. } = outcome else { panic!("not interrupted") };
        assert_eq!(updates(&newest(&run).optimizer).len(), trained, "after step {at}");
        finished(go(&Start::Resume { run: run.clone(), config: None, overrides: vec![] }, 0).unwrap());
        let (a, b) = (newest(&whole.run), newest(&run));
        assert_eq!(bits(&a.model), bits(&b.model), "weights after an interruption at {at}");
        assert_eq!(bits(&a.optimizer), bits(&b.optimizer), "optimizer after an interruption at {at}");
    }
}

#[test]
fn what_is_frozen_has_no_state_and_does_not_move() {
    let folder = tempfile::tempdir().unwrap();
    let path = digits(folder.path(), "");
    let run = |name: &str, steps: &str, table: &str| {
        newest(&finished(go(&new(&path, &[name, steps, table]), 0).unwrap()).run)
    };
    let freeze = "finetune.freeze=[\"layers.0.*\", \"*.bias\"]";
    let short = run("run_name=short", "train.max_steps=1", freeze);
    let long = run("run_name=long", "train.max_steps=9", freeze);
    let updated: Vec<String> = updates(&long.optimizer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(updated, ["head.weight", "layers.1.weight"]);
    for (name, data) in &long.model {
        assert_eq!(*data != short.model[name], updated.contains(name), "{name}");
    }
    let only = run("run_name=only", "train.max_steps=1", "finetune.train_only=[\"head.*\"]");
    assert_eq!(updates(&only.optimizer).len(), 2);
}

#[test]
fn a_run_with_adapters_leaves_a_merged_model_and_the_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let path = digits(folder.path(), "[lora]\nrank = 3\nalpha = 6\ndropout = 0.2\n");
    let whole = finished(go(&new(&path, &["run_name=whole"]), 0).unwrap());
    let outcome = go(&new(&path, &["run_name=cut"]), 12).unwrap();
    let Outcome::Interrupted { run, .. } = outcome else { panic!("not interrupted") };
    finished(go(&Start::Resume { run: run.clone(), config: None, overrides: vec![] }, 0).unwrap());
    let (a, b) = (newest(&whole.run), newest(&run));
    assert_eq!(bits(&a.model), bits(&b.model));
    assert_eq!(bits(&a.optimizer), bits(&b.optimizer));
    assert_eq!(updates(&a.optimizer).len(), 2 * 2 + 2); // two layers of two factors, and the head
    let merged = kiln_models::weights::read(&whole.model).unwrap();
    let names: Vec<&String> = merged.keys().collect();
    assert_eq!(
        names,
        ["head.bias", "head.weight", "layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"]
    );
    let values = |name: &str| a.model[name].as_slice::<f32>().unwrap().to_vec();
    let (w, low, up) =
        (values("layers.1.weight"), values("layers.1.lora_A.weight"), values("layers.1.lora_B.weight"));
    let got = merged["layers.1.weight"].as_slice::<f32>().unwrap().to_vec();
    let mut moved = 0.0f32;
    for (i, got) in got.iter().enumerate() {
        let delta: f32 = (0..3).map(|r| 2.0 * up[i / 32 * 3 + r] * low[r * 32 + i % 32]).sum();
        assert!((w[i] + delta - got).abs() < 1e-6, "{i}");
        moved = moved.max(delta.abs());
    }
    assert!(moved > 1e-3, "{moved}");
    let card = std::fs::read(whole.run.join("adapter/adapter_config.json")).unwrap();
    let card: serde_json::Value = serde_json::from_slice(&card).unwrap();
    assert_eq!((&card["r"], &card["modules_to_save"]), (&json!(3), &json!(["head"])));
    assert!(whole.run.join("adapter/adapter_model.safetensors").is_file());
}

#[test]
fn patterns_of_nothing_and_nothing_to_train_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = digits(folder.path(), "");
    for (table, message, hint) in [
        ("finetune.freeze=[\"layer.0.*\"]", "\"layer.0.*\" matches no parameter", "layers.0.weight"),
        ("finetune.train_only=[\"haed.*\"]", "\"haed.*\" matches no parameter", "head"),
        ("finetune.freeze=[\"*\"]", "nothing is left to train", "freeze less"),
        ("lora.target_modules=[\"query\"]", "\"query\" matches no linear layer", "closest"),
    ] {
        let error = go(&new(&path, &[table]), 0).unwrap_err();
        assert_eq!(error.exit(), kiln_core::Exit::Usage);
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
    }
}

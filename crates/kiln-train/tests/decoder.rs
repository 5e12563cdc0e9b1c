//! GPT-2 against transformers: logits, loss, gradients, twenty AdamW steps, padding, generation; its folder; plain text.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::Path;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use kiln_core::{IGNORE, Input, InputSpec, Net, Output, StateDict, TaskConfig, TaskKind, Tokens};
use kiln_data::config::DataConfig;
use kiln_data::{Dataset, Loader, OpenOptions, Order};
use kiln_eval::{Evaluation, Generation, Generator, Sampling, tasks};
use kiln_models::{Model, build, open, save};
use kiln_nn::{cross_entropy, token_cross_entropy};
use kiln_train::config::OptimizerConfig;
use kiln_train::optim::Optimizer;
use serde_json::{Value, json};
use support::{cpu, floats};

fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-models/tests/fixtures");
    serde_json::from_str(&std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()).unwrap()
}

/// As `wave` in make_gpt2.py.
fn wave(n: usize, shape: &[usize], scale: f64, shift: f32) -> TensorData {
    let value = |i: u64| {
        let bits = (i * 2_654_435_761 + n as u64 * 1_013_904_223) & 0xFFFF_FFFF;
        let bits = (bits ^ (bits >> 15)).wrapping_mul(2_246_822_519) & 0xFFFF_FFFF;
        let bits = bits ^ (bits >> 13);
        ((bits as f64 / 2f64.powi(31) - 1.0) * scale) as f32 + shift
    };
    TensorData::new((0..shape.iter().product::<usize>() as u64).map(value).collect(), shape.to_vec())
}

/// As `fill` in make_gpt2.py.
fn weights(net: &dyn Net) -> StateDict {
    let mut parameters = net.parameters();
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    let value = |(n, p): (usize, kiln_core::net::ParamInfo)| {
        let data = match p.shape.len() {
            1 if p.name.ends_with("weight") => wave(n, &p.shape, 0.3, 1.0),
            1 => wave(n, &p.shape, 0.1, 0.0),
            _ => {
                let fan = p.shape[1..].iter().product::<usize>() as f64;
                wave(n, &p.shape, (6.0f64 / fan).sqrt(), 0.0)
            }
        };
        (p.name, data)
    };
    parameters.into_iter().enumerate().map(value).collect()
}

fn sizes() -> Value {
    json!({"kind": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 16, "dropout": 0.0})
}

fn made(config: &Value, labels: usize, task: TaskKind, device: &Device) -> Model {
    let config = serde_json::from_value(config.clone()).unwrap();
    let labels: Vec<String> = (0..labels).map(|i| i.to_string()).collect();
    let input = InputSpec::Tokens { vocab_size: 40, max_length: 16, pad_id: 0 };
    let mut model = build(&config, &input, &labels, task, device, 1).unwrap();
    assert!(model.net.load_state(&weights(model.net.as_ref())).is_exact());
    model
}

fn rows(value: &Value) -> Vec<Vec<i64>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn input(ids: &[Vec<i64>], mask: &[Vec<i64>], device: &Device) -> Input {
    let shape = [ids.len(), ids[0].len()];
    let mask: Vec<bool> = mask.concat().into_iter().map(|m| m == 1).collect();
    Input::Tokens(Tokens {
        ids: Tensor::<2, Int>::from_data(TensorData::new(ids.concat(), shape), device),
        mask: Tensor::<2, Bool>::from_data(TensorData::new(mask, shape), device),
        types: Tensor::<2, Int>::zeros(shape, device),
    })
}

fn flat(output: Output) -> Vec<f64> {
    let data = match output {
        Output::Logits(logits) => logits.into_data(),
        Output::TokenLogits(logits) => logits.into_data(),
    };
    data.try_to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

#[track_caller]
fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * largest, "{what}[{i}]: {g}, the reference has {e}");
    }
}

fn loss_of(output: Output, labels: &Value) -> Tensor<1> {
    match output {
        Output::Logits(logits) => {
            let classes: Vec<i64> = serde_json::from_value(labels.clone()).unwrap();
            cross_entropy(logits, Tensor::<1, Int>::from_data(classes.as_slice(), &cpu()), 0.0)
        }
        Output::TokenLogits(logits) => {
            let labels = rows(labels);
            let scored = labels.iter().flatten().filter(|l| **l != IGNORE).count() as u64;
            let shape = [labels.len(), labels[0].len()];
            let targets = Tensor::<2, Int>::from_data(TensorData::new(labels.concat(), shape), &cpu());
            token_cross_entropy(logits, targets, scored, 0.0)
        }
    }
}

/// Logits, loss, gradients and twenty steps.
fn follows(name: &str, config: &Value, labels: usize, task: TaskKind) {
    let expected = fixture(name);
    let ids = rows(&expected["ids"]);
    let mask = expected.get("mask").map_or_else(|| vec![vec![1; 6]; 2], rows);
    let mut net = made(config, labels, task, &cpu()).net;
    let logits = floats(&expected["logits"]);
    let asked = net.valid().apply(input(&ids, &mask, &Device::flex())).unwrap();
    close(&format!("{name}: asked"), &flat(asked), &logits, 1e-4);
    close(name, &flat(net.apply(input(&ids, &mask, &cpu())).unwrap()), &logits, 1e-4);
    let loss = loss_of(net.apply(input(&ids, &mask, &cpu())).unwrap(), &expected["labels"]);
    let got = f64::from(loss.clone().into_scalar::<f32>());
    let wanted = expected["loss"].as_f64().unwrap();
    assert!((got - wanted).abs() < 1e-5, "{name}: loss {got}, the reference has {wanted}");
    let gradients = net.gradients(loss).0;
    let largest = expected["largest_gradient"].as_f64().unwrap();
    let named = expected["gradients"].as_object().unwrap();
    assert_eq!(gradients.len(), named.len(), "{name}");
    for (parameter, some) in named {
        let all = gradients[parameter].clone().into_data().try_to_vec::<f32>().unwrap();
        let got = all.iter().step_by((all.len() / 16).max(1));
        for (g, e) in got.zip(floats(some)) {
            assert!((f64::from(*g) - e).abs() < 1e-3 * largest, "{name}: {parameter}: {g}, expected {e}");
        }
    }
    let adamw: OptimizerConfig = serde_json::from_value(json!({"kind": "adamw", "learning_rate": 1e-3,
        "weight_decay": 0.1, "betas": [0.9, 0.99], "decay_bias_and_norm": true}))
    .unwrap();
    let mut optimizer = Optimizer::new(&adamw);
    for (step, wanted) in floats(&expected["losses"]).into_iter().enumerate() {
        let loss = loss_of(net.apply(input(&ids, &mask, &cpu())).unwrap(), &expected["labels"]);
        let got = f64::from(loss.clone().into_scalar::<f32>());
        assert!((got / wanted - 1.0).abs() < 1e-3, "{name}: step {step}: loss {got}, expected {wanted}");
        let gradients = net.gradients(loss);
        net = optimizer.step(net, gradients, 1e-3);
    }
}

#[test]
fn every_head_follows_transformers_for_twenty_steps() {
    follows("gpt2", &sizes(), 0, TaskKind::CausalLanguageModeling);
    follows("gpt2_sequences", &sizes(), 3, TaskKind::Classification);
    follows("gpt2_tokens", &sizes(), 3, TaskKind::TokenClassification);
}

fn bias_free() -> Value {
    let mut config = sizes();
    config["bias"] = json!(false);
    config["activation_function"] = json!("gelu");
    config
}

#[test]
fn nanogpts_form_follows_transformers_with_zero_biases() {
    follows("gpt2_bias_free", &bias_free(), 0, TaskKind::CausalLanguageModeling);
}

#[test]
fn padding_on_either_side_changes_nothing() {
    let model = made(&sizes(), 3, TaskKind::Classification, &cpu());
    for device in [cpu(), Device::flex()] {
        let net = if device.is_autodiff() { None } else { Some(model.net.valid()) };
        let net = net.as_deref().unwrap_or(model.net.as_ref());
        let ask = |ids: Vec<i64>, mask: Vec<i64>| flat(net.apply(input(&[ids], &[mask], &device)).unwrap());
        let alone = ask(vec![2, 7, 9], vec![1, 1, 1]);
        assert!(alone.iter().all(|x| x.is_finite()));
        close("right", &ask(vec![2, 7, 9, 0, 5], vec![1, 1, 1, 0, 0]), &alone, 1e-5);
        close("left", &ask(vec![8, 0, 2, 7, 9], vec![0, 0, 1, 1, 1]), &alone, 1e-5);
    }
}

#[test]
fn a_saved_folder_comes_back_and_holds_what_transformers_expects() {
    for (config, biases) in [(sizes(), true), (bias_free(), false)] {
        let model = made(&config, 0, TaskKind::CausalLanguageModeling, &Device::flex());
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &model.card, &model.net.state()).unwrap();
        let file = kiln_models::weights::read(folder.path()).unwrap();
        assert!(file.contains_key("transformer.h.0.attn.c_attn.bias"));
        assert!(file.contains_key("transformer.ln_f.bias"));
        assert!(!file.contains_key("lm_head.weight"));
        assert!(model.card.sizes["eos_token_id"].is_null()); // not in a vocabulary of forty
        let own = model.net.state();
        assert_eq!(own.contains_key("transformer.ln_f.bias"), biases);
        let back = open(folder.path(), &Device::flex()).unwrap();
        assert_eq!(back.notes, Vec::<String>::new());
        assert_eq!(back.net.state(), own);
        peer(&format!("gpt2-{biases}"), &model);
    }
}

/// For the scripts in `tests/peers`, where $KILN_PEER_OUT names a folder.
fn peer(name: &str, model: &Model) {
    let Some(out) = std::env::var_os("KILN_PEER_OUT") else { return };
    let folder = Path::new(&out).join(name);
    save(&folder, &model.card, &model.net.state()).unwrap();
    let ids = vec![vec![2, 7, 9, 3, 11, 5]];
    let logits = flat(model.net.apply(input(&ids, &[vec![1; 6]], &Device::flex())).unwrap());
    std::fs::write(folder.join("peer.json"), json!({"ids": ids, "logits": logits}).to_string()).unwrap();
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let refused = |config: Value, vocab_size: usize, max_length: usize| {
        let config = serde_json::from_value(config).unwrap();
        let input = InputSpec::Tokens { vocab_size, max_length, pad_id: 0 };
        match build(&config, &input, &[], TaskKind::CausalLanguageModeling, &Device::flex(), 1) {
            Ok(_) => panic!("built"),
            Err(error) => error.to_string(),
        }
    };
    assert!(refused(sizes(), 40, 17).contains("17 tokens a sample, but the model has 16 positions"));
    let mut uneven = sizes();
    uneven["n_head"] = json!(5);
    assert!(refused(uneven, 40, 16).contains("32 is not a multiple of n_head 5"));
    assert!(refused(json!({"kind": "gpt2", "n_layer": 2}), 40, 16).contains("nor all sizes"));
    let preset = json!({"kind": "gpt2", "preset": "gpt2", "n_layer": 3});
    assert!(refused(preset, 40, 16).contains("n_layer is 3, but the preset says 12"));

    let model = made(&sizes(), 0, TaskKind::CausalLanguageModeling, &Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let mut state = model.net.state();
    state.insert("lm_head.weight".into(), wave(99, &[40, 32], 1.0, 0.0));
    save(folder.path(), &model.card, &state).unwrap();
    let error = open(folder.path(), &Device::flex()).err().unwrap().to_string();
    assert!(error.contains("lm_head.weight differs"), "{error}");
}

#[test]
fn presets_have_as_many_parameters_as_transformers() {
    let counts = fixture("gpt2_presets");
    for (preset, count) in counts.as_object().unwrap() {
        let config = serde_json::from_value(json!({"kind": "gpt2", "preset": preset})).unwrap();
        let input = InputSpec::Tokens { vocab_size: 50257, max_length: 64, pad_id: 0 };
        let card = kiln_models::FAMILIES
            .iter()
            .find(|family| family.name() == "gpt2")
            .unwrap()
            .card(&config, &input, &[], TaskKind::CausalLanguageModeling)
            .unwrap();
        let family = kiln_models::FAMILIES.iter().find(|f| f.name() == "gpt2").unwrap();
        let net = family.net(&card, &Device::flex()).unwrap();
        let total: usize = net.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        assert_eq!(total as u64, count.as_u64().unwrap(), "{preset}");
    }
}

/// A text of forty characters, so that ids are those of the tiny model.
fn text(folder: &Path) -> Dataset {
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
    std::fs::write(folder.join("text.txt"), letters.repeat(4)).unwrap();
    opened(
        json!({"kind": "text", "path": folder.join("text.txt"), "validation_fraction": 0.25, "block_size": 16,
        "stride": 1, "tokenizer": {"kind": "characters"}}),
    )
    .unwrap()
}

fn opened(data: Value) -> Result<Dataset, kiln_data::DataError> {
    let config: DataConfig = serde_json::from_value(data).unwrap();
    Dataset::open(&config, &OpenOptions { task: TaskConfig::CausalLanguageModeling, ..Default::default() })
}

#[test]
fn greedy_tokens_are_those_of_transformers_with_and_without_the_cache_alone_and_together() {
    let expected = fixture("gpt2_generation");
    let (prompts, greedy): (Vec<Vec<u32>>, Vec<Vec<u32>>) =
        serde_json::from_value(json!([expected["prompts"], expected["greedy"]])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    let (net, flex) =
        (made(&sizes(), 0, TaskKind::CausalLanguageModeling, &Device::flex()).net, Device::flex());
    let generator = Generator::of(net.as_ref(), &data.preprocessor, &flex, 16);
    let sampling = Sampling { temperature: 0.0, top_k: None, top_p: None };
    let how = Generation { max_new_tokens: 8, sampling, ..Generation::default() };
    let drawn = |prompts: &[Vec<u32>], how: &Generation| {
        generator.tokens(prompts, how, &mut |_, _| Ok(false)).unwrap()
    };
    for cache in [true, false] {
        let how = Generation { cache, ..how.clone() };
        assert_eq!(drawn(&prompts, &how), greedy, "together, cache {cache}");
        for (prompt, wanted) in prompts.iter().zip(&greedy) {
            let alone = drawn(std::slice::from_ref(prompt), &how);
            assert_eq!(alone.as_slice(), std::slice::from_ref(wanted), "alone, cache {cache}");
        }
    }
    // Past the positions the window slides; drawn tokens too are the same with and without the cache.
    let sampling = Sampling { temperature: 0.8, top_k: Some(20), top_p: Some(0.9) };
    let long = Generation { max_new_tokens: 30, sampling, seed: 7, ..how };
    let cached = drawn(&prompts, &long);
    assert_eq!(cached, drawn(&prompts, &Generation { cache: false, ..long.clone() }));
    assert_ne!(cached, drawn(&prompts, &Generation { seed: 8, ..long.clone() }));
    // A prompt beyond the positions is read through its last sixteen tokens.
    let prompt: Vec<u32> = (0..30).collect();
    assert_eq!(drawn(std::slice::from_ref(&prompt), &long), drawn(&[prompt[14..].to_vec()], &long));
    let empty = generator.tokens(&[vec![]], &long, &mut |_, _| Ok(false)).unwrap_err().to_string();
    assert!(empty.contains("empty prompt"), "{empty}");
    let stop = Generation { stop: vec!["zzzz".into(), String::new()], ..long.clone() };
    let whole = generator.text("dr", &long).unwrap();
    assert_eq!((whole.tokens, whole.finish_reason), (30, "length"));
    assert_eq!(generator.text("dr", &stop).unwrap().text, whole.text);
    let third: String = whole.text.chars().nth(2).unwrap().to_string();
    let stopped = generator.text("dr", &Generation { stop: vec![third.clone()], ..long }).unwrap();
    assert_eq!(stopped.text, whole.text[..whole.text.find(&third).unwrap()]);
    assert_eq!(stopped.finish_reason, "stop");
    assert!(generator.text("d?", &stop).unwrap_err().to_string().contains("no '?'"));
}

#[test]
fn filters_keep_the_tokens_that_transformers_keeps() {
    let expected = fixture("gpt2_generation");
    let scores: Vec<Vec<f32>> = serde_json::from_value(expected["scores"].clone()).unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let sampling = Sampling {
            temperature: case["temperature"].as_f64().unwrap(),
            top_k: case["top_k"].as_u64().map(|k| k as usize),
            top_p: case["top_p"].as_f64(),
        };
        let kept: Vec<Vec<usize>> = serde_json::from_value(case["kept"].clone()).unwrap();
        for (row, kept) in scores.iter().zip(kept) {
            let left = sampling.filter(row);
            let got: Vec<usize> = (0..left.len()).filter(|i| left[*i].is_finite()).collect();
            assert_eq!(got, kept, "{sampling:?}");
        }
    }
}

#[test]
fn a_text_is_cut_at_its_end_and_read_whole_in_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    let (train, validation) = (data.train.clone().unwrap(), data.validation.clone().unwrap());
    assert_eq!((train.len(), validation.len()), (120 - 16, 3));
    assert_eq!(data.input, InputSpec::Tokens { vocab_size: 40, max_length: 16, pad_id: 0 });
    let loader = serde_json::from_value(json!({"batch_size": 2})).unwrap();
    let batch = Loader::new(&validation, &data.preprocessor, &loader, Order::Sequential).unwrap();
    let batches: Vec<_> = batch.map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(kiln_data::HostBatch::weight).sum::<u64>(), 39);
    // ids follow the characters' order: A is 0, a is 14.
    assert_eq!(data.preprocessor.encode("Aa").unwrap().unwrap(), [0, 14]);
    assert_eq!(data.preprocessor.decode(&[14, 0]).unwrap().unwrap(), "aA");
    let net = made(&sizes(), 0, TaskKind::CausalLanguageModeling, &Device::flex()).net;
    let scores = Evaluation {
        net: net.as_ref(),
        task: tasks::of(TaskKind::CausalLanguageModeling).unwrap(),
        labels: &[],
        split: &validation,
        preprocessor: &data.preprocessor,
        loader: &loader,
        device: &Device::flex(),
        tta: kiln_eval::Tta::None,
    }
    .run(&mut |_, _| true)
    .unwrap()
    .unwrap();
    assert_eq!(scores.metrics["tokens"], 39);
    // The saved program reads the same.
    data.preprocessor.save(folder.path()).unwrap();
    let back = kiln_data::Preprocessor::load(folder.path()).unwrap();
    assert_eq!(back.encode("aA").unwrap().unwrap(), [14, 0]);
    assert_eq!(back.input(), &data.input);
}

#[test]
fn faults_of_texts_name_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = file("good.txt", b"abcabcabcabc\nabc");
    let characters = json!({"kind": "characters"});
    let fault = |data: Value| opened(data).unwrap_err().to_string();
    let empty = file("empty.txt", b"");
    assert!(
        fault(json!({"kind": "text", "path": empty, "tokenizer": characters}))
            .contains("empty.txt: expected at least 1")
    );
    let broken = file("broken.txt", b"abc\xffdef");
    let error = fault(json!({"kind": "text", "path": broken, "tokenizer": characters}));
    assert!(error.contains("byte 3: expected UTF-8 text, got byte 0xff"), "{error}");
    let error = fault(json!({"kind": "text", "path": good, "block_size": 16, "tokenizer": characters}));
    assert!(error.contains("expected at least 17 samples (tokens, for a block of 16), got 16"), "{error}");
    let other = file("other.txt", "abc\nab\u{e9}c".as_bytes());
    let error = fault(json!({"kind": "text", "train": good, "validation": other, "block_size": 4,
        "tokenizer": characters}));
    assert!(
        error.contains("other.txt:2: expected characters of the vocabulary, got 'é' (U+00E9)"),
        "{error}"
    );
    let both = fault(json!({"kind": "text", "path": good, "train": good, "tokenizer": characters}));
    assert!(both.contains("train is given too"), "{both}");
    let nothing = folder.path().join("nothing.txt");
    assert!(fault(json!({"kind": "text", "path": nothing, "tokenizer": characters})).contains("not found"));
    let error = Dataset::open(
        &serde_json::from_value(json!({"kind": "text", "path": good, "tokenizer": characters})).unwrap(),
        &OpenOptions::default(),
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("plain text teaches causal_language_modeling"), "{error}");
}

//! Low-rank adapters: peft's answers with peft's files, merging, what trains, folders out, and what is refused.

mod layouts;

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use kiln_core::adapter::NewAdapter;
use kiln_core::{Forward, Net, StateDict, TaskKind};
use kiln_models::lora::{attach, is_factor};
use kiln_models::{Lora, LoraConfig, Model, ModelError, build, peft, save};
use kiln_nn::cross_entropy;
use kiln_nn::lora::Slot;
use serde_json::{Value, json};

use crate::common::*;
use crate::reference::tiny_bert;

/// The tiny BERT of make_lora.py for `k` classes, on a training device.
fn base(k: usize) -> Model {
    let (sizes, input) = tiny_bert();
    let device = Device::flex().autodiff();
    let task = TaskKind::Classification;
    let mut model = build(&config(sizes), &input, &classes(k), task, &device, 1).unwrap();
    let computed = weights(&*model.net);
    assert!(model.net.load_state(&computed).is_exact());
    model
}

fn lora_config(value: Value) -> LoraConfig {
    serde_json::from_value(value).unwrap()
}

fn brought(name: &str) -> LoraConfig {
    lora_config(json!({"pretrained": fixture_file(name)}))
}

fn answers(net: &dyn Net) -> Vec<f32> {
    let data = fixture("lora");
    logits(net.valid().as_ref(), tokens(&data, &Device::flex())).into_data().try_to_vec().unwrap()
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn values(state: &StateDict, name: &str) -> Vec<f32> {
    state[name].clone().try_to_vec().unwrap()
}

#[test]
fn adapters_of_peft_give_pefts_answers_merged_and_not() {
    for (name, adapted) in [("lora-attention", 4), ("lora-rslora", 9)] {
        let expected = &fixture("lora")[name];
        let mut model = base(3);
        let before = model.net.state();
        let lora = attach(&mut model, &brought(name), 7).unwrap();
        assert_eq!((lora.layers.len(), &lora.saved[..]), (adapted, &["classifier".to_string()][..]));
        let net = model.net.valid();
        close(name, logits(net.as_ref(), tokens(&fixture("lora"), &Device::flex())), expected, 1e-4);

        let state = model.net.state();
        let mut merged = state.clone();
        lora.merge(&mut merged).unwrap();
        assert_eq!(merged.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        let mut plain = base(3);
        assert!(plain.net.load_state(&merged).is_exact());
        assert!(largest(&answers(&*plain.net), &answers(&*model.net)) < 1e-4, "{name}");
        let moved = lora.layers.iter().filter(|l| {
            let weight = format!("{}.weight", l.name);
            largest(&values(&merged, &weight), &values(&before, &weight)) > 1e-3
        });
        assert_eq!(moved.count(), adapted, "{name}: a merge that moves nothing");

        lora.unmerge(&mut merged, &state).unwrap();
        for (parameter, data) in &state {
            let off = largest(&values(&merged, parameter), &data.clone().try_to_vec::<f32>().unwrap());
            assert!(off < 1e-6, "{name}: {parameter} is {off} away after merge and unmerge");
        }
    }
}

#[test]
fn a_folder_merged_with_an_adapter_gives_its_answers() {
    let (folder, model) = (tempfile::tempdir().unwrap(), base(3));
    let (start, bare) = (folder.path().join("base"), folder.path().join("bare"));
    let mut state = model.net.state();
    save(&start, &model.card, &state).unwrap();
    state.retain(|name, _| !name.starts_with("classifier."));
    let mut card = model.card.clone();
    (card.architectures, card.kiln_input) = (vec!["BertModel".into()], None);
    (card.id2label, card.label2id) = Default::default();
    save(&bare, &card, &state).unwrap();
    fs::write(bare.join("tokenizer.json"), "{}").unwrap();
    for (k, from) in [&start, &bare].into_iter().enumerate() {
        for name in ["lora-attention", "lora-rslora"] {
            let out = folder.path().join(format!("{name}-{k}"));
            kiln_models::merge(from, &fixture_file(name), &out, &Device::flex()).unwrap();
            let merged = kiln_models::open(&out, &Device::flex()).unwrap();
            assert_eq!(merged.card.num_labels(), 3);
            let given = logits(&*merged.net, tokens(&fixture("lora"), &Device::flex()));
            close(name, given, &fixture("lora")[name], 1e-4);
            assert_eq!(out.join("tokenizer.json").exists(), k == 1);
            let again = kiln_models::merge(from, &fixture_file(name), &out, &Device::flex()).unwrap_err();
            assert!(again.to_string().contains("there is a model already"), "{again}");
        }
    }
    let out = folder.path().join("none");
    let foreign = kiln_models::merge(&start, &fixture_file("lora-gpt2"), &out, &Device::flex()).unwrap_err();
    assert!(foreign.to_string().contains("the adapter does not fit") && !out.exists(), "{foreign}");
}

#[test]
fn a_new_adapter_changes_nothing_until_it_trains() {
    let mut model = base(3);
    let (before, names) = (answers(&*model.net), model.net.state());
    let config = json!({"rank": 4, "alpha": 8, "target_modules": ["query", "*.output.dense"]});
    let lora = attach(&mut model, &lora_config(config), 7).unwrap();
    assert_eq!(answers(&*model.net), before);
    let layers: Vec<&str> = lora.layers.iter().map(|l| l.name.as_str()).collect();
    let of = |i: usize| {
        ["attention.self.query", "attention.output.dense", "output.dense"]
            .map(|end| format!("bert.encoder.layer.{i}.{end}"))
    };
    assert_eq!(layers, [of(0), of(1)].concat());
    let state = model.net.state();
    let new: Vec<&String> = state.keys().filter(|name| !names.contains_key(*name)).collect();
    assert!(new.len() == 12 && new.iter().all(|name| is_factor(name)), "{new:?}");
    let a = values(&state, "bert.encoder.layer.0.output.dense.lora_A.weight");
    let bound = 1.0 / 64f32.sqrt();
    assert!(a.iter().all(|v| v.abs() <= bound) && a.iter().any(|v| v.abs() > 0.9 * bound), "{a:?}");
    assert!((a.iter().sum::<f32>() / a.len() as f32).abs() < 0.2 * bound);
    assert!(values(&state, "bert.encoder.layer.0.output.dense.lora_B.weight").iter().all(|v| *v == 0.0));

    // Only adapters and the head have a gradient, and an update leaves the rest to the bit.
    let device = Device::flex().autodiff();
    let trained = logits(&*model.net, tokens(&fixture("lora"), &device));
    let loss = cross_entropy(trained, Tensor::<1, Int>::from_ints([2, 0], &device), 0.0);
    let gradients = model.net.gradients(loss).0;
    let mut expected: Vec<&String> = state.keys().filter(|name| lora.trains(name)).collect();
    expected.sort();
    assert_eq!(gradients.keys().collect::<Vec<_>>(), expected);
    let net = model.net.update(&mut |info, value| {
        assert!(lora.trains(&info.name), "{}", info.name);
        value.add_scalar(0.5)
    });
    let after = net.state();
    for (name, data) in &state {
        assert_eq!(after[name] == *data, !lora.trains(name), "{name}");
    }
    assert!(largest(&answers(&*net), &before) > 1e-2);
}

#[test]
fn the_seed_and_the_layer_decide_a_new_adapter() {
    let a = |seed| {
        let mut model = base(3);
        attach(&mut model, &LoraConfig::default(), seed).unwrap();
        let state = model.net.state();
        [0, 1].map(|i| values(&state, &format!("bert.encoder.layer.{i}.attention.self.key.lora_A.weight")))
    };
    assert_eq!(a(1), a(1));
    assert_ne!(a(1), a(2));
    assert_ne!(a(1)[0], a(1)[1]);
}

#[test]
fn dropout_of_an_adapter_works_in_training_only() {
    let mut model = base(3);
    attach(&mut model, &lora_config(json!({"dropout": 0.5})), 3).unwrap();
    let state: StateDict = (model.net.state().into_iter())
        .map(|(name, data)| {
            let data = if name.contains("lora_B") { wave(3, &data.shape().to_vec(), 0.3) } else { data };
            (name, data)
        })
        .collect();
    assert!(model.net.load_state(&state).is_exact());
    let asked = |device: &Device, net: &dyn Net| {
        logits(net, tokens(&fixture("lora"), device)).into_data().try_to_vec::<f32>().unwrap()
    };
    let (flex, device) = (Device::flex(), Device::flex().autodiff());
    assert_ne!(asked(&device, &*model.net), asked(&device, &*model.net));
    assert_eq!(asked(&flex, &*model.net.valid()), asked(&flex, &*model.net.valid()));
}

/// Moves every factor off zero, so that an adapter does something.
fn trained(model: &mut Model) {
    let mut state = model.net.state();
    for (n, (name, data)) in state.iter_mut().enumerate().filter(|(_, (name, _))| is_factor(name)) {
        assert!(!name.is_empty());
        *data = wave(n, &data.shape().to_vec(), 0.3);
    }
    assert!(model.net.load_state(&state).is_exact());
}

fn saved_adapter(folder: &Path, config: Value) -> (Model, Lora) {
    let mut model = base(3);
    save(&folder.join("base"), &model.card, &model.net.state()).unwrap();
    let lora = attach(&mut model, &lora_config(config), 5).unwrap();
    trained(&mut model);
    let state = model.net.state();
    peft::save(&folder.join("adapter"), &lora, &state, &model.card, Some("tiny-bert")).unwrap();
    let mut merged = state;
    lora.merge(&mut merged).unwrap();
    save(&folder.join("merged"), &model.card, &merged).unwrap();
    (model, lora)
}

/// Writes folders for tests/peers/peft_opens_adapter.py when KILN_PEER_OUT names a place.
#[test]
fn an_adapter_comes_back_from_its_folder() {
    let kept = std::env::var_os("KILN_PEER_OUT").map(|out| PathBuf::from(out).join("adapter"));
    let temporary = tempfile::tempdir().unwrap();
    let folder = kept.unwrap_or_else(|| temporary.path().to_path_buf());
    let config = json!({"rank": 4, "alpha": 6, "use_rslora": true, "dropout": 0.1,
        "target_modules": ["query", "*.intermediate.dense"]});
    let (model, lora) = saved_adapter(&folder, config);
    let mut again = base(3);
    let from = lora_config(json!({"pretrained": folder.join("adapter"), "dropout": 0.1}));
    assert_eq!(attach(&mut again, &from, 99).unwrap(), lora);
    assert_eq!(again.net.state(), model.net.state());
    assert_eq!(answers(&*again.net), answers(&*model.net));
    assert!(again.notes.iter().any(|note| note.contains("trained on tiny-bert")), "{:?}", again.notes);
    let card: Value =
        serde_json::from_slice(&fs::read(folder.join("adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&card["task_type"], &card["peft_type"]), (&json!("SEQ_CLS"), &json!("LORA")));
    assert_eq!(
        (&card["r"], &card["lora_alpha"], &card["use_rslora"]),
        (&json!(4), &json!(6.0), &json!(true))
    );
    let data = fixture("lora");
    let peer = json!({"ids": data["ids"], "mask": data["mask"], "types": data["types"],
        "logits": answers(&*model.net)});
    fs::write(folder.join("peer.json"), peer.to_string()).unwrap();
}

fn refused(model: &mut Model, config: &LoraConfig) -> ModelError {
    let error = attach(model, config, 1).unwrap_err();
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error}");
    error
}

#[test]
fn an_adapter_for_another_base_is_refused() {
    let says = |model: &mut Model, words: &str| {
        let error = refused(model, &brought("lora-attention")).to_string();
        assert!(error.contains("adapter_model.safetensors: the adapter does not fit"), "{error}");
        assert!(error.contains(words), "{error}");
    };
    says(&mut base(5), "classifier.weight: expected [5, 32], as the model has it, got [3, 32]");
    let (mut sizes, input) = tiny_bert();
    sizes["hidden_size"] = 16.into();
    let device = Device::flex().autodiff();
    let task = TaskKind::Classification;
    let mut narrow = build(&config(sizes.clone()), &input, &classes(3), task, &device, 1).unwrap();
    says(&mut narrow, "expected [4, 16] by this model and the adapter's rank, got [4, 32]");
    sizes["hidden_size"] = 32.into();
    sizes["num_hidden_layers"] = 1.into();
    let mut short = build(&config(sizes), &input, &classes(3), task, &device, 1).unwrap();
    says(&mut short, "it adapts bert.encoder.layer.1.attention.self.query, which is no linear layer");
    let mlp = config(json!({"kind": "mlp"}));
    let mut other = build(&mlp, &image(1, 4), &classes(3), task, &device, 1).unwrap();
    says(&mut other, "which is no linear layer of this model");
}

/// peft's adapter with one change to its description or tensors.
fn changed(change: impl FnOnce(&mut Value, &mut StateDict)) -> (tempfile::TempDir, LoraConfig) {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture_file("lora-attention");
    let mut card: Value =
        serde_json::from_slice(&fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    let mut state = kiln_models::weights::read(&from.join("adapter_model.safetensors")).unwrap();
    change(&mut card, &mut state);
    fs::write(folder.path().join("adapter_config.json"), card.to_string()).unwrap();
    let tensors = kiln_models::weights::to_safetensors(&state, &[]).unwrap();
    fs::write(folder.path().join("adapter_model.safetensors"), tensors).unwrap();
    let config = lora_config(json!({"pretrained": folder.path()}));
    (folder, config)
}

#[test]
fn faulty_adapter_folders_are_refused_by_file_and_place() {
    let key = |end: &str| format!("base_model.model.bert.encoder.layer.0.attention.self.query.{end}");
    type Change = Box<dyn FnOnce(&mut Value, &mut StateDict)>;
    let cases: Vec<(Change, &str)> = vec![
        (
            Box::new(|c, _| c["r"] = 8.into()),
            "expected [8, 32] by this model and the adapter's rank, got [4, 32]",
        ),
        (Box::new(|c, _| c["peft_type"] = "IA3".into()), "peft_type is \"IA3\", expected \"LORA\""),
        (Box::new(|c, _| c["use_dora"] = true.into()), "use_dora is true, which kiln does not have"),
        (Box::new(|c, _| c["rank_pattern"] = json!({"query": 2})), "rank_pattern is {\"query\":2}"),
        (Box::new(|c, _| c["init_lora_weights"] = "pissa".into()), "changes the base model"),
        (Box::new(|c, _| c["bias"] = "all".into()), "bias is \"all\", expected \"none\""),
        (Box::new(|c, _| c["r"] = "four".into()), "invalid type"),
        (Box::new(move |_, s| drop(s.remove(&key("lora_B.weight")))), "query.lora_B.weight is missing"),
        (
            Box::new(|_, s| drop(s.remove("base_model.model.classifier.bias"))),
            "classifier.bias is missing, though",
        ),
        (
            Box::new(|_, s| drop(s.insert("what.weight".into(), [1.0f32].into()))),
            "what.weight is no parameter",
        ),
        (Box::new(|_, s| s.retain(|name, _| !name.contains("lora"))), "no tensor is called ...lora_A.weight"),
    ];
    for (change, words) in cases {
        let (folder, config) = changed(change);
        let error = refused(&mut base(3), &config).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
    let nowhere = tempfile::tempdir().unwrap();
    let error = attach(&mut base(3), &lora_config(json!({"pretrained": nowhere.path()})), 1).unwrap_err();
    assert!(error.to_string().contains("adapter_config.json"), "{error}");
}

#[test]
fn patterns_without_a_layer_name_the_closest() {
    let error = refused(&mut base(3), &lora_config(json!({"target_modules": ["querry"]})));
    assert!(error.to_string().contains("\"querry\" matches no linear layer"), "{error}");
    assert!(error.hint().unwrap().contains("self.query"), "{:?}", error.hint());
    let error = refused(&mut base(3), &lora_config(json!({"modules_to_save": ["clasifier"]})));
    assert!(error.to_string().contains("\"clasifier\" matches no module"), "{error}");
    let error = refused(&mut base(3), &lora_config(json!({"modules_to_save": ["bert", "classifier"]})));
    assert!(error.to_string().contains("no linear layer to adapt"), "{error}");
}

//! BERT, RoBERTa, XLM-R, CamemBERT and DistilBERT with every head against `transformers`: answers, loss, gradients, 20 steps of
//! AdamW, padding on either side, tied weights, presets, and folders for the peer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use kiln_core::{Gradients, IGNORE, Input, InputSpec, Net, Output, StateDict, TaskKind, Tokens};
use kiln_models::{Model, ModelError, build, open, open_embedder, save};
use kiln_nn::{binary_cross_entropy_with_logits, cross_entropy, mse, token_cross_entropy};
use serde_json::{Value, json};

use crate::common::*;

const TASKS: [TaskKind; 5] = [
    TaskKind::Classification,
    TaskKind::MultiLabelClassification,
    TaskKind::Regression,
    TaskKind::TokenClassification,
    TaskKind::MaskedLanguageModeling,
];
const IDS: [&[i64]; 2] = [&[2, 7, 9, 3], &[2, 5, 8, 6, 4, 3]];

fn kind(family: &str) -> &str {
    if ["xlm-roberta", "camembert"].contains(&family) { "roberta" } else { family }
}

fn text(family: &str) -> InputSpec {
    let pad_id = u32::from(kind(family) == "roberta");
    InputSpec::Tokens { vocab_size: 40, max_length: 12, pad_id }
}

fn tiny(family: &str) -> Value {
    json!({"kind": kind(family), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 16, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0})
}

fn built(config_json: Value, input: &InputSpec, task: TaskKind) -> Result<Model, ModelError> {
    let labels = if task.is_language_modeling() { Vec::new() } else { classes(3) };
    build(&config(config_json), input, &labels, task, &Device::flex(), 1)
}

/// A saved folder, its `config.json` changed.
fn folder(family: &str, task: TaskKind, change: &[(&str, Value)]) -> tempfile::TempDir {
    let model = built(tiny(family), &text(family), task).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &model.card, &model.net.state()).unwrap();
    let path = folder.path().join("config.json");
    let mut card: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    if kind(family) != family {
        card["model_type"] = json!(family);
    }
    change.iter().for_each(|(key, value)| card[*key] = value.clone());
    std::fs::write(path, card.to_string()).unwrap();
    folder
}

/// The ids with padding before and behind each row.
fn padded(pad_id: i64, left: bool, rows: &[&[i64]], longest: usize, device: &Device) -> Input {
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for row in rows {
        let padding = longest - row.len();
        let before = if left { padding } else { 0 };
        let filler = |n: usize| std::iter::repeat_n(pad_id, n);
        ids.extend(filler(before).chain(row.iter().copied()).chain(filler(padding - before)));
        mask.extend((0..longest).map(|at| at >= before && at < before + row.len()));
    }
    let shape = [rows.len(), longest];
    let types = Tensor::zeros(shape, device);
    let (ids, mask) = (TensorData::new(ids, shape), TensorData::new(mask, shape));
    Input::Tokens(Tokens {
        ids: Tensor::from_data(ids, device),
        mask: Tensor::from_data(mask, device),
        types,
    })
}

/// The answers of real tokens, or of rows.
fn real(output: Output, left: bool, rows: &[&[i64]]) -> Vec<f32> {
    let logits = match output {
        Output::Logits(logits) => return logits.into_data().try_to_vec().unwrap(),
        Output::TokenLogits(logits) => logits,
    };
    let [_, longest, _] = logits.dims();
    let row = |(b, ids): (usize, &&[i64])| {
        let before = if left { longest - ids.len() } else { 0 };
        let real = logits.clone().narrow(0, b, 1).narrow(1, before, ids.len());
        real.into_data().try_to_vec::<f32>().unwrap()
    };
    rows.iter().enumerate().flat_map(row).collect()
}

fn loss(task: TaskKind, output: Output, device: &Device) -> Tensor<1> {
    let token_targets = |rows: [[i64; 6]; 2]| Tensor::from_data(rows, device);
    match (task, output) {
        (TaskKind::Classification, Output::Logits(x)) => {
            cross_entropy(x, Tensor::from_data([2, 0], device), 0.0)
        }
        (TaskKind::MultiLabelClassification, Output::Logits(x)) => {
            binary_cross_entropy_with_logits(x, Tensor::from_data([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], device))
        }
        (TaskKind::Regression, Output::Logits(x)) => {
            mse(x, Tensor::from_data([[0.5, -1.0, 2.0], [0.0, 0.25, -0.5]], device))
        }
        (TaskKind::TokenClassification, Output::TokenLogits(x)) => {
            let tags = token_targets([[IGNORE, 1, 2, IGNORE, IGNORE, IGNORE], [IGNORE, 0, 2, 1, 1, IGNORE]]);
            token_cross_entropy(x, tags, 6, 0.0)
        }
        (TaskKind::MaskedLanguageModeling, Output::TokenLogits(x)) => {
            let hidden = token_targets([
                [IGNORE, 11, IGNORE, IGNORE, IGNORE, IGNORE],
                [IGNORE, IGNORE, 30, IGNORE, 5, IGNORE],
            ]);
            token_cross_entropy(x, hidden, 3, 0.0)
        }
        (task, other) => panic!("{task} answered with {}", other.kind()),
    }
}

/// AdamW (Loshchilov and Hutter, 2017) with PyTorch's defaults at a learning rate of 1e-3.
fn adamw(net: Box<dyn Net>, gradients: &Gradients, m: &mut Moments, step: i32) -> Box<dyn Net> {
    net.update(&mut |info, value| {
        let gradient = gradients.0[&info.name].clone();
        let (first, second) = m
            .entry(info.name.clone())
            .or_insert_with(|| (gradient.zeros_like(), gradient.zeros_like()))
            .clone();
        let first = first.mul_scalar(0.9) + gradient.clone().mul_scalar(0.1);
        let second = second.mul_scalar(0.999) + gradient.square().mul_scalar(0.001);
        m.insert(info.name.clone(), (first.clone(), second.clone()));
        let (one, two) = (1.0 - 0.9f64.powi(step), 1.0 - 0.999f64.powi(step));
        let scale = second.div_scalar(two).sqrt().add_scalar(1e-8);
        value.mul_scalar(1.0 - 1e-3 * 0.01) - first.div_scalar(one).mul_scalar(1e-3) / scale
    })
}

type Moments = HashMap<String, (Tensor<1>, Tensor<1>)>;

fn follows(what: &str, mut net: Box<dyn Net>, task: TaskKind, pad_id: i64, expected: &Value) {
    let device = Device::flex().autodiff();
    assert!(net.load_state(&weights(net.as_ref())).is_exact());
    let asked = net.valid().apply(padded(pad_id, false, &IDS, 6, &Device::flex())).unwrap();
    let wanted: Vec<f64> = serde_json::from_value(expected["logits"].clone()).unwrap();
    let got = real(asked, false, &IDS);
    let largest = wanted.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    assert_eq!(got.len(), wanted.len(), "{what}");
    let worst = got.iter().zip(&wanted).map(|(g, w)| (*g as f64 - w).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-4 * largest, "{what}: logits differ by {worst} of {largest}");
    let input = || padded(pad_id, false, &IDS, 6, &device);
    let first = loss(task, net.apply(input()).unwrap(), &device);
    let value = first.clone().into_scalar::<f32>() as f64;
    assert!((value - expected["loss"].as_f64().unwrap()).abs() < 1e-5, "{what}: loss {value}");
    gradients_follow(what, &net.gradients(first), &expected["gradients"]);
    let (mut moments, losses) = (Moments::new(), expected["losses"].as_array().unwrap());
    assert_eq!(losses.len(), 20);
    for (step, wanted) in losses.iter().enumerate() {
        let loss = loss(task, net.apply(input()).unwrap(), &device);
        let value = loss.clone().into_scalar::<f32>() as f64;
        let wanted = wanted.as_f64().unwrap();
        assert!((value - wanted).abs() < 1e-3 * wanted.max(1e-3), "{what}: step {step}: {value}, {wanted}");
        let gradients = net.gradients(loss);
        net = adamw(net, &gradients, &mut moments, step as i32 + 1);
    }
}

/// Norms, and products with a computed tensor, within 1e-3 of the largest gradient.
fn gradients_follow(what: &str, got: &Gradients, expected: &Value) {
    let expected: HashMap<String, [f64; 2]> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(got.0.len(), expected.len(), "{what}");
    let largest = expected.values().map(|[norm, _]| *norm).fold(0.0, f64::max);
    for (name, [norm, product]) in &expected {
        let gradient = got.0[name].clone();
        let [n] = gradient.dims();
        let probe = Tensor::<1>::from_data(wave(7, &[n], 1.0), &gradient.device());
        let values = [gradient.clone().square().sum().sqrt(), (gradient * probe).sum()]
            .map(|t| t.into_scalar::<f32>() as f64);
        let off = [(values[0] - norm).abs(), (values[1] - product).abs()];
        assert!(off.iter().all(|off| *off < 1e-3 * largest), "{what}: {name}: {values:?}, {norm} {product}");
    }
}

#[test]
fn every_family_and_head_follows_transformers() {
    let fixtures = fixture("encoders");
    let on = Device::flex().autodiff();
    for family in ["bert", "roberta", "xlm-roberta", "camembert", "distilbert"] {
        for task in TASKS {
            let what = format!("{family} {task}");
            let model = open(folder(family, task, &[]).path(), &on).unwrap();
            assert_eq!(model.card.task().unwrap(), task);
            let pad_id = i64::from(kind(family) == "roberta");
            follows(&what, model.net, task, pad_id, &fixtures[&what]);
        }
    }
    for (family, key, activation) in [
        ("bert", "hidden_act", "gelu_new"),
        ("bert", "hidden_act", "relu"),
        ("distilbert", "activation", "relu"),
    ] {
        let task = TaskKind::MaskedLanguageModeling;
        let model = open(folder(family, task, &[(key, json!(activation))]).path(), &on).unwrap();
        let what = format!("{family} {activation}");
        follows(&what, model.net, task, 0, &fixtures[&what]);
    }
}

#[test]
fn padding_on_either_side_or_none_gives_the_same_answers() {
    for (family, pad_id) in [("bert", 0), ("roberta", 1), ("distilbert", 0)] {
        for task in TASKS {
            for device in [Device::flex(), Device::flex().autodiff()] {
                let folder = folder(family, task, &[]);
                let mut net = open(folder.path(), &device).unwrap().net;
                assert!(net.load_state(&weights(net.as_ref())).is_exact());
                let alone: Vec<f32> = IDS
                    .iter()
                    .flat_map(|row| {
                        let input = padded(pad_id, false, &[row], row.len(), &device);
                        real(net.apply(input).unwrap(), false, &[row])
                    })
                    .collect();
                let largest = alone.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                for left in [false, true] {
                    let input = padded(pad_id, left, &IDS, 9, &device);
                    let got = real(net.apply(input).unwrap(), left, &IDS);
                    let off = got.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(off < 1e-5 * largest, "{family} {task} left {left}: {off} of {largest}");
                }
            }
        }
    }
}

/// A folder's weights, changed.
fn rewritten(folder: &Path, change: impl FnOnce(&mut StateDict)) {
    let path = folder.join("model.safetensors");
    let mut state = kiln_models::weights::read(&path).unwrap();
    change(&mut state);
    std::fs::write(path, kiln_models::weights::to_safetensors(&state, &[]).unwrap()).unwrap();
}

#[test]
fn tied_weights_are_written_once_and_may_come_twice_if_equal() {
    let task = TaskKind::MaskedLanguageModeling;
    for (family, copy, original) in [
        ("bert", "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("bert", "cls.predictions.decoder.bias", "cls.predictions.bias"),
        ("roberta", "lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
        ("distilbert", "vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"),
    ] {
        let folder = folder(family, task, &[]);
        rewritten(folder.path(), |state| {
            assert!(!state.contains_key(copy) && state.contains_key(original), "{family}");
            let data = state[original].clone();
            state.insert(copy.into(), data);
        });
        let both = open(folder.path(), &Device::flex()).unwrap();
        assert!(both.notes.iter().any(|note| note.contains(copy)), "{:?}", both.notes);
        rewritten(folder.path(), |state| drop(state.remove(original)));
        let alone = open(folder.path(), &Device::flex()).unwrap();
        assert_eq!(alone.net.state(), both.net.state());
        rewritten(folder.path(), |state| {
            let shape = state[copy].shape().to_vec();
            state.insert(original.into(), wave(3, &shape, 1.0));
        });
        let error = open(folder.path(), &Device::flex()).err().unwrap();
        assert!(error.to_string().contains(copy) && error.to_string().contains("differ"), "{error}");
    }
    let folder = folder("bert", task, &[("tie_word_embeddings", json!(false))]);
    let error = open(folder.path(), &Device::flex()).err().unwrap();
    assert!(error.to_string().contains("tie_word_embeddings"), "{error}");
}

#[test]
fn a_pretraining_checkpoint_serves_every_head_and_says_what_it_left() {
    let task = TaskKind::MaskedLanguageModeling;
    let folder = folder("bert", task, &[("architectures", json!(["BertForPreTraining"]))]);
    rewritten(folder.path(), |state| {
        state.insert("cls.seq_relationship.weight".into(), wave(1, &[2, 32], 1.0));
        state.insert("bert.pooler.dense.weight".into(), wave(2, &[32, 32], 1.0));
        state.insert("bert.pooler.dense.bias".into(), wave(3, &[32], 1.0));
    });
    let opened = open(folder.path(), &Device::flex()).unwrap();
    assert_eq!(opened.card.task().unwrap(), task);
    assert_eq!(opened.report.unwrap().unexpected.len(), 3);
    for (task, new) in [
        (TaskKind::Classification, "new head for 3 classes: "),
        (TaskKind::TokenClassification, "new head for 3 classes: "),
        (task, "3 tensors of the file not used"),
    ] {
        let config = json!({"kind": "bert", "pretrained": folder.path()});
        let model = built(config, &text("bert"), task).unwrap();
        assert!(model.notes[0].starts_with(new), "{task}: {:?}", model.notes);
    }
}

#[test]
fn another_number_of_classes_keeps_the_rest_of_the_head() {
    let folder = folder("roberta", TaskKind::Classification, &[]);
    let config = config(json!({"kind": "roberta", "pretrained": folder.path()}));
    let task = TaskKind::Classification;
    let model = build(&config, &text("roberta"), &classes(5), task, &Device::flex(), 1).unwrap();
    assert!(
        model.notes[0].starts_with("new head for 5 classes (the file's head has 3): "),
        "{:?}",
        model.notes
    );
    assert!(!model.notes[0].contains("classifier.dense"), "{:?}", model.notes);
    assert_eq!(model.report.unwrap().missing.len(), 2);
}

#[test]
fn presets_have_as_many_parameters_as_transformers_models() {
    for (preset, counts) in fixture("encoder_presets").as_object().unwrap() {
        let kind = preset.split('_').next().unwrap();
        let [_, input] = kiln_models::presets::inputs(preset);
        for (task, count) in [TaskKind::Classification, TaskKind::MaskedLanguageModeling]
            .iter()
            .zip(counts.as_array().unwrap())
        {
            let labels = if task.is_language_modeling() { Vec::new() } else { classes(2) };
            let config = config(json!({"kind": kind, "preset": preset}));
            let family = kiln_models::FAMILIES.iter().find(|f| f.name() == kind).unwrap();
            let card = family.card(&config, &input, &labels, *task).unwrap();
            let net = family.net(&card, &Device::flex()).unwrap();
            let own: usize = net.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
            assert_eq!(own as u64, count.as_u64().unwrap(), "{preset} {task}");
        }
    }
}

#[test]
fn what_an_encoder_cannot_be_or_answer() {
    let says = |error: ModelError, words: &[&str]| {
        let all = format!("{error} | {}", error.hint().unwrap_or_default());
        words.iter().for_each(|word| assert!(all.contains(word), "{word:?} is not in: {all}"));
    };
    let flex = Device::flex();
    let task = TaskKind::Classification;
    let headless = folder("bert", task, &[("architectures", json!(["BertModel"]))]);
    says(open(headless.path(), &flex).err().unwrap(), &["BertModel", "without a head", "--embed"]);
    let unknown = folder("bert", task, &[("model_type", json!("distillbert"))]);
    says(
        open(unknown.path(), &flex).err().unwrap(),
        &["distillbert", "roberta, ", "the closest is distilbert"],
    );
    let roberta = folder("roberta", task, &[]);
    let as_bert = json!({"kind": "bert", "pretrained": roberta.path()});
    says(
        built(as_bert, &text("roberta"), task).err().unwrap(),
        &["roberta", "set [model] kind = \"roberta\""],
    );
    // RoBERTa's positions begin after the padding's: 16 hold 14 tokens.
    let own = |max_length, vocab_size| InputSpec::Tokens { vocab_size, max_length, pad_id: 1 };
    let continued = json!({"kind": "roberta", "pretrained": roberta.path()});
    assert!(built(continued.clone(), &own(14, 40), task).is_ok());
    says(built(continued.clone(), &own(15, 40), task).err().unwrap(), &["15", "14"]);
    says(built(continued, &own(14, 41), task).err().unwrap(), &["41", "40", "tokenizer"]);
    says(
        built(tiny("bert"), &text("bert"), TaskKind::CausalLanguageModeling).err().unwrap(),
        &["no head", "masked"],
    );
    let activation = folder("distilbert", task, &[("activation", json!("silu"))]);
    says(open(activation.path(), &flex).err().unwrap(), &["silu", "gelu_new"]);
    let gaps = folder("distilbert", task, &[("id2label", json!({"0": "a", "2": "b"}))]);
    says(open(gaps.path(), &flex).err().unwrap(), &["expected index 1, got 2"]);
    let wide = folder("distilbert", task, &[("dim", json!(36))]);
    says(open(wide.path(), &flex).err().unwrap(), &["[40, 36]", "[40, 32]"]);
    let twice = json!({"kind": "bert", "preset": "bert_tiny", "pretrained": headless.path()});
    says(built(twice, &text("bert"), task).err().unwrap(), &["preset", "pretrained"]);
}

#[test]
fn embeddings_are_means_of_length_1_and_need_no_head() {
    for (family, pad_id) in [("bert", 0), ("roberta", 1), ("distilbert", 0)] {
        let folder = folder(family, TaskKind::TokenClassification, &[]);
        let model = open_embedder(folder.path(), &Device::flex()).unwrap();
        assert!(model.notes[0].contains("classifier"), "{:?}", model.notes);
        let asked = |left| {
            let Output::Logits(rows) =
                model.net.apply(padded(pad_id, left, &IDS, 9, &Device::flex())).unwrap()
            else {
                panic!("one answer a token")
            };
            assert_eq!(rows.dims(), [2, 32]);
            rows
        };
        let off = (asked(false) - asked(true)).abs().max().into_scalar::<f32>();
        assert!(off < 1e-5, "{family}: {off}");
        let length = asked(true).square().sum_dim(1).into_data().try_to_vec::<f32>().unwrap();
        assert!(length.iter().all(|l| (l - 1.0).abs() < 1e-5), "{length:?}");
    }
}

/// Writes folders for tests/peers/transformers_opens_encoders.py when KILN_PEER_OUT names a place.
#[test]
fn encoder_folders_for_the_peer() {
    let kept = std::env::var_os("KILN_PEER_OUT").map(|out| PathBuf::from(out).join("encoders"));
    let temporary = tempfile::tempdir().unwrap();
    let out = kept.unwrap_or(temporary.path().to_path_buf());
    let families = [("bert", 0), ("roberta", 1), ("xlm-roberta", 1), ("camembert", 1), ("distilbert", 0)];
    for (family, pad_id) in families {
        for task in TASKS {
            let start = folder(family, task, &[]);
            let pretrained = json!({"kind": kind(family), "pretrained": start.path()});
            let model = built(pretrained, &text(family), task).unwrap();
            let folder = out.join(format!("{family}-{task}"));
            save(&folder, &model.card, &model.net.state()).unwrap();
            let answer =
                real(model.net.apply(padded(pad_id, false, &IDS, 6, &Device::flex())).unwrap(), false, &IDS);
            let peer = json!({"ids": IDS, "pad_id": pad_id, "task": task.name(), "logits": answer});
            std::fs::write(folder.join("peer.json"), peer.to_string()).unwrap();
            let header = std::fs::read(folder.join("model.safetensors")).unwrap();
            assert!(String::from_utf8_lossy(&header[8..200]).contains(r#""__metadata__":{"format":"pt"}"#));
        }
    }
}

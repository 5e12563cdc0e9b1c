//! Every family and head, float32 and float16, from configs and in `transformers`' forms of the vision families.

use std::path::PathBuf;

use kiln_core::{InputSpec, TaskKind};
use kiln_data::{HostBatch, HostFeatures};
use kiln_models::{Card, FAMILIES};
use kiln_onnx::{Calibration, Options, Precision, Report};
use serde_json::{Value, json};

use crate::common::*;

/// What is exported: a name, its card, its input.
type Made = (String, Card, InputSpec);

const OF_SAMPLES: [TaskKind; 3] =
    [TaskKind::Classification, TaskKind::MultiLabelClassification, TaskKind::Regression];

fn encoder(kind: &str) -> Value {
    json!({"kind": kind, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 40})
}

fn small() -> Vec<Made> {
    let made = |name: &str, config: Value, input: &InputSpec, task| {
        (name.to_string(), card(config, input, task), input.clone())
    };
    let class = TaskKind::Classification;
    let ft = json!({"kind": "ft_transformer", "n_blocks": 2, "d_block": 16, "attention_n_heads": 4});
    let vit = json!({"kind": "vit", "preset": "vit_tiny_patch16_224", "patch_size": 8, "hidden_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 3});
    let deit = json!({"kind": "vit", "preset": "deit_tiny_distilled_patch16_224"});
    let preset = |kind: &str, name: &str| json!({"kind": kind, "preset": name});
    let mut all = vec![
        made("mlp_image", json!({"kind": "mlp", "hidden": [16, 8]}), &image(1, 8), class),
        made("textcnn", json!({"kind": "textcnn", "embedding_size": 12, "num_filters": 5}), &text(), class),
        made("cnn", json!({"kind": "cnn", "channels": [4, 6], "hidden": 8}), &image(3, 12), class),
        made("resnet_cifar", preset("resnet", "cifar20"), &image(3, 16), class),
        made("resnet18", preset("resnet", "resnet18"), &image(3, 64), class),
        made("resnet50", preset("resnet", "resnet50"), &image(3, 64), class),
        made("resnet_small_images", preset("resnet", "cifar_resnet18"), &image(3, 16), class),
        made("vit", vit, &image(3, 32), class),
        made("deit_distilled", deit, &image(3, 32), class),
        made("convnext", preset("convnext", "convnext_atto"), &image(3, 64), class),
        made("mobilenet_v2", preset("mobilenet_v2", "mobilenetv2_035"), &image(3, 64), class),
    ];
    for task in OF_SAMPLES {
        all.push(made(&format!("mlp_{task}"), json!({"kind": "mlp", "hidden": [16]}), &table(), task));
        all.push(made(&format!("ft_transformer_{task}"), ft.clone(), &table(), task));
    }
    for family in ["bert", "roberta", "distilbert"] {
        for task in
            [&OF_SAMPLES[..], &[TaskKind::TokenClassification, TaskKind::MaskedLanguageModeling]].concat()
        {
            all.push(made(&format!("{family}_{task}"), encoder(family), &text(), task));
        }
    }
    let gpt2 = |more: Value| {
        let mut config = json!({"kind": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 40});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    for task in [TaskKind::Classification, TaskKind::TokenClassification, TaskKind::CausalLanguageModeling] {
        all.push(made(&format!("gpt2_{task}"), gpt2(json!({})), &text(), task));
    }
    let nano = gpt2(json!({"bias": false, "activation_function": "gelu"}));
    all.push(made("gpt2_without_biases", nano, &text(), TaskKind::CausalLanguageModeling));
    all
}

/// The configs that kiln-models' fixtures have of `transformers`' vision models.
fn of_transformers() -> Vec<Made> {
    let names = [
        "vit",
        "deit_teacher",
        "convnext",
        "mobilenet_v2",
        "mobilenet_v2_even",
        "resnet_basic",
        "resnet_bottleneck",
    ];
    names
        .map(|name| {
            let name = format!("transformers_{name}");
            let place =
                PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../kiln-models/tests/fixtures/vision");
            let text = std::fs::read_to_string(place.join(format!("{name}.json"))).unwrap();
            let fixture: Value = serde_json::from_str(&text).unwrap();
            let [channels, height, width]: [usize; 3] =
                serde_json::from_value(fixture["image"].clone()).unwrap();
            let input = InputSpec::Image { channels, height, width };
            let mut card: Card = serde_json::from_value(fixture["config"].clone()).unwrap();
            card.kiln_input = Some(input.clone());
            (name, card, input)
        })
        .to_vec()
}

/// Every model exported twice; what failed, all of it.
fn check(all: &[Made]) {
    let place = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    for (name, card, input) in all {
        let here = place.path().join(name);
        let model = folder(&here, card, input, &json!({}));
        for precision in [Precision::F32, Precision::F16] {
            let to = peer_folder(&format!("{name}_{}", precision.word()))
                .unwrap_or_else(|| here.join(precision.word()));
            match exported(&model, &to, precise(precision)) {
                Ok(report) => sound(name, &report),
                Err(error) => failures.push(format!("{name} {}: {error}", precision.word())),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Answers are there, of more than one batch size and, of texts, of more than one length, and are not all the same.
fn sound(name: &str, report: &Report) {
    let shapes: Vec<&Vec<usize>> = report.checked.iter().map(|checked| &checked.shape).collect();
    let batches: std::collections::BTreeSet<usize> = shapes.iter().map(|shape| shape[0]).collect();
    assert_eq!(batches.into_iter().collect::<Vec<_>>(), [1, 3], "{name}");
    assert!(
        report.folder.join("README.md").is_file() && report.folder.join("config.json").is_file(),
        "{name}"
    );
    assert!(report.checked.iter().all(|c| c.difference <= c.allowed), "{name}: {report:?}");
}

#[test]
fn every_family_with_every_head_answers_as_its_net() {
    let all = small();
    for family in FAMILIES {
        let there = all.iter().any(|(_, card, _)| family.reads(card));
        assert!(there, "{} is not tested", family.name());
        assert!(kiln_onnx::families().contains(&family.name()), "{} cannot be exported", family.name());
    }
    check(&all);
}

#[test]
fn vision_models_in_the_form_of_transformers_answer_as_their_nets() {
    check(&of_transformers());
}

#[test]
fn encoders_answer_sentence_embeddings() {
    let place = tempfile::tempdir().unwrap();
    for family in ["bert", "roberta", "distilbert"] {
        let here = place.path().join(family);
        let card = card(encoder(family), &text(), TaskKind::Classification);
        let model = folder(&here, &card, &text(), &json!({}));
        for precision in [Precision::F32, Precision::F16] {
            let to = peer_folder(&format!("{family}_embedding_{}", precision.word()))
                .unwrap_or_else(|| here.join(precision.word()));
            let report = exported_encoder(&model, &to, precise(precision)).unwrap();
            assert_eq!(report.checked[0].shape[1], 32);
            sound(family, &report);
        }
    }
}

#[test]
fn a_regression_answers_in_the_labels_own_units() {
    let place = tempfile::tempdir().unwrap();
    let card = card(json!({"kind": "mlp", "hidden": [16]}), &table(), TaskKind::Regression);
    let scales = json!({"kiln_targets": [
        {"mean": 5000.0, "std": 1000.0}, {"mean": -3.0, "std": 0.5}, {"mean": 0.0, "std": 1.0}]});
    let model = folder(place.path(), &card, &table(), &scales);
    for precision in [Precision::F32, Precision::F16] {
        let to = peer_folder(&format!("units_{}", precision.word()))
            .unwrap_or_else(|| place.path().join(precision.word()));
        exported(&model, &to, precise(precision)).unwrap();
        let golden = std::fs::read(to.join("model.golden.safetensors")).unwrap();
        let golden = kiln_models::weights::from_safetensors(&golden, &to).unwrap();
        let first = golden["one/logits"].iter::<f32>().next().unwrap();
        assert!((first - 5000.0).abs() < 5000.0 && first.abs() > 100.0, "{first}");
    }
}

/// Weights alone, and with activations scaled by a few batches. What the integers cost is a matter of real data
/// (tests/onnx_agrees.py); here the file is small, sound, and the float32 graph before it is checked.
#[test]
fn int8_weights_and_activations_are_exported() {
    let place = tempfile::tempdir().unwrap();
    let chosen = [
        "bert_classification",
        "gpt2_causal_language_modeling",
        "resnet_cifar",
        "mobilenet_v2",
        "vit",
        "textcnn",
    ];
    for (name, card, input) in small().iter().filter(|(name, ..)| chosen.contains(&name.as_str())) {
        let here = place.path().join(name);
        let model = folder(&here, card, input, &json!({}));
        let full = exported(&model, &here.join("full"), Options::default()).unwrap();
        for form in ["int8", "int8_static"] {
            let calibration = (form == "int8_static").then(|| batches(input));
            let options = Options { precision: Precision::Int8, calibration, ..Options::default() };
            let to = peer_folder(&format!("{name}_{form}")).unwrap_or_else(|| here.join(form));
            let report =
                exported(&model, &to, options).unwrap_or_else(|error| panic!("{name} {form}: {error}"));
            sound(name, &report);
            let differs = report.differs.unwrap();
            assert!(differs > 0.0 && differs < 0.5, "{name} {form}: {differs}");
            assert!(report.bytes < full.bytes, "{name} {form}: {} of {}", report.bytes, full.bytes);
        }
    }
}

/// Three batches of four samples, other ones than the golden cases'.
fn batches(input: &InputSpec) -> Calibration<'static> {
    let count = |i: usize| (i * 7919) % 997;
    let features = move |input: &InputSpec, batch: usize| match *input {
        InputSpec::Image { channels, height, width } => {
            let shape = [4, channels, height, width];
            let level = |i| count(i + 31 * batch) as f32 / 250.0 - 2.0;
            HostFeatures::Image { values: (0..shape.iter().product()).map(level).collect(), shape }
        }
        _ => {
            let length = 8 + 4 * batch;
            let ids = (0..4 * length).map(|i| (count(i + 31 * batch) % VOCABULARY) as i32).collect();
            let (mask, types) = (vec![true; 4 * length], vec![0; 4 * length]);
            HostFeatures::Tokens { ids, mask, types, shape: [4, length] }
        }
    };
    let input = input.clone();
    let batch = move |i| HostBatch {
        features: features(&input, i),
        target: None,
        indices: (0..4).collect(),
        padding: false,
    };
    Box::new((0..3).map(move |i| Ok(batch(i))))
}

#[test]
fn weights_beyond_the_limit_are_a_file_of_their_own() {
    let place = tempfile::tempdir().unwrap();
    let card = card(encoder("bert"), &text(), TaskKind::Classification);
    let model = folder(place.path(), &card, &text(), &json!({}));
    let to = peer_folder("external_data").unwrap_or_else(|| place.path().join("out"));
    let report = exported(&model, &to, Options { largest: 1000, ..Options::default() }).unwrap();
    let data = std::fs::metadata(to.join("model.onnx.data")).unwrap().len();
    let inside = std::fs::metadata(to.join("model.onnx")).unwrap().len();
    assert!(data > 60_000 && inside < 60_000 && data + inside == report.bytes, "{data} {inside} {report:?}");
    kiln_onnx::verify(&to.join("model.onnx")).unwrap();
    let damaged = place.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    for file in ["model.onnx", "model.onnx.data", "model.golden.safetensors"] {
        std::fs::copy(to.join(file), damaged.join(file)).unwrap();
    }
    let mut bytes = std::fs::read(damaged.join("model.onnx.data")).unwrap();
    bytes[4096] ^= 1;
    std::fs::write(damaged.join("model.onnx.data"), bytes).unwrap();
    let error = kiln_onnx::verify(&damaged.join("model.onnx")).unwrap_err();
    assert!(error.to_string().contains("altered"), "{error}");
}

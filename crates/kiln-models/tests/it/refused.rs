//! What is refused before or at load, with the numbers that disagree and a remedy.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use kiln_core::{Exit, InputSpec};
use kiln_models::{ModelError, build, open, save};
use serde_json::{Value, json};

use crate::common::*;

fn refused(config_json: Value, input: InputSpec, k: usize) -> ModelError {
    match build(
        &config(config_json.clone()),
        &input,
        &classes(k),
        kiln_core::TaskKind::Classification,
        &Device::flex(),
        1,
    ) {
        Ok(_) => panic!("accepted: {config_json}"),
        Err(error) => error,
    }
}

fn text(vocab_size: usize, max_length: usize) -> InputSpec {
    InputSpec::Tokens { vocab_size, max_length, pad_id: 0 }
}

/// A folder with a tiny BERT, and its `config.json` to change.
fn bert_folder() -> (tempfile::TempDir, Value) {
    let sizes = json!({"kind": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 12});
    let model = build(
        &config(sizes),
        &text(20, 12),
        &classes(2),
        kiln_core::TaskKind::Classification,
        &Device::flex(),
        1,
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &model.card, &model.net.state()).unwrap();
    let card = serde_json::from_str(&fs::read_to_string(folder.path().join("config.json")).unwrap()).unwrap();
    (folder, card)
}

fn says(error: &ModelError, words: &[&str]) {
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{text}");
}

#[test]
fn data_of_the_wrong_kind_or_size() {
    says(&refused(json!({"kind": "mlp"}), text(9, 9), 2), &["mlp", "text"]);
    says(
        &refused(json!({"kind": "cnn"}), InputSpec::Table { features: 3, cardinalities: vec![] }, 2),
        &["cnn", "table rows"],
    );
    says(&refused(json!({"kind": "cnn", "channels": [4, 4, 4, 4]}), image(1, 8), 2), &["4 stages", "8x8"]);
    says(
        &refused(
            json!({"kind": "mlp", "hidden": [4, 0]}),
            InputSpec::Table { features: 3, cardinalities: vec![] },
            2,
        ),
        &["hidden[1]"],
    );
    says(
        &refused(json!({"kind": "mlp"}), InputSpec::Table { features: 3, cardinalities: vec![] }, 1),
        &["two classes", "1"],
    );
    says(&refused(json!({"kind": "bert"}), text(9, 9), 2), &["hidden_size", "intermediate_size"]);
}

#[test]
fn sizes_of_tables_and_words_that_cannot_be() {
    let table = || InputSpec::Table { features: 3, cardinalities: vec![4] };
    says(
        &refused(json!({"kind": "ft_transformer"}), text(9, 9), 2),
        &["ft_transformer", "table rows", "text"],
    );
    let uneven = json!({"kind": "ft_transformer", "d_block": 10});
    says(&refused(uneven, table(), 2), &["attention_n_heads is 8", "d_block 10"]);
    says(&refused(json!({"kind": "ft_transformer", "n_blocks": 0}), table(), 2), &["0 blocks"]);
    says(&refused(json!({"kind": "ft_transformer", "ffn_dropout": 1.0}), table(), 2), &["dropout is 1"]);
    says(&refused(json!({"kind": "textcnn"}), table(), 2), &["textcnn", "text", "table rows"]);
    says(&refused(json!({"kind": "textcnn", "kernel_sizes": []}), text(9, 9), 2), &["kernel_sizes []"]);
    says(
        &refused(json!({"kind": "textcnn", "kernel_sizes": [3, 0]}), text(9, 9), 2),
        &["kernel_sizes [3, 0]"],
    );
}

#[test]
fn a_dropout_that_no_layer_can_have() {
    for kind in ["mlp", "cnn"] {
        says(&refused(json!({"kind": kind, "dropout": 1.0}), image(1, 8), 2), &["dropout is 1", "below 1"]);
    }
}

#[test]
fn a_tokenizer_or_length_beyond_the_embeddings() {
    let (folder, _) = bert_folder();
    let bert = json!({"kind": "bert", "pretrained": folder.path()});
    says(&refused(bert.clone(), text(21, 12), 2), &["21 tokens", "20"]);
    says(&refused(bert.clone(), text(20, 13), 2), &["13", "12"]);
    let disagrees = json!({"kind": "bert", "pretrained": folder.path(), "hidden_size": 9});
    let error = refused(disagrees, text(20, 12), 2);
    says(&error, &["hidden_size = 9", "says 8"]);
    assert_eq!(error.exit(), Exit::Usage);
}

#[test]
fn variations_that_would_compute_something_else() {
    let changes = [
        ("hidden_act", json!("silu")),
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("hidden_dropout_prob", json!(1.5)),
        ("num_attention_heads", json!(3)),
        ("hidden_size", json!("eight")),
        ("model_type", json!("distilbert")),
        ("id2label", json!({"0": "a", "2": "b"})),
    ];
    for (key, value) in changes {
        let (folder, mut card) = bert_folder();
        card[key] = value;
        fs::write(folder.path().join("config.json"), card.to_string()).unwrap();
        let Err(error) = open(folder.path(), &Device::flex()) else { panic!("accepted: {card}") };
        assert!(error.hint().is_some(), "{key}: {error}");
    }
    let (folder, _) = bert_folder();
    fs::write(folder.path().join("config.json"), "{\"model_type\": \"bert\",\n oops").unwrap();
    says(&open(folder.path(), &Device::flex()).err().unwrap(), &["config.json", "line 2"]);
}

fn rewritten(change: impl Fn(&mut kiln_core::StateDict)) -> (tempfile::TempDir, ModelError) {
    let (folder, _) = bert_folder();
    let path = folder.path().join("model.safetensors");
    let mut state = kiln_models::weights::read(&path).unwrap();
    change(&mut state);
    fs::write(&path, kiln_models::weights::to_safetensors(&state, &[]).unwrap()).unwrap();
    let error = refused(json!({"kind": "bert", "pretrained": folder.path()}), text(20, 12), 2);
    (folder, error)
}

#[test]
fn weights_that_do_not_fit_are_all_listed() {
    let (_folder, error) = rewritten(|state| {
        state.remove("bert.pooler.dense.bias");
        state.insert("bert.pooler.dense.weight".into(), wave(0, &[8, 9], 1.0));
    });
    says(
        &error,
        &["missing     bert.pooler.dense.bias", "[8, 8]", "[8, 9]", "1 missing", "1 of another shape"],
    );
    assert_eq!(error.exit(), Exit::Data);
    let (_folder, error) = rewritten(|state| {
        let renamed = std::mem::take(state).into_iter().map(|(name, data)| (format!("x.{name}"), data));
        state.extend(renamed);
    });
    says(&error, &["0 matched"]);
    assert!(error.hint().unwrap().contains("no name matches"));
    let (_folder, error) = rewritten(|state| {
        let integers = burn::tensor::TensorData::new(vec![1i64; 8], [8]);
        state.insert("bert.pooler.dense.bias".into(), integers);
    });
    says(&error, &["bert.pooler.dense.bias", "I64", "floating point"]);
}

#[test]
fn opening_is_strict_about_the_head_too() {
    let (folder, _) = bert_folder();
    let path = folder.path().join("model.safetensors");
    let mut state = kiln_models::weights::read(&path).unwrap();
    state.remove("classifier.bias");
    fs::write(&path, kiln_models::weights::to_safetensors(&state, &[]).unwrap()).unwrap();
    says(&open(folder.path(), &Device::flex()).err().unwrap(), &["missing     classifier.bias"]);
    assert!(
        open(Path::new("/no/such/folder"), &Device::flex())
            .err()
            .unwrap()
            .to_string()
            .contains("config.json")
    );
}

#[test]
fn an_encoder_without_prefix_and_with_old_norm_names_is_read() {
    let (folder, _) = bert_folder();
    let path = folder.path().join("model.safetensors");
    let old = kiln_models::weights::read(&path).unwrap().into_iter().filter_map(|(name, data)| {
        let name = name.strip_prefix("bert.")?.replace("LayerNorm.weight", "LayerNorm.gamma");
        Some((name.replace("LayerNorm.bias", "LayerNorm.beta"), data))
    });
    let mut old: kiln_core::StateDict = old.collect();
    old.insert("embeddings.position_ids".into(), burn::tensor::TensorData::new(vec![0i64, 1], [1, 2]));
    fs::write(&path, kiln_models::weights::to_safetensors(&old, &[]).unwrap()).unwrap();
    let bert = config(json!({"kind": "bert", "pretrained": folder.path()}));
    let model =
        build(&bert, &text(20, 12), &classes(3), kiln_core::TaskKind::Classification, &Device::flex(), 1)
            .unwrap();
    assert_eq!(model.report.unwrap().unexpected, ["embeddings.position_ids"]);
    assert!(model.notes[0].starts_with("new head for 3 classes: "), "{:?}", model.notes);
    assert!(
        model.notes[1].contains("not used") && model.notes[1].contains("position_ids"),
        "{:?}",
        model.notes
    );
}

#[test]
fn a_head_keeps_its_classes_whatever_their_order_in_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let (input, task) = (image(3, 8), kiln_core::TaskKind::Classification);
    let scratch = config(json!({"kind": "resnet", "preset": "cifar20"}));
    let names = |list: [&str; 3]| list.map(String::from).to_vec();
    let model = build(&scratch, &input, &names(["pear", "apple", "fig"]), task, &Device::flex(), 1).unwrap();
    save(folder.path(), &model.card, &model.net.state()).unwrap();
    let brought = config(json!({"kind": "resnet", "preset": "cifar20", "pretrained": folder.path()}));
    let again = |list: [&str; 3]| build(&brought, &input, &names(list), task, &Device::flex(), 2).unwrap();
    let answers = |model: &kiln_models::Model| {
        let pixels = pixels([2, 3, 8, 8], 1.0, &Device::flex());
        logits(model.net.valid().as_ref(), pixels).into_data().try_to_vec::<f32>().unwrap()
    };
    let (own, other) = (answers(&model), again(["apple", "fig", "pear"]));
    let moved: Vec<f32> = own.chunks(3).flat_map(|row| [row[1], row[2], row[0]]).collect();
    assert_eq!(answers(&other), moved);
    assert!(other.notes.iter().any(|note| note.contains("order of the classes")), "{:?}", other.notes);
    assert_eq!(answers(&again(["pear", "apple", "fig"])), own);
    let renamed = again(["a", "b", "c"]);
    assert!(renamed.notes.iter().any(|note| note.contains("pear, apple, fig")), "{:?}", renamed.notes);
}

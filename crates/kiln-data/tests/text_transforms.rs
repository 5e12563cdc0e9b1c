//! Text transforms through the public API: the same for any number of workers and after resuming, normalisers in training,
//! evaluation and prediction alike, random ones in training only, stored with the tokenizer, refused where they do not fit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kiln_core::{MaskingConfig, TaskConfig};
use kiln_data::config::{DataConfig, LoaderConfig};
use kiln_data::{
    Dataset, Features, HostBatch, HostFeatures, HostTarget, Label, Loader, OpenOptions, Order, Preprocessor,
    Raw,
};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn config(dir: &Path, transforms: Value) -> Value {
    let path = dir.join("rows.tsv");
    let words = ["this film is bad", "a good  FILM", "the movie was a mess", "Café is one of the best films"];
    let rows: String = (0..40)
        .map(|i| format!("{} {}\t{}\n", words[i % 4], "film ".repeat(i % 3), ["neg", "pos"][i % 2]))
        .collect();
    std::fs::write(&path, rows).unwrap();
    json!({"kind": "tsv", "path": path, "header": false, "text": 0, "label": 1, "text_transforms": transforms,
        "tokenizer": {"path": fixture("tokenizer.json"), "max_length": 14}})
}

fn opened(config: &Value, task: TaskConfig) -> Result<Dataset, String> {
    let config: DataConfig = serde_json::from_value(config.clone()).unwrap();
    Dataset::open(&config, &OpenOptions { task, ..OpenOptions::default() }).map_err(|e| e.to_string())
}

fn all(data: &Dataset, workers: usize, order: Order) -> Vec<HostBatch> {
    let config = LoaderConfig { batch_size: 6, workers, prefetch: 2, ..LoaderConfig::default() };
    let split = data.train.as_ref().unwrap();
    Loader::new(split, &data.preprocessor, &config, order).unwrap().map(Result::unwrap).collect()
}

fn every() -> Value {
    json!([
        {"kind": "unicode_normalize", "form": "nfkc"}, {"kind": "lowercase"}, {"kind": "collapse_whitespace"},
        {"kind": "rewrite", "pattern": r"\b(is|was)\b", "replacement": "${1} not", "p": 0.5,
            "labels": [["neg", "pos"], ["pos", "neg"]]},
        {"kind": "random_swap"}, {"kind": "random_delete"}, {"kind": "random_insert", "words": ["the", "a"]},
        {"kind": "replace_synonyms", "synonyms": [["film", "movie"]]},
        {"kind": "token_dropout", "p": 0.2},
    ])
}

#[test]
fn batches_are_the_same_for_any_workers_and_after_resuming() {
    let dir = tempfile::tempdir().unwrap();
    let data = opened(&config(dir.path(), every()), TaskConfig::default()).unwrap();
    let order = |epoch| Order::Train { seed: 7, epoch };
    let first = all(&data, 0, order(1));
    for workers in [1, 2, 8] {
        assert_eq!(all(&data, workers, order(1)), first, "{workers} workers");
    }
    let loader = LoaderConfig { batch_size: 6, workers: 2, ..LoaderConfig::default() };
    for step in [1, 4] {
        let split = data.train.as_ref().unwrap();
        let resumed = Loader::new(split, &data.preprocessor, &loader, order(1)).unwrap().starting_at(step);

        assert_eq!(resumed.map(Result::unwrap).collect::<Vec<_>>(), first[step..]);
    }
    assert_ne!(all(&data, 0, order(2)), first, "another epoch draws anew");
    let plain = opened(&config(dir.path(), json!([])), TaskConfig::default()).unwrap();
    assert_ne!(all(&plain, 0, order(1)), first);
}

#[test]
fn classes_change_with_their_texts_in_training_only() {
    let dir = tempfile::tempdir().unwrap();
    let rule = json!([{"kind": "rewrite", "pattern": r"\b(is|was)\b", "replacement": "${1} not", "p": 1.0,
        "labels": [["neg", "pos"]]}]);
    let data = opened(&config(dir.path(), rule), TaskConfig::default()).unwrap();
    let tokens = |batches: &[HostBatch]| -> Vec<(usize, i64)> {
        let classes = |batch: &HostBatch| match &batch.target {
            Some(HostTarget::Classes(classes)) => classes.clone(),
            other => panic!("{other:?}"),
        };
        batches.iter().flat_map(|b| b.indices.clone().into_iter().zip(classes(b))).collect()
    };
    // Rows 0 and 2 of four are "neg" and hold a verb; 3 holds one and is "pos", which the rule leaves.
    for (i, class) in tokens(&all(&data, 2, Order::Train { seed: 1, epoch: 0 })) {
        assert_eq!(class, [1, 1, 1, 1][i % 4], "row {i}");
    }
    for (i, class) in tokens(&all(&data, 0, Order::Sequential)) {
        assert_eq!(class, [0, 1, 0, 1][i % 4], "row {i} in evaluation");
    }
    let split = data.train.as_ref().unwrap();
    let ids = |text: &str| data.preprocessor.prepare(Raw::Text(text.into()), None).unwrap();
    let example = |augment| {
        data.preprocessor.example(split.raw(0).unwrap(), split.label(0), "row", augment, 0).unwrap()
    };
    assert_eq!(example(Some(3)), (ids("this film is not bad "), Label::Class(1)));
    assert_eq!(example(None), (ids("this film is bad "), Label::Class(0)));
}

#[test]
fn a_model_folder_keeps_the_program_and_prediction_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = opened(&config(dir.path(), every()), TaskConfig::default()).unwrap();
    data.preprocessor.save(dir.path()).unwrap();
    let loaded = Preprocessor::load(dir.path()).unwrap();
    let ids = |program: &Preprocessor, text: &str, seed| match program
        .prepare(Raw::Text(text.into()), seed)
        .unwrap()
    {
        Features::Tokens { ids, .. } => ids,
        other => panic!("{other:?}"),
    };
    let plain = opened(&config(dir.path(), json!([])), TaskConfig::default()).unwrap();
    let odd = "ＴＨＩＳ  film is ﬁne";
    for program in [&*data.preprocessor, &loaded] {
        assert_eq!(ids(program, odd, None), ids(&plain.preprocessor, "this film is fine", None));
    }
    assert_ne!(ids(&loaded, odd, None), ids(&plain.preprocessor, odd, None), "it matters here");
    let reading = loaded.reading(&Raw::Text(odd.into())).unwrap().unwrap();
    assert_eq!(reading.text, "this film is fine", "words are told of in the text that the model sees");
    // Whatever is drawn, special tokens frame the sample and something is left.
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let made = ids(&loaded, odd, Some(seed));
        let plain = ids(&plain.preprocessor, "film", None);
        assert_eq!((made[0], made.last()), (plain[0], plain.last()));
        assert!(made.len() > 2);
        seen.insert(made);
    }
    assert!(seen.len() > 50, "{}", seen.len());
    // Data for the model are prepared by its program, whatever their config says.
    let other: DataConfig = serde_json::from_value(config(dir.path(), json!([]))).unwrap();
    let again =
        Dataset::open_for(&other, loaded.into(), &data.classes, TaskConfig::default().kind()).unwrap();
    assert_eq!(all(&again, 0, Order::Sequential), all(&data, 0, Order::Sequential));
    // A program that was edited into one that cannot be is refused.
    let file = dir.path().join("tokenizer_config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("0.2", "2.0", 1)).unwrap();
    let error = Preprocessor::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json") && error.contains("`p` is 2"), "{error}");
}

#[test]
fn words_and_vocabularies_are_normalised_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("words.jsonl");
    let line = json!({"tokens": ["ＴＨＥ", "FIlm"], "ner": ["O", "B-X"]});
    std::fs::write(&path, format!("{line}\n{line}\n")).unwrap();
    let mut config = json!({"kind": "jsonl", "path": path, "tokens": "tokens", "label": "ner",
        "text_transforms": [{"kind": "unicode_normalize", "form": "nfkc"}],
        "tokenizer": {"path": fixture("tokenizer.json"), "max_length": 12}});
    let data = opened(&config, TaskConfig::TokenClassification).unwrap();
    let raw = data.train.as_ref().unwrap().raw(0).unwrap();
    let plain = Raw::Words(vec!["THE".into(), "Film".into()]);
    for seed in [None, Some(1)] {
        let made = data.preprocessor.prepare(raw.clone(), seed).unwrap();
        assert_eq!(made, data.preprocessor.prepare(plain.clone(), None).unwrap());
    }
    config["text_transforms"] = json!([{"kind": "random_swap"}]);
    let error = opened(&config, TaskConfig::TokenClassification).unwrap_err();
    assert!(
        error.contains("text_transforms[0]") && error.contains("part the words from their tags"),
        "{error}"
    );

    let mut built = config_of_words(dir.path());
    let vocab = |built: &Value| match opened(built, TaskConfig::default()).unwrap().input {
        kiln_core::InputSpec::Tokens { vocab_size, .. } => vocab_size,
        other => panic!("{other:?}"),
    };
    let both = vocab(&built);
    built["text_transforms"] = json!([{"kind": "strip_accents"}]);
    assert_eq!(vocab(&built), both - 1, "cafe and café are one word");
}

fn config_of_words(dir: &Path) -> Value {
    let path = dir.join("two.tsv");
    std::fs::write(&path, "cafe x\ta\ncafé x\tb\n").unwrap();
    json!({"kind": "tsv", "path": path, "header": false, "text": 0, "label": 1, "tokenizer": {"kind": "words"}})
}

#[test]
fn hidden_tokens_do_not_depend_on_what_the_text_drew() {
    let dir = tempfile::tempdir().unwrap();
    let masked = TaskConfig::MaskedLanguageModeling(MaskingConfig::default());
    let mut rows = config(dir.path(), json!([{"kind": "random_swap", "p": 0.0}]));
    rows.as_object_mut().unwrap().remove("label");
    let with = opened(&rows, masked).unwrap();
    rows["text_transforms"] = json!([]);
    let without = opened(&rows, masked).unwrap();
    let order = Order::Train { seed: 2, epoch: 0 };
    assert_eq!(all(&with, 0, order), all(&without, 0, order));
    rows["text_transforms"] = json!([{"kind": "random_swap", "p": 1.0}]);
    let swapped = all(&opened(&rows, masked).unwrap(), 0, order);
    let ids =
        |batches: &[HostBatch]| batches.iter().map(|b| b.features.clone()).collect::<Vec<HostFeatures>>();
    assert_ne!(ids(&swapped), ids(&all(&without, 0, order)));
    rows["text_transforms"] = json!([{"kind": "token_dropout"}]);
    assert!(opened(&rows, masked).unwrap_err().contains("has its tokens hidden already"));
}

#[test]
fn what_does_not_fit_is_refused_when_data_are_checked_or_opened() {
    let dir = tempfile::tempdir().unwrap();
    let rule = json!([{"kind": "rewrite", "pattern": "x", "replacement": "y", "labels": [["neg", "poss"]]}]);
    let mut rows = config(dir.path(), rule);
    let error = opened(&rows, TaskConfig::default()).unwrap_err();
    assert!(
        error.contains("text_transforms[0].labels") && error.contains("\"poss\", which is no class"),
        "{error}"
    );
    rows["classes"] = json!(["neg", "pos"]);
    let parsed: DataConfig = serde_json::from_value(rows).unwrap();
    let faults = Dataset::check(&parsed, &OpenOptions::default()).unwrap_err();
    assert!(faults.len() == 1 && faults[0].to_string().contains("\"poss\", which is no class"), "{faults:?}");
    // A tokenizer that has no mask.
    let dropped = json!([{"kind": "token_dropout", "dropped": "mask"}]);
    let mut built = config_of_words(dir.path());
    built["text_transforms"] = dropped.clone();
    let error = opened(&built, TaskConfig::default()).unwrap_err();
    assert!(error.contains("text_transforms[0].dropped") && error.contains("no mask token"), "{error}");
    assert!(opened(&config(dir.path(), dropped), TaskConfig::default()).is_ok());
}

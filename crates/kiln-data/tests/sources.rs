//! Several sources: their columns and files, weights, ratios, and what must agree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::fs;
use std::path::Path;

use kiln_core::{RegressionConfig, TaskConfig};
use kiln_data::config::{LoaderConfig, StoppingStrategy};
use kiln_data::{Dataset, OpenOptions, Order, Raw};
use serde_json::{Value, json};
use support::data::{indices, open, parse, pass, with};
use support::fixture;

/// Reviews in a CSV file, 300 of them, and 100 in JSON Lines under other names.
fn reviews(dir: &Path) -> Value {
    let rows: String = (0..300).map(|i| format!("good film {i},{}\n", i % 2)).collect();
    fs::write(dir.join("a.csv"), format!("text,label\n{rows}")).unwrap();
    let rows: String =
        (0..100).map(|i| format!("{}\n", json!({"sentence": format!("bad film {i}"), "y": i % 2}))).collect();
    fs::write(dir.join("b.jsonl"), rows).unwrap();
    json!({"kind": "csv", "text": "text", "label": "label",
        "tokenizer": {"path": fixture("tokenizer.json"), "max_length": 12},
        "sources": [
            {"path": dir.join("a.csv"), "weight": 3},
            {"path": dir.join("b.jsonl"), "kind": "jsonl", "text": "sentence", "label": "y", "weight": 2}]})
}

fn fault(config: Value, task: TaskConfig) -> String {
    let config = parse(config);
    let options = OpenOptions { task, ..OpenOptions::default() };
    let error = Dataset::open(&config, &options).unwrap_err();
    format!("{error}; {}", error.hint().unwrap_or_default())
}

#[test]
fn each_source_has_its_own_columns_and_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(reviews(dir.path()));
    let train = data.train.as_ref().unwrap();
    assert_eq!((train.len(), data.classes.clone()), (400, vec!["0".to_string(), "1".into()]));
    assert_eq!(train.raw(299).unwrap(), Raw::Text("good film 299".into()));
    assert_eq!(train.raw(300).unwrap(), Raw::Text("bad film 0".into()));
    assert!(train.name(301).ends_with("b.jsonl:2"), "{}", train.name(301));
    assert_eq!((train.source_of(299), train.source_of(300), train.source_of(400)), (Some(0), Some(1), None));

    for (strategy, samples, quotas) in [
        (StoppingStrategy::FirstExhausted, None, [150, 100]),
        (StoppingStrategy::AllExhausted, None, [300, 200]),
        (StoppingStrategy::FirstExhausted, Some(1000), [600, 400]),
    ] {
        let config = LoaderConfig {
            stopping_strategy: strategy,
            samples_per_epoch: samples,
            batch_size: 50,
            ..LoaderConfig::default()
        };
        for epoch in 0..3 {
            let batches = pass(&data, &config, Order::Train { seed: 1, epoch }, 0);
            let all = indices(&batches);
            let mut counts = [0; 2];
            all.iter().for_each(|i| counts[train.source_of(*i).unwrap()] += 1);
            assert_eq!(counts, quotas);
            let ratio = counts[0] as f64 / all.len() as f64;
            assert!((ratio - 0.6).abs() < 0.01, "{ratio}");
            // In each batch too, as far as chance allows: 50 samples, 5 standard deviations.
            for batch in &batches {
                let first = batch.indices.iter().filter(|i| **i < 300).count() as f64;
                assert!((first - 30.0).abs() < 5.0 * (50.0_f64 * 0.6 * 0.4).sqrt(), "{first}");
            }
        }
    }
    // The larger source goes on where the last epoch stopped it.
    let config = LoaderConfig { batch_size: 50, ..LoaderConfig::default() };
    let of_first = |epoch| -> Vec<usize> {
        let all = indices(&pass(&data, &config, Order::Train { seed: 1, epoch }, 0));
        all.into_iter().filter(|i| *i < 300).collect()
    };
    let mut two = [of_first(0), of_first(1)].concat();
    two.sort_unstable();
    assert_eq!(two, (0..300).collect::<Vec<_>>());
}

#[test]
fn without_weights_every_sample_is_in_each_epoch_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = reviews(dir.path());
    for k in 0..2 {
        config["sources"][k].as_object_mut().unwrap().remove("weight");
    }
    let data = open(config.clone());
    let mut all = indices(&pass(&data, &LoaderConfig::default(), Order::Train { seed: 1, epoch: 0 }, 0));
    all.sort_unstable();
    assert_eq!(all, (0..400).collect::<Vec<_>>());
    let message = fault(with(config, json!({"loader": {"samples_per_epoch": 9}})), TaskConfig::default());
    assert!(
        message.contains("data.loader.samples_per_epoch: there are no data.sources with weights"),
        "{message}"
    );
}

#[test]
fn each_source_is_split_by_the_fractions_or_brings_its_splits() {
    let dir = tempfile::tempdir().unwrap();
    let config = with(reviews(dir.path()), json!({"validation_fraction": 0.1, "test_fraction": 0.2}));
    let data = open(config.clone());
    let sizes = [&data.train, &data.validation, &data.test].map(|split| split.as_ref().unwrap().len());
    assert_eq!(sizes, [280, 40, 80]);
    let validation = data.validation.unwrap();
    let of_second = (0..40).filter(|i| validation.name(*i).contains("b.jsonl")).count();
    assert_eq!(of_second, 10);

    let mut own = reviews(dir.path());
    own["sources"][1] = with(own["sources"][1].clone(), json!({"validation": dir.path().join("b.jsonl")}));
    assert_eq!(open(own.clone()).validation.unwrap().len(), 100);
    let message = fault(with(own, json!({"validation": dir.path().join("a.csv")})), TaskConfig::default());
    assert!(
        message.contains("data.validation: data.sources.1 has validation samples of its own"),
        "{message}"
    );
    let beside = open(with(reviews(dir.path()), json!({"test": dir.path().join("a.csv")})));
    assert_eq!((beside.test.unwrap().len(), beside.train.unwrap().len()), (300, 400));
}

#[test]
fn what_does_not_agree_is_refused_with_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let plain = reviews(dir.path());
    let third = |source: Value| {
        let mut config = plain.clone();
        config["sources"].as_array_mut().unwrap().push(source);
        config
    };
    fs::write(dir.path().join("c.csv"), "text,label\nx,1\ny,2\n").unwrap();
    let c = dir.path().join("c.csv");
    let classification = TaskConfig::default();
    for (config, task, said) in [
        (
            third(json!({"path": c, "weight": 1})),
            classification,
            "data.sources.2: the classes of C are not those of data.sources.0: only here \"2\"; only there \"0\"; \
             name all classes in data.classes",
        ),
        (
            with(third(json!({"path": c, "weight": 1})), json!({"classes": ["0", "1"]})),
            classification,
            "C:3: class \"2\" is not one of the 2 known classes (0, 1)",
        ),
        (third(json!({"path": c})), classification, "data.sources.2: other sources have a weight"),
        (
            third(json!({"path": c, "weight": 0})),
            classification,
            "data.sources.2.weight: expected a number above 0",
        ),
        (
            third(json!({"path": c, "weight": 1, "text": "words"})),
            classification,
            "C: no column \"words\"; the columns are text, label",
        ),
        (
            third(json!({"path": c, "weight": 1, "features": ["text"]})),
            classification,
            "data.sources.2: this source gives rows of numbers, and the first texts",
        ),
        (third(json!({"path": dir.path().join("d.csv"), "weight": 1})), classification, "d.csv: not found"),
        (
            third(json!({"weight": 1})),
            classification,
            "data.sources.2.path: expected the path of the data, got none",
        ),
        (
            third(json!({"path": c, "weight": 1, "label": ["label", "label"]})),
            TaskConfig::Regression(RegressionConfig { standardize: false }),
            "data.sources.2: this source has 2 columns of labels, and the first 1",
        ),
        (
            third(json!({"kind": "image_folder", "path": dir.path(), "weight": 1})),
            classification,
            "data.sources.2: this source gives images, and the first texts",
        ),
    ] {
        let message = fault(config, task);
        let said = said.replace('C', c.to_str().unwrap());
        let found = message.contains(&said) || message.contains(&said.replace(c.to_str().unwrap(), "C"));
        assert!(found, "{message}\n{said}");
    }
    // With all classes named a source may lack some.
    let named = with(third(json!({"path": c, "weight": 1})), json!({"classes": ["0", "1", "2"]}));
    assert_eq!(open(named).train.unwrap().class_counts(3), [200, 201, 1]);
}

#[test]
fn a_model_is_scored_on_all_sources() {
    let dir = tempfile::tempdir().unwrap();
    let config = with(reviews(dir.path()), json!({"test_fraction": 0.1}));
    let data = open(config.clone());
    let kind = TaskConfig::default().kind();
    let again = Dataset::open_for(&parse(config), data.preprocessor.clone(), &data.classes, kind).unwrap();
    assert_eq!(again.test.unwrap().len(), 40);
    let numbers =
        json!({"kind": "csv", "features": ["label"], "sources": [{"path": dir.path().join("a.csv")}]});
    let error = Dataset::open_for(&parse(numbers), data.preprocessor, &data.classes, kind).unwrap_err();
    assert!(error.to_string().contains("expected text, got table data"), "{error}");
}

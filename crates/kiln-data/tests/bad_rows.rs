//! Faulty rows of tables among good ones, under every policy: named by file and line, counted, the others in their places.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::{RegressionConfig, TaskConfig};
use kiln_data::config::{DataConfig, LoaderConfig, OnBadSample};
use kiln_data::{DataError, Dataset, HostBatch, Loader, OpenOptions, Order, inputs};
use serde_json::{Value, json};

const REGRESSION: TaskConfig = TaskConfig::Regression(RegressionConfig { standardize: false });

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn parsed(mut config: Value, policy: &str) -> DataConfig {
    config["loader"] = json!({"on_bad_sample": policy});
    serde_json::from_value(config).unwrap()
}

fn open(config: Value, policy: &str, task: TaskConfig) -> Result<Dataset, DataError> {
    let (config, options) = (parsed(config, policy), OpenOptions { task, ..OpenOptions::default() });
    let checked = Dataset::check(&config, &options);
    let opened = Dataset::open(&config, &options);
    assert!(checked.is_ok() || opened.is_err(), "{checked:?}");
    opened
}

/// The batches, and line and reason of each row that was left out.
fn left_out(data: &Dataset, workers: usize) -> (Vec<HostBatch>, Vec<(String, String)>) {
    let split = data.train.as_ref().unwrap();
    let config = LoaderConfig {
        batch_size: 4,
        workers,
        on_bad_sample: OnBadSample::Skip,
        max_bad_fraction: 0.5,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(split, &data.preprocessor, &config, Order::Sequential).unwrap();
    let batches = loader.map(Result::unwrap).collect();
    let line = |name: &str| name.rsplit(':').next().unwrap().to_string();
    (batches, split.bad().into_iter().map(|bad| (line(&bad.name), bad.reason)).collect())
}

#[track_caller]
fn check(config: &Value, task: TaskConfig, rows: usize, bad: &[(&str, &str)]) {
    let first = open(config.clone(), "fail", task).unwrap_err().to_string();
    assert!(bad.iter().any(|(_, reason)| first.contains(reason)), "{first}");
    for policy in ["skip", "quarantine"] {
        let data = open(config.clone(), policy, task).unwrap();
        assert_eq!(data.train.as_ref().unwrap().len(), rows, "faulty rows keep their places");
        let (batches, named) = left_out(&data, 0);
        assert_eq!(left_out(&data, 3).0, batches);
        let good: usize = batches.iter().map(HostBatch::size).sum();
        assert_eq!((named.len(), good), (bad.len(), rows - bad.len()), "{named:?}");
        for ((line, reason), (wanted, part)) in named.iter().zip(bad) {
            assert!(line == wanted && reason.contains(part), "{line}: {reason}");
        }
    }
}

#[test]
fn numbers_in_csv() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let mut rows = String::from("x,y,label\n");
    for i in 0..20 {
        rows += &match i {
            0 => "nonsense,1,a\n".to_string(), // before any good row
            5 => "1,2\n".into(),
            9 => "1,,b\n".into(),
            14 => "1,2,\n".into(),
            _ => format!("{i},{},{}\n", i * 2, ["a", "b"][i % 2]),
        };
    }
    fs::write(&path, rows).unwrap();
    let config = json!({"kind": "csv", "path": path, "features": ["x", "y"], "label": "label"});
    let wanted = [("2", "a finite number"), ("7", "3 columns"), ("11", "a finite number"), ("16", "a label")];
    check(&config, TaskConfig::default(), 20, &wanted);
    // What is learned of the rows is that of the good ones.
    let good: String = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .enumerate()
        .filter(|(i, _)| ![1, 6, 10, 15].contains(i))
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    let clean = dir.path().join("b.csv");
    fs::write(&clean, good).unwrap();
    let of = |path: &Path, policy| {
        let data = open(
            json!({"kind": "csv", "path": path, "features": ["x", "y"], "label": "label"}),
            policy,
            TaskConfig::default(),
        );
        let data = data.unwrap();
        data.preprocessor.save(dir.path()).unwrap();
        fs::read_to_string(dir.path().join("preprocessor_config.json")).unwrap()
    };
    assert_eq!(of(&path, "skip"), of(&clean, "fail"));
    // Splits take their shares of the good rows; a faulty one stays in training.
    let mut shares = config;
    shares["validation_fraction"] = json!(0.25);
    let data = open(shares, "skip", TaskConfig::default()).unwrap();
    let (train, validation) = (data.train.as_ref().unwrap(), data.validation.as_ref().unwrap());
    assert_eq!(train.len() + validation.len(), 20);
    assert!((0..validation.len()).all(|i| validation.raw(i).is_ok()));
    assert_eq!(left_out(&data, 0).1.len(), 4);
}

#[test]
fn json_lines_and_labels_of_regression() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    let line = |i: usize| match i {
        3 => "{not json\n".to_string(),
        6 => "{\"x\": 1}\n".into(),
        8 => "{\"x\": 1, \"score\": \"high\"}\n".into(),
        _ => format!("{}\n", json!({"x": i, "score": i as f64 / 2.0})),
    };
    fs::write(&path, (0..12).map(line).collect::<String>()).unwrap();
    let config = json!({"kind": "jsonl", "path": path, "features": ["x"], "label": "score"});
    check(&config, REGRESSION, 12, &[("4", "a JSON object"), ("7", "the key"), ("9", "a number in")]);
    let text = json!({"kind": "jsonl", "path": path, "text": "t", "label": "score"});
    let error = open(text, "skip", REGRESSION).unwrap_err().to_string();
    assert!(error.contains("tokenizer"), "what is wrong with the config is not the rows': {error}");
}

#[test]
fn strings_in_parquet() {
    let config = json!({"kind": "parquet", "path": fixture("parquet/latin.parquet"), "text": "text", "label": "label",
        "tokenizer": {"path": fixture("tokenizer.json")}, "classes": ["0", "1"]});
    check(&config, TaskConfig::default(), 2, &[("2", "UTF-8 text")]);
    let null = json!({"kind": "parquet", "path": fixture("parquet/null.parquet"), "text": "text", "label": "label",
        "tokenizer": {"path": fixture("tokenizer.json")}, "classes": ["0", "1"]});
    check(&null, TaskConfig::default(), 3, &[("2", "a string")]);
}

#[test]
fn what_ends_a_run_under_every_policy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    fs::write(&path, "x,label\n1,a\n2,b\n3,c\nx,a\nx,b\nx,a\n").unwrap();
    let mut config =
        json!({"kind": "csv", "path": path, "features": ["x"], "label": "label", "classes": ["a", "b"]});
    for policy in ["fail", "skip"] {
        config["loader"] = json!({});
        let error = open(config.clone(), policy, TaskConfig::default()).unwrap_err().to_string();
        let wanted = if policy == "skip" { "\"c\"" } else { "a finite number" };
        assert!(error.contains(wanted), "{error}");
    }
    // More than the share that may be bad.
    config["classes"] = json!(["a", "b", "c"]);
    let data = open(config, "skip", TaskConfig::default()).unwrap();
    let few =
        LoaderConfig { on_bad_sample: OnBadSample::Skip, max_bad_fraction: 0.3, ..LoaderConfig::default() };
    let split = data.train.as_ref().unwrap();
    let error =
        Loader::new(split, &data.preprocessor, &few, Order::Sequential).unwrap().last().unwrap().unwrap_err();
    assert!(error.to_string().contains("a finite number"), "{error}");
    // Prediction answers each row for itself, as before.
    let answers: Vec<_> = inputs::open(path.to_str().unwrap(), &data.preprocessor, &[])
        .unwrap()
        .map(inputs::Input::read)
        .collect();
    assert_eq!(
        answers.iter().map(|(_, raw)| raw.is_ok()).collect::<Vec<_>>(),
        [true, true, true, false, false, false]
    );
}

//! `kiln eval` and `kiln predict` through the real binary, on a run of a tiny net trained on the digits.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Said, kiln, root};

/// A run of twelve steps, its model and the folder that holds both.
struct Trained {
    folder: tempfile::TempDir,
    run: PathBuf,
}

fn trained() -> Trained {
    let folder = tempfile::tempdir().expect("a folder");
    let config = support::digits(folder.path(), "");
    let run = Said::by(kiln().arg("train").arg(config)).expect(0, &[]).run();
    Trained { folder, run }
}

fn eval(target: &Path, words: &[&str]) -> Said {
    Said::by(kiln().arg("eval").arg(target).args(words))
}

fn object(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out))
}

#[test]
fn a_run_and_its_model_score_alike() {
    let Trained { run, folder } = trained();
    let scores = object(&eval(&run, &["--json"]).expect(0, &["test split"]));
    assert_eq!(scores["split"], "test");
    let samples = scores["samples"].as_u64().expect("a number");
    let confusion = scores["confusion"].as_array().expect("a matrix");
    let counts =
        confusion.iter().flat_map(|row| row.as_array().into_iter().flatten()).filter_map(Value::as_u64);
    assert_eq!((confusion.len(), counts.sum::<u64>()), (10, samples));
    assert!(scores["per_class"][3]["f1"].is_f64() && scores["macro_f1"].is_f64());

    let same = |other: Value| {
        assert_eq!(other["confusion"], scores["confusion"]);
        let loss = |v: &Value| v["loss"].as_f64().expect("a number");
        assert!((loss(&other) - loss(&scores)).abs() < 1e-6);
    };
    same(object(&eval(&run.join("model"), &["--json", "--batch-size", "13"]).expect(0, &[])));

    // Outside its run, a model needs to be told its data.
    let alone = folder.path().join("alone");
    fs::create_dir(&alone).expect("a folder");
    for entry in fs::read_dir(run.join("model")).expect("the model") {
        let path = entry.expect("a file").path();
        fs::copy(&path, alone.join(path.file_name().expect("a name"))).expect("a copy");
    }
    eval(&alone, &["--json"]).expect(2, &["no data to score on", "data.kind"]);
    let data = format!("data.path={}", root().join("datasets/digits").display());
    same(object(&eval(&alone, &["data.kind=idx", &data, "--json"]).expect(0, &[])));

    let table = eval(&run, &["--split", "validation"]).expect(0, &["validation split"]).out;
    for word in ["accuracy", "precision", "recall", "support", "macro avg", "weighted avg", "confusion"] {
        assert!(table.contains(word), "{word} is not in: {table}");
    }
}

#[test]
fn what_cannot_be_scored_is_said() {
    let Trained { run, folder } = trained();
    eval(&folder.path().join("nowhere"), &[]).expect(4, &["nowhere", "not a model", "hint"]);
    eval(folder.path(), &[]).expect(4, &["neither a run nor a model"]);
    eval(&run, &["data.lodaer.workers=1"]).expect(2, &["lodaer", "loader"]);
    eval(&run, &["--batch-size", "0"]).expect(2, &["batch-size"]);
    fs::rename(run.join("model"), run.join("elsewhere")).expect("moved");
    eval(&run, &[]).expect(4, &["no model yet", "--resume"]);
}

#[test]
fn a_changed_pipeline_is_refused_by_eval_and_predict() {
    let Trained { run, folder } = trained();
    support::images(folder.path(), &["grey"], 1);
    let predict = || Said::by(kiln().arg("predict").arg(&run).arg(folder.path().join("images/grey")));
    let file = run.join("model/preprocessor_config.json");
    let own = fs::read_to_string(&file).expect("the pipeline");
    let edited = own.replacen("transforms", "transforms ", 1);
    assert_ne!(edited, own);
    let words = ["preprocessor_config.json", "not the preprocessing of these weights", "hint"];
    for edited in [edited, format!("{own}\n")] {
        fs::write(&file, edited).expect("written");
        eval(&run, &[]).expect(4, &words);
        predict().expect(4, &words);
    }
    fs::write(&file, own).expect("written");
    eval(&run, &[]).expect(0, &[]);
    predict().expect(0, &[]);
}

#[test]
fn a_config_is_scored_with_its_start_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = support::digits(folder.path(), "");
    let scores = object(&eval(&config, &["--json"]).expect(0, &["test split"]));
    assert!(scores["accuracy"].as_f64().is_some_and(|a| a < 0.5), "untrained: {}", scores["accuracy"]);
    assert!(!folder.path().join("runs").exists(), "eval makes no run");
}

#[test]
fn predictions_are_lines_in_order_and_a_bad_input_is_one_of_them() {
    let Trained { run, folder } = trained();
    support::images(folder.path(), &["grey"], 5);
    let pictures = folder.path().join("images/grey");
    let lines = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    };
    let predict =
        |inputs: &[&Path], words: &[&str]| Said::by(kiln().arg("predict").arg(&run).args(inputs).args(words));

    let good = lines(&predict(&[&pictures], &["--batch-size", "2"]).expect(0, &[]).out);
    assert_eq!(good.len(), 5);
    for (i, line) in good.iter().enumerate() {
        assert!(line["input"].as_str().is_some_and(|n| n.ends_with(&format!("{i:03}.bmp"))), "{line}");
        let p = line["probabilities"].as_object().expect("an object");
        assert_eq!(p.len(), 10);
        assert_eq!(p[line["label"].as_str().expect("a class")], line["score"]);
    }

    let (cut, missing) = (folder.path().join("cut.bmp"), folder.path().join("missing.png"));
    let whole = fs::read(pictures.join("000.bmp")).expect("a picture");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    let said = predict(&[&cut, &pictures, &missing], &[]).expect(4, &["2 of 7", "cut.bmp", "hint"]);
    let mixed = lines(&said.out);
    assert_eq!(mixed.len(), 7);
    for (line, path) in [(&mixed[0], &cut), (&mixed[6], &missing)] {
        assert_eq!(line["input"], path.display().to_string());
        assert!(line["error"].is_string() && line["label"].is_null(), "{line}");
    }
    for (one, other) in mixed[1..6].iter().zip(&good) {
        assert_eq!(one["label"], other["label"]);
    }

    let file = folder.path().join("answers.jsonl");
    let words = ["--output", file.to_str().expect("UTF-8")];
    assert_eq!(predict(&[&pictures], &words).expect(0, &[]).out, "");
    assert_eq!(lines(&fs::read_to_string(&file).expect("written")).len(), 5);
    let left = fs::read_dir(folder.path()).expect("a folder").flatten();
    assert!(!left.map(|e| e.file_name()).any(|n| n.to_string_lossy().ends_with(".tmp")));
    Said::by(kiln().arg("predict").arg(folder.path()).arg(&cut)).expect(4, &["neither a run nor a model"]);
}

#[test]
fn a_reader_that_leaves_is_no_fault() {
    let Trained { run, .. } = trained();
    let mut child: Command = kiln();
    child.arg("predict").arg(&run).args(vec!["missing.png"; 2000]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(!talk.contains("panicked") && !talk.contains("Broken pipe"), "{talk}");
}

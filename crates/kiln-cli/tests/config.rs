//! `kiln check` and `kiln config` as a person meets them: what is printed where, and exit codes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn kiln(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(words)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env_remove("KILN_TEST_DATA")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const QUICKSTART: &str = "configs/quickstart.toml";

#[test]
fn check_says_ok_on_stderr() {
    let output = kiln(&["check", QUICKSTART]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(err(&output).starts_with("configs/quickstart.toml: ok\n"), "{}", err(&output));
    assert_eq!(out(&output), "");
}

#[test]
fn check_counts_sources() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.csv", "b.csv"] {
        fs::write(
            dir.path().join(name),
            format!("text,label\n{name} good,1\n{name} bad,0\n{name} fine,1\n{name} poor,0\n"),
        )
        .unwrap();
    }
    let config = dir.path().join("c.toml");
    let text = "[data]\nkind = \"csv\"\ntext = \"text\"\nlabel = \"label\"\nvalidation_fraction = 0.5\n\
        tokenizer = { kind = \"words\" }\n[[data.sources]]\npath = \"a.csv\"\n[[data.sources]]\npath = \"b.csv\"\n\
        [model]\nkind = \"textcnn\"\n[optimizer]\nkind = \"adamw\"\n[train]\nepochs = 1\n";
    fs::write(&config, text).unwrap();
    let output = kiln(&["check", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(err(&output).contains("csv from 2 sources\n"), "{}", err(&output));
}

#[test]
fn check_shows_all_faults_and_exits_2() {
    let output = kiln(&["check", QUICKSTART, "train.epoch=3", "data.loader.batch_size=0", "seed=x"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        err(&output),
        "error: unknown key `epoch`\n --> command line\n  |\n  | train.epoch=3\n  |       ^^^^^ did you mean `epochs`?\n  \
         = allowed under `train`: epochs, max_steps, max_minutes, token_budget, gradient_accumulation_steps, \
         max_grad_norm, on_nonfinite, on_out_of_memory, label_smoothing_factor, early_stopping_patience, overfit_batches, \
         activation_checkpointing, logging_steps\n\n\
         error: `data.loader.batch_size` is out of range\n --> command line\n  |\n  | data.loader.batch_size=0\n  |                        ^ expected 1 to 1000000, got 0\n\n\
         error: wrong type for `seed`\n --> command line\n  |\n  | seed=x\n  |      ^ expected an integer, got a string\n\n\
         3 errors; nothing was started\n"
    );
}

#[test]
fn check_json_is_one_object() {
    let good: Value = serde_json::from_str(&out(&kiln(&["check", "--json", QUICKSTART]))).unwrap();
    assert_eq!((&good["ok"], good["faults"].as_array().unwrap().len()), (&Value::Bool(true), 0));
    assert_eq!(good["hash"].as_str().unwrap().len(), 64);
    let output = kiln(&["check", "--json", QUICKSTART, "data.path=nowhere"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(err(&output), "");
    let bad: Value = serde_json::from_str(&out(&output)).unwrap();
    let fault = &bad["faults"][0];
    assert_eq!((&bad["ok"], &fault["code"]), (&Value::Bool(false), &Value::from("missing_file")));
    assert_eq!((&fault["file"], &fault["line"]), (&Value::from("command line"), &Value::Null));
    assert!(fault["message"].as_str().unwrap().ends_with("/nowhere"));
    assert!(fault["hint"].is_string());
}

#[test]
fn check_finds_faults_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let empty = format!("data.path={}", folder.path().display());
    let output = kiln(&["check", QUICKSTART, &empty]);
    assert_eq!(output.status.code(), Some(4), "{}", err(&output));
    assert!(err(&output).ends_with("nothing was started\n"), "{}", err(&output));
}

#[test]
fn an_unset_variable_is_named_at_its_place() {
    let output = kiln(&["check", "configs/sst2_minilm_finetune.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("error: environment variable `KILN_TEST_DATA` is not set\n"));
    assert!(err(&output).contains("--> configs/sst2_minilm_finetune.toml:"));
}

#[test]
fn what_config_show_prints_is_a_config_of_the_same_values() {
    let first = kiln(&["config", "show", QUICKSTART, "train.epochs=2"]);
    assert!(first.status.success(), "{}", err(&first));
    assert!(out(&first).lines().any(|l| l.starts_with("epochs = 2 ") && l.ends_with("# command line")));
    assert!(out(&first).lines().any(|l| l.starts_with("seed = 42 ") && l.ends_with("# default")));
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("shown.toml");
    fs::write(&saved, &first.stdout).unwrap();
    let values = |words: &[&str]| -> Vec<(String, Value)> {
        let object: Value = serde_json::from_str(&out(&kiln(words))).unwrap();
        object.as_object().unwrap().iter().map(|(key, entry)| (key.clone(), entry["value"].clone())).collect()
    };
    let mine = values(&["config", "show", "--json", QUICKSTART, "train.epochs=2"]);
    assert!(mine.len() > 30, "{mine:?}");
    assert_eq!(mine, values(&["config", "show", "--json", &saved.display().to_string()]));
}

#[test]
fn config_schema_is_a_json_schema() {
    let schema: Value = serde_json::from_str(&out(&kiln(&["config", "schema"]))).unwrap();
    assert_eq!(schema["title"], "kiln config");
    assert_eq!(schema["properties"]["seed"]["default"], 42);
    assert!(schema["properties"]["extends"]["description"].is_string());
    assert!(schema["$defs"]["TrainConfig"]["properties"]["epochs"]["description"].is_string());
}

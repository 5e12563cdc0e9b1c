//! `kiln runs` over real runs of the digits: finished, stopped early, interrupted, running, damaged and foreign.
//! Owns what the verbs say; how files are written is kiln-train's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Said, digits, kiln, write};

const USAGE: i32 = 2;
const DATA: i32 = 4;
const IO: i32 = 74;
const RESUMABLE: i32 = 75;

fn train(config: &Path, words: &[&str]) -> PathBuf {
    Said::by(kiln().arg("train").arg(config).args(words)).expect(0, &[]).run()
}

/// A run that is under way, once it has logged a step.
fn under_way(config: &Path, run: &Path) -> Child {
    let name = format!("run_name={}", run.file_name().unwrap().to_str().unwrap());
    let mut child = kiln().arg("train").arg(config).args(["train.epochs=5000", &name]).spawn().unwrap();
    let began = Instant::now();
    while fs::metadata(run.join("metrics.jsonl")).map_or(0, |file| file.len()) < 2000 {
        assert!(
            began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(),
            "it stands"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn json(words: &[&str], folder: &Path) -> Value {
    let said = Said::by(kiln().current_dir(folder).arg("runs").args(words).arg("--json")).expect(0, &[]);
    serde_json::from_str(&said.out).unwrap()
}

fn said(words: &[&str], folder: &Path) -> Said {
    Said::by(kiln().current_dir(folder).arg("runs").args(words))
}

#[test]
fn a_table_of_runs_in_every_state() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let good = train(&config, &["run_name=good", "train.epochs=3"]);
    train(&config, &["run_name=bad", "optimizer.learning_rate=1e-6"]);
    // A rate of nothing is never better: patience is out.
    let early =
        ["run_name=early", "optimizer.learning_rate=0", "train.epochs=9", "train.early_stopping_patience=1"];
    train(&config, &early);
    let runs = folder.path().join("runs");
    let mut child = under_way(&config, &runs.join("cut"));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(RESUMABLE));
    let mut child = under_way(&config, &runs.join("busy"));
    let listed = json(&["ls"], folder.path());
    Command::new("kill").args(["-9", &child.id().to_string()]).status().unwrap();
    child.wait().unwrap();

    let state = |name: &str, all: &Value| {
        let run = all.as_array().unwrap().iter().find(|run| run["name"] == name);
        run.unwrap_or_else(|| panic!("{name} in {all}")).clone()
    };
    for (name, expected) in [
        ("good", "finished"),
        ("bad", "finished"),
        ("early", "stopped early"),
        ("cut", "interrupted"),
        ("busy", "running"),
    ] {
        assert_eq!(state(name, &listed)["state"], expected, "{name}");
    }
    assert_eq!(state("busy", &json(&["ls"], folder.path()))["state"], "interrupted", "it was killed");
    let run = state("good", &listed);
    let summary: Value = serde_json::from_slice(&fs::read(good.join("summary.json")).unwrap()).unwrap();
    assert_eq!((&run["step"], &run["seconds"]), (&Value::from(36), &summary["seconds"]));
    assert_eq!((&run["best"], &run["test"]), (&summary["validation"], &summary["test"]));
    assert_eq!(
        (&run["data"], &run["model"], &run["epoch"]),
        (&"idx digits".into(), &"mlp".into(), &3.0.into())
    );
    let log = fs::read_to_string(good.join("metrics.jsonl")).unwrap();
    let last = log.lines().rev().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(
        run["train_loss"],
        last.into_iter().find(|line| line.get("grad_norm").is_some()).unwrap()["loss"]
    );

    // The best by accuracy first, by loss first; by name.
    let order = |sort: &str| {
        let all = json(&["ls", "--sort", sort], folder.path());
        let names = all.as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap().to_string());
        names.filter(|name| name == "good" || name == "bad").collect::<Vec<_>>()
    };
    assert_eq!(order("accuracy"), ["good", "bad"]);
    assert_eq!(order("loss"), ["good", "bad"]);
    assert_eq!(order("name"), ["bad", "good"]);
    assert_eq!(order("step"), ["good", "bad"]);
    assert_eq!(order("train_loss"), ["good", "bad"]);
    let table = said(&["ls", "--sort", "loss"], folder.path()).expect(0, &[]).out;
    let row = table.lines().find(|line| line.trim_start().starts_with("good ")).unwrap();
    assert!(row.contains("idx digits") && row.contains(" loss ") && row.contains("finished"), "{table}");
    said(&["ls", "--sort", "f2"], folder.path())
        .expect(USAGE, &["--sort f2", "one of: accuracy, auroc, loss"]);
}

#[test]
fn what_is_no_run_is_named_and_stops_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let run = train(&config, &["run_name=good"]);
    let runs = folder.path().join("runs");
    write(&runs, "foreign/notes.txt", "hello");
    write(&runs, "file.txt", "hello");
    write(&runs, ".hidden/notes.txt", "hello");
    for (name, file, text) in [
        ("no-toml", "config.toml", "[data\nkind"),
        ("no-log", "metrics.jsonl", "{\"step\":1}\nnot json\n"),
        ("no-summary", "summary.json", "{"),
    ] {
        copy(&run, &runs.join(name));
        fs::write(runs.join(name).join(file), text).unwrap();
    }
    let said_all = said(&["ls"], folder.path()).expect(
        0,
        &["foreign: no run here", "no-toml/config.toml", "no-log/metrics.jsonl", "no-summary/summary.json"],
    );
    assert!(!said_all.err.contains("hidden") && !said_all.err.contains("file.txt"), "{}", said_all.err);
    let names: Vec<&str> =
        said_all.out.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names.len(), 2, "{}", said_all.out);
    assert!(names.contains(&"good") && names.contains(&"no-summary"), "{names:?}");

    // A half written last line, no checkpoints, no log: still a run.
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    fs::write(run.join("metrics.jsonl"), log + "{\"step\":").unwrap();
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let shown = said(&["show", "good"], folder.path()).expect(0, &[]).out;
    assert!(shown.contains("best        step ") && shown.contains("finished"), "{shown}");
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    fs::remove_file(run.join("summary.json")).unwrap();
    let shown = said(&["show", "good"], folder.path()).expect(0, &[]).out;
    assert!(shown.contains("interrupted") && !shown.contains("best "), "{shown}");

    said(&["ls", "nowhere"], folder.path()).expect(IO, &["nowhere", "output_dir"]);
    said(&["ls", "runs/good"], folder.path())
        .expect(DATA, &["expected a folder of runs", "kiln runs show runs/good"]);
    said(&["show", "runs/foreign"], folder.path()).expect(USAGE, &["runs/foreign: no run here"]);
    said(&["show", "nowhere"], folder.path()).expect(USAGE, &["nowhere: no run here"]);
    said(&["show", "runs/no-toml"], folder.path())
        .expect(DATA, &["no-toml/config.toml: cannot be understood"]);
    said(&["show", "runs/no-log"], folder.path()).expect(DATA, &["no-log/metrics.jsonl", "line 2"]);
    said(&["compare", "good", "foreign"], folder.path()).expect(USAGE, &["foreign: no run here"]);
    said(&["compare", "good"], folder.path()).expect(USAGE, &["compare"]);
    let svg = said(&["show", "good", "--svg", "x.svg"], folder.path());
    svg.expect(DATA, &["nothing to draw"]);
    fs::create_dir(folder.path().join("empty")).unwrap();
    said(&["ls", "empty"], folder.path()).expect(0, &["no runs in empty"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, target).map(|_| ()).unwrap() }
    }
}

#[test]
fn one_run_with_its_curves_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    train(&config, &["run_name=one", "train.epochs=4"]);
    let shown = said(&["show", "one", "--svg", "now.svg"], folder.path()).expect(0, &[]).out;
    for expected in [
        "state       finished",
        "model       mlp",
        "optimizer   kind adamw, learning_rate 0.001",
        "done        step 48, epoch 4.00",
        "samples/s, step ",
        "loss: training as a line, validation o",
        "accuracy on validation",
        "events      tensorboard --logdir runs/one",
        "chart       runs/one/curves.svg",
        "model       runs/one/model",
    ] {
        assert!(shown.contains(expected), "{expected:?} in {shown}");
    }
    let braille = |c: char| ('\u{2801}'..='\u{28FF}').contains(&c);
    assert!(shown.lines().filter(|line| line.contains(braille)).count() >= 8, "{shown}");
    assert!(
        shown.lines().filter(|line| line.contains(braille)).all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    let left = fs::read_to_string(folder.path().join("runs/one/curves.svg")).unwrap();
    assert_eq!(left, fs::read_to_string(folder.path().join("now.svg")).unwrap());
    assert!(left.starts_with("<svg xmlns=") && left.matches("<polyline").count() == 3, "{left}");
    let machine = json(&["show", "runs/one"], folder.path());
    assert_eq!(machine["config"]["train.epochs"], 4);
    assert_eq!(machine["evaluations"].as_array().unwrap().len(), 5, "four of validation, one of test");
}

#[test]
fn runs_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    train(&config, &["run_name=a", "train.epochs=2"]);
    train(
        &config,
        &["run_name=b", "train.epochs=3", "model.hidden=[16]", "schedule.lr_scheduler_type=cosine"],
    );
    let compared = json(&["compare", "a", "b"], folder.path());
    let keys: Vec<&String> = compared["config"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["model.hidden", "schedule.lr_scheduler_type", "train.epochs"]);
    assert_eq!(compared["config"]["train.epochs"], serde_json::json!([2, 3]));
    assert_eq!(compared["same_step"]["step"], 24, "the last that both evaluated");
    for (k, name) in ["a", "b"].into_iter().enumerate() {
        let log = fs::read_to_string(folder.path().join("runs").join(name).join("metrics.jsonl")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let line = |split: Option<&str>| {
            lines.iter().find(|line| line["step"] == 24 && line["split"].as_str() == split).unwrap()["loss"]
                .clone()
        };
        assert_eq!(compared["same_step"]["train_loss"][k], line(None));
        assert_eq!(compared["same_step"]["validation"][k]["loss"], line(Some("validation")));
    }
    let page = said(&["compare", "a", "b"], folder.path()).expect(0, &[]).out;
    for row in [
        "train.epochs",
        "best: accuracy",
        "newest: loss",
        "step 24: accuracy",
        "step 24: train loss",
        "test: loss",
    ] {
        assert!(page.lines().any(|line| line.trim_start().starts_with(row)), "{row} in {page}");
    }
    let same = said(&["compare", "a", "a"], folder.path()).expect(0, &[]).out;
    assert!(same.starts_with("the configs are the same"), "{same}");
}

#[test]
fn every_logged_step_says_how_fast_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::texts(folder.path(), &support::reviews(60), 5);
    let run = train(&config, &["run_name=texts", "train.logging_steps=2"]);
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<&Value> = lines.iter().filter(|line| line.get("grad_norm").is_some()).collect();
    assert_eq!(steps.len(), 6, "12 steps, every second");
    for line in steps {
        let number = |key: &str| line[key].as_f64().unwrap();
        // Each text is two words.
        assert!((number("tokens_per_second") / number("samples_per_second") - 2.0).abs() < 1e-9, "{line}");
        assert!(0.0 < number("step_p50_ms") && number("step_p50_ms") <= number("step_p95_ms"), "{line}");
        assert!((0.0..=1.0).contains(&number("data_wait_share")), "{line}");
    }
    let shown = said(&["show", "texts"], folder.path()).expect(0, &[]).out;
    assert!(shown.contains(" tokens/s, step "), "{shown}");
}

#[test]
fn a_run_goes_on_with_what_is_declared_and_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let run = train(&config, &["run_name=longer", "train.epochs=1"]);
    let began = fs::metadata(run.join("config.toml")).unwrap().modified().unwrap();
    let steps =
        |run: &Path| json(&["show", run.to_str().unwrap()], folder.path())["run"]["step"].as_u64().unwrap();
    let first = steps(&run);
    // A run folder in the config's place goes on.
    Said::by(kiln().arg("train").arg(&run).args(["train.epochs=3", "train.logging_steps=2"]))
        .expect(0, &["changed from step", "train.epochs 1 -> 3"]);
    assert_eq!(steps(&run), 3 * first);
    let shown = said(&["show", run.to_str().unwrap()], folder.path());
    assert!(
        shown.out.contains(&format!(
            "changed     after step {first}: train.epochs 1 -> 3, train.logging_steps 1 -> 2"
        )),
        "{}",
        shown.out
    );
    let shown = json(&["show", run.to_str().unwrap()], folder.path());
    assert_eq!(shown["run"]["changes"][0]["changes"][0]["key"], "train.epochs");
    assert_eq!(shown["config"]["train.epochs"], 3);
    assert_eq!(fs::metadata(run.join("config.toml")).unwrap().modified().unwrap(), began, "when it began");

    Said::by(kiln().arg("train").arg(&run).arg("seed=1"))
        .expect(USAGE, &["seed: the run has", "now 1", "may change", "optimizer.learning_rate"]);
    Said::by(kiln().arg("train").arg(folder.path())).expect(USAGE, &["no run here"]);
}

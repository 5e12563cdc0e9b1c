//! The quick start as a new user meets it: trains, says where the run is, and the result scores and answers.
//! Owns the shipped recipe's promise; the recipes that need other data are in large.rs.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod support;

use serde_json::Value;
use support::{Said, kiln, root};

fn train(folder: &std::path::Path, extra: &[&str]) -> Said {
    let mut command = kiln();
    command.arg("train").arg(root().join("configs/quickstart.toml"));
    command.arg("device=cpu").arg(format!("output_dir={}", folder.display())).args(extra);
    Said::by(&mut command).expect(0, &[])
}

#[test]
fn the_quick_start_reaches_its_score() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), &[]).run();
    for file in ["config.toml", "metrics.jsonl", "model/config.json", "model/model.safetensors"] {
        assert!(run.join(file).is_file(), "{file} in {}", run.display());
    }
    let scores = Said::by(kiln().arg("eval").arg(&run).arg("--json")).expect(0, &["test"]);
    let scores: Value = serde_json::from_str(&scores.out).unwrap();
    assert_eq!(scores["split"], "test");
    assert_eq!(scores["samples"], 360);
    let accuracy = scores["accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.97, "test accuracy {accuracy}");
}

#[test]
fn equal_seeds_give_equal_models_for_any_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    let model = |workers: &str, seed: &str| {
        let run = train(folder.path(), &["train.epochs=1", workers, seed]).run();
        std::fs::read(run.join("model/model.safetensors")).unwrap()
    };
    let one = model("data.loader.workers=0", "seed=3");
    assert!(one == model("data.loader.workers=4", "seed=3"), "0 and 4 workers differ");
    assert!(one != model("data.loader.workers=0", "seed=4"), "the seed changes nothing");
}

#[test]
fn every_step_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), &["train.epochs=1"]).run();
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<u64> =
        lines.iter().filter(|l| l.get("grad_norm").is_some()).map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>());
    assert_eq!(steps.len(), (1437_usize - 144).div_ceil(32));
    for line in lines.iter().filter(|l| l.get("grad_norm").is_some()) {
        assert!(
            line["loss"].as_f64().unwrap().is_finite() && line["elapsed"].as_f64().unwrap() > 0.0,
            "{line}"
        );
    }
}

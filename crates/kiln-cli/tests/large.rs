//! The shipped recipes on real data and weights, through the real binary. Each test needs `KILN_TEST_DATA`.
//! Owns the numbers that a published checkpoint must reproduce; full trainings are measured by hand (README).

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests stop at the first surprise, and say when they are skipped"
)]

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::{Said, kiln, root};

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("KILN_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("skipped: set KILN_TEST_DATA");
    }
    data
}

fn start_accuracy(overrides: &[String]) -> f64 {
    let config = root().join("configs/cifar_resnet20_finetune.toml");
    let said = Said::by(kiln().arg("eval").arg(config).arg("device=cpu").args(overrides).arg("--json"))
        .expect(0, &[]);
    let scores: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&scores["split"], &scores["samples"]), (&Value::from("test"), &Value::from(10_000)));
    scores["accuracy"].as_f64().unwrap()
}

/// PyTorch with Pillow decoding scores 0.8103 on the JPEG test images.
#[test]
fn resnet20_scores_as_in_pytorch() {
    if data().is_none() {
        return;
    }
    let accuracy = start_accuracy(&[]);
    assert!((accuracy - 0.8103).abs() <= 0.003, "{accuracy}");
}

/// PyTorch with Pillow decoding scores 0.8320 on the JPEG test images.
#[test]
fn resnet56_scores_as_in_pytorch() {
    let Some(data) = data() else { return };
    let weights = data.join("cifar-resnets/resnet56-4bfd9763.th");
    let accuracy =
        start_accuracy(&["model.preset=cifar56".into(), format!("model.pretrained={}", weights.display())]);
    assert!((accuracy - 0.8320).abs() <= 0.003, "{accuracy}");
}

/// A few steps of the SST-2 recipe, interrupted by nothing: the loss falls, and the result answers a text.
#[test]
fn a_tuned_minilm_answers() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<String> = std::fs::read_to_string(data.join("sst2/train.tsv"))
        .unwrap()
        .lines()
        .take(256)
        .map(String::from)
        .collect();
    let part = support::write(folder.path(), "part.tsv", rows.join("\n"));
    let mut command = kiln();
    command
        .arg("train")
        .arg(root().join("configs/sst2_minilm_finetune.toml"))
        .args(["device=cpu", "train.epochs=1"]);
    command.arg(format!("output_dir={}", folder.path().display()));
    for split in ["train", "validation", "test"] {
        command.arg(format!("data.{split}={}", part.display()));
    }
    let run = Said::by(&mut command).expect(0, &["classifier.weight"]).run();
    let said = Said::by(kiln().arg("predict").arg(&run).arg("a moving and funny film")).expect(0, &[]);
    let answer: Value = serde_json::from_str(said.out.trim()).unwrap();
    let (zero, one) =
        (answer["probabilities"]["0"].as_f64().unwrap(), answer["probabilities"]["1"].as_f64().unwrap());
    assert!((zero + one - 1.0).abs() < 1e-5, "{answer}");
}

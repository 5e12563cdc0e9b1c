//! The words that try a config out: a dry run, a few batches by heart, micro-batches in processes of their own, the drawn
//! sweep, and what `kiln check` reckons.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod support;

use std::fs;

use serde_json::Value;
use support::{Said, digits, kiln};

const USAGE: i32 = 2;

#[test]
fn a_dry_run_says_what_would_run_and_leaves_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let said = Said::by(kiln().arg("train").arg(&config).arg("--dry-run")).expect(0, &[]);
    for words in ["would train  12 steps", "one batch of validation", "parameters   38410", "nothing is left"]
    {
        assert!(said.out.contains(words), "{words:?} in {}", said.out);
    }
    assert!(!folder.path().join("runs").exists());
    Said::by(kiln().arg("train").arg(&config).args(["--dry-run", "--resume"])).expect(USAGE, &["--resume"]);
    Said::by(kiln().arg("train").arg(&config).args(["--dry-run", "train.epochs=0"]))
        .expect(USAGE, &["epochs"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the config alone");
}

#[test]
fn batches_by_heart_are_a_run_whose_end_says_whether_the_loss_fell() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let words = ["--overfit-batches", "1", "train.epochs=3"];
    let run = Said::by(kiln().arg("train").arg(&config).args(words))
        .expect(0, &["the loss of the batch fell from"])
        .run();
    let saved = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(saved.contains("overfit_batches = 1"), "{saved}");
    Said::by(kiln().arg("train").arg(&config).args(["--overfit-batches", "0"]))
        .expect(USAGE, &["overfit-batches"]);
}

#[test]
fn micro_batches_are_a_table_and_a_setting_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let said = Said::by(kiln().arg("train").arg(&config).arg("--find-batch-size")).expect(0, &[]);
    let sizes: Vec<usize> =
        said.out.lines().skip(1).map_while(|line| line.split_whitespace().next()?.parse().ok()).collect();
    assert!(sizes.len() >= 4 && sizes[..3] == [1, 2, 4], "{}", said.out);
    assert!(said.out.contains("108 samples a step as now: data.loader.batch_size="), "{}", said.out);
    let (_, setting) = said.out.split_once("as now: ").unwrap();
    let numbers: Vec<usize> =
        setting.lines().next().unwrap().split(['=', ' ']).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers.iter().product::<usize>(), 108, "{setting}");
    assert!(!folder.path().join("runs").exists());
    let both = ["--find-batch-size", "--dry-run"];
    Said::by(kiln().arg("train").arg(&config).args(both)).expect(USAGE, &["cannot be used with"]);
    // A device that fails from the first batch on is said, with what it said.
    let lost = ["--find-batch-size", "device=ndarray"];
    Said::by(kiln().arg("train").arg(&config).args(lost)).expect(1, &["not even a batch of one sample"]);
}

#[test]
fn check_reckons_the_memory_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    Said::by(kiln().arg("check").arg(&config))
        .expect(0, &["memory about", "activations of a batch of 108", "a head of 2 classes"]);
    let memory = |words: &[&str]| -> Value {
        let classes = r#"data.classes=["0","1","2","3","4","5","6","7","8","9"]"#;
        let command = [&["check", config.to_str().unwrap(), "--json", classes][..], words].concat();
        let said = Said::by(kiln().args(command)).expect(0, &[]);
        serde_json::from_str::<Value>(&said.out).unwrap()["memory"].clone()
    };
    // 64 x 512 + 512 + 512 x 10 + 10 float32 numbers; AdamW keeps two of each.
    let own = memory(&[]);
    let weights = 4 * (64 * 512 + 512 + 512 * 10 + 10);
    for (key, bytes) in [
        ("weights", weights),
        ("gradients", weights),
        ("optimizer", 2 * weights),
        ("checkpoint", 3 * weights),
    ] {
        assert_eq!(own[key], bytes, "{key}: {own}");
    }
    let sgd = memory(&["optimizer.kind=sgd", "finetune.freeze=[\"layers.0.*\"]"]);
    assert_eq!(
        (sgd["gradients"].as_u64(), sgd["optimizer"].as_u64()),
        (Some(4 * (512 * 10 + 10)), Some(0)),
        "{sgd}"
    );
    let half = memory(&["data.loader.batch_size=54"]);
    assert_eq!(2 * half["activations"].as_u64().unwrap(), own["activations"].as_u64().unwrap());
}

#[test]
fn the_sweep_is_drawn_beside_the_config_or_where_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let find = |plot: &str| Said::by(kiln().arg("lr-find").arg(&config).args(["--steps", "30", plot]));
    find("--plot").expect(0, &["drawn: "]);
    let drawn = fs::read_to_string(folder.path().join("digits.lr-find.svg")).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.contains("loss by learning rate"), "{drawn}");
    let there = folder.path().join("sweep.svg");
    find(&format!("--plot={}", there.display())).expect(0, &[]);
    assert!(there.is_file());
    find(&format!("--plot={}", folder.path().join("no/such/folder.svg").display()))
        .expect(74, &["folder.svg"]);
}

//! Fine-tuning through the real binary: the adapter that a run leaves is the model that it leaves, and what does not fit
//! is refused with the right exit code.

#![allow(clippy::expect_used)] // helpers of tests are tests too

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Said, kiln};

fn scored(words: &[&str]) -> Value {
    let said = Said::by(kiln().arg("eval").args(words).arg("--json")).expect(0, &[]);
    serde_json::from_str(&said.out).expect("one JSON object")
}

#[test]
fn a_config_that_starts_from_a_runs_adapter_scores_as_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = support::digits(folder.path(), "[lora]\nrank = 2\n[checkpoint]\nkeep_best = false\n");
    let config = config.to_str().expect("a path in UTF-8");
    let said = Said::by(kiln().args(["train", config, "optimizer.learning_rate=0.03"]))
        .expect(0, &["adapters", "saved whole", "frozen"]);
    let run = said.run();
    let run_words = run.to_str().expect("a path in UTF-8");
    let left = scored(&[run_words]);
    let untrained = scored(&[config]);
    // The base is drawn from the seed again; the adapter and the head come from the folder.
    let other = support::write(
        folder.path(),
        "brought.toml",
        std::fs::read_to_string(config)
            .expect("the config")
            .replace("rank = 2", &format!("pretrained = {:?}", run.join("adapter"))),
    );
    let brought = scored(&[other.to_str().expect("a path in UTF-8")]);
    assert_eq!(brought["accuracy"], left["accuracy"]);
    let loss = |page: &Value| page["loss"].as_f64().expect("a loss");
    assert!((loss(&brought) - loss(&left)).abs() < 1e-5, "{brought} {left}");
    assert!(loss(&untrained) > loss(&left) + 0.1, "{untrained} {left}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = support::digits(folder.path(), "");
    let with = |word: &str| Said::by(kiln().arg("train").arg(&config).arg(word));
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-models/tests/fixtures/lora-attention");
    with(&format!("lora.pretrained={}", foreign.display()))
        .expect(4, &["adapter_model.safetensors: the adapter does not fit", "bert.encoder.layer.0", "hint:"]);
    with(&format!("lora.pretrained={}", folder.path().display())).expect(74, &["adapter_config.json"]);
    with("finetune.freeze=[\"hed.*\"]")
        .expect(2, &["\"hed.*\" matches no parameter", "the closest are head."]);
    with("finetune.layer_decay=2").expect(2, &["layer_decay"]);
    assert!(!folder.path().join("runs").exists(), "a run folder was made for a run that never began");
}

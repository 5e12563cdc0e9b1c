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
fn an_adapter_merged_into_its_base_answers_as_the_run_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = support::texts(folder.path(), &support::reviews(20), 8);
    let base = Said::by(kiln().arg("train").arg(&config)).expect(0, &[]).run();
    // A run is named by its folder; its tokenizer is found there too.
    let start = format!("model.pretrained={}", base.display());
    let own = std::fs::read_to_string(&config).expect("the config");
    let sizes = own
        .lines()
        .filter(|line| !line.contains("_size") && !line.contains("num_") && !line.contains("max_pos"));
    let text: String = sizes.map(|line| line.replace("path = \"tokenizer.json\", ", "") + "\n").collect();
    let tuned = support::write(
        folder.path(),
        "tuned.toml",
        text.replace("[data.loader]", "[data.loader]\nbatch_size = 4"),
    );
    Said::by(kiln().arg("check").arg(&tuned).arg(&start)).expect(0, &["ok"]);
    let lora = ["lora.rank=2", "train.epochs=3", "optimizer.learning_rate=0.05", &start];
    let run = Said::by(kiln().arg("train").arg(&tuned).args(lora)).expect(0, &["adapters"]).run();
    let (out, adapter) = (folder.path().join("merged"), run.join("adapter"));
    let merge =
        |base: &Path| Said::by(kiln().args(["models", "merge"]).arg(base).arg(&adapter).arg("-o").arg(&out));
    let said = merge(&base).expect(0, &["trained on"]);
    assert_eq!(said.out.trim(), out.display().to_string());
    let probabilities = |model: &Path| -> Vec<f64> {
        let said = Said::by(kiln().arg("predict").arg(model).args(["w1 w2", "w3"])).expect(0, &[]);
        let line = |line| serde_json::from_str::<Value>(line).expect("JSON")["probabilities"].clone();
        let lines: Vec<Value> = said.out.lines().map(line).collect();
        lines
            .iter()
            .flat_map(|l| l.as_object().into_iter().flatten())
            .filter_map(|(_, p)| p.as_f64())
            .collect()
    };
    let (merged, left, before) = (probabilities(&out), probabilities(&run), probabilities(&base));
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert_eq!((merged.len(), left.len()), (4, 4));
    assert!(apart(&merged, &left) < 1e-4, "{merged:?} {left:?}");
    assert!(apart(&merged, &before) > 1e-3, "{merged:?} {before:?}");
    merge(&base).expect(2, &["there is a model already"]);

    std::fs::remove_dir_all(&out).expect("removed");
    let wider = ["model.hidden_size=16"];
    let other = Said::by(kiln().arg("train").arg(&config).args(wider)).expect(0, &[]).run();
    merge(&other).expect(4, &["adapter_model.safetensors: the adapter does not fit", "hint:"]);
    merge(&config).expect(4, &["not a model"]);
    assert!(!out.exists());
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

//! `kiln replay` and `kiln selftest resume`: a step that stopped a run seen again, and a run killed and compared.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use kiln_train::{Trial, selftest_resume};
use serde_json::Value;
use support::{Said, digits, kiln, root, write};

/// A table of 64 rows, label `label(row)`, and a config on it with `extra` at its end.
fn table(folder: &Path, label: impl Fn(usize) -> String, extra: &str) -> PathBuf {
    let rows: String = (0..64).map(|i| format!("{},{}\n", i as f64 / 64.0, label(i))).collect();
    write(folder, "rows.csv", format!("x,y\n{rows}"));
    let text = format!(
        r#"device = "cpu"
output_dir = "{runs}"
[task]
kind = "regression"
standardize = false
[model]
kind = "mlp"
hidden = [8, 8]
[data]
kind = "csv"
train = "rows.csv"
features = ["x"]
label = "y"
loader = {{ batch_size = 4 }}
{extra}"#,
        runs = folder.join("runs").display(),
    );
    write(folder, "rows.toml", text)
}

fn files(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push((path.clone(), std::fs::read(path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_step_that_stopped_a_run_is_seen_again() {
    let folder = tempfile::tempdir().unwrap();
    let label = |i: usize| if i == 37 { "1e30".into() } else { format!("{}", i % 7) };
    let extra = "[optimizer]\nkind = \"adamw\"\n[train]\nmax_steps = 20\ngradient_accumulation_steps = 2\n\
                 [checkpoint]\nevery = \"2 steps\"\n";
    let config = table(folder.path(), label, extra);
    let said = Said::by(kiln().arg("train").arg(&config).args(["run_name=bad", "seed=3"]));
    let said = said.expect(1, &["the loss is inf", "rows.csv:39", "kiln replay RUN --step"]);
    let step = said.err.split("error: step ").nth(1).unwrap().split(':').next().unwrap().to_string();
    assert!(step.parse::<u64>().unwrap() > 1, "the seed puts the row behind the first step: {step}");

    let run = folder.path().join("runs/bad");
    let before = files(&run);
    let replay = |words: &[&str]| Said::by(kiln().arg("replay").arg(&run).args(words));
    let said = replay(&["--step", &step]).expect(1, &["first not finite: the loss of batch"]);
    assert!(said.out.contains("rows.csv:39") && said.out.contains("batch 2"), "{}", said.out);
    let said = replay(&["--step", &step, "--json"]).expect(1, &[]);
    let seen: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&seen["trouble"]["part"], &seen["trouble"]["value"]), (&"loss".into(), &"inf".into()));
    let samples = seen["trouble"]["samples"].as_array().unwrap();
    assert!(samples.len() == 1 && samples[0].as_str().unwrap().ends_with("rows.csv:39"), "{samples:?}");
    assert_eq!(seen["batches"].as_array().unwrap().len(), 2);
    assert_eq!(files(&run), before, "the run is left alone");

    let said = replay(&["--step", "1"]).expect(0, &["from the start", "everything is finite"]);
    assert!(said.out.contains("(as logged)"), "{}", said.out);
    replay(&["--step", "21"]).expect(2, &["--step 21", "expected 1 to 20"]);
    replay(&["--step", "0"]).expect(2, &["--step 0"]);
    Said::by(kiln().arg("replay").arg(folder.path()).args(["--step", "1"])).expect(2, &["no run here"]);
    Said::by(kiln().arg("replay").arg(&run)).expect(2, &["--step"]);
}

#[test]
fn the_first_layer_that_overflows_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // One step makes the weights so large that a layer's answer overflows in the next.
    let extra = "[optimizer]\nkind = \"sgd\"\nlearning_rate = 1.0\n[train]\nmax_steps = 9\n";
    let config = table(folder.path(), |i| format!("{}e15", i % 7 + 1), extra);
    Said::by(kiln().arg("train").arg(&config).arg("run_name=large"))
        .expect(1, &["error: step 2", "the loss is"]);
    let run = folder.path().join("runs/large");
    let said = Said::by(kiln().arg("replay").arg(&run).args(["--step", "2", "--json"])).expect(1, &[]);
    let seen: Value = serde_json::from_str(&said.out).unwrap();
    let trouble = &seen["trouble"];
    assert_eq!(trouble["part"], "output of layer");
    let name = trouble["name"].as_str().unwrap();
    assert!(!name.is_empty() && !name.ends_with("weight"), "{trouble}");
    let samples = trouble["samples"].as_array().unwrap();
    assert!(!samples.is_empty() && samples.len() <= 4, "{trouble}");
    assert!(samples.iter().all(|name| name.as_str().unwrap().contains("rows.csv:")));
}

#[test]
fn a_run_that_is_killed_and_resumed_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let test = |words: &[&str]| {
        let command = ["selftest", "resume", config.to_str().unwrap()];
        Said::by(kiln().env("TMPDIR", folder.path()).args(command).args(words))
    };
    let said = test(&["data.loader.batch_size=32"]).expect(0, &["killed after step", "the same to the bit"]);
    assert!(
        said.out.contains("model.safetensors") && said.out.contains("optimizer.safetensors"),
        "{}",
        said.out
    );
    let said = test(&["--json", "--kills", "1"]).expect(0, &[]);
    let seen: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(seen["killed_at"].as_array().unwrap().len(), 1);
    test(&["optimizer.kind=adamx"]).expect(2, &["adamx"]);
    test(&["--steps", "1"]).expect(2, &["--steps"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn a_resume_that_is_not_exact_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let config = root().join("configs/quickstart.toml");
    // A program that begins again with another seed where it is told to resume.
    let own = env!("CARGO_BIN_EXE_kiln");
    let text = format!(
        "#!/bin/sh\nif [ \"$2\" = --resume ]; then\n  out=$(dirname \"$3\"); rm -rf \"$3\"\n  exec {own} train {config} \
         output_dir=\"$out\" run_name=killed train.max_steps=24 train.logging_steps=1 seed=7\nfi\nexec {own} \"$@\"\n",
        config = config.display()
    );
    let program = write(folder.path(), "kiln.sh", text);
    Said::by(std::process::Command::new("chmod").arg("+x").arg(&program)).expect(0, &[]);
    let trial = Trial { program, config, overrides: vec!["device=cpu".into()], steps: 24, kills: 1 };
    let resumed = selftest_resume(&trial, &mut |_| {}).unwrap();
    assert!(!resumed.is_exact());
    let weights = resumed.compared.iter().find(|c| c.what.ends_with("model.safetensors")).unwrap();
    assert!(!weights.is_equal(), "{weights:?}");
}

//! `kiln bench` through the real binary, on nets that take milliseconds. What is asserted is which rows there are and
//! what is said of them, never how fast they were.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Said, digits, kiln, root, write};

/// As few steps as can be measured.
const FEW: &[&str] = &["--seconds", "0", "--steps", "2", "--warmup", "1"];

fn bench(words: &[&str]) -> Said {
    Said::by(kiln().arg("bench").args(words))
}

/// A run of few steps on `config`, written to `folder/NAME`.
fn measured(config: &Path, folder: &Path, name: &str, words: &[&str]) -> (PathBuf, Said) {
    let output = folder.join(name);
    let said = Said::by(kiln().arg("bench").arg(config).args(words).args(FEW).arg("-o").arg(&output));
    (output.join("bench.json"), said)
}

fn rows(json: &Path) -> Vec<Value> {
    let results: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    results["rows"].as_array().unwrap().clone()
}

/// Records of CSV without quotes around commas or lines, which is what kiln writes for rows that succeed.
fn records(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn the_quick_start_is_measured_and_written_in_four_forms() {
    let folder = tempfile::tempdir().unwrap();
    let config = root().join("configs/quickstart.toml");
    let (json, said) = measured(&config, folder.path(), "out", &["device=cpu", "--json"]);
    let said = said.expect(0, &["quickstart, cpu, f32, batch 32: train "]);

    let all = rows(&json);
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["rows"], Value::from(all.clone()));
    let [row] = &all[..] else { panic!("{all:?}") };
    let numbers = &row["measured"];
    assert_eq!((&row["status"], &row["batch_size"]), (&Value::from("ok"), &Value::from(32)));
    assert_eq!((&numbers["task"], &numbers["input"]), (&"classification".into(), &"1x8x8".into()));
    for (what, steps) in [("train", 2), ("infer", 2)] {
        let timing = &numbers[what];
        assert_eq!(timing["steps"], steps);
        let ms = |key: &str| timing[key].as_f64().unwrap();
        assert!(0.0 < ms("p50_low_ms") && ms("p50_low_ms") <= ms("p50_ms"), "{timing}");
        assert!(ms("p50_ms") <= ms("p50_high_ms") && ms("p50_ms") <= ms("p95_ms"), "{timing}");
        assert!((ms("samples_per_sec") * ms("p50_ms") / 32e3 - 1.0).abs() < 1e-6, "{timing}");
    }
    // 3x3 convolutions to 32 and 64 channels, 128 hidden units and 10 classes.
    let (flops, training) = (&numbers["costs"]["forward_flops"], &numbers["costs"]["training_flops"]);
    assert!(flops.as_u64() > Some(32 * 2 * 9 * 32 * 36) && training.as_u64() > flops.as_u64(), "{numbers}");
    assert_eq!(numbers["losses"].as_array().unwrap().len(), 3, "warm-up and measured steps");
    assert!(numbers["peak_gflops"].as_f64() > Some(0.0), "{numbers}");

    let text = |name: &str| fs::read_to_string(json.with_file_name(name)).unwrap();
    let csv = text("bench.csv");
    let [titles, cells] = &records(&csv)[..] else { panic!("{csv}") };
    let column = |name: &str| {
        cells[titles.iter().position(|title| *title == name).unwrap_or_else(|| panic!("no {name}: {csv}"))]
    };
    assert_eq!(titles.len(), cells.len(), "{csv}");
    for timms in
        ["model", "infer_gmacs", "infer_macts", "param_count", "train_img_size", "infer_samples_per_sec"]
    {
        column(timms);
    }
    assert_eq!((column("config"), column("batch_size"), column("status")), ("quickstart", "32", "ok"));
    assert!(column("processors_busy").parse::<f64>().is_ok_and(|share| share >= 0.0), "{csv}");
    assert_eq!((column("gpu_joules_per_step"), column("gpu_busy")), ("", ""), "no GPU, no error");
    let p50 = numbers["train"]["p50_ms"].as_f64().unwrap();
    assert_eq!(column("train_step_time"), format!("{p50:.3}"));
    let markdown = text("bench.md");
    assert!(markdown.contains("| quickstart | cpu | f32 | 32 |"), "{markdown}");
    let html = text("bench.html");
    assert!(html.contains("<svg") && html.contains("quickstart"), "{html}");
    assert!(!html.contains("http-equiv") && !html.contains("<script src"), "the page stands alone");
}

#[test]
fn devices_precisions_and_batches_are_crossed() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let words = ["device=cpu,cpu-plain,cuda:0", "precision=f32,bf16,f8", "batch_size=8,16"];
    let (json, said) = measured(&config, folder.path(), "out", &words);
    said.expect(0, &["digits, cpu, f8, batch 8: precision f8: not one that kiln knows"]);

    let all = rows(&json);
    assert_eq!(all.len(), 18);
    let mut seen = Vec::new();
    for row in &all {
        let word = |key: &str| row[key].as_str().unwrap();
        let (device, precision) = (word("device"), word("precision"));
        let possible = device != "cuda:0" && precision != "f8";
        assert_eq!(word("status"), if possible { "ok" } else { "unsupported" }, "{row}");
        assert_eq!(row.get("measured").is_some(), possible, "{row}");
        if device == "cuda:0" && precision != "f8" {
            assert!(word("reason").contains("cuda"), "{row}");
        }
        seen.push((device.to_string(), precision.to_string(), row["batch_size"].as_u64().unwrap()));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 18, "{seen:?}");

    // The same weights and batch: both forms of the processor begin with the same loss.
    let first = |device: &str| {
        let is_it =
            |row: &&Value| row["device"] == device && row["precision"] == "f32" && row["batch_size"] == 16;
        let row = all.iter().find(is_it).unwrap();
        row["measured"]["losses"][0].as_f64().unwrap()
    };
    assert!((first("cpu") - first("cpu-plain")).abs() < 1e-5 * first("cpu"));
}

#[test]
fn a_loss_that_does_not_fall_fails_its_row_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let still = ["device=cpu", "optimizer.learning_rate=0", "--check-loss"];
    let (json, said) = measured(&config, folder.path(), "still", &still);
    said.expect(1, &["the loss went from", "expected a finite loss below the first"]);
    assert_eq!((rows(&json).len(), &rows(&json)[0]["status"]), (1, &"failed".into()));

    let (_, said) = measured(&config, folder.path(), "learns", &["device=cpu", "--check-loss"]);
    said.expect(0, &[]);

    // More samples than there are: that row fails, the other runs.
    let (json, said) = measured(&config, folder.path(), "batches", &["device=cpu", "batch_size=8,100000"]);
    said.expect(1, &["batch_size 100000"]);
    let statuses: Vec<Value> = rows(&json).iter().map(|row| row["status"].clone()).collect();
    assert_eq!(statuses, ["ok", "failed"]);
}

#[test]
fn a_loss_that_is_no_number_fails_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    // Each step multiplies the weights by -9999.
    let sgd = "\"sgd\"\nlearning_rate = 1000.0\nweight_decay = 10.0";
    let text = fs::read_to_string(&config).unwrap().replace("\"adamw\"", sgd);
    fs::write(&config, text).unwrap();
    let said = Said::by(kiln().arg("bench").arg(&config).args(["--steps", "60", "--seconds", "0"]));
    said.expect(1, &["the loss is"]);
}

/// `bench.json` of one row with every number of milliseconds times `factor`, and the words of `changes` replaced.
fn altered(json: &Path, folder: &Path, name: &str, factor: f64, changes: &[(&str, &str)]) -> PathBuf {
    let mut results: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    for what in ["train", "infer"] {
        for (key, number) in results["rows"][0]["measured"][what].as_object_mut().unwrap() {
            if key.ends_with("_ms") {
                *number = (number.as_f64().unwrap() * factor).into();
            }
        }
    }
    for (key, word) in changes {
        results["rows"][0][*key] = (*word).into();
    }
    write(folder, name, results.to_string())
}

#[test]
fn files_are_compared_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let (json, said) =
        measured(&digits(folder.path(), ""), folder.path(), "out", &["device=cpu", "batch_size=8"]);
    said.expect(0, &[]);
    let file = |path: &Path| path.to_str().unwrap().to_string();
    let compare =
        |second: &Path, words: &[&str]| bench(&[&["compare", &file(&json), &file(second)], words].concat());

    assert!(!compare(&json, &[]).expect(0, &[]).out.contains("SLOWER"));
    // Ten thousand times, which no interval of a median covers.
    let slow = altered(&json, folder.path(), "slow.json", 1e4, &[]);
    let said = compare(&slow, &[]).expect(1, &[]);
    assert_eq!(said.out.matches("SLOWER").count(), 2, "train and infer: {}", said.out);
    let fast = altered(&json, folder.path(), "fast.json", 1e-4, &[]);
    compare(&fast, &[]).expect(0, &[]);
    let twice = altered(&json, folder.path(), "twice.json", 2.0, &[]);
    assert!(compare(&twice, &["--fail-over", "150%"]).expect(0, &[]).out.contains("+100.0 %"));

    let other = altered(&json, folder.path(), "other.json", 1.0, &[("hardware", "another machine")]);
    let said = compare(&other, &[]).expect(0, &[]);
    assert!(said.out.contains("only in the first file: digits, cpu, f32, batch 8"), "{}", said.out);
    assert!(said.out.contains("only in the second file: digits, cpu, f32, batch 8 (another machine)"));

    // The same file twice is there once.
    let merged = folder.path().join("merged");
    bench(&["merge", &file(&json), &file(&other), &file(&json), "-o", &file(&merged)]).expect(0, &[]);
    let all = rows(&merged.join("bench.json"));
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0], &all[1]["hardware"]), (&rows(&json)[0], &"another machine".into()));
    assert_eq!(records(&fs::read_to_string(merged.join("bench.csv")).unwrap()).len(), 3);
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(folder.path(), name, text).to_str().unwrap().to_string();
    let no_json = file("no.json", "rows");
    bench(&["compare", &no_json, &no_json])
        .expect(4, &["no.json: not results of kiln bench", "hint: give a bench.json"]);
    let later = file("later.json", r#"{"format": 9, "method": "", "rows": []}"#);
    bench(&["merge", &later, "-o", "out"]).expect(4, &["the file has format 9, expected 1"]);
    bench(&["compare", "absent.json", &later]).expect(74, &["absent.json"]);
    bench(&[]).expect(2, &["no config given"]);
    bench(&["compare", &later, &later, "--fail-over", "fast"]).expect(2, &["--fail-over"]);
    let config = digits(folder.path(), "").to_str().unwrap().to_string();
    bench(&[&config, "batch_size=8,none"]).expect(2, &["batch_size: `none` is not a number of samples"]);
    bench(&[&config, "model.hiden=3"]).expect(2, &["hiden"]);
}

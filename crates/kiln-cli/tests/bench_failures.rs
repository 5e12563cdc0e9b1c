//! `kiln bench` where a row goes wrong: the row says how, the others have their numbers. And `--warm`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Said, digits, kiln, write};

/// As few steps as can be measured.
const FEW: &[&str] = &["--seconds", "0", "--steps", "2", "--warmup", "1"];

/// The digits' net with another layer of hidden units, in a folder of its own.
fn sized(folder: &Path, hidden: &str) -> PathBuf {
    let folder = folder.join(hidden.replace([',', ' '], "_"));
    fs::create_dir(&folder).unwrap();
    let config = digits(&folder, "");
    let text =
        fs::read_to_string(&config).unwrap().replace("hidden = [512]", &format!("hidden = [{hidden}]"));
    fs::write(&config, text).unwrap();
    config
}

/// The status and reason of each row of `bench.json`, and whether it has numbers.
fn rows(folder: &Path) -> Vec<(String, String, bool)> {
    let results: Value = serde_json::from_slice(&fs::read(folder.join("bench.json")).unwrap()).unwrap();
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_string();
    let row = |row: &Value| (word(row, "status"), word(row, "reason"), row.get("measured").is_some());
    results["rows"].as_array().unwrap().iter().map(row).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn a_row_that_runs_out_of_memory_is_marked_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    // Weights of 6.4 GB in an address space of 2 GiB; one thread, for threads take address space too.
    let (small, large) = (sized(folder.path(), "16"), sized(folder.path(), "40000, 40000"));
    let out = folder.path().join("out");
    let limited = "ulimit -v 2097152; exec \"$@\"";
    let said = Said::by(
        Command::new("sh")
            .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_kiln"), "bench"])
            .args([&large, &small])
            .args(FEW)
            .arg("-o")
            .arg(&out)
            .env("RAYON_NUM_THREADS", "1"),
    );
    let said = said.expect(1, &["memory allocation of"]);
    let [lost, fine] = &rows(&out)[..] else { panic!("two rows") };
    assert_eq!((lost.0.as_str(), lost.2), ("out_of_memory", false), "{lost:?}");
    assert!(lost.1.contains("memory allocation of"), "{lost:?}");
    assert_eq!((fine.0.as_str(), fine.2), ("ok", true), "{fine:?}");
    assert!(said.out.contains("out of memory: "), "{}", said.out);
    let csv = fs::read_to_string(out.join("bench.csv")).unwrap();
    assert!(csv.contains("out of memory: "), "{csv}");
}

/// The processes that `parent` has started and that still are.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_child = |path: &PathBuf| {
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        status.lines().any(|line| line.split_whitespace().eq(["PPid:", &parent.to_string()]))
    };
    all.filter(is_child).map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn a_row_whose_process_is_killed_is_marked_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    let (large, small) = (sized(folder.path(), "4096, 4096"), sized(folder.path(), "16"));
    let out = folder.path().join("out");
    let mut bench = kiln();
    bench.arg("bench").args([&large, &small]).args(FEW).arg("-o").arg(&out);
    let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let first = loop {
        if let [first] = &children(bench.id())[..] {
            break first.clone();
        }
        assert!(bench.try_wait().unwrap().is_none(), "the first row ended before it was seen");
    };
    assert!(Command::new("kill").args(["-9", &first]).status().unwrap().success());
    assert_eq!(bench.wait().unwrap().code(), Some(1));
    let [lost, fine] = &rows(&out)[..] else { panic!("two rows") };
    assert!(lost.0 != "ok" && lost.1.contains("killed") && !lost.2, "{lost:?}");
    assert_eq!((fine.0.as_str(), fine.2), ("ok", true), "{fine:?}");
}

#[test]
fn a_row_that_takes_too_long_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let out = folder.path().join("out");
    let words = ["--seconds", "3600", "--timeout", "0.3"];
    let said = Said::by(kiln().arg("bench").arg(&config).args(words).arg("-o").arg(&out));
    said.expect(1, &["ended after 0.3 seconds, its limit"]);
    assert_eq!(rows(&out)[0].0, "failed");
    Said::by(kiln().arg("bench").arg(&config).args(["--timeout", "0"])).expect(2, &["more than 0"]);
}

/// Two numbers and a class a row, `odd` among the numbers.
fn numbers(folder: &Path, name: &str, odd: &str) -> PathBuf {
    let table: String =
        (0..8).map(|i| format!("{i},{},{}\n", if i == 3 { odd } else { "1" }, i % 2)).collect();
    write(folder, &format!("{name}.csv"), format!("a,b,y\n{table}"));
    let config = format!(
        "device = \"cpu\"\n[data]\nkind = \"csv\"\ntrain = \"{name}.csv\"\nfeatures = [\"a\", \"b\"]\nlabel = \"y\"\n\
         table = {{ numeric = \"none\" }}\n[data.loader]\nbatch_size = 8\n[model]\nkind = \"mlp\"\nhidden = [8]\n[optimizer]\nkind = \"sgd\"\n\
         [train]\nepochs = 1\n"
    );
    write(folder, &format!("{name}.toml"), config)
}

#[test]
fn inputs_that_are_no_numbers_or_too_large_fail_their_row() {
    let folder = tempfile::tempdir().unwrap();
    // What is no number is refused where it is read; a loss of 1e38, unscaled, is more than f32 holds.
    let [nan, inf, huge, fine] = [("nan", "NaN"), ("inf", "inf"), ("huge", "1e38"), ("fine", "2")]
        .map(|(name, odd)| numbers(folder.path(), name, odd));
    let out = folder.path().join("out");
    let said = Said::by(kiln().arg("bench").args([&nan, &inf, &huge, &fine]).args(FEW).arg("-o").arg(&out));
    said.expect(1, &[]);
    let rows = rows(&out);
    for (row, reason) in
        rows.iter().zip(["expected a finite number", "expected a finite number", "the loss is", ""])
    {
        let expected = if reason.is_empty() { "ok" } else { "failed" };
        assert_eq!(row.0, expected, "{row:?}");
        assert!(row.1.contains(reason), "{row:?}, expected {reason:?}");
    }
}

#[test]
fn weights_that_are_no_numbers_fail_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let kept = folder.path().join("kept");
    Said::by(kiln().arg("bench").arg(&config).args(FEW).arg("--keep").arg(&kept)).expect(0, &[]);
    let weights = kept.join("0/model/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    let pretrained = format!("model.pretrained={}", kept.join("0/model").display());
    Said::by(kiln().arg("bench").arg(&config).arg(&pretrained).args(FEW)).expect(1, &["NaN"]);
}

#[test]
fn the_processor_has_nothing_to_warm_and_a_gpu_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let warm = |words: &[&str]| Said::by(kiln().arg("bench").arg(&config).arg("--warm").args(words));
    let said = warm(&["device=cpu,cpu-plain", "batch_size=8"]);
    let said = said.expect(0, &["digits, cpu-plain, f32, batch 8: nothing to warm: the processor's kernels"]);
    if cfg!(not(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"))) {
        assert!(said.out.contains("none kept by the backends of this binary"), "{}", said.out);
        warm(&["device=cuda:0"]).expect(0, &["built without `cuda`"]);
    }
    let json = warm(&["device=cpu", "--json"]).expect(0, &[]).out;
    let kept: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&kept["rows"][0]["status"], &kept["rows"][0]["first_step_ms"]), (&"ok".into(), &Value::Null));
    warm(&["--steps", "3"]).expect(2, &["--steps"]);
}

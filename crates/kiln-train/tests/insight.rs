//! What lines of a run tell beside the loss: how far a step moved the weights, the operations of the model, the memory.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::Path;

use serde_json::Value;
use support::bits;
use support::runs::{ADAMW, MLP, config, newest, train};

/// Every line of a step, the clock's numbers too.
fn steps(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["grad_norm"].is_f64()).collect()
}

#[test]
fn the_update_ratio_is_the_norm_of_the_update_over_that_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let sgd = "[optimizer]\nkind = \"sgd\"\nlearning_rate = 1e-4\n[train]\nmax_steps = 1\n";
    let run = train(&config(folder.path(), MLP, sgd), &["log.update_ratio_every=1"]).run;
    let line = &steps(&run)[0];
    let square = |x: &f32| f64::from(*x).powi(2);
    let weights = newest(&run).model;
    let norm =
        weights.values().flat_map(|data| data.as_slice::<f32>().unwrap()).map(square).sum::<f64>().sqrt();
    // The step is the rate times the gradient; it moves the norm of the weights by less than the tolerance.
    let expected = 1e-4 * line["grad_norm"].as_f64().unwrap() / norm;
    let got = line["update_ratio"].as_f64().unwrap();
    assert!((got / expected - 1.0).abs() < 1e-3, "{got}, expected {expected}");
}

#[test]
fn lines_have_it_every_so_many_steps_and_measuring_changes_no_weight() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{ADAMW}[train]\nmax_steps = 30\nlogging_steps = 3\n");
    let path = config(folder.path(), MLP, &text);
    let with = |every: u64| train(&path, &[&format!("log.update_ratio_every={every}")]).run;
    let (often, never) = (with(10), with(0));
    let having: Vec<u64> = steps(&often)
        .iter()
        .filter(|line| line["update_ratio"].is_f64())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(having, [12, 24], "the first lines at or after ten and twenty steps");
    assert!(steps(&never).iter().all(|line| line["update_ratio"].is_null()));
    assert_eq!(bits(&newest(&often).model), bits(&newest(&never).model));
    assert_eq!(steps(&often).len(), 10);
}

#[test]
fn operations_and_memory_are_told_and_the_share_of_a_known_peak() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 20\n"));
    let lines = steps(&train(&path, &["log.peak_tflops=0.5"]).run);
    let last = lines.last().unwrap();
    let (reached, share) =
        (last["model_tflops"].as_f64().unwrap(), last["model_flops_utilisation"].as_f64().unwrap());
    assert!((share - reached / 0.5).abs() < 1e-12 && reached > 0.0, "{last}");
    // Two layers of 64 x 32 and 32 x 10: two operations a multiply-add, the backward pass twice that but for the first layer's
    // input, which nothing before it needs.
    let a_sample = 2.0 * (64.0 * 32.0 * 2.0 + 32.0 * 10.0 * 3.0);
    let counted = reached * 1e12 / last["samples_per_second"].as_f64().unwrap();
    assert!((counted / a_sample - 1.0).abs() < 1e-9, "{counted} operations a sample, expected {a_sample}");
    if cfg!(target_os = "linux") {
        assert!(lines[0]["memory_mib"].as_f64().unwrap() > 1.0, "{}", lines[0]);
    }
    assert!(steps(&train(&path, &[]).run)[0]["model_flops_utilisation"].is_null());
}

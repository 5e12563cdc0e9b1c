//! `kiln lr-find` on the embedded digits: a rate on stdout, the curve as JSON, nothing left behind.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::Value;
use support::{Said, kiln, root};

#[test]
fn a_rate_is_found_at_which_the_digits_are_learned() {
    let dir = tempfile::tempdir().unwrap();
    let config = root().join("configs/quickstart.toml");
    let find = |words: &[&str]| {
        let command = ["lr-find", config.to_str().unwrap(), "device=cpu"];
        Said::by(kiln().current_dir(dir.path()).env("TMPDIR", dir.path()).args(command).args(words))
    };
    let said = find(&[]).expect(0, &["falls fastest", "optimizer.learning_rate="]);
    let rate: f64 = said.out.trim().parse().unwrap();
    assert!((1e-5..1.0).contains(&rate), "{rate}");

    let said = find(&["--json", "--from", "1e-5", "--to", "1", "--steps", "40"]).expect(0, &[]);
    let curve: Value = serde_json::from_str(&said.out).unwrap();
    let points = curve["points"].as_array().unwrap();
    assert!((11..=40).contains(&points.len()), "{}", points.len());
    assert_eq!(points[0]["learning_rate"], 1e-5);
    let rates: Vec<f64> = points.iter().map(|p| p["learning_rate"].as_f64().unwrap()).collect();
    assert!(rates.windows(2).all(|pair| pair[1] > pair[0]));
    assert!(rates.contains(&curve["suggestion"].as_f64().unwrap()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");

    find(&["--from", "1", "--to", "1e-3"]).expect(2, &["--from 1", "the smaller first"]);
    find(&["--steps", "5"]).expect(2, &["20"]);
}

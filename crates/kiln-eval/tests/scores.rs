//! Scores against scikit-learn, on the cases that `fixtures/make_scores.py` made.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use kiln_eval::scores::{BadAnswer, Quality, Tally, softmax};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    logits: Vec<Vec<f32>>,
    truth: Vec<usize>,
    loss: f64,
    accuracy: f64,
    per_class: Vec<[f64; 3]>,
    support: Vec<u64>,
    #[serde(rename = "macro")]
    macro_avg: [f64; 3],
    weighted: [f64; 3],
    confusion: Vec<Vec<u64>>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("fixtures/scores.json")).expect("the fixture is JSON")
}

fn score(case: &Case, order: impl Iterator<Item = usize>) -> Tally {
    let classes: Vec<_> = (0..case.support.len()).map(|k| k.to_string()).collect();
    let mut tally = Tally::new(&classes);
    for i in order {
        tally.add(&case.logits[i], case.truth[i]).expect("finite");
    }
    tally
}

fn assert_close(quality: Quality, expected: [f64; 3]) {
    for (got, want) in [quality.precision, quality.recall, quality.f1].into_iter().zip(expected) {
        assert!((got - want).abs() < 1e-12, "{got} is not {want}");
    }
}

#[test]
fn equal_scikit_learn() {
    for case in cases() {
        let tally = score(&case, 0..case.truth.len());
        let scores = tally.report();
        assert_eq!(tally.samples(), case.truth.len() as u64);
        assert!(
            (tally.loss() - case.loss).abs() < 1e-6 * case.loss.max(1.0),
            "{} {}",
            tally.loss(),
            case.loss
        );
        assert!((tally.accuracy() - case.accuracy).abs() < 1e-12);
        assert_eq!(scores.confusion, case.confusion);
        for ((line, expected), support) in scores.per_class.iter().zip(&case.per_class).zip(&case.support) {
            assert_close(line.quality, *expected);
            assert_eq!(line.support, *support);
        }
        assert_close(scores.macro_avg, case.macro_avg);
        assert_close(scores.weighted_avg, case.weighted);
    }
}

#[test]
fn the_order_of_samples_does_not_matter() {
    for case in cases() {
        let forward = score(&case, 0..case.truth.len());
        let backward = score(&case, (0..case.truth.len()).rev());
        assert!((forward.loss() - backward.loss()).abs() <= 1e-12 * forward.loss().max(1.0));
        assert_eq!(forward.report(), backward.report());
    }
}

#[test]
fn answers_that_are_no_numbers_are_refused() {
    let mut tally = Tally::new(&["a".into(), "b".into()]);
    for logits in [[f32::NAN, 0.0], [0.0, f32::INFINITY], [f32::NEG_INFINITY, 0.0]] {
        assert_eq!(tally.add(&logits, 0), Err(BadAnswer::NotFinite));
    }
    assert!(matches!(tally.add(&[0.0, 1.0], 2), Err(BadAnswer::Class { truth: 2, .. })));
    assert!(matches!(tally.add(&[0.0, 1.0, 2.0], 1), Err(BadAnswer::Class { logits: 3, .. })));
    assert_eq!(tally.samples(), 0);
}

#[test]
fn huge_logits_neither_overflow_nor_lose_the_sum() {
    let p = softmax(&[3e38, -3e38, 3e38]);
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((p[0] - 0.5).abs() < 1e-12 && p[1] == 0.0);
}

//! Scores against scikit-learn, on the cases that `fixtures/make_scores.py` made.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::{Device, Tensor};
use kiln_core::{Output, TaskKind};
use kiln_data::HostTarget;
use kiln_eval::Scores;
use kiln_eval::scores::{BadAnswer, Quality, softmax};
use kiln_eval::tasks::{self, Misfit, Tally};
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

fn tally(classes: usize) -> Box<dyn Tally> {
    let labels: Vec<_> = (0..classes).map(|k| k.to_string()).collect();
    tasks::of(TaskKind::Classification).unwrap().tally(&labels)
}

fn add(tally: &mut dyn Tally, logits: &[f32], truth: i64) -> Result<(), Misfit> {
    let row = Tensor::<1>::from_floats(logits, &Device::flex()).unsqueeze();
    tally.add(Output::Logits(row), &HostTarget::Classes(vec![truth]))
}

fn score(case: &Case, order: impl Iterator<Item = usize>) -> Scores {
    let mut tally = tally(case.support.len());
    for i in order {
        add(&mut *tally, &case.logits[i], case.truth[i] as i64).expect("finite");
    }
    tally.scores()
}

fn assert_close(quality: Quality, expected: [f64; 3]) {
    for (got, want) in [quality.precision, quality.recall, quality.f1].into_iter().zip(expected) {
        assert!((got - want).abs() < 1e-12, "{got} is not {want}");
    }
}

#[test]
fn equal_scikit_learn() {
    for case in cases() {
        let scores = score(&case, 0..case.truth.len());
        let report = scores.report.clone().unwrap();
        assert_eq!(scores.samples, case.truth.len() as u64);
        assert!((scores.loss - case.loss).abs() < 1e-6 * case.loss.max(1.0), "{} {}", scores.loss, case.loss);
        assert!((scores.metric("accuracy").unwrap() - case.accuracy).abs() < 1e-12);
        assert_eq!(report.confusion, case.confusion);
        for ((line, expected), support) in report.per_class.iter().zip(&case.per_class).zip(&case.support) {
            assert_close(line.quality, *expected);
            assert_eq!(line.support, *support);
        }
        assert_close(report.macro_avg, case.macro_avg);
        assert_close(report.weighted_avg, case.weighted);
    }
}

#[test]
fn the_order_of_samples_does_not_matter() {
    for case in cases() {
        let forward = score(&case, 0..case.truth.len());
        let backward = score(&case, (0..case.truth.len()).rev());
        assert!((forward.loss - backward.loss).abs() <= 1e-12 * forward.loss.max(1.0));
        assert_eq!(forward.report, backward.report);
    }
}

#[test]
fn answers_that_are_no_numbers_are_refused() {
    let mut tally = tally(2);
    let mut refused = |logits: &[f32], truth| match add(&mut *tally, logits, truth) {
        Err(Misfit::Answer { sample: 0, reason }) => reason,
        other => panic!("{other:?}"),
    };
    for logits in [[f32::NAN, 0.0], [0.0, f32::INFINITY], [f32::NEG_INFINITY, 0.0]] {
        assert_eq!(refused(&logits, 0), BadAnswer::NotFinite);
    }
    assert!(matches!(refused(&[0.0, 1.0], 2), BadAnswer::Class { truth: 2, .. }));
    assert!(matches!(refused(&[0.0, 1.0, 2.0], 1), BadAnswer::Class { logits: 3, .. }));
    assert_eq!(tally.scores().samples, 0);
}

#[test]
fn huge_logits_neither_overflow_nor_lose_the_sum() {
    let p = softmax(&[3e38, -3e38, 3e38]);
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((p[0] - 0.5).abs() < 1e-12 && p[1] == 0.0);
}

//! Every metric against scikit-learn, scipy and seqeval, on the cases that `fixtures/make_metrics.py` made: each added
//! in order, in reverse, and as two parts merged.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod classes;
mod edges;
mod numbers;
mod rankings;
mod sequences;

use std::collections::BTreeMap;

use kiln_eval::metrics::{
    Average, ClassRankings, Confusion, Counts, Entities, EntityScheme, LogLoss, MetricError, MultiLabel,
    Pearson, Perplexity, Quality, Ranking, Regression, Spearman, TopK,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The cases of one kind.
fn cases<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    let all: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(include_str!("../fixtures/metrics.json")).expect("the fixture is JSON");
    serde_json::from_value(all[kind].clone()).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

/// Hashed numbers, as `draw` of the script.
fn draw(seed: u32, n: usize) -> Vec<usize> {
    let hash = |i: usize| {
        let bits = (i as u32).wrapping_mul(2654435761).wrapping_add(seed.wrapping_mul(1013904223));
        let bits = (bits ^ (bits >> 15)).wrapping_mul(2246822519);
        (bits ^ (bits >> 13)) as usize
    };
    (0..n).map(hash).collect()
}

fn picks(seed: u32, n: usize, pool: &[usize]) -> Vec<usize> {
    draw(seed, n).into_iter().map(|x| pool[x % pool.len()]).collect()
}

fn mixed(seed: u32, truth: &[usize], pool: &[usize], agree: usize) -> Vec<usize> {
    let (other, dice) = (picks(seed, truth.len(), pool), draw(seed + 1, truth.len()));
    (0..truth.len()).map(|i| if dice[i] % 100 < agree { truth[i] } else { other[i] }).collect()
}

fn numbers(seed: u32, n: usize, levels: usize, scale: f64, offset: f64) -> Vec<f32> {
    let grid = |x: usize| (x % levels) as f64 - (levels / 2) as f64;
    draw(seed, n).into_iter().map(|x| (grid(x) * scale + offset) as f32).collect()
}

/// Rows `[K]` of probabilities, one after the other.
fn shares(seed: u32, n: usize, k: usize, levels: usize) -> Vec<f64> {
    let mut weights: Vec<_> = draw(seed, n * k).into_iter().map(|x| (x % levels) as f64).collect();
    for row in weights.chunks_mut(k) {
        let total: f64 = row.iter().sum();
        row[0] += f64::from(u8::from(total == 0.0));
        let total: f64 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= total);
    }
    weights
}

/// The samples in order, in reverse, and in two parts merged.
fn ways<A>(n: usize, new: impl Fn() -> A, add: impl Fn(&mut A, usize), merge: impl Fn(&mut A, &A)) -> [A; 3] {
    let fill = |order: &mut dyn Iterator<Item = usize>| {
        let mut all = new();
        order.for_each(|i| add(&mut all, i));
        all
    };
    let mut merged = fill(&mut (n / 3..n));
    merge(&mut merged, &fill(&mut (0..n / 3)));
    [fill(&mut (0..n)), fill(&mut (0..n).rev()), merged]
}

#[track_caller]
fn assert_close(got: Option<f64>, want: Option<f64>, place: (&str, u32)) {
    match (got, want) {
        (None, None) => (),
        (Some(x), Some(y)) if (x - y).abs() <= 1e-9 * y.abs().max(1.0) => (),
        _ => panic!("{place:?}: {got:?} is not {want:?}"),
    }
}

/// To 1e-9 of the number itself, however small.
#[track_caller]
fn assert_same_size(got: Option<f64>, want: f64, place: (&str, u32)) {
    assert!(got.is_some_and(|x| (x - want).abs() <= 1e-9 * want.abs()), "{place:?}: {got:?} is not {want}");
}

#[track_caller]
fn assert_quality(got: Option<Quality>, want: [Option<f64>; 3], place: (&str, u32)) {
    let got = got.map(|q| [q.precision, q.recall, q.f1]);
    for (i, want) in want.into_iter().enumerate() {
        assert_close(got.map(|q| q[i]), want, place);
    }
}

#[track_caller]
fn assert_row(got: Counts, want: [f64; 4], place: (&str, u32)) {
    assert_quality(Some(got.quality()), [Some(want[0]), Some(want[1]), Some(want[2])], place);
    assert_eq!(got.support, want[3] as u64, "{place:?}");
}

type Three = [Option<f64>; 3];

/// A number or three for each way to average.
#[derive(Deserialize)]
struct Averages<T> {
    micro: T,
    #[serde(rename = "macro")]
    even: T,
    weighted: T,
}

impl<T: Copy> Averages<T> {
    fn each(&self) -> [(Average, T); 3] {
        [(Average::Micro, self.micro), (Average::Macro, self.even), (Average::Weighted, self.weighted)]
    }
}

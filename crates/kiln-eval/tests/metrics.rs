//! Every metric against scikit-learn, scipy and seqeval, on the cases that `fixtures/make_metrics.py` made: each added
//! in order, in reverse, and as two parts merged.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

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
        serde_json::from_str(include_str!("fixtures/metrics.json")).expect("the fixture is JSON");
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

#[derive(Deserialize)]
struct ConfusionCase {
    seed: u32,
    n: usize,
    k: usize,
    truths: Vec<usize>,
    answers: Vec<usize>,
    agree: usize,
    accuracy: f64,
    balanced: f64,
    per_class: Vec<[f64; 4]>,
    #[serde(flatten)]
    averages: Averages<Three>,
    matthews: f64,
    kappa: Option<f64>,
}

#[test]
fn classification_equals_scikit_learn() {
    for case in cases::<ConfusionCase>("confusion") {
        let truth = picks(case.seed, case.n, &case.truths);
        let answer = mixed(case.seed + 1, &truth, &case.answers, case.agree);
        let add = |all: &mut Confusion, i: usize| all.add(truth[i], answer[i]).unwrap();
        for all in ways(case.n, || Confusion::new(case.k), add, |a, b| a.merge(b).unwrap()) {
            assert_eq!(all.samples(), case.n as u64);
            assert_close(all.accuracy(), Some(case.accuracy), ("accuracy", case.seed));
            assert_close(all.balanced_accuracy(), Some(case.balanced), ("balanced", case.seed));
            assert_close(Some(all.matthews()), Some(case.matthews), ("matthews", case.seed));
            assert_close(all.cohen_kappa(), case.kappa, ("kappa", case.seed));
            for (got, want) in all.per_class().into_iter().zip(&case.per_class) {
                assert_row(got, *want, ("class", case.seed));
            }
            for (how, want) in case.averages.each() {
                assert_quality(all.quality(how), want, ("average", case.seed));
            }
        }
    }
}

#[derive(Deserialize)]
struct TopKCase {
    seed: u32,
    n: usize,
    classes: usize,
    levels: usize,
    k: usize,
    accuracy: f64,
}

#[test]
fn top_k_equals_scikit_learn_in_ties_too() {
    for case in cases::<TopKCase>("top_k") {
        let classes: Vec<_> = (0..case.classes).collect();
        let truth = picks(case.seed, case.n, &classes);
        let scores = if case.classes == 2 {
            let mut margin = numbers(case.seed + 1, case.n, case.levels, 2.0, 0.0);
            if margin.iter().all(|x| (0.0..=1.0).contains(x)) {
                margin[0] = -2.0;
            }
            margin.into_iter().flat_map(|x| [-x / 2.0, x / 2.0]).collect()
        } else {
            numbers(case.seed + 1, case.n * case.classes, case.levels, 0.25, 0.0)
        };
        let row = |i: usize| &scores[i * case.classes..][..case.classes];
        let add = |all: &mut TopK, i: usize| all.add(row(i), truth[i]).unwrap();
        for all in ways(case.n, || TopK::new(case.k), add, |a, b| a.merge(b).unwrap()) {
            assert_close(all.accuracy(), Some(case.accuracy), ("top k", case.seed));
        }
    }
}

#[derive(Deserialize)]
struct LogLossCase {
    seed: u32,
    n: usize,
    k: usize,
    levels: usize,
    scale: f64,
    logits: f64,
    probabilities: f64,
}

#[test]
fn log_loss_equals_scipy_by_logits_and_scikit_learn_by_probabilities() {
    for case in cases::<LogLossCase>("log_loss") {
        let LogLossCase { seed, n, k, levels, .. } = case;
        let truth = picks(seed, n, &(0..k).collect::<Vec<_>>());
        let logits = numbers(seed + 1, n * k, levels, case.scale, 0.0);
        let p = shares(seed + 2, n, k, levels + 1);
        let add = |all: &mut LogLoss, i: usize| all.add_logits(&logits[i * k..][..k], truth[i]).unwrap();
        for all in ways(n, LogLoss::default, add, LogLoss::merge) {
            assert_close(all.mean(), Some(case.logits), ("logits", seed));
        }
        let add = |all: &mut LogLoss, i: usize| all.add_probabilities(&p[i * k..][..k], truth[i]).unwrap();
        for all in ways(n, LogLoss::default, add, LogLoss::merge) {
            assert_close(all.mean(), Some(case.probabilities), ("probabilities", seed));
        }
    }
}

#[derive(Deserialize)]
struct RankingCase {
    seed: u32,
    n: usize,
    levels: usize,
    scale: f64,
    offset: f64,
    pool: Vec<usize>,
    lift: f64,
    auroc: Option<f64>,
    ap: f64,
}

#[test]
fn binary_ranking_equals_scikit_learn() {
    let all_cases = cases::<RankingCase>("binary_ranking");
    assert!(all_cases.iter().any(|case| case.auroc.is_none()), "some are undefined");
    for case in all_cases {
        let truth = picks(case.seed, case.n, &case.pool);
        let scores = numbers(case.seed + 1, case.n, case.levels, case.scale, case.offset);
        let score = |i: usize| f64::from(scores[i]) + truth[i] as f64 * case.lift;
        let add = |all: &mut Ranking, i: usize| all.add(score(i), truth[i] == 1).unwrap();
        for mut all in ways(case.n, Ranking::default, add, Ranking::merge) {
            assert_close(all.average_precision(), Some(case.ap), ("ap", case.seed));
            assert_close(all.auroc(), case.auroc, ("auroc", case.seed));
        }
    }
}

#[derive(Deserialize)]
struct ClassRankingCase {
    seed: u32,
    n: usize,
    k: usize,
    levels: usize,
    pool: Vec<usize>,
    auroc: Averages<Option<f64>>,
    ap: Averages<Option<f64>>,
}

fn assert_rankings(
    all: &mut ClassRankings,
    auroc: &Averages<Option<f64>>,
    ap: &Averages<Option<f64>>,
    seed: u32,
) {
    for ((how, auroc), (_, ap)) in auroc.each().into_iter().zip(ap.each()) {
        assert_close(all.auroc(how), auroc, ("auroc", seed));
        assert_close(all.average_precision(how), ap, ("ap", seed));
    }
}

#[test]
fn one_against_the_rest_equals_scikit_learn() {
    for case in cases::<ClassRankingCase>("class_ranking") {
        let (n, k) = (case.n, case.k);
        let truth = picks(case.seed, n, &case.pool);
        let p = shares(case.seed + 1, n, k, case.levels);
        let add = |all: &mut ClassRankings, i: usize| all.add_class(&p[i * k..][..k], truth[i]).unwrap();
        for mut all in ways(n, || ClassRankings::new(k), add, |a, b| a.merge(b).unwrap()) {
            assert_rankings(&mut all, &case.auroc, &case.ap, case.seed);
        }
    }
}

#[derive(Deserialize)]
struct MultiLabelCase {
    seed: u32,
    n: usize,
    k: usize,
    pool: Vec<usize>,
    agree: usize,
    subset: f64,
    hamming: f64,
    #[serde(flatten)]
    averages: Averages<Three>,
    samples: Three,
    auroc: Averages<Option<f64>>,
    ap: Averages<Option<f64>>,
}

#[test]
fn multi_label_equals_scikit_learn() {
    for case in cases::<MultiLabelCase>("multi_label") {
        let MultiLabelCase { seed, n, k, .. } = case;
        let others: &[usize] = if case.agree < 60 { &[0, 1] } else { &[0] };
        let truth = picks(seed, n * k, &case.pool);
        let answer = mixed(seed + 1, &truth, others, case.agree);
        let scores: Vec<_> = numbers(seed + 3, n * k, 9, 0.25, 0.0).into_iter().map(f64::from).collect();
        let row = |of: &[usize], i: usize| of[i * k..][..k].iter().map(|x| *x == 1).collect::<Vec<_>>();
        let add = |all: &mut MultiLabel, i: usize| all.add(&row(&truth, i), &row(&answer, i)).unwrap();
        for all in ways(n, || MultiLabel::new(k), add, |a, b| a.merge(b).unwrap()) {
            assert_eq!(all.samples(), n as u64);
            assert_close(all.subset_accuracy(), Some(case.subset), ("subset", seed));
            assert_close(all.hamming_loss(), Some(case.hamming), ("hamming", seed));
            assert_quality(all.samples_quality(), case.samples, ("samples", seed));
            for (how, want) in case.averages.each() {
                assert_quality(all.quality(how), want, ("average", seed));
            }
        }
        let add = |all: &mut ClassRankings, i: usize| {
            all.add_labels(&scores[i * k..][..k], &row(&truth, i)).unwrap()
        };
        for mut all in ways(n, || ClassRankings::new(k), add, |a, b| a.merge(b).unwrap()) {
            assert_rankings(&mut all, &case.auroc, &case.ap, seed);
        }
    }
}

#[derive(Deserialize)]
struct RegressionCase {
    seed: u32,
    n: usize,
    f: usize,
    levels: usize,
    scale: f64,
    offset: f64,
    kind: String,
    mse: f64,
    rmse: f64,
    mae: f64,
    r2: Option<f64>,
    explained: f64,
    pearson: Option<f64>,
    spearman: Option<f64>,
}

impl RegressionCase {
    fn series(&self) -> (Vec<f32>, Vec<f32>) {
        let count = self.n * self.f;
        let truth = numbers(self.seed, count, self.levels, self.scale, self.offset);
        let answer = match self.kind.as_str() {
            "perfect" => truth.clone(),
            "constant" => vec![2.0; count],
            "noise" => numbers(self.seed + 1, count, self.levels + 1, self.scale, self.offset),
            _ => truth.iter().map(|x| (f64::from(*x) + 8.0 * self.scale) as f32).collect(),
        };
        (truth, answer)
    }
}

#[test]
fn regression_equals_scikit_learn() {
    for case in cases::<RegressionCase>("regression") {
        let (f, (truth, answer)) = (case.f, case.series());
        let add =
            |all: &mut Regression, i: usize| all.add(&truth[i * f..][..f], &answer[i * f..][..f]).unwrap();
        for all in ways(case.n, || Regression::new(f), add, |a, b| a.merge(b).unwrap()) {
            assert_eq!(all.samples(), case.n as u64);
            assert_same_size(all.mse(), case.mse, ("mse", case.seed));
            assert_same_size(all.rmse(), case.rmse, ("rmse", case.seed));
            assert_same_size(all.mae(), case.mae, ("mae", case.seed));
            assert_close(all.r2(), case.r2, ("r2", case.seed));
            assert_close(all.explained_variance(), Some(case.explained), ("explained", case.seed));
        }
    }
}

#[test]
fn correlations_equal_scipy() {
    let all_cases = cases::<RegressionCase>("regression");
    assert!(all_cases.iter().any(|case| case.n > 2 && case.pearson.is_none()), "some are undefined");
    for case in all_cases {
        let (truth, answer) = case.series();
        let (x, y) = (|i: usize| truth[i], |i: usize| answer[i]);
        let add = |all: &mut Pearson, i: usize| all.add(x(i).into(), y(i).into()).unwrap();
        for all in ways(truth.len(), Pearson::default, add, Pearson::merge) {
            assert_close(all.correlation(), case.pearson, ("pearson", case.seed));
        }
        let add = |all: &mut Spearman, i: usize| all.add(x(i), y(i)).unwrap();
        for all in ways(truth.len(), Spearman::default, add, Spearman::merge) {
            assert_close(all.correlation(), case.spearman, ("spearman", case.seed));
        }
    }
}

#[derive(Deserialize)]
struct PerplexityCase {
    seed: u32,
    n: usize,
    scale: f64,
    loss: f64,
    perplexity: f64,
}

#[test]
fn perplexity_equals_its_definition() {
    for case in cases::<PerplexityCase>("perplexity") {
        let nll = numbers(case.seed, case.n, 1000, case.scale / 1000.0, case.scale / 2.0);
        let tokens: Vec<_> = draw(case.seed + 50, case.n).into_iter().map(|x| (x % 9 + 1) as u64).collect();
        let add = |all: &mut Perplexity, i: usize| all.add(nll[i].into(), tokens[i]).unwrap();
        for all in ways(case.n, Perplexity::default, add, Perplexity::merge) {
            assert_eq!(all.tokens(), tokens.iter().sum::<u64>());
            assert_same_size(all.loss(), case.loss, ("loss", case.seed));
            assert_close(all.perplexity(), Some(case.perplexity), ("perplexity", case.seed));
        }
    }
}

#[derive(Deserialize)]
struct EntitiesCase {
    seed: u32,
    tags: String,
    count: usize,
    longest: usize,
    agree: usize,
    lenient: EntitiesScores,
    strict: Option<EntitiesScores>,
}

#[derive(Deserialize)]
struct EntitiesScores {
    #[serde(flatten)]
    averages: Averages<Three>,
    types: Vec<String>,
    rows: Vec<[f64; 4]>,
}

/// Sequences of truth and answer.
fn sequences(case: &EntitiesCase, tags: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let pool: Vec<_> = (0..tags).collect();
    let lengths: Vec<_> = draw(case.seed, case.count).into_iter().map(|x| x % case.longest + 1).collect();
    let truth = picks(case.seed + 1, lengths.iter().sum(), &pool);
    let answer = mixed(case.seed + 2, &truth, &pool, case.agree);
    let mut from = 0;
    let cut = |length: usize| {
        from += length;
        (truth[from - length..from].to_vec(), answer[from - length..from].to_vec())
    };
    lengths.into_iter().map(cut).collect()
}

fn assert_entities(all: &Entities, want: &EntitiesScores, seed: u32) {
    let got = all.per_type();
    assert_eq!(got.iter().map(|line| line.0).collect::<Vec<_>>(), want.types, "{seed}");
    for ((_, got), want) in got.into_iter().zip(&want.rows) {
        assert_row(got, *want, ("type", seed));
    }
    for (how, want) in want.averages.each() {
        assert_quality(all.quality(how), want, ("average", seed));
    }
}

#[test]
fn entities_equal_seqeval() {
    let all_tags: BTreeMap<String, Vec<String>> =
        serde_json::from_str::<BTreeMap<String, serde_json::Value>>(include_str!("fixtures/metrics.json"))
            .map(|all| serde_json::from_value(all["tags"].clone()).unwrap())
            .unwrap();
    let all_cases = cases::<EntitiesCase>("entities");
    assert!(all_cases.iter().filter(|case| case.strict.is_some()).count() > 100);
    for case in all_cases {
        let tags = &all_tags[&case.tags];
        let sequences = sequences(&case, tags.len());
        let add = |all: &mut Entities, i: usize| all.add(&sequences[i].0, &sequences[i].1).unwrap();
        let schemes =
            [(EntityScheme::Lenient, Some(&case.lenient)), (EntityScheme::StrictIob2, case.strict.as_ref())];
        for (scheme, want) in schemes {
            let new = || Entities::new(tags, scheme).unwrap();
            let Some(want) = want else { continue };
            // With prefixes that no scheme knows, seqeval's reading runs on from one sequence into the next.
            let runs_on = tags.iter().any(|tag| !tag.starts_with(['O', 'B', 'I', 'E', 'S']));
            let ways = ways(sequences.len(), new, add, |a, b| a.merge(b).unwrap());
            for all in ways.iter().take(if runs_on { 1 } else { 3 }) {
                assert_entities(all, want, case.seed);
            }
        }
    }
}

#[test]
fn rankings_hold_at_most_16_bytes_a_sample() {
    let (mut ranking, mut spearman, mut classes) =
        (Ranking::default(), Spearman::default(), ClassRankings::new(3));
    for (i, x) in draw(1, 100_000).into_iter().enumerate() {
        ranking.add(x as f64, x % 2 == 0).unwrap();
        spearman.add(x as f32, i as f32).unwrap();
        classes.add_class(&[x as f64, 0.0, 1.0], x % 3).unwrap();
        let n = i + 1;
        // Two vectors start at four places each.
        assert!(n < 8 || ranking.bytes() <= 16 * n, "{} bytes at {n}", ranking.bytes());
        assert!(n < 8 || spearman.bytes() <= 16 * n, "{} bytes at {n}", spearman.bytes());
        assert!(n < 20 || classes.bytes() <= 3 * 16 * n, "{} bytes at {n}", classes.bytes());
    }
    let held = ranking.bytes();
    ranking.auroc().unwrap();
    ranking.average_precision().unwrap();
    assert_eq!(ranking.bytes(), held);
    assert!(held >= 8 * 100_000, "what is counted is what is held");
}

#[test]
fn scores_of_both_signs_and_zeros_are_in_order() {
    let mut ranking = Ranking::default();
    let falling = [1e300, 1.0, 1e-300, 0.0, -1e-300, -1.0, -1e300];
    falling.iter().enumerate().for_each(|(i, x)| ranking.add(*x, i < 3).unwrap());
    assert_eq!((ranking.auroc(), ranking.average_precision()), (Some(1.0), Some(1.0)));
    let mut zeros = Ranking::default();
    zeros.add(-0.0, true).unwrap();
    zeros.add(0.0, false).unwrap();
    assert_eq!((zeros.auroc(), zeros.average_precision()), (Some(0.5), Some(0.5)));
}

#[test]
fn nothing_added_is_undefined() {
    assert_eq!((Confusion::new(3).accuracy(), Confusion::new(3).balanced_accuracy()), (None, None));
    assert_eq!((Confusion::new(3).cohen_kappa(), TopK::new(2).accuracy()), (None, None));
    assert_eq!((LogLoss::default().mean(), Perplexity::default().perplexity()), (None, None));
    assert_eq!((Ranking::default().auroc(), Ranking::default().average_precision()), (None, None));
    assert_eq!(MultiLabel::new(2).subset_accuracy(), None);
    assert_eq!((MultiLabel::new(2).hamming_loss(), MultiLabel::new(2).samples_quality()), (None, None));
    let none = Regression::new(2);
    assert_eq!(
        (none.mse(), none.rmse(), none.mae(), none.r2(), none.explained_variance()),
        (None, None, None, None, None)
    );
    assert_eq!((Pearson::default().correlation(), Spearman::default().correlation()), (None, None));
    for how in [Average::Micro, Average::Macro, Average::Weighted] {
        let mut rankings = ClassRankings::new(3);
        assert_eq!((rankings.auroc(how), rankings.average_precision(how)), (None, None));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_not_counted() {
    let mut confusion = Confusion::new(2);
    assert_eq!(confusion.add(2, 0), Err(MetricError::Class { class: 2, classes: 2 }));
    assert!(confusion.add(0, 5).is_err() && confusion.merge(&Confusion::new(3)).is_err());
    assert_eq!(confusion, Confusion::new(2));
    assert!(TopK::new(1).add(&[0.0, f32::NAN], 0).is_err() && TopK::new(1).merge(&TopK::new(2)).is_err());
    let mut loss = LogLoss::default();
    assert!(loss.add_logits(&[f32::INFINITY, 0.0], 1).is_err());
    assert_eq!(loss.add_probabilities(&[1.5, -0.5], 0), Err(MetricError::Probability));
    assert!(loss.add_probabilities(&[f64::NAN, 0.5], 1).is_err());
    assert_eq!(loss, LogLoss::default());
    let mut rankings = ClassRankings::new(2);
    assert_eq!(rankings.add_class(&[0.5, f64::NAN], 0), Err(MetricError::NotFinite("a score")));
    assert!(rankings.add_labels(&[0.5, 0.5], &[true]).is_err() && rankings.add_class(&[0.5], 0).is_err());
    assert_eq!(rankings, ClassRankings::new(2));
    let mut regression = Regression::new(2);
    assert!(
        regression.add(&[1.0, 2.0], &[1.0]).is_err()
            && regression.add(&[1.0, 2.0], &[1.0, f64::NAN]).is_err()
    );
    assert_eq!(regression, Regression::new(2));
    assert!(
        Spearman::default().add(f32::NAN, 0.0).is_err()
            && Pearson::default().add(0.0, f64::INFINITY).is_err()
    );
    assert!(Perplexity::default().add(f64::NAN, 1).is_err());
    assert!(MultiLabel::new(2).add(&[true], &[true, false]).is_err());
}

#[test]
fn tags_outside_the_scheme_are_refused() {
    let tags = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let error = Entities::new(&tags(&["O", "E-PER"]), EntityScheme::StrictIob2).unwrap_err();
    assert!(error.to_string().contains("'E-PER'") && error.to_string().contains("IOB2"), "{error}");
    assert!(Entities::new(&tags(&["O", ""]), EntityScheme::Lenient).is_err());
    let mut entities = Entities::new(&tags(&["O", "B-PER"]), EntityScheme::Lenient).unwrap();
    assert!(entities.add(&[0, 1], &[0]).is_err() && entities.add(&[0], &[2]).is_err());
    let other = Entities::new(&tags(&["O", "B-LOC"]), EntityScheme::Lenient).unwrap();
    assert!(entities.merge(&other).unwrap_err().to_string().contains("LOC"));
    assert_eq!((entities.per_type().len(), entities.quality(Average::Macro)), (0, None));
}

#[test]
fn sums_keep_what_plain_sums_lose() {
    // A spread of 1 about 1e8, and 1 followed by what 1 swallows.
    let mut regression = Regression::new(1);
    (0..10_000)
        .for_each(|i| regression.add(&[1e8 + f64::from(i % 2)], &[1e8 + f64::from(i % 2) - 0.5]).unwrap());
    assert_eq!((regression.r2(), regression.explained_variance()), (Some(0.0), Some(1.0)));
    let mut perplexity = Perplexity::default();
    perplexity.add(1.0, 1).unwrap();
    (0..10_000).for_each(|_| perplexity.add(1e-17, 0).unwrap());
    assert!((perplexity.loss().unwrap() - 1.0 - 1e-13).abs() < 1e-15);
}

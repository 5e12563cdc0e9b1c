//! Several labels a sample, regression and correlations.

use super::rankings::assert_rankings;
use super::*;

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

//! Areas under curves: two classes, and each class against the rest.

use super::*;

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

pub(super) fn assert_rankings(
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

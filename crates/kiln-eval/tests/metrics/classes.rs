//! Confusion, top k and log loss.

use super::*;

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

//! Whether numbers follow a distribution: Kolmogorov and Smirnov for real numbers, chi-square for choices.
//! Seeds are fixed, so that a test's answer is; the bounds are those of one false alarm in a thousand.

/// Asserts that `values` have the distribution function `cdf`.
pub(crate) fn follows(mut values: Vec<f64>, cdf: impl Fn(f64) -> f64, what: &str) {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = values.iter().enumerate().fold(0.0, |most: f64, (i, v)| {
        let p = cdf(*v);
        most.max((p - i as f64 / n).abs()).max(((i + 1) as f64 / n - p).abs())
    });
    assert!(distance * n.sqrt() < 1.95, "{what}: {distance} from its distribution function ({n} values)");
}

/// Asserts that `values` are uniform in `[low, high]`.
pub(crate) fn uniform(values: Vec<f64>, [low, high]: [f64; 2], what: &str) {
    let outside = values.iter().find(|v| !(low..=high).contains(*v));
    assert_eq!(outside, None, "{what}");
    follows(values, |v| (v - low) / (high - low), what);
}

/// Asserts that choice `k` fell `counts[k]` times in proportion to `shares[k]`.
pub(crate) fn chosen(counts: &[usize], shares: &[f64], what: &str) {
    assert_eq!(counts.len(), shares.len());
    let (n, whole): (usize, f64) = (counts.iter().sum(), shares.iter().sum());
    let statistic: f64 = counts
        .iter()
        .zip(shares)
        .map(|(&count, share)| {
            let expected = n as f64 * share / whole;
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    // Wilson and Hilferty's approximation of the chi-square quantile at 0.999.
    let freedom = (counts.len() - 1) as f64;
    let ninth = 2.0 / (9.0 * freedom);
    let bound = freedom * (1.0 - ninth + 3.09 * ninth.sqrt()).powi(3);
    assert!(statistic < bound, "{what}: chi-square {statistic} is above {bound}: {counts:?}");
}

/// Asserts that each of `n` choices is as frequent.
pub(crate) fn evenly(choices: impl Iterator<Item = usize>, n: usize, what: &str) {
    let mut counts = vec![0; n];
    choices.for_each(|k| counts[k] += 1);
    chosen(&counts, &vec![1.0; n], what);
}

#[test]
#[should_panic(expected = "from its distribution function")]
fn another_distribution_is_told_apart() {
    uniform((0..1000).map(|i| (i as f64 / 1000.0).powf(1.3)).collect(), [0.0, 1.0], "not uniform");
}

#[test]
#[should_panic(expected = "chi-square")]
fn a_preferred_choice_is_told_apart() {
    chosen(&[1000, 1000, 1150], &[1.0, 1.0, 1.0], "not even");
}

//! Memory, extremes, nothing added, and what is refused.

use super::*;

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

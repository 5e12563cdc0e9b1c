//! Ratios, coverage and purity of the epochs of weighted sources.

use std::collections::BTreeMap;

use super::*;

fn weighted(sizes: &[usize], weights: &[f64]) -> Weighted {
    Weighted { sizes: sizes.to_vec(), weights: weights.to_vec(), parts: Parts::Sources }
}

fn config(strategy: StoppingStrategy) -> LoaderConfig {
    LoaderConfig { stopping_strategy: strategy, ..LoaderConfig::default() }
}

#[test]
fn an_epoch_ends_with_the_first_or_the_last_source() {
    use StoppingStrategy::{AllExhausted, FirstExhausted};
    for (sizes, weights, strategy, quotas) in [
        (&[700, 300][..], &[0.7, 0.3][..], FirstExhausted, &[700, 300][..]),
        (&[700, 300], &[0.7, 0.3], AllExhausted, &[700, 300]),
        (&[1000, 100], &[1.0, 1.0], FirstExhausted, &[100, 100]),
        (&[1000, 100], &[1.0, 1.0], AllExhausted, &[1000, 1000]),
        (&[1000, 100, 10], &[8.0, 1.0, 1.0], FirstExhausted, &[80, 10, 10]),
        (&[1000, 100, 10], &[1.0, 1.0, 2.0], AllExhausted, &[1000, 1000, 2000]),
    ] {
        assert_eq!(weighted(sizes, weights).quotas(&config(strategy)).unwrap(), quotas);
    }
    let said = LoaderConfig { samples_per_epoch: Some(100), ..LoaderConfig::default() };
    assert_eq!(weighted(&[9, 9, 9], &[1.0, 1.0, 1.0]).quotas(&said).unwrap().iter().sum::<usize>(), 100);
    let error = weighted(&[10, 10], &[1.0, 1e-3])
        .quotas(&LoaderConfig { samples_per_epoch: Some(50), ..LoaderConfig::default() });
    assert!(error.unwrap_err().to_string().contains("data.sources.1.weight"));
    let endless = weighted(&[10, 10], &[1.0, 1e-12]).quotas(&config(AllExhausted));
    assert!(endless.unwrap_err().to_string().contains("1e13"));
}

#[test]
fn no_sample_comes_again_before_all_of_its_source_have_come() {
    let sources = weighted(&[7, 40], &[3.0, 2.0]);
    for shuffle in [true, false] {
        let config = LoaderConfig { shuffle, samples_per_epoch: Some(25), ..LoaderConfig::default() };
        let mut seen: [Vec<usize>; 2] = Default::default();
        for epoch in 0..12 {
            let samples = sources.epoch((3, epoch), &config, None).unwrap();
            assert_eq!(samples, sources.epoch((3, epoch), &config, None).unwrap());
            let own = samples.iter().filter(|i| **i % 47 < 7).count();
            assert_eq!((own, samples.len()), (15, 25));
            let mut names = samples.clone();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 25, "each copy has its own name");
            samples.iter().for_each(|i| seen[usize::from(i % 47 >= 7)].push(i % 47));
        }
        for (source, n) in [(0, 7), (1, 40)] {
            for pass in seen[source].chunks(n) {
                let mut counts = BTreeMap::new();
                pass.iter().for_each(|i| *counts.entry(*i).or_insert(0) += 1);
                assert!(counts.values().all(|count| *count == 1), "{counts:?}");
            }
            let (first, second) = (&seen[source][..n], &seen[source][n..2 * n]);
            assert_eq!(first != second, shuffle);
        }
    }
}

#[test]
fn without_shuffling_sources_take_turns() {
    assert_eq!(in_turn(&[3, 1]), [0, 0, 1, 0]);
    assert_eq!(in_turn(&[2, 2]), [0, 1, 0, 1]);
    let turns = in_turn(&[70, 30]);
    for t in 1..=100 {
        let first = turns[..t].iter().filter(|k| **k == 0).count() as f64;
        assert!((first - 0.7 * t as f64).abs() <= 1.0, "{t}: {first}");
    }
}

#[test]
fn classes_come_equally_often_and_each_sample_of_a_class_too() {
    // 60 samples of class 0, 30 of class 2, 6 of class 5, mixed.
    let class = |i: usize| {
        if i.is_multiple_of(16) {
            5
        } else if i % 16 < 6 {
            2
        } else {
            0
        }
    };
    let classes: Vec<Option<usize>> = (0..96).map(|i| Some(class(i))).collect();
    let sources = Weighted::by_class(&classes).unwrap();
    assert_eq!(sources.sizes, [60, 30, 6]);
    let config = LoaderConfig::default();
    let mut seen = vec![0; 96];
    for epoch in 0..30 {
        let samples = sources.epoch((5, epoch), &config, None).unwrap();
        let mut counts = BTreeMap::new();
        samples.iter().for_each(|i| *counts.entry(class(i % 96)).or_insert(0) += 1);
        assert_eq!(counts, BTreeMap::from([(0, 32), (2, 32), (5, 32)]));
        let names: std::collections::HashSet<_> = samples.iter().collect();
        assert_eq!(names.len(), 96, "each copy has its own name");
        samples.iter().for_each(|i| seen[i % 96] += 1);
    }
    for (of, n) in [(0, 60), (2, 30), (5, 6)] {
        let own: Vec<i32> = (0..96).filter(|i| class(*i) == of).map(|i| seen[i]).collect();
        let (low, high) = (*own.iter().min().unwrap(), *own.iter().max().unwrap());
        assert!(high - low <= 1 && own.iter().sum::<i32>() == 960, "{of}: {own:?}");
        assert_eq!(own.len(), n);
    }
    assert_eq!(Weighted::by_class(&[Some(1), None]), None);
    let few = LoaderConfig { samples_per_epoch: Some(2), ..LoaderConfig::default() };
    assert!(sources.quotas(&few).unwrap_err().to_string().contains("data.loader.samples_per_epoch"));
    let ten = LoaderConfig { samples_per_epoch: Some(10), ..LoaderConfig::default() };
    assert_eq!(sources.quotas(&ten).unwrap().iter().sum::<usize>(), 10);
}

//! Batches by a budget of tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use kiln_data::config::LoaderConfig;
use kiln_data::{HostBatch, HostFeatures, Loader, Order, batches};
use serde_json::json;
use support::data::{images, indices, open, pass, texts, with};

fn size(batch: &HostBatch) -> [usize; 2] {
    match batch.features {
        HostFeatures::Tokens { shape, .. } => shape,
        _ => panic!("no tokens"),
    }
}

fn padding(all: &[HostBatch]) -> usize {
    let of_one = |batch: &HostBatch| match &batch.features {
        HostFeatures::Tokens { mask, .. } => mask.iter().filter(|real| !**real).count(),
        _ => panic!("no tokens"),
    };
    all.iter().map(of_one).sum()
}

fn budget(tokens: usize, most: usize) -> LoaderConfig {
    LoaderConfig { max_tokens: Some(tokens), batch_size: most, ..LoaderConfig::default() }
}

#[test]
fn no_batch_is_over_its_budget_and_every_sample_comes_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(texts(dir.path(), 301));
    let train = data.train.as_ref().unwrap();
    for (tokens, most) in [(16, 1000), (50, 1000), (64, 5), (4000, 1000)] {
        let config = budget(tokens, most);
        let n = batches(train, &data.preprocessor, &config, true).unwrap();
        let mut contents = std::collections::BTreeSet::new();
        for order in (0..4).map(|epoch| Order::Train { seed: 2, epoch }).chain([Order::Sequential]) {
            let all = pass(&data, &config, order, 0);
            for batch in &all {
                let [b, t] = size(batch);
                assert!(b * t <= tokens && b <= most, "{b} x {t}");
            }
            let mut seen = indices(&all);
            if order != Order::Sequential {
                assert_eq!(all.len(), n, "the same number in each epoch");
                let mut sets: Vec<Vec<usize>> = all.iter().map(|b| b.indices.clone()).collect();
                sets.iter_mut().for_each(|set| set.sort_unstable());
                sets.sort();
                contents.insert(sets);
                seen.sort_unstable();
            }
            assert_eq!(seen, (0..301).collect::<Vec<_>>());
        }
        assert!(contents.len() == 4, "other batches in each epoch: {}", contents.len());
        let sequential = pass(&data, &config, Order::Sequential, 0);
        assert_eq!(sequential.len(), batches(train, &data.preprocessor, &config, false).unwrap());
    }
}

#[test]
fn a_budget_leaves_less_padding_than_batches_of_a_number_of_samples() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(texts(dir.path(), 301));
    let order = Order::Train { seed: 2, epoch: 0 };
    let filled = pass(&data, &budget(128, 1000), order, 0);
    let plain = LoaderConfig { batch_size: 301 / filled.len(), ..LoaderConfig::default() };
    let (less, more) = (padding(&filled), padding(&pass(&data, &plain, order, 0)));
    assert!(less * 5 < more, "{less} and {more}");
    // Batches are not sorted among themselves.
    let lengths: Vec<usize> = filled.iter().map(|batch| size(batch)[1]).collect();
    assert!(!lengths.is_sorted() && !lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
}

#[test]
fn what_a_budget_cannot_hold_or_sort_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(texts(dir.path(), 40));
    let train = data.train.as_ref().unwrap();
    for training in [true, false] {
        let error = batches(train, &data.preprocessor, &budget(9, 8), training).unwrap_err();
        let text = format!("{error}; {}", error.hint().unwrap());
        assert!(text.starts_with("data.loader.max_tokens: "), "{text}");
        assert!(
            text.contains("rows.tsv:") && text.contains(" tokens, and a batch has 9 at most ("),
            "{text}"
        );
        assert!(
            text.contains("texts are longer); raise it, or cut texts: data.tokenizer.max_length = 9"),
            "{text}"
        );
    }
    let order = Order::Train { seed: 1, epoch: 0 };
    let ordered = LoaderConfig { shuffle: false, ..budget(64, 8) };
    let error = Loader::new(train, &data.preprocessor, &ordered, order).unwrap_err();
    assert!(error.to_string().contains("it reorders samples"), "{error}");
    let cut = open(with(
        texts(dir.path(), 40),
        json!({"tokenizer": {"path": support::fixture("tokenizer.json"), "max_length": 9}}),
    ));
    assert!(pass(&cut, &budget(9, 8), order, 0).iter().all(|batch| size(batch)[0] * size(batch)[1] <= 9));

    let pictures = images(&dir.path().join("pictures"), 2);
    let config = support::data::parse(with(pictures, json!({"loader": {"max_tokens": 9}})));
    let error = kiln_data::Dataset::open(&config, &kiln_data::OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains("data.loader.max_tokens: images all have one length"), "{error}");
}

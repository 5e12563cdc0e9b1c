//! Sample ids and batch bytes: the same for any number of workers, after resuming at any batch, for one rank or several joined,
//! and with a cache or without, for every kind of data.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::path::Path;

use kiln_core::seed::{Purpose, mix};
use kiln_data::config::{CacheKind, LoaderConfig, MixupConfig, ShuffleBy, StoppingStrategy};
use kiln_data::{Dataset, HostBatch, Loader, Mixup, Order, batches};
use serde_json::{Value, json};
use support::data::{bits, images, indices, joined, open, parquet, pass, shards, table, texts, with};
use support::fixture;

/// How many random places each kind of data is resumed at.
const PLACES: u64 = 12;

fn of_ranks(data: &Dataset, config: &LoaderConfig, order: Order, world: usize) -> Vec<HostBatch> {
    let rank = |rank| -> Vec<HostBatch> {
        let loader = Loader::new(data.train.as_ref().unwrap(), &data.preprocessor, config, order).unwrap();
        loader.of_rank(rank, world).unwrap().map(Result::unwrap).collect()
    };
    let mut ranks: Vec<_> = (0..world).map(|r| rank(r).into_iter()).collect();
    let mut whole = Vec::new();
    loop {
        let parts: Vec<HostBatch> = ranks.iter_mut().filter_map(Iterator::next).collect();
        if parts.is_empty() {
            return whole;
        }
        assert_eq!(parts.len(), world, "each rank has as many batches");
        assert!(parts.iter().all(|part| part.size() > 0));
        assert!(parts.iter().all(|part| part.padding == (part.weight() == 0)));
        whole.push(joined(parts));
    }
}

/// The proof, in training and in evaluation.
fn prove(data: &Dataset, config: &LoaderConfig) {
    let workers = |workers| LoaderConfig { workers, ..config.clone() };
    let train = data.train.as_ref().unwrap();
    for order in [Order::Train { seed: 7, epoch: 0 }, Order::Train { seed: 7, epoch: 3 }, Order::Sequential] {
        let whole = pass(data, &workers(0), order, 0);
        let training = order != Order::Sequential;
        assert_eq!(whole.len(), batches(train, &data.preprocessor, config, training).unwrap());
        if !training {
            assert_eq!(indices(&whole), (0..train.len()).collect::<Vec<_>>());
        }
        for n in [1, 2, 8] {
            assert_eq!(bits(&pass(data, &workers(n), order, 0)), bits(&whole), "{n} workers, {order:?}");
        }
        for from in 0..=whole.len() {
            assert_eq!(
                bits(&pass(data, &workers(2), order, from)),
                bits(&whole[from..]),
                "from {from}, {order:?}"
            );
        }
        for world in [2, 3] {
            assert_eq!(
                bits(&of_ranks(data, &workers(2), order, world)),
                bits(&whole),
                "{world} ranks, {order:?}"
            );
        }
    }
    // Any seed, epoch, batch size and place.
    for draw in 0..PLACES {
        let random = |what: u64, below: usize| (mix(draw, Purpose::Order, &[what]) % below as u64) as usize;
        let order = Order::Train { seed: random(0, 1000) as u64, epoch: random(1, 50) as u64 };
        let size = if config.max_tokens.is_some() { config.batch_size } else { 1 + random(2, 9) };
        let config = |workers| LoaderConfig { batch_size: size, prefetch: 1 + random(3, 5), ..workers };
        let whole = pass(data, &config(workers(0)), order, 0);
        let (from, n) = (random(4, whole.len() + 1), 1 + random(5, 6));
        assert_eq!(
            bits(&pass(data, &config(workers(n)), order, from)),
            bits(&whole[from..]),
            "{order:?} from {from}"
        );
    }
}

/// The same with decoded images in memory and on the disk, in the first pass and in later ones.
fn prove_cached(config: Value, loader: &LoaderConfig) {
    let plain = open(config.clone());
    prove(&plain, loader);
    let dir = tempfile::tempdir().unwrap();
    let n = plain.train.as_ref().unwrap().len() as u64;
    for (cache, opened) in [(CacheKind::Memory, 0), (CacheKind::Disk, 0), (CacheKind::Disk, 1)] {
        let words = json!({"cache": cache, "cache_dir": dir.path(), "cache_max_mb": 64});
        let data = open(with(config.clone(), json!({"loader": words})));
        let loader = LoaderConfig { shuffle: true, ..loader.clone() };
        for epoch in 0..3 {
            let order = Order::Train { seed: 1, epoch };
            assert_eq!(
                bits(&pass(&data, &loader, order, 0)),
                bits(&pass(&plain, &loader, order, 0)),
                "{cache:?}"
            );
        }
        assert_eq!(
            bits(&pass(&data, &loader, Order::Sequential, 0)),
            bits(&pass(&plain, &loader, Order::Sequential, 0))
        );
        let (hits, decoded) = data.cache_counts().unwrap();
        // Two copies of a sample may be decoded at once.
        assert!(if opened == 0 { decoded >= n } else { decoded == 0 }, "{cache:?}: {decoded} of {n}");
        assert!(hits >= n, "{hits}");
        prove(&data, &loader);
    }
}

fn config(batch_size: usize) -> LoaderConfig {
    LoaderConfig { batch_size, prefetch: 2, ..LoaderConfig::default() }
}

#[test]
fn of_images() {
    let dir = tempfile::tempdir().unwrap();
    prove_cached(images(dir.path(), 11), &config(5));
    prove(&open(images(dir.path(), 11)), &LoaderConfig { repeats: 3, drop_last: true, ..config(4) });
}

#[test]
fn of_mixed_images() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 11));
    let words = MixupConfig { mixup_alpha: 0.8, cutmix_alpha: 1.0, ..MixupConfig::default() };
    let (mixup, order) = (Some(Mixup { config: words, classes: 2 }), Order::Train { seed: 3, epoch: 2 });
    let mixed = |workers, from, (rank, world)| -> Vec<HostBatch> {
        let config = LoaderConfig { workers, ..config(5) };
        let loader = Loader::new(data.train.as_ref().unwrap(), &data.preprocessor, &config, order).unwrap();
        let loader = loader.mixed(mixup).of_rank(rank, world).unwrap();
        loader.starting_at(from).map(Result::unwrap).collect()
    };
    let whole = mixed(0, 0, (0, 1));
    for from in 0..=whole.len() {
        assert_eq!(bits(&mixed(2, from, (0, 1))), bits(&whole[from..]));
    }
    for world in [2, 3] {
        let ranks: Vec<_> = (0..world).map(|rank| mixed(2, 0, (rank, world))).collect();
        assert!(ranks.iter().all(|rank| rank.len() == whole.len()));
        let parts = |k: usize| ranks.iter().map(|rank| rank[k].clone()).collect();
        let all: Vec<_> = (0..whole.len()).map(|k| joined(parts(k))).collect();
        assert_eq!(bits(&all), bits(&whole), "{world} ranks");
    }
}

#[test]
fn of_texts_with_buckets_and_budgets() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(texts(dir.path(), 97));
    prove(&data, &config(7));
    prove(&data, &LoaderConfig { length_bucketing: true, ..config(7) });
    prove(&data, &LoaderConfig { max_tokens: Some(48), ..config(1000) });
    prove(&data, &LoaderConfig { max_tokens: Some(64), ..config(3) });
}

#[test]
fn of_tables() {
    let dir = tempfile::tempdir().unwrap();
    prove(&open(table(dir.path(), 53)), &config(6));
    prove(&open(table(dir.path(), 53)), &LoaderConfig { shuffle: false, ..config(6) });
}

#[test]
fn of_tar_shards() {
    prove_cached(shards(), &config(3));
    prove_cached(shards(), &LoaderConfig { shuffle_by: ShuffleBy::Shards, shuffle_buffer: 4, ..config(3) });
}

#[test]
fn of_parquet() {
    prove_cached(parquet(), &config(2));
    prove_cached(parquet(), &LoaderConfig { shuffle_by: ShuffleBy::Shards, shuffle_buffer: 2, ..config(2) });
    let texts = json!({"kind": "parquet", "path": fixture("parquet/table.parquet"), "text": "text", "label": "label",
        "tokenizer": {"path": fixture("tokenizer.json"), "max_length": 16}});
    prove(&open(texts), &LoaderConfig { length_bucketing: true, ..config(3) });
}

/// Images of a folder, of tar files and of Parquet files, 3 to 2 to 1.
fn three(dir: &Path) -> Value {
    let (shards, parquet) = (shards(), parquet());
    let folder = images(dir, 9);
    json!({"kind": "image_folder", "classes": ["cat", "dog", "0", "1", "2", "zebra", "ant", "bee"],
        "transforms": folder["transforms"], "sources": [
            {"weight": 3, "path": folder["path"]},
            {"weight": 2, "kind": "webdataset", "path": shards["path"]},
            {"weight": 1, "kind": "parquet", "path": parquet["path"], "image": "image", "label": "label"}]})
}

#[test]
fn of_balanced_classes() {
    let dir = tempfile::tempdir().unwrap();
    let balanced = json!({"loader": {"sampling": "balanced"}});
    prove(&open(with(images(dir.path(), 11), balanced.clone())), &config(5));
    let data = open(with(texts(dir.path(), 97), balanced));
    prove(&data, &LoaderConfig { length_bucketing: true, repeats: 2, ..config(7) });
    let train = data.train.as_ref().unwrap();
    for epoch in 0..4 {
        let order = Order::Train { seed: 1, epoch };
        let mut counts = vec![0; data.classes.len()];
        let all = indices(&pass(&data, &config(7), order, 0));
        all.iter().for_each(|i| counts[train.label(*i).class().unwrap()] += 1);
        let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(high - low <= 1 && all.len() == train.len(), "{counts:?}");
    }
}

#[test]
fn of_weighted_sources() {
    let dir = tempfile::tempdir().unwrap();
    for strategy in [StoppingStrategy::FirstExhausted, StoppingStrategy::AllExhausted] {
        let loader = LoaderConfig { stopping_strategy: strategy, ..config(5) };
        prove_cached(with(three(dir.path()), json!({"loader": {"stopping_strategy": strategy}})), &loader);
    }
    let loader = LoaderConfig {
        samples_per_epoch: Some(40),
        shuffle_by: ShuffleBy::Shards,
        shuffle_buffer: 3,
        repeats: 2,
        ..config(5)
    };
    prove(&open(three(dir.path())), &loader);
}

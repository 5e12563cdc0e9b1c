//! Splits, order and the threaded loader, through the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_data::config::{DataConfig, LoaderConfig, MixupConfig};
use kiln_data::{
    Dataset, HostBatch, HostFeatures, HostTarget, Label, Loader, Mixup, OpenOptions, Order, Preprocessor,
    Raw, Split, batches, inputs,
};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(config: Value) -> Dataset {
    let config: DataConfig = serde_json::from_value(config).unwrap();
    assert!(Dataset::check(&config, &OpenOptions::default()).is_ok());
    Dataset::open(&config, &OpenOptions::default()).unwrap()
}

/// Two classes of `n` images each; one in five is grey and one a JPEG.
fn images(dir: &Path, n: usize) -> Value {
    for class in ["cat", "dog"] {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..n {
            let name = ["rgb.png", "grey.png", "rgba.png", "palette.png", "rgb.png"][i % 5];
            std::fs::copy(fixture(name), dir.join(class).join(format!("{i:03}.png"))).unwrap();
        }
    }
    json!({"kind": "image_folder", "path": dir, "transforms": [
        {"kind": "random_crop", "size": 20, "padding": 3},
        {"kind": "random_horizontal_flip"},
        {"kind": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    ]})
}

fn texts(dir: &Path, n: usize) -> Value {
    let path = dir.join("rows.tsv");
    let words = ["bad", "good fun", "the movie is a mess", "one of the best films of the year"];
    let rows: String =
        (0..n).map(|i| format!("{} {}\t{}\n", words[i % 4], "film ".repeat(i % 7), i % 2)).collect();
    std::fs::write(&path, rows).unwrap();
    json!({"kind": "tsv", "path": path, "header": false, "text": 0, "label": 1,
           "tokenizer": {"path": fixture("tokenizer.json"), "max_length": 12}})
}

fn config(workers: usize) -> LoaderConfig {
    LoaderConfig { batch_size: 6, workers, prefetch: 2, ..LoaderConfig::default() }
}

fn all(split: &Split, program: &Arc<Preprocessor>, config: &LoaderConfig, order: Order) -> Vec<HostBatch> {
    Loader::new(split, program, config, order).unwrap().map(Result::unwrap).collect()
}

#[test]
fn repeated_samples_are_augmented_anew_and_the_epoch_stays_as_long() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 16));
    let (train, order) = (data.train.unwrap(), Order::Train { seed: 5, epoch: 1 });
    let repeated = |workers| LoaderConfig { repeats: 3, ..config(workers) };
    let first = all(&train, &data.preprocessor, &repeated(0), order);
    assert_eq!(first, all(&train, &data.preprocessor, &repeated(3), order));
    let seen: Vec<usize> = first.iter().flat_map(|b| b.indices.clone()).collect();
    assert_eq!(
        (seen.len(), first.len()),
        (32, batches(&train, &data.preprocessor, &repeated(0), true).unwrap())
    );
    assert!(seen.chunks(3).all(|copies| copies.iter().all(|i| *i == copies[0])));
    let distinct: std::collections::BTreeSet<&usize> = seen.iter().collect();
    assert_eq!(distinct.len(), 11, "32 places for three of each");
    let HostFeatures::Image { values, shape } = &first[0].features else { panic!() };
    let image = |i: usize| &values[i * shape[1] * shape[2] * shape[3]..][..shape[1] * shape[2] * shape[3]];
    assert!(image(0) != image(1) || image(1) != image(2), "copies differ");
}

#[test]
fn mixed_batches_are_the_same_for_any_workers_and_after_resuming() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 16));
    let (train, order) = (data.train.unwrap(), Order::Train { seed: 5, epoch: 1 });
    let words = MixupConfig { mixup_alpha: 0.8, cutmix_alpha: 1.0, ..MixupConfig::default() };
    let mixup = Some(Mixup { config: words, classes: 2 });
    let mixed = |workers, from, order| -> Vec<HostBatch> {
        let loader = Loader::new(&train, &data.preprocessor, &config(workers), order).unwrap();
        loader.mixed(mixup).starting_at(from).map(Result::unwrap).collect()
    };
    let first = mixed(0, 0, order);
    let plain = all(&train, &data.preprocessor, &config(0), order);
    assert!(first.iter().zip(&plain).all(|(a, b)| a.features != b.features && a.indices == b.indices));
    assert!(first.iter().all(|b| matches!(b.target, Some(HostTarget::Soft { width: 2, .. }))));
    for workers in [1, 2, 8] {
        assert_eq!(mixed(workers, 0, order), first);
        assert_eq!(mixed(workers, 3, order), first[3..]);
    }
    let evaluated = mixed(2, 0, Order::Sequential);
    assert_eq!(evaluated, all(&train, &data.preprocessor, &config(2), Order::Sequential), "never mixed");
}

#[test]
fn batches_depend_on_seed_and_epoch_only() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 16));
    let train = data.train.unwrap();
    let order = Order::Train { seed: 5, epoch: 1 };
    let first = all(&train, &data.preprocessor, &config(0), order);
    assert_eq!(first.len(), batches(&train, &data.preprocessor, &config(0), true).unwrap());
    let mut seen: Vec<usize> = first.iter().flat_map(|b| b.indices.clone()).collect();
    assert_ne!(seen, (0..32).collect::<Vec<_>>());
    seen.sort_unstable();
    assert_eq!(seen, (0..32).collect::<Vec<_>>());
    for workers in [1, 2, 7] {
        assert_eq!(all(&train, &data.preprocessor, &config(workers), order), first, "{workers} workers");
    }
    for other in [Order::Train { seed: 5, epoch: 2 }, Order::Train { seed: 6, epoch: 1 }] {
        assert_ne!(all(&train, &data.preprocessor, &config(2), other), first);
    }
}

#[test]
fn starting_later_equals_skipping() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 16));
    let train = data.train.unwrap();
    let order = Order::Train { seed: 5, epoch: 0 };
    let whole = all(&train, &data.preprocessor, &config(2), order);
    for workers in [0, 2] {
        for k in 0..=whole.len() {
            let loader =
                Loader::new(&train, &data.preprocessor, &config(workers), order).unwrap().starting_at(k);
            assert_eq!(loader.map(Result::unwrap).collect::<Vec<_>>(), whole[k..]);
        }
    }
}

#[test]
fn evaluation_keeps_the_order_and_does_not_augment() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 5));
    let train = data.train.unwrap();
    let config = LoaderConfig { eval_batch_size: Some(4), drop_last: true, ..config(2) };
    let got = all(&train, &data.preprocessor, &config, Order::Sequential);
    assert_eq!(got.iter().map(HostBatch::size).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(got.iter().flat_map(|b| b.indices.clone()).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(got[0].target, Some(HostTarget::Classes(vec![0; 4])));
    assert_eq!(all(&train, &data.preprocessor, &config, Order::Sequential), got);
    let training = all(&train, &data.preprocessor, &config, Order::Train { seed: 1, epoch: 0 });
    assert_eq!(training.len(), 1);
}

#[test]
fn a_dropped_loader_stops_its_threads() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 60));
    let train = data.train.unwrap();
    let before = Arc::strong_count(&data.preprocessor);
    let mut loader =
        Loader::new(&train, &data.preprocessor, &config(3), Order::Train { seed: 1, epoch: 0 }).unwrap();
    loader.next().unwrap().unwrap();
    let start = Instant::now();
    drop(loader);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(Arc::strong_count(&data.preprocessor), before, "a thread still holds the preprocessor");
}

#[test]
fn a_damaged_sample_is_an_error_at_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let config_ = images(dir.path(), 9);
    let bytes = std::fs::read(fixture("rgb.png")).unwrap();
    std::fs::write(dir.path().join("cat/008.png"), &bytes[..bytes.len() / 2]).unwrap();
    let data = open(config_);
    let train = data.train.unwrap();
    for workers in [0, 1, 4] {
        let mut loader =
            Loader::new(&train, &data.preprocessor, &config(workers), Order::Sequential).unwrap();
        assert!(loader.next().unwrap().is_ok());
        let error = loader.next().unwrap().unwrap_err();
        assert!(error.to_string().contains("cat/008.png"), "{error}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn buckets_hold_every_sample_once_and_less_padding() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(texts(dir.path(), 301));
    let train = data.train.unwrap();
    let order = Order::Train { seed: 2, epoch: 3 };
    let plain = all(&train, &data.preprocessor, &config(1), order);
    let bucketed = LoaderConfig { length_bucketing: true, ..config(2) };
    let sorted = all(&train, &data.preprocessor, &bucketed, order);
    assert_eq!(sorted, all(&train, &data.preprocessor, &bucketed, order));
    let mut seen: Vec<usize> = sorted.iter().flat_map(|b| b.indices.clone()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..301).collect::<Vec<_>>());
    let padding = |batches: &[HostBatch]| -> usize {
        batches
            .iter()
            .map(|b| match &b.features {
                HostFeatures::Tokens { mask, .. } => mask.iter().filter(|m| !**m).count(),
                other => panic!("{other:?}"),
            })
            .sum()
    };
    assert!(padding(&sorted) * 4 < padding(&plain), "{} and {}", padding(&sorted), padding(&plain));
    let lengths: Vec<usize> = sorted
        .iter()
        .map(|b| match b.features {
            HostFeatures::Tokens { shape, .. } => shape[1],
            _ => 0,
        })
        .collect();
    assert!(!lengths.is_sorted() && !lengths.is_sorted_by(|a, b| a >= b), "batches are not shuffled");
}

#[test]
fn fractions_are_stratified_disjoint_and_stay_when_rows_are_added() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.csv");
    let write = |n: usize| {
        let rows: String =
            (0..n).map(|i| format!("{i},{},{}\n", i * i, if i % 4 == 0 { "a" } else { "b" })).collect();
        std::fs::write(&path, format!("x,y,class\n{rows}")).unwrap();
    };
    let config = json!({"kind": "csv", "path": path, "features": ["x", "y"], "label": "class",
                        "validation_fraction": 0.2, "test_fraction": 0.1});
    let names = |split: &Option<Split>| -> Vec<String> {
        let split = split.as_ref().unwrap();
        (0..split.len()).map(|i| split.name(i)).collect()
    };
    write(200);
    let data = open(config.clone());
    let counts = |s: &Option<Split>| s.as_ref().unwrap().class_counts(2);
    assert_eq!(
        (counts(&data.train), counts(&data.validation), counts(&data.test)),
        (vec![35, 105], vec![10, 30], vec![5, 15])
    );
    let mut every = [names(&data.train), names(&data.validation), names(&data.test)].concat();
    every.sort();
    every.dedup();
    assert_eq!(every.len(), 200);
    write(220);
    let more = open(config);
    let moved = names(&data.test).iter().filter(|n| names(&more.train).contains(n)).count();
    assert!(moved <= 3, "{moved} of 20 test rows moved to training");
    assert!(names(&data.test).iter().all(|n| !names(&more.validation).contains(n)));
}

#[test]
fn tokens_equal_transformers() {
    let expected: Value = serde_json::from_slice(&std::fs::read(fixture("tokens.json")).unwrap()).unwrap();
    let mut cases = vec![("small", fixture("tokenizer.json"))];
    match std::env::var_os("KILN_TEST_DATA") {
        Some(root) => cases.push(("minilm", Path::new(&root).join("all-MiniLM-L6-v2"))),
        None => eprintln!("skipped: set KILN_TEST_DATA"),
    }
    let dir = tempfile::tempdir().unwrap();
    let sentences: Vec<&str> =
        expected["sentences"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    let rows: String = sentences
        .iter()
        .enumerate()
        .map(|(i, s)| format!("{}\n", json!({"text": s, "label": i % 2})))
        .collect();
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, rows).unwrap();
    for (name, tokenizer) in cases {
        let data = open(json!({"kind": "jsonl", "path": path, "text": "text", "label": "label",
            "tokenizer": {"path": tokenizer, "max_length": expected["max_length"]}}));
        let config = LoaderConfig { batch_size: sentences.len(), ..config(1) };
        let batch = all(&data.train.unwrap(), &data.preprocessor, &config, Order::Sequential).remove(0);
        let HostFeatures::Tokens { ids, mask, shape, .. } = batch.features else { panic!("no tokens") };
        let flat = |key: &str| -> Vec<i64> {
            expected[name][key]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|r| r.as_array().unwrap())
                .map(|v| v.as_i64().unwrap())
                .collect()
        };
        assert_eq!(ids.iter().map(|&v| i64::from(v)).collect::<Vec<_>>(), flat("ids"), "{name}");
        assert_eq!(mask.iter().map(|&v| i64::from(v)).collect::<Vec<_>>(), flat("mask"), "{name}");
        assert_eq!(shape[1], 12);
    }
}

#[test]
fn a_saved_tokenizer_is_the_same_file_and_reads_the_tables_of_training() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(texts(dir.path(), 20));
    let folder = tempfile::tempdir().unwrap();
    data.preprocessor.save(folder.path()).unwrap();
    assert_eq!(
        std::fs::read(folder.path().join("tokenizer.json")).unwrap(),
        std::fs::read(fixture("tokenizer.json")).unwrap()
    );
    let loaded = Preprocessor::load(folder.path()).unwrap();
    assert_eq!(loaded.input(), &data.input);
    let table = dir.path().join("rows.tsv");
    let got: Vec<_> =
        inputs::open(table.to_str().unwrap(), &loaded, &[]).unwrap().map(inputs::Input::read).collect();
    assert_eq!(got.len(), 20);
    assert!(got[3].0.ends_with("rows.tsv:4"), "{}", got[3].0);
    let literal: Vec<_> =
        inputs::open("a \"good\" film", &loaded, &[]).unwrap().map(inputs::Input::read).collect();
    assert_eq!(literal[0].1.as_ref().unwrap(), &Raw::Text("a \"good\" film".into()));
    assert!(inputs::open("nowhere.csv", &loaded, &[]).is_err());
}

#[test]
fn tab_separated_quotes_are_characters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.tsv");
    std::fs::write(&path, "\"good\t1\n\"bad\" film\t0\nx\t10\ny\t2\n").unwrap();
    let data = open(json!({"kind": "tsv", "path": path, "header": false, "text": 0, "label": 1,
        "tokenizer": {"path": fixture("tokenizer.json"), "max_length": 12}}));
    let train = data.train.unwrap();
    assert_eq!(train.raw(0).unwrap(), Raw::Text("\"good".into()));
    assert_eq!(data.classes, ["0", "1", "2", "10"]);
    assert_eq!((train.label(0), train.label(2)), (&Label::Class(1), &Label::Class(3)));
}

#[test]
fn digits_and_fashion_mnist_open() {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits");
    let data = open(json!({"kind": "idx", "path": digits, "validation_fraction": 0.1}));
    let sizes = [&data.train, &data.validation, &data.test].map(|s| s.as_ref().unwrap().len());
    assert_eq!(sizes.iter().sum::<usize>(), 1797);
    assert_eq!(data.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let Some(root) = std::env::var_os("KILN_TEST_DATA") else {
        return eprintln!("skipped: set KILN_TEST_DATA");
    };
    let data = open(json!({"kind": "idx", "path": Path::new(&root).join("fashion-mnist")}));
    assert_eq!(
        [&data.train, &data.test].map(|s| s.as_ref().unwrap().class_counts(10)),
        [vec![6000; 10], vec![1000; 10]]
    );
}

#[test]
fn a_pass_goes_on_behind_samples_that_were_seen_in_batches_of_another_size() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(images(dir.path(), 16));
    let (train, order) = (data.train.unwrap(), Order::Train { seed: 5, epoch: 1 });
    let seen = |batches: &[HostBatch]| batches.iter().flat_map(|b| b.indices.clone()).collect::<Vec<usize>>();
    let whole = seen(&all(&train, &data.preprocessor, &config(0), order));
    for (workers, size, drop_last) in [(0, 5, false), (3, 7, false), (2, 5, true)] {
        let config = LoaderConfig { batch_size: size, drop_last, ..config(workers) };
        let loader = Loader::new(&train, &data.preprocessor, &config, order).unwrap();
        let loader = loader.starting_after(12, &config);
        let left = loader.left();
        let batches: Vec<HostBatch> = loader.map(Result::unwrap).collect();
        let until = if drop_last { 12 + (30 - 12) / 5 * 5 } else { 32 };
        assert_eq!(seen(&batches), whole[12..until]);
        assert_eq!((batches.len(), left), ((until - 12_usize).div_ceil(size), left));
        let all_but_last = &batches[..batches.len() - 1];
        assert!(all_but_last.iter().all(|batch| batch.size() == size));
    }
    let loader = Loader::new(&train, &data.preprocessor, &config(0), order).unwrap();
    assert_eq!(loader.starting_after(40, &config(0)).count(), 0, "more than there are");
}

//! Damaged samples among good ones: each named and counted, the others in the same places, for every policy, any number
//! of workers, and from any batch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kiln_core::Exit;
use kiln_data::config::{DataConfig, LoaderConfig, OnBadSample};
use kiln_data::{Dataset, HostBatch, Loader, OpenOptions, Order, Split};
use serde_json::json;

/// 300 images in two classes, 1 % each truncated, empty, no image, CMYK, 16-bit and turned, and five bombs. Gives the
/// names of the bad ones.
fn planted(dir: &Path) -> BTreeSet<String> {
    let (rgb, photo) = (support::bytes("rgb.png"), support::bytes("photo.jpg"));
    let mut bad = BTreeSet::new();
    let mut bombs = support::bombs(60_000).into_iter();
    for i in 0..300 {
        let class = dir.join(["cat", "dog"][i % 2]);
        fs::create_dir_all(&class).unwrap();
        let mut name = class.join(format!("{i:03}.png"));
        match i % 100 {
            7 => fs::write(&name, &rgb[..rgb.len() / 2]).unwrap(),
            20 => fs::write(&name, b"").unwrap(),
            33 => fs::write(&name, b"<html>not found</html>").unwrap(),
            46 => fs::write(&name, support::bytes("cmyk.jpg")).unwrap(),
            59 => support::sixteen_bits(&name),
            72 => fs::write(&name, support::turned(&photo, 6)).unwrap(),
            // The first image of all is a bomb: no size can be taken from it.
            0 | 88 if bombs.len() > 0 => {
                let (ending, bytes) = bombs.next().unwrap();
                name = name.with_extension(ending);
                fs::write(&name, bytes).unwrap();
            }
            _ => fs::write(&name, &rgb).unwrap(),
        }
        if [7, 20, 33].contains(&(i % 100)) || name.extension().is_some_and(|e| e != "png") {
            bad.insert(name.display().to_string());
        }
        // One bomb is a PNG like the good ones.
        if i == 0 {
            bad.insert(name.display().to_string());
        }
    }
    assert_eq!(bombs.len(), 0, "all bombs are planted");
    bad
}

fn open(dir: &Path, policy: &str) -> Dataset {
    let config: DataConfig = serde_json::from_value(json!({"kind": "image_folder", "path": dir,
        "transforms": [{"kind": "resize", "size": [16, 16]}, {"kind": "random_horizontal_flip"}],
        "loader": {"on_bad_sample": policy}}))
    .unwrap();
    Dataset::check(&config, &OpenOptions::default()).unwrap();
    Dataset::open(&config, &OpenOptions::default()).unwrap()
}

fn loader(workers: usize, batch_size: usize, policy: OnBadSample) -> LoaderConfig {
    LoaderConfig {
        batch_size,
        workers,
        prefetch: 3,
        on_bad_sample: policy,
        max_bad_fraction: 0.05,
        ..LoaderConfig::default()
    }
}

const TRAIN: Order = Order::Train { seed: 3, epoch: 1 };

fn pass(data: &Dataset, config: &LoaderConfig, order: Order, from: usize) -> Vec<HostBatch> {
    let split = data.train.as_ref().unwrap();
    let loader = Loader::new(split, &data.preprocessor, config, order).unwrap();
    loader.starting_at(from).map(Result::unwrap).collect()
}

fn names(split: &Split) -> BTreeSet<String> {
    split.bad().into_iter().map(|sample| sample.name).collect()
}

#[test]
fn every_fault_is_named_once_and_the_others_keep_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let bad = planted(dir.path());
    assert_eq!(bad.len(), 14);
    let data = open(dir.path(), "skip");
    let train = data.train.as_ref().unwrap();
    let alone = pass(&data, &loader(0, 8, OnBadSample::Skip), TRAIN, 0);
    assert_eq!(names(train), bad);
    for sample in train.bad() {
        assert!(sample.reason.starts_with(&sample.name), "{sample:?}");
    }
    assert_eq!(alone.len(), 38);
    let left: usize = alone.iter().map(HostBatch::size).sum();
    assert_eq!(left, 300 - 14);

    // The order is that of the same folder without a fault, with the bad ones missing.
    let whole = tempfile::tempdir().unwrap();
    for i in 0..300 {
        let class = whole.path().join(["cat", "dog"][i % 2]);
        fs::create_dir_all(&class).unwrap();
        fs::copy(support::fixture("rgb.png"), class.join(format!("{i:03}.png"))).unwrap();
    }
    let places: BTreeSet<usize> = train.bad().into_iter().map(|sample| sample.index).collect();
    let expected: Vec<Vec<usize>> =
        pass(&open(whole.path(), "fail"), &loader(0, 8, OnBadSample::Fail), TRAIN, 0)
            .into_iter()
            .map(|batch| batch.indices.into_iter().filter(|i| !places.contains(i)).collect())
            .collect();
    assert_eq!(alone.iter().map(|batch| batch.indices.clone()).collect::<Vec<_>>(), expected);

    for workers in [1, 2, 8] {
        assert_eq!(pass(&data, &loader(workers, 8, OnBadSample::Quarantine), TRAIN, 0), alone);
        for from in [1, 7, 37] {
            assert_eq!(pass(&data, &loader(workers, 8, OnBadSample::Skip), TRAIN, from), alone[from..]);
        }
    }
    assert_eq!(train.bad_count(), 14, "counted once, in however many passes");
}

#[test]
fn a_training_batch_without_a_good_sample_takes_the_next_and_evaluation_leaves_it_out() {
    let dir = tempfile::tempdir().unwrap();
    planted(dir.path());
    let data = open(dir.path(), "skip");
    let train = data.train.as_ref().unwrap();
    let ones = pass(&data, &loader(0, 1, OnBadSample::Skip), TRAIN, 0);
    assert_eq!(ones.len(), 300);
    assert!(ones.iter().all(|batch| batch.size() == 1));
    let places: BTreeSet<usize> = train.bad().into_iter().map(|sample| sample.index).collect();
    assert!(ones.iter().all(|batch| !places.contains(&batch.indices[0])));
    for (from, workers) in [(0, 3), (150, 0)] {
        assert_eq!(pass(&data, &loader(workers, 1, OnBadSample::Skip), TRAIN, from), ones[from..]);
    }
    let evaluated = pass(&data, &loader(2, 1, OnBadSample::Skip), Order::Sequential, 0);
    let indices: Vec<usize> = evaluated.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, (0..300).filter(|i| !places.contains(i)).collect::<Vec<_>>());
}

#[test]
fn fail_ends_at_the_first_and_the_others_beyond_their_bound() {
    let dir = tempfile::tempdir().unwrap();
    planted(dir.path());
    let data = open(dir.path(), "skip");
    let train = data.train.as_ref().unwrap();
    let first_error = |config: &LoaderConfig| {
        let mut loader = Loader::new(train, &data.preprocessor, config, TRAIN).unwrap();
        let error = loader.find_map(Result::err).expect("no error");
        assert!(loader.next().is_none(), "it went on after an error");
        error
    };
    for workers in [0, 2] {
        let error = first_error(&loader(workers, 8, OnBadSample::Fail));
        assert!(error.to_string().contains(": expected "), "{error}");
        assert_eq!(error.exit(), Exit::Data);
        assert_eq!(train.bad_count(), 0);
    }
    let few = LoaderConfig { max_bad_fraction: 0.01, ..loader(2, 8, OnBadSample::Skip) };
    let error = first_error(&few);
    let text = error.to_string();
    assert!(text.starts_with("4 of 300 samples cannot be used, 3 are allowed; the last: "), "{text}");
    assert_eq!((error.exit(), train.bad_count()), (Exit::Data, 4));
    assert_eq!(error.hint().unwrap(), "repair or remove them, or raise data.loader.max_bad_fraction");
}

#[test]
fn what_is_quarantined_is_the_file_itself() {
    let dir = tempfile::tempdir().unwrap();
    planted(dir.path());
    let data = open(dir.path(), "quarantine");
    pass(&data, &loader(1, 8, OnBadSample::Quarantine), TRAIN, 0);
    let train = data.train.as_ref().unwrap();
    for sample in train.bad() {
        let (name, bytes) = train.encoded(sample.index).unwrap().unwrap();
        assert!(sample.name.ends_with(&name));
        assert_eq!(bytes, fs::read(&sample.name).unwrap());
    }
}

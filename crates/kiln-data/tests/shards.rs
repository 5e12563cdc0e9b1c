//! Tar shards as Python's `tarfile` writes them (fixtures/make_shards.py): read in any order, cut at any byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::fs;
use std::path::Path;

use kiln_core::{Exit, TaskConfig};
use kiln_data::config::{DataConfig, LoaderConfig, ShuffleBy};
use kiln_data::{
    DataError, Dataset, HostBatch, Label, Loader, OpenOptions, Order, Raw, holds_validation, inputs,
};
use serde_json::{Value, json};
use support::fixture;

fn parse(path: &Path, more: Value) -> DataConfig {
    let mut config = json!({"kind": "webdataset", "path": path,
        "transforms": [{"kind": "random_crop", "size": 12}, {"kind": "random_horizontal_flip"}]});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    serde_json::from_value(config).unwrap()
}

fn open(path: &Path, more: Value) -> Result<Dataset, DataError> {
    Dataset::open(&parse(path, more), &OpenOptions::default())
}

fn shards() -> std::path::PathBuf {
    fixture("shards")
}

#[test]
fn members_that_agree_up_to_the_first_dot_are_one_sample() {
    let all = shards().join("train-{000..001}.tar");
    for (label, classes) in [("cls", ["0", "1", "2"]), ("json.kind", ["cat", "cow", "dog"])] {
        let data = open(&all, json!({"label_member": label})).unwrap();
        assert_eq!(data.classes, classes);
        let train = data.train.unwrap();
        assert_eq!(train.len(), 10);
        for i in 0..10 {
            let Raw::Image(image) = train.raw(i).unwrap() else { panic!("no image") };
            assert_eq!((image.height, image.width, image.channels), (16, 20, 3));
            let expected = [i * 25, 100, 255 - i * 25];
            for (got, expected) in image.pixels[..3].iter().zip(expected) {
                let allowed = if i == 8 { 3 } else { 0 }; // a JPEG
                assert!(
                    (i32::from(*got) - expected as i32).abs() <= allowed,
                    "{i}: {:?}",
                    &image.pixels[..3]
                );
            }
            let class = if label == "cls" { i % 3 } else { [0, 2, 1][i % 3] };
            assert_eq!(train.label(i), &Label::Class(class));
        }
        let long = format!("train-000.tar/pictures/{}0003.png", "long".repeat(36));
        for (i, name) in
            [(0, "train-000.tar/pictures/0000.png"), (3, &long), (7, "train-001.tar/a.b/Käse.png")]
        {
            assert!(train.name(i).ends_with(name), "{}", train.name(i));
        }
        assert_eq!(train.encoded(8).unwrap().unwrap().0, "0008.JPG");
    }
    // A folder, whose files are named after their split, and a pattern of the shell.
    for path in [shards(), shards().join("*-00?.tar")] {
        assert!(!holds_validation(&parse(&path, json!({}))));
        assert_eq!(open(&path, json!({})).unwrap().train.unwrap().len(), 10);
    }
    let divided = open(&all, json!({"validation_fraction": 0.3})).unwrap();
    assert_eq!((divided.train.unwrap().len(), divided.validation.unwrap().len()), (7, 3));

    let program = open(&all, json!({})).unwrap().preprocessor;
    let shard = shards().join("train-001.tar");
    let named: Vec<_> =
        inputs::open(shard.to_str().unwrap(), &program, &[]).unwrap().map(inputs::Input::read).collect();
    assert_eq!(named.len(), 5);
    assert!(named[2].0.ends_with("train-001.tar/a.b/Käse.png"), "{}", named[2].0);
    assert!(named.iter().all(|(_, raw)| matches!(raw, Ok(Raw::Image(_)))));
}

#[test]
fn batches_are_the_same_for_any_workers_from_any_batch_and_in_both_orders() {
    let data = open(&shards(), json!({})).unwrap();
    let train = data.train.as_ref().unwrap();
    for (shuffle_by, buffer) in [(ShuffleBy::Samples, 1), (ShuffleBy::Shards, 1), (ShuffleBy::Shards, 4)] {
        let pass = |workers, epoch, from| -> Vec<HostBatch> {
            let config = LoaderConfig {
                batch_size: 3,
                workers,
                shuffle_by,
                shuffle_buffer: buffer,
                ..LoaderConfig::default()
            };
            let order = Order::Train { seed: 4, epoch };
            let loader = Loader::new(train, &data.preprocessor, &config, order).unwrap();
            loader.starting_at(from).map(Result::unwrap).collect()
        };
        let whole = pass(0, 0, 0);
        for workers in [0, 1, 2, 8] {
            for from in 0..whole.len() {
                assert_eq!(pass(workers, 0, from), whole[from..], "{workers} workers from {from}");
            }
        }
        let indices =
            |batches: &[HostBatch]| batches.iter().flat_map(|b| b.indices.clone()).collect::<Vec<_>>();
        let mut sorted = indices(&whole);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        if (shuffle_by, buffer) == (ShuffleBy::Shards, 1) {
            // Each shard from its start to its end.
            for epoch in 0..5 {
                let order = indices(&pass(2, epoch, 0));
                assert!(
                    order == (0..10).collect::<Vec<_>>() || order == (5..10).chain(0..5).collect::<Vec<_>>()
                );
            }
        }
    }
}

#[test]
fn a_shard_cut_anywhere_is_refused_by_file_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(shards().join("train-001.tar")).unwrap();
    let path = dir.path().join("cut.tar");
    let end = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
    let last = end.div_ceil(512) * 512; // where the end marker begins
    for cut in (1..last).step_by(97).chain([512, 1024, last - 512, last]) {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = open(&path, json!({})).expect_err("it was accepted");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{}: byte {cut}: expected ", path.display())), "{cut}: {text}");
        assert!(text.ends_with("got the end of the file"), "{text}");
        assert_eq!(error.exit(), Exit::Data);
        let faults = Dataset::check(&parse(&path, json!({})), &OpenOptions::default()).unwrap_err();
        assert_eq!(faults[0].to_string(), text, "check says the same");
    }
    // A damaged header between two members.
    let mut damaged = whole;
    let place = damaged.windows(12).position(|w| w == b"a.b/0006.png").unwrap();
    damaged[place] = b'A';
    fs::write(&path, damaged).unwrap();
    let error = open(&path, json!({})).unwrap_err();
    let (file, byte) = (path.display(), place / 512 * 512);
    let message = format!("{file}: byte {byte}: expected a tar header, got a block with another checksum");
    assert_eq!(error.to_string(), message);
}

/// One file of an archive.
fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    block[156] = b'0';
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(content);
    block.resize(block.len().div_ceil(512) * 512, 0);
    block
}

#[track_caller]
fn refused(path: &Path, more: Value, message: &str, hint: &str) {
    let error = open(path, more).expect_err("it was accepted");
    assert_eq!(error.to_string(), message.replace("DIR", &path.parent().unwrap().display().to_string()));
    assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
}

#[test]
fn faults_name_shard_and_sample() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let png = support::bytes("rgb.png");
    let first = 512 + png.len().div_ceil(512) * 512; // after the first image
    let put = |members: &[(&str, &[u8])]| {
        let all: Vec<u8> = members.iter().flat_map(|(name, content)| member(name, content)).collect();
        fs::write(&path, [all, vec![0; 1024]].concat()).unwrap();
    };
    put(&[("0.png", &png), ("0.cls", b"1"), ("1.png", &png), ("1.cls", b"0")]);
    assert_eq!(open(&path, json!({})).unwrap().train.unwrap().len(), 2);
    refused(
        &path,
        json!({"classes": ["0", "2"]}),
        "DIR/a.tar/0.png: class \"1\" is not one of the 2 known classes (0, 2)",
        "correct the label",
    );
    put(&[("0.png", &png), ("0.cls", b"1"), ("1.png", &png), ("2.png", &png), ("2.cls", b"0")]);
    refused(
        &path,
        json!({}),
        "DIR/a.tar/1.png: expected a member of the same key with its class, ending in .cls, got none, or an empty one",
        "label_member",
    );
    put(&[("0.png", &png), ("0.cls", b"1"), ("1.cls", b"0")]);
    refused(
        &path,
        json!({}),
        &format!("DIR/a.tar: byte {}: sample \"1\" has no image", first + 1024),
        "side by side",
    );
    put(&[("0.png", &png), ("0.json", b"{\"label\": [1]}")]);
    refused(
        &path,
        json!({"label_member": "json.label"}),
        &format!("DIR/a.tar: byte {first}: expected a class in \"0.json\", got [1] at \"label\""),
        "json.KEY",
    );
    put(&[("0.png", &png), ("0.cls", b"\xff1")]);
    refused(
        &path,
        json!({}),
        &format!("DIR/a.tar: byte {first}: expected a class in \"0.cls\", got no UTF-8 at byte 0"),
        "label_member",
    );
    refused(
        &path,
        json!({"label_member": "json"}),
        "data.label_member: a JSON object has many values, and none is named",
        "json.label",
    );
    put(&[]);
    refused(&path, json!({}), "DIR/a.tar: holds no samples", "leave the shard out");
    fs::write(&path, b"\x1f\x8b\x08rest").unwrap();
    refused(
        &path,
        json!({}),
        "DIR/a.tar: a tar file in gzip, which cannot be read from the middle",
        "unpack it to a plain .tar",
    );
    refused(
        &dir.path().join("b-{0..1}.tar"),
        json!({}),
        "DIR/b-0.tar: not found, expected a tar file",
        "check the path",
    );
    refused(
        &dir.path().join("c-*.tar"),
        json!({}),
        "DIR/c-*.tar: not found, expected tar files",
        "check the path",
    );
    let options = OpenOptions { task: TaskConfig::TokenClassification, ..OpenOptions::default() };
    let error = Dataset::open(&parse(&shards(), json!({})), &options).unwrap_err();
    assert!(error.to_string().contains("one class a sample"), "{error}");
}

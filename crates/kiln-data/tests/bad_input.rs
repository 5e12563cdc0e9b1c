//! Every kind of bad input: refused with the place, the fault and a remedy, through the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::Exit;
use kiln_data::config::DataConfig;
use kiln_data::{DataError, Dataset, OpenOptions, Preprocessor, decode_file};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn fault(config: Value) -> DataError {
    let config: DataConfig = serde_json::from_value(config).unwrap();
    Dataset::open(&config, &OpenOptions::default()).expect_err("it was accepted")
}

/// Asserts that the message holds all `parts`, that there is a remedy, and that the exit is 4 (data) or 2 (config).
#[track_caller]
fn says(error: &DataError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "\"{part}\" is not in: {text}");
    }
    assert!(error.hint().is_some(), "no remedy: {text}");
    assert!(matches!(error.exit(), Exit::Data | Exit::Usage), "{text}");
}

fn classes(dir: &Path, names: &[&str]) {
    for name in names {
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::copy(fixture("rgb.png"), dir.join(name).join("0.png")).unwrap();
    }
}

fn folder(dir: &Path) -> Value {
    json!({"kind": "image_folder", "path": dir})
}

#[test]
fn image_folders() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    says(&fault(folder(&root.join("nowhere"))), &["nowhere", "not found"]);
    classes(root, &["cat", "dog"]);
    fs::write(root.join("cat/.hidden"), "x").unwrap();
    let open =
        |config: Value| Dataset::open(&serde_json::from_value(config).unwrap(), &OpenOptions::default());
    assert_eq!(open(folder(root)).unwrap().train.unwrap().len(), 2);
    fs::write(root.join("cat/notes.txt"), "x").unwrap();
    fs::write(root.join("cat/more.txt"), "x").unwrap();
    says(&fault(folder(root)), &["cat/more.txt", "2 file(s)"]);
    fs::remove_file(root.join("cat/notes.txt")).unwrap();
    fs::remove_file(root.join("cat/more.txt")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    says(&fault(folder(root)), &["empty", "empty folder"]);
    let config: DataConfig = serde_json::from_value(folder(root)).unwrap();
    assert_eq!(Dataset::check(&config, &OpenOptions::default()).unwrap_err().len(), 1);
    fs::remove_dir(root.join("empty")).unwrap();
    fs::write(root.join("stray.png"), "x").unwrap();
    says(&fault(folder(root)), &["stray.png"]);
}

#[test]
fn a_class_unknown_to_training_or_to_the_model() {
    let dir = tempfile::tempdir().unwrap();
    classes(&dir.path().join("train"), &["cat", "dog"]);
    classes(&dir.path().join("test"), &["cat", "cow"]);
    says(&fault(folder(dir.path())), &["test/cow", "cow", "cat, dog"]);
    let config: DataConfig = serde_json::from_value(folder(&dir.path().join("train"))).unwrap();
    let data = Dataset::open(&config, &OpenOptions::default()).unwrap();
    let known = ["cat".to_string(), "cow".to_string()];
    let error = Dataset::open_for(
        &config,
        Arc::clone(&data.preprocessor),
        &known,
        kiln_core::TaskKind::Classification,
    )
    .expect_err("it was accepted");
    says(&error, &["dog"]);
}

/// As PNG and zlib have it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

#[test]
fn images() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.png");
    let bytes = fs::read(fixture("rgb.png")).unwrap();
    for (content, part) in [(&b""[..], "empty"), (&bytes[..60], "x.png"), (&b"plain text"[..], "x.png")] {
        fs::write(&path, content).unwrap();
        says(&decode_file(&path).unwrap_err(), &["x.png", part]);
    }
    let jpeg = fs::read(fixture("photo.jpg")).unwrap();
    fs::write(&path, &jpeg[..jpeg.len() / 2]).unwrap();
    says(&decode_file(&path).unwrap_err(), &["x.png", "cut short"]);
    // A PNG that announces 60,000 x 60,000 pixels: refused by its header.
    let mut bomb = bytes.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    fs::write(&path, &bomb).unwrap();
    says(&decode_file(&path).unwrap_err(), &["x.png"]);
    // Of no width: a PNG (with the check sum of its new header), a GIF, a BMP.
    let mut png = bytes;
    png[16..20].fill(0);
    let sum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    let gif = b"GIF89a\0\0\x08\0\0\0\0,\0\0\0\0\0\0\x08\0\0\x02\x02L\x01\0;".to_vec();
    let mut bmp = Vec::new();
    let picture = image::RgbImage::new(8, 8);
    picture.write_to(&mut std::io::Cursor::new(&mut bmp), image::ImageFormat::Bmp).unwrap();
    bmp[18..22].fill(0);
    for content in [png, gif, bmp] {
        fs::write(&path, &content).unwrap();
        says(&decode_file(&path).unwrap_err(), &["x.png", "whole image"]);
    }
}

#[test]
fn images_of_two_sizes() {
    let dir = tempfile::tempdir().unwrap();
    classes(dir.path(), &["a", "b"]);
    fs::copy(fixture("photo.jpg"), dir.path().join("b/1.jpg")).unwrap();
    let config: DataConfig = serde_json::from_value(folder(dir.path())).unwrap();
    let data = Dataset::open(&config, &OpenOptions::default()).unwrap();
    let train = data.train.unwrap();
    let name = train.name(2);
    let error = data.preprocessor.prepare_named(train.raw(2).unwrap(), &name, None).unwrap_err();
    says(&error, &["b/1.jpg", "23 high and 31 wide", "40 high and 33 wide"]);
}

#[test]
fn transforms() {
    let dir = tempfile::tempdir().unwrap();
    classes(dir.path(), &["a", "b"]);
    let with =
        |transforms: Value| json!({"kind": "image_folder", "path": dir.path(), "transforms": transforms});
    let normalize =
        |n: usize, std: f32| json!({"kind": "normalize", "mean": vec![0.5; n], "std": vec![std; n]});
    says(&fault(with(json!([normalize(1, 0.5)]))), &["transforms[0].mean", "3"]);
    says(&fault(with(json!([normalize(3, 0.0)]))), &["transforms[0].std", "zero"]);
    says(&fault(with(json!([normalize(3, 0.5), {"kind": "center_crop", "size": 8}]))), &["before another"]);
    says(&fault(with(json!([{"kind": "center_crop", "size": [0, 8]}]))), &["transforms[0].size"]);
    says(&fault(json!({"kind": "image_folder", "path": dir.path(), "channels": 2})), &["data.channels", "2"]);
    let bucketing = json!({"kind": "image_folder", "path": dir.path(), "loader": {"length_bucketing": true}});
    says(&fault(bucketing), &["length_bucketing"]);
    let config: DataConfig =
        serde_json::from_value(with(json!([{"kind": "random_crop", "size": 64, "padding": 2}]))).unwrap();
    let data = Dataset::open(&config, &OpenOptions::default()).unwrap();
    let raw = data.train.unwrap().raw(0).unwrap();
    says(
        &data.preprocessor.prepare_named(raw, "a/0.png", Some(1)).unwrap_err(),
        &["a/0.png", "64x64", "27x35"],
    );
}

#[test]
fn splits() {
    let dir = tempfile::tempdir().unwrap();
    classes(dir.path(), &["a", "b"]);
    let with = |key: &str, value: Value| {
        let mut config = folder(dir.path());
        config[key] = value;
        config
    };
    says(&fault(with("validation_fraction", json!(0.5))), &["class \"a\"", "at least 2", "got 1"]);
    says(&fault(with("train", json!(dir.path()))), &["data.train"]);
    says(&fault(with("classes", json!(["a", "a", "b"]))), &["data.classes", "twice"]);
    let mut both = with("validation", json!(dir.path()));
    both["validation_fraction"] = json!(0.1);
    says(&fault(both), &["data.validation_fraction", "already given"]);
    says(&fault(json!({"kind": "idx"})), &["data.path"]);
}

#[test]
fn idx() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"kind": "idx", "path": dir.path()});
    says(&fault(config.clone()), &["train-images-idx3-ubyte", "not found"]);
    let (images, labels) =
        (dir.path().join("train-images-idx3-ubyte"), dir.path().join("train-labels-idx1-ubyte"));
    let file = |magic: u32, dims: &[u32], n: usize| {
        let mut bytes = magic.to_be_bytes().to_vec();
        dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend((0..n).map(|i| (i % 3) as u8));
        bytes
    };
    fs::write(&images, file(0x803, &[4, 2, 2], 16)).unwrap();
    says(&fault(config.clone()), &["train-labels-idx1-ubyte", "labels of"]);
    fs::write(&labels, file(0x801, &[4], 4)).unwrap();
    assert!(Dataset::open(&serde_json::from_value(config.clone()).unwrap(), &OpenOptions::default()).is_ok());
    fs::write(&labels, file(0x801, &[5], 5)).unwrap();
    says(&fault(config.clone()), &["byte 4", "4 labels", "got 5"]);
    for (content, parts) in [
        (file(0x801, &[4, 2, 2], 16), ["byte 0", "0x00000803"]),
        (file(0x803, &[4, 2, 2], 9), ["byte 25", "16 bytes"]),
        (file(0x803, &[4, 2, 2], 17), ["byte 32", "more"]),
        (file(0x803, &[4, 0, 2], 0), ["byte 8", "at least 1"]),
        (file(0x803, &[u32::MAX, u32::MAX, 9], 0), ["byte 4", "at most"]),
        (b"\0\0".to_vec(), ["byte 0", "magic"]),
    ] {
        fs::write(&images, content).unwrap();
        says(&fault(config.clone()), &parts);
    }
    fs::write(&images, file(0x803, &[4, 2, 2], 16)).unwrap();
    fs::write(&labels, file(0x801, &[4], 4)).unwrap();
    let mut named = config;
    named["classes"] = json!(["x", "y"]);
    says(&fault(named), &["labels-idx1-ubyte:2", "class \"2\""]);
}

#[test]
fn tables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let numbers = json!({"kind": "csv", "path": path, "features": ["width", "height"], "label": "class"});
    for (content, parts) in [
        ("", &["t.csv:1", "empty file"][..]),
        ("width,height,class\n", &["t.csv:1", "at least one row"]),
        ("widht,height,class\n1,2,a\n", &["no column \"width\"", "widht, height, class"]),
        ("width,height,class\n1,2,a\n1,2,\n", &["t.csv:3", "label", "unlabelled"]),
        ("width,height,class\n1,2,a\n1,2\n", &["t.csv:3", "3 columns", "got 2"]),
        ("width,height,class\n1,2,a\n1,tall,b\n", &["t.csv:3", "column 1", "tall"]),
        ("width,height,class\n1,2,a\nNaN,2,b\n", &["t.csv:3", "finite", "NaN"]),
        ("width,height,class\n1,1e99,a\n", &["t.csv:2", "1e99"]),
        ("width,width,height,class\n1,1,1,a\n", &["two of that name"]),
        ("width,height,class\n1,2,a\n", &["at least 2"]),
    ] {
        fs::write(&path, content).unwrap();
        says(&fault(numbers.clone()), parts);
    }
    fs::write(&path, b"width,height,class\n1,2,a\n1,2,caf\xE9\n").unwrap();
    says(&fault(numbers.clone()), &["t.csv:3", "UTF-8", "0xe9 at byte 3 of column 2"]);
    fs::write(&path, "widht,height,class\n1,2,a\n").unwrap();
    assert_eq!(fault(numbers.clone()).hint().unwrap(), "did you mean \"widht\"?");
    let config: DataConfig = serde_json::from_value(numbers).unwrap();
    assert_eq!(Dataset::check(&config, &OpenOptions::default()).unwrap_err().len(), 1);
    says(&fault(json!({"kind": "csv", "path": path, "label": 0})), &["data.text"]);
    says(
        &fault(json!({"kind": "csv", "path": path, "header": false, "features": [0, 7], "label": 2})),
        &["no column 7", "0 to 2"],
    );
    says(&fault(json!({"kind": "csv", "path": dir.path(), "features": [0], "label": 2})), &["table"]);
}

/// The same place is named whether lines end in LF or CRLF.
#[test]
fn lines_are_counted_as_an_editor_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.csv");
    let text = "a,b,kind\n1,2,x\n3,4,\"y\"\n5,\"6\",x\n7,oops,y\n";
    for text in [text.to_string(), text.replace('\n', "\r\n")] {
        fs::write(&path, &text).unwrap();
        let config = json!({"kind": "csv", "path": path, "features": ["a", "b"], "label": "kind"});
        says(&fault(config.clone()), &["rows.csv:5", "oops"]);
        fs::write(&path, text.replace("oops", "8")).unwrap();
        let data = Dataset::open(&serde_json::from_value(config).unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!(data.classes, ["x", "y"]);
        let train = data.train.unwrap();
        let names: Vec<String> = (0..train.len()).map(|i| train.name(i)).collect();
        let lines: Vec<&str> = names.iter().map(|name| name.rsplit(':').next().unwrap()).collect();
        assert_eq!(lines, ["2", "3", "4", "5"], "{names:?}");
    }
}

#[test]
fn json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    let config = json!({"kind": "jsonl", "path": path, "features": ["x"], "label": "y"});
    for (content, parts) in [
        ("{\"x\": 1, \"y\": \"a\"}\n{\"x\": 1\n", &["t.jsonl:2", "JSON object"][..]),
        ("{\"x\": 1, \"y\": \"a\"}\n\n{\"x\": \"1\", \"y\": 1}\n", &["t.jsonl:3", "finite number"]),
        ("{\"x\": 1, \"y\": null}\n", &["t.jsonl:1", "unlabelled"]),
        ("{\"z\": 1, \"y\": 1}\n", &["t.jsonl:1", "key \"x\"", "z, y"]),
        ("", &["t.jsonl:1", "at least one row"]),
    ] {
        fs::write(&path, content).unwrap();
        says(&fault(config.clone()), parts);
    }
    says(
        &fault(json!({"kind": "jsonl", "path": path, "features": [0], "label": "y"})),
        &["column 0", "order"],
    );
}

#[test]
fn tokenizers() {
    let dir = tempfile::tempdir().unwrap();
    let (table, path) = (dir.path().join("t.tsv"), dir.path().join("tokenizer.json"));
    fs::write(&table, "good\t1\nbad\t0\n").unwrap();
    let with = |tokenizer: Value| json!({"kind": "tsv", "path": table, "header": false, "text": 0, "label": 1, "tokenizer": tokenizer});
    says(&fault(with(json!({}))), &["data.tokenizer.path"]);
    says(&fault(with(json!({"path": dir.path()}))), &["tokenizer.json", "not found"]);
    fs::write(&path, "{}").unwrap();
    says(&fault(with(json!({"path": path}))), &["tokenizer.json", "not a tokenizer.json"]);
    says(
        &fault(with(json!({"path": fixture("tokenizer.json"), "max_length": 2}))),
        &["max_length 2", "2 special"],
    );
    let source = fs::read_to_string(fixture("tokenizer.json")).unwrap();
    let mut bare: Value = serde_json::from_str(&source.replace("[PAD]", "[FILL]")).unwrap();
    bare["padding"] = Value::Null;
    fs::write(&path, bare.to_string()).unwrap();
    says(&fault(with(json!({"path": path}))), &["no padding token"]);
}

#[test]
fn model_folders() {
    let dir = tempfile::tempdir().unwrap();
    says(&Preprocessor::load(dir.path()).unwrap_err(), &["not found", "model folder"]);
    fs::write(dir.path().join("preprocessor_config.json"), "{\"do_resize\": true}").unwrap();
    says(&Preprocessor::load(dir.path()).unwrap_err(), &["preprocessor_config.json", "kiln"]);
}

/// Training rows, and validation rows, of CSV.
fn two_files(dir: &Path, train: &str, validation: &str) -> Value {
    fs::write(dir.join("train.csv"), train).unwrap();
    fs::write(dir.join("validation.csv"), validation).unwrap();
    json!({"kind": "csv", "train": dir.join("train.csv"), "validation": dir.join("validation.csv"),
        "text": "text", "label": "label", "tokenizer": {"path": fixture("tokenizer.json")}})
}

#[test]
fn classes_and_splits_that_do_not_fit_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().display().to_string();
    let train = "text,label\nfine,good\npoor,bad\n";
    let error = fault(two_files(dir.path(), train, "text,label\nhm,good\nwell,mixed\n"));
    let message =
        format!("{here}/validation.csv:3: class \"mixed\" is not one of the 2 known classes (bad, good)");
    assert_eq!(error.to_string(), message);
    let error = fault(two_files(dir.path(), train, "text,label\n"));
    assert_eq!(error.to_string(), format!("{here}/validation.csv:1: expected at least one row, got none"));
}

#[test]
fn labels_of_mixed_types_and_bytes_that_are_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().display().to_string();
    let path = dir.path().join("rows.jsonl");
    let config = json!({"kind": "jsonl", "path": path, "text": "text", "label": "label",
        "tokenizer": {"path": fixture("tokenizer.json")}});
    for (rows, message) in [
        (
            &b"{\"text\": \"a\", \"label\": null}\n{\"text\": \"b\", \"label\": 1}\n{\"text\": \"c\", \"label\": \"1\"}\n"[..],
            "rows.jsonl:3: expected a number in \"label\", as in line 2, got \"1\"",
        ),
        (
            b"{\"text\": \"a\", \"label\": 1}\n{\"text\": 7, \"label\": 0}\n",
            "rows.jsonl:2: expected a string in text, got 7",
        ),
        (
            b"{\"text\": \"a\xFF\", \"label\": 1}\n",
            "rows.jsonl:1: expected UTF-8 text, got invalid utf-8 sequence of 1 bytes from index 11",
        ),
    ] {
        fs::write(&path, rows).unwrap();
        assert_eq!(fault(config.clone()).to_string(), format!("{here}/{message}"));
    }
}

#[test]
fn images_without_pixels() {
    for (kind, bytes) in support::bombs(0).into_iter().filter(|(kind, _)| *kind != "webp") {
        let error = kiln_data::decode_bytes(&bytes, kind).expect_err(kind);
        says(&error, &[kind, "expected a whole image"]);
    }
}

#[test]
fn a_label_outside_the_classes_that_are_set() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().display().to_string();
    let rows = "text,label\nfine,good\npoor,bad\nso so,mixed\n";
    let mut config = two_files(dir.path(), rows, "text,label\nhm,good\n");
    config["classes"] = json!(["good", "bad"]);
    let message =
        format!("{here}/train.csv:4: class \"mixed\" is not one of the 2 known classes (good, bad)");
    assert_eq!(fault(config).to_string(), message);
    classes(&dir.path().join("images"), &["cat", "dog", "cow"]);
    let mut config = folder(&dir.path().join("images"));
    config["classes"] = json!(["cat", "dog"]);
    says(&fault(config), &["images/cow", "class \"cow\"", "2 known classes (cat, dog)"]);
}

#[test]
fn split_folders_without_images() {
    let dir = tempfile::tempdir().unwrap();
    classes(&dir.path().join("train"), &["cat", "dog"]);
    fs::create_dir(dir.path().join("validation")).unwrap();
    says(&fault(folder(dir.path())), &["validation", "expected one folder a class, got none"]);
    fs::create_dir(dir.path().join("validation/cat")).unwrap();
    says(&fault(folder(dir.path())), &["validation/cat", "empty folder"]);
}

//! Parquet: what pyarrow and Hugging Face's `datasets` wrote (fixtures/make_parquet.py), read as pyarrow reads it, and
//! every fault with its file, column and row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::{Exit, RegressionConfig, TaskConfig};
use kiln_data::config::{DataConfig, LoaderConfig, ShuffleBy};
use kiln_data::{
    DataError, Dataset, HostBatch, Label, Loader, OpenOptions, Order, Raw, Split, holds_validation, inputs,
    scan,
};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(fixture("parquet.json")).unwrap()).unwrap()
}

fn parse(config: Value) -> DataConfig {
    serde_json::from_value(config).unwrap()
}

fn open(config: Value, task: TaskConfig) -> Result<Dataset, DataError> {
    let options = OpenOptions { task, ..OpenOptions::default() };
    Dataset::open(&parse(config), &options)
}

fn raws(split: &Split) -> Vec<Raw> {
    (0..split.len()).map(|i| split.raw(i).unwrap()).collect()
}

fn table(file: &str, more: Value) -> Value {
    let mut config = json!({"kind": "parquet", "path": fixture("parquet").join(file), "label": "label"});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    if config.get("text").is_some() || config.get("tokens").is_some() {
        config["tokenizer"] = json!({"path": fixture("tokenizer.json")});
    }
    config
}

#[test]
fn every_type_is_read_as_pyarrow_reads_it() {
    let expected = &expected()["table"];
    for file in ["table.parquet", "table_zstd_v2.parquet"] {
        let data =
            open(table(file, json!({"text": "text", "text_pair": "large"})), TaskConfig::default()).unwrap();
        assert_eq!(data.classes, ["0", "1", "2"]);
        let train = data.train.unwrap();
        for (i, raw) in raws(&train).into_iter().enumerate() {
            let text = |column: &str| expected[column][i].as_str().unwrap().to_string();
            assert_eq!(raw, Raw::Pair(text("text"), text("large")));
            assert_eq!(train.label(i), &Label::Class(expected["label"][i].as_u64().unwrap() as usize));
            assert_eq!(train.name(i), format!("{}:{}", fixture("parquet").join(file).display(), i + 1));
        }

        let rows = json!({"features": ["wide", "count"], "categories": ["street", 3], "label": "small",
            "table": {"missing": "mean"}});
        let data =
            open(table(file, rows), TaskConfig::Regression(RegressionConfig { standardize: false })).unwrap();
        let train = data.train.unwrap();
        for (i, raw) in raws(&train).into_iter().enumerate() {
            let Raw::Row { numbers, categories } = raw else { panic!("{raw:?}") };
            let wide = expected["wide"][i].as_f64().map_or(f32::NAN, |v| v as f32);
            assert_eq!(numbers[0].to_bits(), wide.to_bits());
            assert_eq!(numbers[1], expected["count"][i].as_u64().unwrap() as f32);
            let flag = expected["flag"][i].as_bool().unwrap().to_string();
            assert_eq!(categories, [expected["street"][i].as_str().unwrap_or("").to_string(), flag]);
            assert_eq!(train.label(i), &Label::Values(vec![expected["small"][i].as_f64().unwrap() as f32]));
        }

        let data =
            open(table(file, json!({"tokens": "words", "label": "tags"})), TaskConfig::TokenClassification)
                .unwrap();
        let words = |i: usize| serde_json::from_value(expected["words"][i].clone()).unwrap();
        let found = raws(data.train.as_ref().unwrap());
        assert_eq!(found, (0..10).map(|i| Raw::Words(words(i))).collect::<Vec<_>>());
        assert_eq!(data.classes, ["B-X", "O"]);
    }
}

#[test]
fn long_row_groups_keep_their_nulls_in_place() {
    let file = "long.parquet";
    let rows = json!({"features": ["x", "y"], "label": "z", "table": {"missing": "mean", "numeric": "none"}});
    let train = open(table(file, rows), TaskConfig::default()).unwrap().train.unwrap();
    assert_eq!(train.len(), 20_000);
    for (i, raw) in raws(&train).into_iter().enumerate() {
        let Raw::Row { numbers, .. } = raw else { panic!("{raw:?}") };
        let x = if [15_000, 15_001, 19_999].contains(&i) { f32::NAN } else { (i % 7) as f32 };
        let y = if i % 9_999 == 5 { f32::NAN } else { (i % 5) as f32 };
        assert_eq!(
            numbers.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [x.to_bits(), y.to_bits()],
            "row {i}"
        );
        assert_eq!(train.label(i), &Label::Class(i % 3), "row {i}");
    }
    let words = json!({"tokens": "words", "label": "tags", "classes": ["t", "u"]});
    let train = open(table(file, words), TaskConfig::TokenClassification).unwrap().train.unwrap();
    for i in [0, 1, 8_191, 8_192, 8_193, 19_999] {
        assert_eq!(train.raw(i).unwrap(), Raw::Words(vec!["a".into(); i % 3 + 1]), "row {i}");
    }
    let scanned = scan(&fixture("parquet").join(file), &["x", "z"].map(String::from)).unwrap();
    assert_eq!(scanned[0].len(), 20_000);
    let sum = |f: fn(usize) -> usize| (0..20_000).map(f).sum::<usize>() as f64;
    assert_eq!(scanned[1].checksum(), sum(|i| i % 3));
    let without = [15_000, 15_001, 19_999].into_iter().map(|i| (i % 7) as f64).sum::<f64>();
    assert_eq!(scanned[0].checksum(), sum(|i| i % 7) - without);
}

#[test]
fn a_dataset_card_names_the_classes_that_no_footer_names() {
    let folder = fixture("parquet/card");
    let config = json!({"kind": "parquet", "path": folder, "text": "text", "label": "label",
        "tokenizer": {"path": fixture("tokenizer.json")}});
    let data = open(config.clone(), TaskConfig::default()).unwrap();
    assert_eq!(data.classes, ["zebra", "it's an ant", "bee: a", "007", "no"]);
    let train = data.train.unwrap();
    assert!((0..10).all(|i| train.label(i) == &Label::Class(i % 5)));
    // A copy whose card is gone, and one whose card knows fewer classes.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("data")).unwrap();
    let file = "data/train-00000-of-00001.parquet";
    fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    let mut alone = config;
    alone["path"] = json!(copy.path());
    assert_eq!(open(alone.clone(), TaskConfig::default()).unwrap().classes, ["0", "1", "2", "3", "4"]);
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    let shorter = card.replace("          '4': 'no'\n", "");
    assert_ne!(shorter, card);
    fs::write(copy.path().join("README.md"), shorter).unwrap();
    let error = open(alone, TaskConfig::default()).unwrap_err().to_string();
    assert!(error.contains(":5: expected 0 to 3 in \"label\", got 4"), "{error}");
}

#[test]
fn a_hugging_face_folder_has_its_splits_classes_and_images() {
    let config = json!({"kind": "parquet", "path": fixture("parquet/images"), "image": "image", "label": "label",
        "transforms": [{"kind": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}]});
    assert!(!holds_validation(&parse(config.clone())));
    Dataset::check(&parse(config.clone()), &OpenOptions::default()).unwrap();
    let data = open(config.clone(), TaskConfig::default()).unwrap();
    // In the order of the footer, not of the alphabet.
    assert_eq!(data.classes, ["zebra", "ant", "bee"]);
    let (train, test) = (data.train.unwrap(), data.test.unwrap());
    assert_eq!((train.len(), test.len(), data.validation.is_none()), (7, 3, true));
    let expected = expected();
    for (i, (split, at)) in (0..7).map(|i| (&train, i)).chain((0..3).map(|i| (&test, i))).enumerate() {
        let Raw::Image(image) = split.raw(at).unwrap() else { panic!("no image") };
        assert_eq!((image.height, image.width), (16, 20));
        let row = &expected["images"][i];
        assert_eq!(json!(image.pixels[..3]), row["pixel"]);
        assert_eq!(split.label(at), &Label::Class(row["label"].as_u64().unwrap() as usize));
    }
    assert!(train.name(4).ends_with("train-00001-of-00002.parquet:1"), "{}", train.name(4));

    // Evaluation of a model of other classes, and prediction, read the same images.
    let file = fixture("parquet/images/data/test-00000-of-00001.parquet");
    let named: Vec<_> = inputs::open(file.to_str().unwrap(), &data.preprocessor, &[])
        .unwrap()
        .map(inputs::Input::read)
        .collect();
    let names: Vec<_> = named.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, (0..3).map(|i| test.name(i)).collect::<Vec<_>>());
    for (i, (_, raw)) in named.into_iter().enumerate() {
        assert_eq!(raw.unwrap(), test.raw(i).unwrap());
    }
    let known = ["ant".to_string(), "bee".into()];
    let error = Dataset::open_for(&parse(config), data.preprocessor, &known, TaskConfig::default().kind());
    let text = error.unwrap_err().to_string();
    assert!(text.ends_with("class \"zebra\" is not one of the 2 known classes (ant, bee)"), "{text}");
}

#[test]
fn whole_shards_are_shuffled_exactly() {
    let config =
        json!({"kind": "parquet", "path": fixture("parquet/images"), "image": "image", "label": "label"});
    let data = open(config, TaskConfig::default()).unwrap();
    let train = data.train.unwrap();
    let config = |workers, buffer| LoaderConfig {
        batch_size: 2,
        workers,
        shuffle_by: ShuffleBy::Shards,
        shuffle_buffer: buffer,
        ..LoaderConfig::default()
    };
    let pass = |config: &LoaderConfig, epoch, from| -> Vec<HostBatch> {
        let loader =
            Loader::new(&train, &data.preprocessor, config, Order::Train { seed: 1, epoch }).unwrap();
        loader.starting_at(from).map(Result::unwrap).collect()
    };
    let indices = |batches: &[HostBatch]| batches.iter().flat_map(|b| b.indices.clone()).collect::<Vec<_>>();
    let whole = pass(&config(0, 3), 0, 0);
    for (workers, from) in [(1, 0), (2, 1), (8, 2), (0, 3)] {
        assert_eq!(pass(&config(workers, 3), 0, from), whole[from..]);
    }
    assert_ne!(indices(&pass(&config(0, 3), 1, 0)), indices(&whole));
    // With a buffer of one the row groups (0 1, 2 3, 4 5, 6) stay whole and in order within.
    let mut groups = std::collections::BTreeSet::new();
    for epoch in 0..20 {
        let order = indices(&pass(&config(0, 1), epoch, 0));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        for first in [0, 2, 4] {
            let place = order.iter().position(|&i| i == first).unwrap();
            assert_eq!(order[place + 1], first + 1, "{order:?}");
        }
        groups.insert(order);
    }
    assert!(groups.len() > 5, "{groups:?}");
}

#[track_caller]
fn refused(config: Value, message: &str, hint: &str) {
    let error = open(config, TaskConfig::default()).expect_err("it was accepted");
    let message = message.replace("DIR", &fixture("parquet").display().to_string());
    assert_eq!(error.to_string(), message);
    assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
    assert!(matches!(error.exit(), Exit::Data | Exit::Usage));
}

#[test]
fn faults_name_file_column_and_row() {
    let text = json!({"text": "text"});
    refused(
        table("table.parquet", json!({"text": "txet"})),
        "DIR/table.parquet: no column \"txet\"; the columns are text, large, label, flag, small, wide, count, street, \
         words, tags, day",
        "did you mean \"text\"?",
    );
    refused(
        table("table.parquet", json!({"text": "text", "label": 40})),
        "DIR/table.parquet: no column 40; the columns are text, large, label, flag, small, wide, count, street, words, \
         tags, day",
        "name a column",
    );
    refused(
        table("null.parquet", text.clone()),
        "DIR/null.parquet:2: expected a string in \"text\", got null",
        "repair",
    );
    refused(
        table("latin.parquet", text.clone()),
        "DIR/latin.parquet:2: expected UTF-8 text in \"text\", got 0xff at byte 4",
        "repair",
    );
    refused(
        table("table.parquet", json!({"features": ["text"]})),
        "DIR/table.parquet:1: expected a finite number in \"text\", got \"row 0 é\"",
        "data.categories",
    );
    refused(
        table("table.parquet", json!({"features": ["wide"]})),
        "DIR/table.parquet:4: expected a finite number in \"wide\", got null",
        "data.table.missing",
    );
    refused(
        table("table.parquet", json!({"text": "count"})),
        "DIR/table.parquet:1: expected a string in \"count\", got 4294967295",
        "repair",
    );
    refused(
        table("table.parquet", json!({"categories": ["day"]})),
        "DIR/table.parquet: row group 0: NYI: column \"day\" holds FIXED_LEN_BYTE_ARRAY, expected strings, bytes, whole \
         numbers, floats or booleans",
        "Parquet",
    );
    refused(
        table("table.parquet", json!({"image": "count"})),
        "DIR/table.parquet: column \"count\" holds no images: int32",
        "name a column of bytes",
    );
    refused(
        table("no.parquet", text),
        "DIR/no.parquet: not found, expected a Parquet file or a folder of them",
        "check the path",
    );
}

#[test]
fn files_of_another_schema_are_refused_by_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| {
        fs::copy(fixture("parquet").join(from), dir.path().join(to)).unwrap();
    };
    let config = json!({"kind": "parquet", "path": dir.path(), "text": "text", "label": "label",
        "tokenizer": {"path": fixture("tokenizer.json")}});
    put("table.parquet", "train-0.parquet");
    put("other_schema.parquet", "train-1.parquet");
    let here = dir.path().display();
    let faults = Dataset::check(&parse(config.clone()), &OpenOptions::default()).unwrap_err();
    let message = format!(
        "{here}/train-1.parquet: column \"label\" is string here, and int32 in {here}/train-0.parquet"
    );
    assert_eq!(faults[0].to_string(), message);
    assert_eq!(open(config.clone(), TaskConfig::default()).unwrap_err().to_string(), message);
    put("no_label.parquet", "train-1.parquet");
    let message = format!(
        "{here}/train-1.parquet: column \"label\" is absent here, and int32 in {here}/train-0.parquet"
    );
    assert_eq!(open(config.clone(), TaskConfig::default()).unwrap_err().to_string(), message);

    // Cut, and something else altogether.
    let whole = fs::read(fixture("parquet/table.parquet")).unwrap();
    for (bytes, word) in
        [(&whole[..whole.len() / 2], "Invalid Parquet file"), (&b"text,label\n"[..], "Parquet")]
    {
        fs::write(dir.path().join("train-1.parquet"), bytes).unwrap();
        let error = open(config.clone(), TaskConfig::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("{here}/train-1.parquet: ")) && text.contains(word), "{text}");
        assert!(error.hint().unwrap().contains("cut short"));
    }
    for file in ["train-0.parquet", "train-1.parquet"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    let error = open(config, TaskConfig::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("{here}/*.parquet: not found, expected Parquet files"));
}

//! Tables of numbers and categories: what is fitted on the training rows, kept in the model folder, and refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::fs;
use std::path::Path;

use kiln_core::{InputSpec, RegressionConfig, TaskConfig, TaskKind};
use kiln_data::config::DataConfig;
use kiln_data::{DataError, Dataset, Features, Label, OpenOptions, Preprocessor, Split};
use serde_json::{Value, json};

const TRAIN: &str = "age,size,colour,price\n1,10,red,3\n3,10,blue,5\n5,10,red,10\n";

fn regression(standardize: bool) -> OpenOptions<'static> {
    OpenOptions { task: TaskConfig::Regression(RegressionConfig { standardize }), ..OpenOptions::default() }
}

fn config(folder: &Path, more: Value) -> DataConfig {
    let mut config = json!({"kind": "csv", "train": folder.join("train.csv"), "features": ["age", "size"],
        "categories": ["colour"], "label": "price"});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    serde_json::from_value(config).unwrap()
}

fn folder(train: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.csv"), train).unwrap();
    folder
}

fn open(folder: &Path, more: Value, standardize: bool) -> Result<Dataset, DataError> {
    Dataset::open(&config(folder, more), &regression(standardize))
}

fn rows(split: &Split, preprocessor: &Preprocessor) -> Vec<(Vec<f32>, Vec<u32>)> {
    let row = |i| match preprocessor.prepare(split.raw(i).unwrap(), None).unwrap() {
        Features::Row { numbers, categories } => (numbers, categories),
        other => panic!("{other:?}"),
    };
    (0..split.len()).map(row).collect()
}

#[track_caller]
fn refused(train: &str, more: Value, words: &[&str]) {
    let folder = folder(train);
    let error = open(folder.path(), more, false).expect_err("it was accepted");
    let text = format!("{error}; {}", error.hint().expect("a remedy"));
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

#[test]
fn what_the_training_rows_teach_holds_for_all_and_is_kept() {
    let folder = folder(TRAIN);
    fs::write(
        folder.path().join("test.csv"),
        "age,size,colour,price\n7,11,green,4\n3,10, blue ,6\n3,10,,6\n",
    )
    .unwrap();
    let test = folder.path().join("test.csv");
    let data = open(folder.path(), json!({"test": test}), true).unwrap();
    assert_eq!(data.input, InputSpec::Table { features: 2, cardinalities: vec![3] });
    assert_eq!(data.classes, ["price"]);
    // Mean 3, population standard deviation sqrt(8/3); `size` is constant and becomes 0. Blue is 1, red 2.
    let std = (8.0f64 / 3.0).sqrt();
    let scaled = |x: f64| ((x - 3.0) / std) as f32;
    let close = |got: &[(Vec<f32>, Vec<u32>)], want: &[(Vec<f32>, Vec<u32>)]| {
        assert_eq!(got.len(), want.len());
        for ((a, i), (b, j)) in got.iter().zip(want) {
            assert!(
                i == j && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6),
                "{got:?}, expected {want:?}"
            );
        }
    };
    let train = rows(data.train.as_ref().unwrap(), &data.preprocessor);
    close(
        &train,
        &[(vec![scaled(1.0), 0.0], vec![2]), (vec![0.0, 0.0], vec![1]), (vec![scaled(5.0), 0.0], vec![2])],
    );
    let held_out = rows(data.test.as_ref().unwrap(), &data.preprocessor);
    close(
        &held_out,
        &[(vec![scaled(7.0), 1.0], vec![0]), (vec![0.0, 0.0], vec![1]), (vec![0.0, 0.0], vec![0])],
    );
    let kept = tempfile::tempdir().unwrap();
    data.preprocessor.save(kept.path()).unwrap();
    let again = std::sync::Arc::new(Preprocessor::load(kept.path()).unwrap());
    assert_eq!(again.input(), &data.input);
    assert_eq!(again.targets(), data.preprocessor.targets());
    let reopened = Dataset::open_for(
        &config(folder.path(), json!({"test": test})),
        again.clone(),
        &data.classes,
        TaskKind::Regression,
    );
    assert_eq!(rows(&reopened.unwrap().test.unwrap(), &again), held_out, "to the bit");
}

#[test]
fn numbers_to_learn_are_standardised_and_undone() {
    let folder = folder(TRAIN);
    let data = open(folder.path(), json!({}), true).unwrap();
    let split = data.train.unwrap();
    let [scale] = data.preprocessor.targets() else { panic!("one scale") };
    let (mut sum, mut squares) = (0.0, 0.0);
    for (i, price) in [3.0, 5.0, 10.0].into_iter().enumerate() {
        assert_eq!(split.label(i), &Label::Values(vec![price]));
        let (_, label) =
            data.preprocessor.example(split.raw(i).unwrap(), split.label(i), "a row", None, i).unwrap();
        let Label::Values(values) = label else { panic!("{label:?}") };
        assert_eq!(scale.undo(values[0]), price);
        sum += values[0];
        squares += values[0] * values[0];
    }
    assert!(sum.abs() < 1e-6 && (squares - 3.0).abs() < 1e-5, "{sum} {squares}");
    let plain = open(folder.path(), json!({}), false).unwrap();
    assert!(plain.preprocessor.targets().is_empty());
}

#[test]
fn numbers_can_be_left_alone_and_missing_ones_filled() {
    let text = "age,size,colour,price\n1,10,red,3\nNA,20,blue,5\n5,,red,10\n";
    let folder = folder(text);
    let none = json!({"table": {"numeric": "none", "missing": "mean"}});
    let data = open(folder.path(), none, false).unwrap();
    let got = rows(&data.train.unwrap(), &data.preprocessor);
    let numbers: Vec<_> = got.into_iter().map(|(numbers, _)| numbers).collect();
    assert_eq!(numbers, [vec![1.0, 10.0], vec![3.0, 20.0], vec![5.0, 15.0]]);
    let data = open(folder.path(), json!({"table": {"missing": "mean"}}), false).unwrap();
    let got = rows(&data.train.unwrap(), &data.preprocessor);
    assert_eq!((got[1].0[0], got[2].0[1]), (0.0, 0.0));
}

#[test]
fn json_lines_read_as_the_same_table() {
    let folder = folder(TRAIN);
    let lines = r#"{"age":1,"size":10,"colour":"red","price":3}
{"age":3,"size":10,"colour":"blue","price":5}
{"age":5,"size":10.0,"colour":"red","price":10}
"#;
    let path = folder.path().join("train.jsonl");
    fs::write(&path, lines).unwrap();
    let csv = open(folder.path(), json!({}), true).unwrap();
    let json = open(folder.path(), json!({"kind": "jsonl", "train": path}), true).unwrap();
    assert_eq!(rows(&csv.train.unwrap(), &csv.preprocessor), rows(&json.train.unwrap(), &json.preprocessor));
}

#[test]
fn images_of_a_table() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rgb.png");
    let folder = folder("file,x,y\nimages/a.png,1,2\nimages/b.png,2,4\n");
    fs::create_dir(folder.path().join("images")).unwrap();
    for name in ["a", "b"] {
        fs::copy(&fixture, folder.path().join(format!("images/{name}.png"))).unwrap();
    }
    let config = |file: &str| {
        let config = json!({"kind": "csv", "train": folder.path().join("train.csv"), "image": file,
            "label": ["x", "y"], "channels": 1});
        serde_json::from_value::<DataConfig>(config).unwrap()
    };
    let data = Dataset::open(&config("file"), &regression(false)).unwrap();
    assert!(matches!(data.input, InputSpec::Image { channels: 1, .. }), "{:?}", data.input);
    let split = data.train.unwrap();
    assert_eq!(split.label(1), &Label::Values(vec![2.0, 4.0]));
    assert!(matches!(data.preprocessor.prepare(split.raw(1).unwrap(), None), Ok(Features::Image(_))));
    assert!(Dataset::check(&config("file"), &regression(false)).is_ok());
    fs::remove_file(folder.path().join("images/a.png")).unwrap();
    let faults = Dataset::check(&config("file"), &regression(false)).unwrap_err();
    assert!(faults[0].to_string().contains("a.png"), "{faults:?}");
}

#[test]
fn a_tokenizer_of_the_training_texts_is_kept() {
    let folder = folder("text,price\nA good film,1\na bad film!,0\n");
    fs::write(folder.path().join("test.csv"), "text,price\nA GOOD new film,1\n").unwrap();
    let config: DataConfig =
        serde_json::from_value(json!({"kind": "csv", "train": folder.path().join("train.csv"),
        "test": folder.path().join("test.csv"), "text": "text", "label": "price",
        "tokenizer": {"kind": "words", "max_length": 16}}))
        .unwrap();
    let data = Dataset::open(&config, &regression(false)).unwrap();
    // [PAD] [UNK] a film ! bad good
    assert_eq!(data.input, InputSpec::Tokens { vocab_size: 7, max_length: 16, pad_id: 0 });
    let raw = data.test.unwrap().raw(0).unwrap();
    let wanted = Features::Tokens { ids: vec![2, 6, 1, 3], types: vec![0; 4] };
    assert_eq!(data.preprocessor.prepare(raw.clone(), None).unwrap(), wanted);
    let kept = tempfile::tempdir().unwrap();
    data.preprocessor.save(kept.path()).unwrap();
    assert_eq!(Preprocessor::load(kept.path()).unwrap().prepare(raw, None).unwrap(), wanted);
    for_the_peer(&data.preprocessor);
}

/// Writes what tests/peers/transformers_opens_words.py compares, where KILN_PEER_OUT names a folder.
fn for_the_peer(preprocessor: &Preprocessor) {
    let Some(folder) = std::env::var_os("KILN_PEER_OUT") else { return };
    let folder = Path::new(&folder).join("words");
    fs::create_dir_all(&folder).unwrap();
    preprocessor.save(&folder).unwrap();
    let texts = ["A good, bad film!", "", "  FILM\tfilm...good", "unknown words \u{130} caf\u{e9}-film"];
    let ids =
        texts.map(|text| match preprocessor.prepare(kiln_data::Raw::Text(text.into()), None).unwrap() {
            Features::Tokens { ids, .. } => ids,
            other => panic!("{other:?}"),
        });
    fs::write(folder.join("peer.json"), json!({"texts": texts, "ids": ids}).to_string()).unwrap();
}

#[test]
fn faults_of_cells_name_file_and_line() {
    refused(
        &TRAIN.replace("\n3,10", "\nthree,10"),
        json!({}),
        &["train.csv:3", "finite number", "\"three\"", "categories"],
    );
    refused(&TRAIN.replace("\n3,10", "\n,10"), json!({}), &["train.csv:3", "missing = \"mean\""]);
    for label in ["NaN", "inf", "dear"] {
        refused(
            &TRAIN.replace("red,10", &format!("red,{label}")),
            json!({}),
            &["train.csv:4", "\"price\"", label],
        );
    }
    refused(&TRAIN.replace("red,10", "red,"), json!({}), &["train.csv:4", "label"]);
}

#[test]
fn faults_of_columns() {
    refused(TRAIN, json!({"categories": ["price"]}), &["label", "\"price\"", "input too"]);
    refused(TRAIN, json!({"categories": ["age"]}), &["\"age\"", "read twice"]);
    refused(TRAIN, json!({"categories": ["color"]}), &["no column \"color\"", "did you mean \"colour\"?"]);
    refused(TRAIN, json!({"image": "colour"}), &["features: only one of text", "can be read"]);
    refused(TRAIN, json!({"label": ["price", "price"]}), &["\"price\" stands twice"]);
    let constant = "age,size,colour,price\n1,10,red,3\n3,10,blue,3\n";
    refused(constant, json!({}), &["\"price\" is 3 in all 2 training rows", "nothing to learn"]);
    refused(
        "age,size,colour,price\n,1,red,3\nNA,2,red,4\n",
        json!({"table": {"missing": "mean"}}),
        &["features.0", "no training row"],
    );
}

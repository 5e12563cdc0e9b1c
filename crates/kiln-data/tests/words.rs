//! Pairs, sentences in words, several classes a row and hidden tokens: equal to transformers (words.json, made by
//! make_words.py), the same for any number of workers, refused with the place where they are wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::{IGNORE, MaskingConfig, TaskConfig, TaskKind};
use kiln_data::config::{DataConfig, LoaderConfig};
use kiln_data::{
    Dataset, Features, HostBatch, HostFeatures, HostTarget, Label, Loader, OpenOptions, Order, Preprocessor,
    Raw, inputs,
};
use serde_json::{Value, json};

const TOKENS: TaskConfig = TaskConfig::TokenClassification;
const SEVERAL: TaskConfig = TaskConfig::MultiLabelClassification;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn expected() -> Value {
    serde_json::from_str(&fs::read_to_string(fixture("words.json")).unwrap()).unwrap()
}

fn try_open(config: &Value, task: TaskConfig) -> Result<Dataset, String> {
    let config: DataConfig = serde_json::from_value(config.clone()).unwrap();
    Dataset::open(&config, &OpenOptions { task, ..OpenOptions::default() }).map_err(|e| {
        assert!(e.hint().is_some() || e.to_string().contains("expected"), "{e}");
        e.to_string()
    })
}

fn open(config: &Value, task: TaskConfig) -> Dataset {
    try_open(config, task).unwrap()
}

#[track_caller]
fn refused(config: &Value, task: TaskConfig, message: &str) {
    let error = try_open(config, task).expect_err("it was accepted");
    assert!(error.contains(message), "\"{message}\" is not in: {error}");
}

fn tokenizer(name: &str) -> Value {
    json!({"path": fixture(name), "max_length": 12})
}

fn ids(features: Features) -> (Value, Value) {
    let Features::Tokens { ids, types } = features else { panic!("no tokens") };
    (json!(ids), json!(types))
}

#[test]
fn pairs_equal_transformers_and_need_both_columns() {
    let expected = expected();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.jsonl");
    let pairs = expected["pairs"].as_array().unwrap();
    let lines: String =
        (0..).zip(pairs).map(|(i, p)| format!("{}\n", json!({"a": p[0], "b": p[1], "score": i}))).collect();
    fs::write(&path, lines).unwrap();
    for (name, file) in [("bert", "tokenizer.json"), ("roberta", "bytes.json")] {
        let config = json!({"kind": "jsonl", "path": path, "text": "a", "text_pair": "b", "label": "score",
            "tokenizer": tokenizer(file)});
        let data = open(&config, TaskConfig::Regression(Default::default()));
        let split = data.train.as_ref().unwrap();
        for i in 0..pairs.len() {
            let made = ids(data.preprocessor.prepare(split.raw(i).unwrap(), None).unwrap());
            assert_eq!(made.0, expected[name]["pair_ids"][i], "{name} {i}");
            assert_eq!(made.1, expected[name]["pair_types"][i], "{name} {i}");
        }
        data.preprocessor.save(dir.path()).unwrap();
        let again = Preprocessor::load(dir.path()).unwrap();
        let read: Vec<_> =
            inputs::open(path.to_str().unwrap(), &again, &[]).unwrap().map(inputs::Input::read).collect();
        assert_eq!(read.len(), pairs.len());
        assert_eq!(read[3].1.as_ref().unwrap(), &split.raw(3).unwrap());
        let single = inputs::open("a single text", &again, &[]).err().unwrap().to_string();
        assert!(single.contains("expected pairs of texts"), "{single}");
        let prepared = again.prepare(Raw::Text("one".into()), None).unwrap_err().to_string();
        assert!(prepared.contains("expected a pair of texts"), "{prepared}");
    }
    let mut config = json!({"kind": "jsonl", "path": path, "text": "a", "text_pair": "bb", "label": "score",
        "tokenizer": tokenizer("tokenizer.json")});
    refused(&config, TaskConfig::Regression(Default::default()), "pairs.jsonl:1: expected the key \"bb\"");
    config["text_pair"] = json!("b");
    config["tokenizer"]["max_length"] = json!(4);
    refused(&config, TaskConfig::Regression(Default::default()), "no room for a pair");
}

fn sentences(dir: &Path, expected: &Value) -> PathBuf {
    let path = dir.join("words.jsonl");
    let names = ["B-X", "I-X", "O"]; // sorted, so 0 1 2
    let line = |s: &Value| {
        let tags: Vec<&str> =
            s["tags"].as_array().unwrap().iter().map(|t| names[t.as_u64().unwrap() as usize]).collect();
        format!("{}\n", json!({"tokens": s["tokens"], "ner": tags}))
    };
    fs::write(&path, expected["sentences"].as_array().unwrap().iter().map(line).collect::<String>()).unwrap();
    path
}

#[test]
fn words_and_their_tags_equal_run_ner() {
    let expected = expected();
    let dir = tempfile::tempdir().unwrap();
    let path = sentences(dir.path(), &expected);
    for (name, file) in [("bert", "tokenizer.json"), ("roberta", "bytes.json")] {
        let config = json!({"kind": "jsonl", "path": path, "tokens": "tokens", "label": "ner",
            "tokenizer": tokenizer(file)});
        let data = open(&config, TOKENS);
        assert_eq!(data.classes, ["B-X", "I-X", "O"]);
        data.preprocessor.save(dir.path()).unwrap();
        let again = Preprocessor::load(dir.path()).unwrap();
        let split = data.train.as_ref().unwrap();
        for i in 0..split.len() {
            for program in [&*data.preprocessor, &again] {
                let raw = split.raw(i).unwrap();
                let (features, label) = program.example(raw, split.label(i), "", None, i).unwrap();
                assert_eq!(ids(features).0, expected[name]["word_ids"][i], "{name} {i}");
                let Label::Tokens(targets) = label else { panic!("{label:?}") };
                assert_eq!(json!(targets), expected[name]["targets"][i], "{name} {i}");
            }
        }
        let reading = again.reading(&split.raw(3).unwrap()).unwrap().unwrap();
        assert_eq!(reading.words.len() + reading.cut, 20, "{name}");
        let own = again.reading(&Raw::Words(vec!["Café".into(), "society".into()])).unwrap().unwrap();
        let second = own.words[1];
        let text: String = own.text.chars().skip(second.start).take(second.end - second.start).collect();
        assert_eq!((text.as_str(), second.start), ("society", 5), "{name}");
        let text = again.reading(&Raw::Text("Café  film!".into())).unwrap().unwrap();
        let words: Vec<String> = text
            .words
            .iter()
            .map(|w| text.text.chars().skip(w.start).take(w.end - w.start).collect())
            .collect();
        assert_eq!(words.last().map(String::as_str), Some("!"), "{name} {words:?}");
        assert!(words.contains(&"film".to_string()), "{name} {words:?}");
    }
}

#[test]
fn conll_files_give_the_same_samples_and_are_read_for_prediction() {
    let expected = expected();
    let dir = tempfile::tempdir().unwrap();
    let json = json!({"kind": "jsonl", "path": sentences(dir.path(), &expected), "tokens": "tokens",
        "label": "ner", "tokenizer": tokenizer("tokenizer.json")});
    let json = open(&json, TOKENS).train.unwrap();
    let path = dir.path().join("a.conll");
    let mut text = String::from("-DOCSTART- -X- O\n\n");
    for i in 0..json.len() {
        let (Raw::Words(words), Label::Tags(tags)) = (json.raw(i).unwrap(), json.label(i)) else { panic!() };
        for (word, tag) in words.iter().zip(tags) {
            text.push_str(&format!("{word} X\t{}\n", ["B-X", "I-X", "O"][*tag]));
        }
        text.push('\n');
    }
    fs::write(&path, &text).unwrap();
    let config = json!({"kind": "conll", "path": path, "tokenizer": tokenizer("tokenizer.json")});
    let data = open(&config, TOKENS);
    let split = data.train.as_ref().unwrap();
    for i in 0..json.len() {
        assert_eq!((split.raw(i).unwrap(), split.label(i)), (json.raw(i).unwrap(), json.label(i)));
    }
    let read: Vec<_> = inputs::open(path.to_str().unwrap(), &data.preprocessor, &[])
        .unwrap()
        .map(inputs::Input::read)
        .collect();
    assert_eq!(read.len(), split.len());
    assert_eq!(read[1].1.as_ref().unwrap(), &split.raw(1).unwrap());
    let literal: Vec<_> =
        inputs::open("a text", &data.preprocessor, &[]).unwrap().map(inputs::Input::read).collect();
    assert_eq!(literal[0].1.as_ref().unwrap(), &Raw::Text("a text".into()));
    // Bare tags and other schemes are tags like any other; a tag that training lacks is not.
    fs::write(dir.path().join("bare.conll"), "a PER\nb O\n").unwrap();
    let mut bare = config.clone();
    bare["path"] = json!(dir.path().join("bare.conll"));
    assert_eq!(open(&bare, TOKENS).classes, ["O", "PER"]);
    fs::write(dir.path().join("val.conll"), "x S-LOC\n").unwrap();
    let mut unknown = config.clone();
    unknown["validation"] = json!(dir.path().join("val.conll"));
    refused(&unknown, TOKENS, "val.conll:1: class \"S-LOC\" is not one of the 3 known classes");
    fs::write(dir.path().join("bad.conll"), "a X O\nb O\n").unwrap();
    let mut ragged = config.clone();
    ragged["path"] = json!(dir.path().join("bad.conll"));
    refused(&ragged, TOKENS, "bad.conll:2: expected 3 columns, as in the first line, got 2");
    refused(&config, TaskConfig::Classification, "one tag a word");
}

#[test]
fn rows_of_lists_are_refused_where_they_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.jsonl");
    let config = json!({"kind": "jsonl", "path": path, "tokens": "tokens", "label": "tags",
        "tokenizer": tokenizer("tokenizer.json")});
    for (line, message) in [
        (r#"{"tokens": ["a", "b"], "tags": ["O"]}"#, "w.jsonl:1: expected one tag a word, 2, got 1 tags"),
        (r#"{"tokens": "a b", "tags": ["O"]}"#, "expected a list of strings in \"tokens\""),
        (r#"{"tokens": ["a"], "tags": "O"}"#, "expected a list of tags, got a word"),
    ] {
        fs::write(&path, format!("{line}\n{}\n", r#"{"tokens": ["c"], "tags": ["B-X"]}"#)).unwrap();
        refused(&config, TOKENS, message);
    }
}

#[test]
fn several_classes_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let table = |kind: &str, path: &Path, label: Value| {
        json!({"kind": kind, "path": path, "text": "text", "label": label,
            "tokenizer": tokenizer("tokenizer.json")})
    };
    let hot = |data: &Dataset| -> Vec<Label> {
        let split = data.train.as_ref().unwrap();
        (0..split.len()).map(|i| split.label(i).clone()).collect()
    };
    let want = [vec![0.0, 1.0], vec![1.0, 1.0], vec![0.0, 0.0], vec![1.0, 0.0]].map(Label::MultiHot);
    let path = write("sep.csv", "text,tags\na,toxic\nb,toxic | spam\nc,\nd,spam|\n");
    let mut config = table("csv", &path, json!("tags"));
    refused(&config, SEVERAL, "nothing says what stands between the classes");
    config["label_separator"] = json!("|");
    let data = open(&config, SEVERAL);
    assert_eq!((&data.classes, hot(&data)), (&vec!["spam".into(), "toxic".into()], want.to_vec()));
    config["label_separator"] = json!(";");
    refused(&config, SEVERAL, "holds \";\"");
    let path = write(
        "list.jsonl",
        "{\"text\":\"a\",\"tags\":[\"toxic\"]}\n{\"text\":\"b\",\"tags\":[\"toxic\",\"spam\"]}\n\
         {\"text\":\"c\",\"tags\":[]}\n{\"text\":\"d\",\"tags\":[\"spam\"]}\n",
    );
    let lists = table("jsonl", &path, json!("tags"));
    assert_eq!(hot(&open(&lists, SEVERAL)), want);
    refused(&lists, TaskConfig::Classification, "list.jsonl:1: expected one class, got a list of 1");
    let path = write("flags.csv", "text,spam,toxic\na,0,1\nb,1,1.0\nc,false,0\nd,True,0\n");
    let flags = table("csv", &path, json!(["spam", "toxic"]));
    let data = open(&flags, SEVERAL);
    assert_eq!(hot(&data), want);
    // Another order of the columns, the model's order of classes.
    let turned: DataConfig = serde_json::from_value(table("csv", &path, json!(["toxic", "spam"]))).unwrap();
    let kind = TaskKind::MultiLabelClassification;
    let again = Dataset::open_for(&turned, Arc::clone(&data.preprocessor), &data.classes, kind).unwrap();
    assert_eq!(hot(&again), want);
    let path = write("flags.csv", "text,spam,toxic\na,0,1\nb,1,maybe\n");
    refused(
        &table("csv", &path, json!(["spam", "toxic"])),
        SEVERAL,
        "flags.csv:3: expected 0 or 1 in \"toxic\", got \"maybe\"",
    );
    let mut unknown = config.clone();
    unknown["label_separator"] = json!("|");
    unknown["validation"] = json!(write("val.csv", "text,tags\nx,toxic|ham\n"));
    refused(&unknown, SEVERAL, "val.csv:2: class \"ham\"");
    refused(&config, TaskConfig::Classification, "sep.csv:4: expected a label, got an unlabelled row");
}

fn masked(dir: &Path, n: usize, file: &str, masking: MaskingConfig) -> Dataset {
    let words = ["a", "stirring", "film", "yuks", "good", "movie", "the", "very"];
    let line = |i: usize| (0..1 + i % 9).map(|k| words[(i * 7 + k * 5) % 8]).collect::<Vec<_>>().join(" ");
    let path = dir.join("text.csv");
    fs::write(&path, (0..n).map(|i| line(i) + "\n").collect::<String>()).unwrap();
    let config =
        json!({"kind": "csv", "path": path, "header": false, "text": 0, "tokenizer": tokenizer(file)});
    open(&config, TaskConfig::MaskedLanguageModeling(masking))
}

fn pass(data: &Dataset, workers: usize, order: Order) -> Vec<HostBatch> {
    let config = LoaderConfig { batch_size: 16, workers, ..LoaderConfig::default() };
    Loader::new(data.train.as_ref().unwrap(), &data.preprocessor, &config, order)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Pearson's statistic of counts against probabilities.
fn chi_square(counts: &[f64], p: &[f64]) -> f64 {
    let n: f64 = counts.iter().sum();
    counts.iter().zip(p).map(|(count, p)| (count - n * p).powi(2) / (n * p)).sum()
}

#[test]
fn hidden_tokens_follow_the_definition() {
    let dir = tempfile::tempdir().unwrap();
    let (n, p) = (20_000, 0.15);
    let data =
        masked(dir.path(), n, "tokenizer.json", MaskingConfig { mlm_probability: p, whole_word: false });
    let (split, program) = (data.train.as_ref().unwrap(), &data.preprocessor);
    let (mask, _) = program.mask_token().unwrap();
    // A random token may be the same one or the mask: of V tokens one each.
    let v = match program.input() {
        kiln_core::InputSpec::Tokens { vocab_size, .. } => *vocab_size as f64,
        other => panic!("{other:?}"),
    };
    let (mut chosen, mut became) = ([0.0, 0.0], [0.0, 0.0, 0.0]);
    let mut drawn = vec![0.0; v as usize];
    for i in 0..split.len() {
        let raw = split.raw(i).unwrap();
        let (plain, _) = ids(program.prepare(raw.clone(), None).unwrap());
        let (features, label) = program.example(raw, split.label(i), "", Some(i as u64), i).unwrap();
        let (Features::Tokens { ids: hidden, .. }, Label::Tokens(targets)) = (features, label) else {
            panic!()
        };
        for (k, target) in targets.iter().enumerate() {
            let own = plain[k].as_i64().unwrap();
            let special = own <= 4;
            assert!(!special || *target == IGNORE);
            if *target == IGNORE {
                assert_eq!(i64::from(hidden[k]), own);
                chosen[1] += f64::from(u8::from(!special));
                continue;
            }
            assert_eq!(*target, own);
            chosen[0] += 1.0;
            let what = match i64::from(hidden[k]) {
                id if id == i64::from(mask) => 0,
                id if id == own => 2,
                id => {
                    drawn[id as usize] += 1.0;
                    1
                }
            };
            became[what] += 1.0;
        }
    }
    // 1 degree of freedom: 10.8 at 0.1 %; 2: 13.8.
    assert!(chi_square(&chosen, &[p, 1.0 - p]) < 10.8, "{chosen:?}");
    let shares = [0.8 + 0.1 / v, 0.1 * (v - 2.0) / v, 0.1 + 0.1 / v];
    assert!(chi_square(&became, &shares) < 13.8, "{became:?}");
    // Every token but the mask is drawn, special ones too, as in the reference.
    assert!(drawn.iter().enumerate().all(|(id, n)| *n > 0.0 || id == mask as usize), "{drawn:?}");
}

#[test]
fn whole_words_are_hidden_whole() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "bytes.json"] {
        let data = masked(dir.path(), 4_000, file, MaskingConfig { mlm_probability: 0.3, whole_word: true });
        let (split, program) = (data.train.as_ref().unwrap(), &data.preprocessor);
        let (mut hidden, mut words) = (0.0, 0.0);
        for i in 0..split.len() {
            let raw = split.raw(i).unwrap();
            let reading = program.reading(&raw).unwrap().unwrap();
            let (_, label) = program.example(raw, split.label(i), "", Some(i as u64), i).unwrap();
            let Label::Tokens(targets) = label else { panic!() };
            let mut starts: Vec<usize> = reading.words.iter().map(|w| w.token).collect();
            starts.push(targets.len() - 1);
            for span in starts.windows(2) {
                let own = &targets[span[0]..span[1]];
                let all = own.iter().all(|t| *t != IGNORE);
                assert!(all || own.iter().all(|t| *t == IGNORE), "{file} {i} {own:?}");
                hidden += f64::from(u8::from(all));
                words += 1.0;
            }
        }
        assert!(chi_square(&[hidden, words - hidden], &[0.3, 0.7]) < 10.8, "{file}: {hidden} of {words}");
    }
}

#[test]
fn hidden_tokens_depend_on_seed_epoch_and_index_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = masked(dir.path(), 100, "tokenizer.json", MaskingConfig::default());
    let train = |epoch| Order::Train { seed: 7, epoch };
    let alone = pass(&data, 0, train(0));
    for workers in [1, 4] {
        assert_eq!(alone, pass(&data, workers, train(0)), "{workers}");
        assert_eq!(pass(&data, 0, Order::Sequential), pass(&data, workers, Order::Sequential), "{workers}");
    }
    assert_ne!(alone, pass(&data, 0, train(1)));
    data.preprocessor.save(dir.path()).unwrap();
    let mut again = data.clone();
    again.preprocessor = Arc::new(Preprocessor::load(dir.path()).unwrap());
    assert_eq!(pass(&again, 0, Order::Sequential), pass(&data, 0, Order::Sequential));
    // A short text may have nothing hidden: it is in its batch and weighs nothing.
    let config = LoaderConfig { batch_size: 1, workers: 0, ..LoaderConfig::default() };
    let split = data.train.as_ref().unwrap();
    let single: Vec<HostBatch> = Loader::new(split, &data.preprocessor, &config, Order::Sequential)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(single.len(), 100);
    assert!(single.iter().any(|batch| batch.weight() == 0) && single.iter().any(|batch| batch.weight() > 0));
    for batch in &single {
        assert!(matches!(batch.target, Some(HostTarget::Tokens { .. })));
        assert!(matches!(batch.features, HostFeatures::Tokens { .. }));
    }
    // A prediction hides nothing.
    let raw = Raw::Text("a [MASK] film".into());
    let features = data.preprocessor.prepare(raw, None).unwrap();
    assert_eq!(data.preprocessor.masks(&features), [2]);
}

#[test]
fn pairs_and_tags_are_the_same_for_any_number_of_workers() {
    let dir = tempfile::tempdir().unwrap();
    let expected = expected();
    let tags = json!({"kind": "jsonl", "path": sentences(dir.path(), &expected), "tokens": "tokens",
        "label": "ner", "tokenizer": tokenizer("bytes.json")});
    let path = dir.path().join("p.csv");
    fs::write(&path, (0..50).map(|i| format!("a film {i},good {i},{}\n", i % 2)).collect::<String>())
        .unwrap();
    let pairs = json!({"kind": "csv", "header": false, "path": path, "text": 0, "text_pair": 1, "label": 2,
        "tokenizer": tokenizer("tokenizer.json")});
    for data in [open(&tags, TOKENS), open(&pairs, TaskConfig::Classification)] {
        let alone = pass(&data, 0, Order::Train { seed: 1, epoch: 2 });
        for workers in [1, 4] {
            assert_eq!(alone, pass(&data, workers, Order::Train { seed: 1, epoch: 2 }));
        }
    }
}

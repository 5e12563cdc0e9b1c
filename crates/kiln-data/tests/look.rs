//! Counts against counts by hand, planted duplicates, leakage with its bounds, and a page that loads nothing.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use kiln_core::TaskConfig;
use kiln_data::OpenOptions;
use kiln_data::config::DataConfig;
use kiln_data::look::{PreviewOptions, Stats, leakage, page, preview, stats};
use serde_json::{Value, json};

mod support;
use support::fixture;

fn parse(config: Value) -> DataConfig {
    serde_json::from_value(config).unwrap()
}

fn counted(config: &DataConfig) -> Stats {
    stats(config, &OpenOptions::default(), 100).unwrap()
}

/// Images below `root`: (path, fixture).
fn images(root: &Path, files: &[(&str, &str)]) -> DataConfig {
    for (path, of) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixture(of), path).unwrap();
    }
    parse(json!({"kind": "image_folder", "path": root, "transforms": [{"kind": "resize", "size": [8, 8]}]}))
}

/// Two pictures that are the same file in train and test, one that is twice in train with another class.
fn leaking(root: &Path) -> DataConfig {
    images(
        root,
        &[
            ("train/a/photo.jpg", "photo.jpg"),
            ("train/a/rgb.png", "rgb.png"),
            ("train/b/again.png", "rgb.png"),
            ("train/b/grey.png", "grey.png"),
            ("test/a/copy.jpg", "photo.jpg"),
            ("test/b/rgb16.png", "rgb16.png"),
            ("test/b/grey.png", "grey.png"),
        ],
    )
}

#[test]
fn images_are_counted_and_their_duplicates_found() {
    let dir = tempfile::tempdir().unwrap();
    let stats = counted(&leaking(dir.path()));
    let [train, test] = &stats.splits[..] else { panic!("two splits") };
    assert_eq!((train.name, train.samples, test.name, test.samples), ("train", 4, "test", 3));
    let counts: Vec<_> = train.classes.iter().map(|c| (c.name.as_str(), c.samples)).collect();
    assert_eq!(counts, [("a", 2), ("b", 2)]);
    let sizes = train.images.as_ref().unwrap();
    let formats: Vec<_> = sizes.formats.iter().map(|(f, n)| (f.as_str(), *n)).collect();
    assert_eq!(formats, [("jpeg", 1), ("png", 3)]);
    let expected: Vec<(u32, u32)> = ["photo.jpg", "rgb.png", "rgb.png", "grey.png"]
        .iter()
        .map(|f| image::image_dimensions(fixture(f)).unwrap())
        .collect();
    let widths: Vec<u32> = expected.iter().map(|size| size.0).collect();
    assert_eq!(sizes.width.min as u32, *widths.iter().min().unwrap());
    assert_eq!(sizes.width.max as u32, *widths.iter().max().unwrap());

    let duplicates = stats.duplicates.as_ref().unwrap();
    assert_eq!(duplicates.groups, 3);
    assert_eq!(duplicates.within, [("train", 1), ("test", 0)]);
    assert_eq!(duplicates.across.len(), 1);
    let across = &duplicates.across[0];
    assert_eq!((across.first, across.second, across.samples, across.inputs), ("train", "test", 2, 2));
    assert_eq!(duplicates.conflicting, 1);
    let conflict = duplicates.listed.iter().find(|g| g.conflicting).unwrap();
    let labels: Vec<_> = conflict.members.iter().map(|m| m.label.as_str()).collect();
    assert_eq!(labels, ["a", "b"]);
    let text = page(&stats);
    for words in ["LEAKAGE: 2 samples of test are in train", "1 inputs have more than one label", "again.png"]
    {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

#[test]
fn leakage_is_found_named_and_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let config = leaking(dir.path());
    let leak = leakage(&config, &OpenOptions::default()).unwrap();
    assert_eq!(leak.samples, [("test", 2)]);
    assert_eq!(leak.left_out, None);
    let problem = leak.problem().unwrap();
    assert!(problem.contains("2 of test") && problem.contains("test/a/copy.jpg is "), "{problem}");
    let mut allowed = serde_json::to_value(&config).unwrap();
    allowed["allow_leakage"] = json!(true);
    assert_eq!(leakage(&parse(allowed), &OpenOptions::default()).unwrap().problem(), None);
    for file in ["test/a/copy.jpg", "test/b/grey.png"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    fs::copy(fixture("la.png"), dir.path().join("test/a/la.png")).unwrap();
    assert_eq!(leakage(&config, &OpenOptions::default()).unwrap().problem(), None);
}

/// Texts of 3, 5 and 1 words with `[CLS]` and `[SEP]`, cut at 6.
#[test]
fn texts_have_their_lengths_their_cuts_and_their_conflicts() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &str| {
        fs::write(dir.path().join(name), format!("text,label,note\n{rows}")).unwrap()
    };
    write("train.csv", "one two three,x,\none two three four five,y,n\none,x,\none,y,\n ,x,\n");
    write("test.csv", "one,x,\nelse,y,q\n");
    let config = json!({"kind": "csv", "train": dir.path().join("train.csv"), "test": dir.path().join("test.csv"),
        "text": "text", "label": "label", "tokenizer": {"kind": "words", "max_length": 4}});
    let stats = counted(&parse(config.clone()));
    let lengths = stats.splits[0].lengths.as_ref().unwrap();
    // Of the words tokenizer, which adds no special tokens.
    assert_eq!((lengths.tokens.min, lengths.tokens.median, lengths.tokens.max), (0.0, 1.0, 5.0));
    assert_eq!((lengths.truncated, lengths.blank, lengths.p95), (1, 1, 5));
    let duplicates = stats.duplicates.as_ref().unwrap();
    assert_eq!((duplicates.groups, duplicates.conflicting), (1, 1));
    assert_eq!(duplicates.across[0].samples, 1);
    assert_eq!(duplicates.across[0].samples_of_first, 2);
    let note = stats.splits[0].columns.iter().find(|c| c.name == "note").unwrap();
    assert_eq!((note.missing, note.distinct), (Some(4), Some(1)));
    assert_eq!(leakage(&parse(config), &OpenOptions::default()).unwrap().samples, [("test", 1)]);
}

#[test]
fn sources_are_looked_at_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let ours = file("ours.csv", "text,label\ngood,1\nbad,0\n");
    let theirs =
        file("theirs.jsonl", "{\"body\": \"fine\", \"label\": 1}\n{\"body\": \"poor\", \"label\": 0}\n");
    let check = file("check.csv", "text,label\npoor,0\nweak,0\nfine one,1\n");
    let config = json!({"kind": "csv", "text": "text", "label": "label", "validation": check,
        "tokenizer": {"kind": "words"}, "sources": [{"path": ours}, {"kind": "jsonl", "path": theirs, "text": "body"}]});
    let leak = leakage(&parse(config.clone()), &OpenOptions::default()).unwrap();
    assert_eq!(leak.samples, [("validation", 1)]);
    let stats = counted(&parse(config));
    let names = |k: usize| stats.splits[k].columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
    assert_eq!(
        (names(0), names(1)),
        (
            vec!["sources.0: text", "sources.0: label", "sources.1: body", "sources.1: label"],
            vec!["text", "label"]
        )
    );
}

#[test]
fn rows_with_missing_numbers_are_counted_though_training_refuses_them() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "a,b,street,price\n1,2,x,10\n3,NA,y,20\n,4,x,30\n1,2,x,11\n";
    fs::write(dir.path().join("rows.csv"), rows).unwrap();
    let config = parse(json!({"kind": "csv", "path": dir.path().join("rows.csv"), "features": ["a", "b"],
        "categories": ["street"], "label": "price"}));
    let task = TaskConfig::Regression(kiln_core::RegressionConfig::default());
    let options = OpenOptions { task, ..OpenOptions::default() };
    let stats = stats(&config, &options, 10).unwrap();
    let missing: Vec<_> =
        stats.splits[0].columns.iter().map(|c| (c.name.as_str(), c.kind, c.missing)).collect();
    assert_eq!(
        missing,
        [
            ("a", "numbers", Some(1)),
            ("b", "numbers", Some(1)),
            ("street", "words", Some(0)),
            ("price", "numbers", Some(0))
        ]
    );
    let (name, range) = &stats.splits[0].values[0];
    assert_eq!(
        (name.as_str(), range.min, range.median, range.mean, range.max),
        ("price", 10.0, 15.5, 17.75, 30.0)
    );
    let duplicates = stats.duplicates.unwrap();
    assert_eq!((duplicates.groups, duplicates.conflicting), (1, 1), "the same inputs cost 10 and 11");
}

fn shown(config: &DataConfig, options: &OpenOptions<'_>) -> String {
    let html =
        preview(config, options, &PreviewOptions { title: "a <title>".into(), seed: 1, samples: 4 }).unwrap();
    // Nothing is fetched: every source is a data URI, and there are no links, scripts or style sheets.
    for part in html.split("src=\"").skip(1) {
        assert!(part.starts_with("data:image/png;base64,"), "{}", &part[..40.min(part.len())]);
    }
    for word in ["http:", "https:", "<script", "<link", "url(", "@import", "<title>a <title>"] {
        assert!(!html.contains(word), "{word}");
    }
    html
}

#[test]
fn a_page_shows_images_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let config = leaking(dir.path());
    let html = shown(&config, &OpenOptions::default());
    assert!(html.contains("Before and after") && html.contains("The first training batch"));
    // Four images: the file, evaluation and three passes of each, and the batch of four.
    assert_eq!(html.matches("<img ").count(), 4 * 5 + 4);
    assert!(html.contains("<svg"));
}

#[test]
fn a_page_marks_what_is_padded_and_what_is_learned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    let rows = "{\"tokens\": [\"one\", \"two\", \"three\"], \"label\": [\"O\", \"B-X\", \"O\"]}\n\
                {\"tokens\": [\"two\"], \"label\": [\"B-X\"]}\n";
    fs::write(&path, rows).unwrap();
    let config = parse(json!({"kind": "jsonl", "path": path, "tokens": "tokens", "label": "label",
        "tokenizer": {"kind": "words"}}));
    let options = OpenOptions { task: TaskConfig::TokenClassification, ..OpenOptions::default() };
    let html = shown(&config, &options);
    // Two of the six places of the batch are padding; each of the four words is scored.
    assert_eq!(html.matches("<span class=\"t pad").count(), 1 + 2);
    assert_eq!(html.matches("<small>B-X</small>").count(), 2);
    assert_eq!(html.matches("<small>O</small>").count(), 2);
}

#[test]
fn a_page_shows_how_columns_are_spread() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..50).map(|i| format!("{},{},{}\n", i, ["red", "blue"][i % 2], i % 3)).collect();
    fs::write(dir.path().join("rows.csv"), format!("size,colour,kind\n{rows}")).unwrap();
    let config = parse(json!({"kind": "csv", "path": dir.path().join("rows.csv"), "features": ["size"],
        "categories": ["colour"], "label": "kind"}));
    let html = shown(&config, &OpenOptions::default());
    for word in ["<h3>size</h3>", "<h3>colour</h3>", "red: 25", "Rows as the model gets them"] {
        assert!(html.contains(word), "{word}");
    }
}

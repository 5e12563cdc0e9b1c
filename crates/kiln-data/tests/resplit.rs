//! Splits that stay: by hash, by group, by class; for tables and folders; what is written, and what is not overwritten.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use kiln_data::config::DataConfig;
use kiln_data::resplit::{SPLITS, SplitOptions, split};
use kiln_data::{DataError, Dataset, OpenOptions};
use serde_json::json;

fn options() -> SplitOptions {
    SplitOptions {
        shares: [0.2, 0.1],
        key: None,
        group: None,
        group_until: None,
        stratify: None,
        salt: "kiln".into(),
        header: true,
        update: false,
        force: false,
    }
}

/// `patient,note,label`, with commas, quotes and line ends inside quotes.
fn rows(of: std::ops::Range<usize>) -> String {
    let row = |i: usize| {
        let label = if (i * 7) % 10 < 2 { "rare" } else { "usual" };
        format!("p{},\"note {i}, \"\"{}\"\"\nmore\",{label}\n", i % 97, i * 31 % 50)
    };
    of.map(row).collect()
}

/// Which split each record is in.
fn found(out: &Path, ending: &str) -> HashMap<Vec<String>, usize> {
    let mut all = HashMap::new();
    for (k, name) in SPLITS.iter().enumerate() {
        let path = out.join(format!("{name}.{ending}"));
        if !path.exists() {
            continue;
        }
        for record in csv::Reader::from_path(path).unwrap().records() {
            let record: Vec<String> = record.unwrap().iter().map(String::from).collect();
            assert!(all.insert(record, k).is_none(), "a row is there twice");
        }
    }
    all
}

#[test]
fn rows_that_are_added_move_no_other() {
    for way in ["hash", "group", "stratify", "stratified groups"] {
        let dir = tempfile::tempdir().unwrap();
        let (table, out) = (dir.path().join("rows.csv"), dir.path().join("out"));
        let mut wanted = options();
        wanted.group = way.contains("group").then(|| "patient".into());
        wanted.stratify = way.contains("strat").then(|| "label".into());
        let mut before: HashMap<Vec<String>, usize> = HashMap::new();
        for step in 0..4 {
            // New rows come before, between and after the old ones.
            let [a, b] = [1000 - 70 * step, 1300 + 130 * step];
            let text = format!("patient,note,label\n{}{}", rows(1200..b), rows(a..1200));
            fs::write(&table, text).unwrap();
            let written = split(&table, &out, &wanted).unwrap();
            assert_eq!(written.rows.iter().sum::<usize>(), b - a);
            let now = found(&out, "csv");
            assert_eq!(now.len(), b - a, "every row is in one split");
            for (row, split) in &before {
                assert_eq!(now[row], *split, "{way}: a row moved");
            }
            if let Some(groups) = &wanted.group {
                assert_eq!(groups, "patient");
                let mut of: BTreeMap<&str, usize> = BTreeMap::new();
                now.iter().for_each(|(row, split)| {
                    assert_eq!(*of.entry(&row[0]).or_insert(*split), *split, "{way}: a group was parted");
                });
            }
            if way == "stratify" {
                for (class, counts) in &written.classes {
                    let all = counts.iter().sum::<usize>() as f64;
                    for (count, share) in counts.iter().zip([0.7, 0.2, 0.1]) {
                        assert!((*count as f64 - share * all).abs() <= 1.5, "{class}: {counts:?}");
                    }
                }
            }
            before = now;
            wanted.update = true;
        }
    }
}

#[test]
fn equal_inputs_stay_together_whatever_their_label() {
    let dir = tempfile::tempdir().unwrap();
    let (table, out) = (dir.path().join("rows.csv"), dir.path().join("out"));
    let text: String = (0..400).map(|i| format!("text {},{}\n", i % 100, i % 3)).collect();
    fs::write(&table, format!("text,label\n{text}")).unwrap();
    for stratify in [None, Some("label".to_string())] {
        let key = stratify.is_none().then(|| "text".to_string());
        split(&table, &out, &SplitOptions { stratify, key, force: true, ..options() }).unwrap();
        let mut of: BTreeMap<String, usize> = BTreeMap::new();
        for (k, name) in SPLITS.iter().enumerate() {
            let text = fs::read_to_string(out.join(format!("{name}.csv"))).unwrap();
            for line in text.lines().skip(1) {
                let (input, _) = line.split_once(',').unwrap();
                assert_eq!(*of.entry(input.into()).or_insert(k), k);
            }
        }
        assert_eq!(of.len(), 100);
    }
}

#[test]
fn lines_are_written_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let lines: Vec<String> =
        (0..50).map(|i| format!("{{\"text\": \"caf\u{e9} {i}\",   \"label\": {}}}", i % 2)).collect();
    let path = dir.path().join("rows.jsonl");
    fs::write(&path, format!("\n{}\r\n\n", lines.join("\r\n"))).unwrap();
    split(&path, &out, &options()).unwrap();
    let mut all: Vec<String> = Vec::new();
    for name in SPLITS {
        all.extend(fs::read_to_string(out.join(format!("{name}.jsonl"))).unwrap().lines().map(String::from));
    }
    let mut expected = lines.clone();
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
    let path = dir.path().join("rows.tsv");
    fs::write(&path, "a \"quote\t1\nb\t2\n\nc\t\nd\t4").unwrap();
    let wanted = SplitOptions { header: false, force: true, ..options() };
    let written = split(&path, &out, &wanted).unwrap();
    let mut all: Vec<String> = Vec::new();
    for file in &written.files {
        all.extend(fs::read_to_string(file).unwrap().lines().map(String::from));
    }
    all.sort();
    assert_eq!(all, ["a \"quote\t1", "b\t2", "c\t", "d\t4"]);
}

#[test]
fn a_folder_becomes_tables_that_a_config_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (photos, out) = (dir.path().join("photos"), dir.path().join("splits"));
    for i in 0..60_u32 {
        let path = photos.join(format!("{}/scene{}_{i}.png", ["cat, big", "dog"][i as usize % 2], i / 6));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(4, 4, image::Rgb([i as u8, 0, 0])).save(path).unwrap();
    }
    let wanted = SplitOptions { group_until: Some('_'), stratify: Some("label".into()), ..options() };
    let written = split(&photos, &out, &wanted).unwrap();
    assert_eq!(written.classes.values().flatten().sum::<usize>(), 60);
    let mut config = json!({"kind": "csv", "image": "image", "label": "label"});
    for file in &written.files {
        config[file.file_stem().unwrap().to_str().unwrap()] = json!(file);
    }
    let config: DataConfig = serde_json::from_value(config).unwrap();
    let data = Dataset::open(&config, &OpenOptions::default()).unwrap();
    assert_eq!(data.classes, ["cat, big", "dog"]);
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    for (k, part) in [&data.train, &data.validation, &data.test].into_iter().enumerate() {
        let part = part.as_ref().unwrap();
        for i in 0..part.len() {
            part.raw(i).unwrap(); // the path is right
        }
        let text = fs::read_to_string(&written.files[k]).unwrap();
        for line in text.lines().skip(1) {
            let scene = line.rsplit('/').next().unwrap().split('_').next().unwrap().to_string();
            assert_eq!(*of.entry(scene).or_insert(k), k, "a scene was parted");
        }
    }
    assert_eq!(of.len(), 10);
}

fn says(result: Result<kiln_data::resplit::Written, DataError>, words: &[&str]) {
    let error = result.expect_err("it was accepted");
    let all = format!("{error} {}", error.hint().unwrap_or_default());
    words.iter().for_each(|word| assert!(all.contains(word), "{word:?} in {all:?}"));
}

#[test]
fn nothing_is_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let (table, out) = (dir.path().join("rows.csv"), dir.path().join("out"));
    fs::write(&table, format!("patient,note,label\n{}", rows(0..200))).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("test.csv"), "mine").unwrap();
    says(split(&table, &out, &options()), &["test.csv", "is there already", "--update", "--force"]);
    assert_eq!(fs::read_to_string(out.join("test.csv")).unwrap(), "mine");
    assert!(!out.join("train.csv").exists());
    split(&table, &out, &SplitOptions { force: true, ..options() }).unwrap();
    let update = SplitOptions { update: true, ..options() };
    says(
        split(&table, &out, &SplitOptions { salt: "other".into(), ..update.clone() }),
        &["another rule", "--salt"],
    );
    says(
        split(&table, &out, &SplitOptions { shares: [0.3, 0.1], ..update.clone() }),
        &["shares of 0.2 and 0.1"],
    );
    says(
        split(&table, &out, &SplitOptions { group: Some("patent".into()), ..options() }),
        &["no column \"patent\"", "patient, note, label"],
    );
    says(split(&table, &out, &SplitOptions { shares: [0.6, 0.4], ..options() }), &["do not divide"]);
    says(split(&table.with_extension("parquet"), &out, &options()), &["not found"]);
    says(split(&table, &dir.path().join("new"), &update), &["split.json", "--update"]);
}

//! A hundred seeded single edits of the shipped configs, each refused by `kiln check` at the right line before
//! anything is started: typos in keys, wrong types, numbers out of range, missing files, unknown kinds.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A shipped config, and one line of it changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mutation {
    config: String,
    /// From 0.
    line: usize,
    text: String,
    exit: i32,
}

/// Numbers that look random and are the same everywhere (Steele et al., 2014: SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut all: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// `key = value` of one line, without its comment.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(" = ")?;
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let value = if value.starts_with('"') { value } else { value.split('#').next()? };
    let value = match value.strip_prefix('"') {
        Some(rest) => &value[..rest.find('"')? + 2],
        None => value.trim(),
    };
    let whole = !value.starts_with('[') || value.ends_with(']');
    (plain && whole).then_some((key, value))
}

fn is_path(value: &str) -> bool {
    value.starts_with("\"../") || value.starts_with("\"${")
}

fn typo(line: &str, random: &mut Random) -> Option<String> {
    let word = match pair(line) {
        Some((key, _)) => key,
        None => line.strip_prefix('[')?.trim_start_matches('[').split([']', '.']).next()?,
    };
    if word.len() < 2 {
        return None;
    }
    let at = 1 + random.below(word.len() - 1);
    let wrong = match random.below(3) {
        0 => format!("{}{}", &word[..at], &word[at + 1..]),
        1 => format!("{}{}{}", &word[..at], &word[at..=at], &word[at..]),
        _ => format!("{}q{}", &word[..at], &word[at + 1..]),
    };
    Some(line.replacen(word, &wrong, 1))
}

fn wrong_type(line: &str, random: &mut Random) -> Option<String> {
    let (key, _) = pair(line)?;
    let wrong = ["{ a = 1 }", "1979-05-27", "[[true]]"][random.below(3)];
    Some(format!("{key} = {wrong}"))
}

fn out_of_range(line: &str, random: &mut Random) -> Option<String> {
    let (key, value) = pair(line)?;
    value.parse::<f64>().ok()?;
    Some(format!("{key} = -{}", 1 + random.below(9)))
}

fn missing_file(line: &str, random: &mut Random) -> Option<String> {
    let (key, value) = pair(line).filter(|(_, value)| is_path(value))?;
    Some(format!("{key} = {}/nowhere{}\"", value.trim_end_matches('"'), random.below(9)))
}

fn unknown_kind(line: &str, random: &mut Random) -> Option<String> {
    let (key, value) = pair(line).filter(|(key, _)| *key == "kind")?;
    Some(format!("{key} = {}{}\"", value.trim_end_matches('"'), random.below(9)))
}

type Edit = fn(&str, &mut Random) -> Option<String>;

/// Twenty of each sort, spread over the configs, no two the same.
fn mutations(configs: &[(String, String)]) -> BTreeSet<Mutation> {
    let sorts: [(Edit, i32); 5] =
        [(typo, 2), (wrong_type, 2), (out_of_range, 2), (missing_file, 4), (unknown_kind, 2)];
    let mut random = Random(2026);
    let mut all = BTreeSet::new();
    for (sort, (edit, exit)) in sorts.into_iter().enumerate() {
        for attempt in 0.. {
            if all.len() == (sort + 1) * 20 {
                break;
            }
            assert!(attempt < 100_000, "the configs are too small for 20 edits of sort {sort}");
            let (config, text) = &configs[attempt % configs.len()];
            let lines: Vec<&str> = text.lines().collect();
            let line = random.below(lines.len());
            if let Some(text) = edit(lines[line], &mut random) {
                all.insert(Mutation { config: config.clone(), line, text, exit });
            }
        }
    }
    all
}

/// Empty files and folders under `root` for all that the configs name, so that only the edit is wrong.
fn furnish(root: &Path, configs: &[(String, String)]) {
    fs::create_dir_all(root.join("configs")).unwrap();
    let paths = configs.iter().flat_map(|(_, text)| text.lines()).filter_map(pair).map(|(_, value)| value);
    for value in paths.filter(|value| is_path(value)) {
        let path: PathBuf = match value.trim_matches('"').split_once("}/") {
            Some((_, below)) => root.join("data").join(below),
            None => root.join("configs").join(value.trim_matches('"')),
        };
        if path.extension().is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        } else {
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("config.json"), "{}").unwrap();
        }
    }
}

fn kiln(root: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(words)
        .current_dir(root)
        .env("KILN_TEST_DATA", root.join("data"))
        .output()
        .unwrap()
}

#[test]
fn a_hundred_edits_of_the_shipped_configs_are_refused_at_their_line() {
    let configs = shipped();
    assert!(!configs.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    furnish(root, &configs);
    for (name, text) in &configs {
        fs::write(root.join("configs").join(name), text).unwrap();
        let shown = kiln(root, &["config", "show", &format!("configs/{name}")]);
        assert!(shown.status.success(), "{name}: {}", String::from_utf8_lossy(&shown.stderr));
    }
    let mutations = mutations(&configs);
    assert_eq!(mutations.len(), 100);
    for mutation in mutations {
        let (_, text) = configs.iter().find(|(name, _)| *name == mutation.config).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[mutation.line] = &mutation.text;
        let file = format!("configs/edited-{}", mutation.config);
        fs::write(root.join(&file), lines.join("\n")).unwrap();
        let output = kiln(root, &["check", &file]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(mutation.exit), "{mutation:?}\n{stderr}");
        let place = format!("--> {file}:{}:", mutation.line + 1);
        assert!(stderr.contains(&place), "{mutation:?} is not found at {place}\n{stderr}");
        assert!(stderr.trim_end().ends_with("nothing was started"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

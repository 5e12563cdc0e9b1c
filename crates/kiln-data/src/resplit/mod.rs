//! `kiln data split`: one undivided table or folder of images into train, validation and test, for good.
//! Owns the files that are written: one table a split, and `split.json`, which remembers. Never changes the data and never
//! replaces a file without being asked. assign.rs decides, units.rs reads.

mod assign;
mod units;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::files::{FileError, read_text, write_atomic};
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use assign::{Unit, place, quotas};
pub use units::relative;
use units::{Read, read};

/// The splits in the order of every list here.
pub const SPLITS: [&str; 3] = ["train", "validation", "test"];
/// The file that remembers.
const MEMORY: &str = "split.json";

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitOptions {
    /// Shares of validation and test.
    pub shares: [f64; 2],
    /// Rows with the same key stay together: a column's value; by default all columns but `stratify`. Of images: their
    /// content.
    pub key: Option<String>,
    /// Rows with the same value here stay together, instead of `key`.
    pub group: Option<String>,
    /// Of images: the file's name up to the first of these characters is its group.
    pub group_until: Option<char>,
    /// Keep the shares in each value of this column; of images in each class (any text).
    pub stratify: Option<String>,
    /// Another word gives another split.
    pub salt: String,
    /// The first row names the columns (CSV and TSV).
    pub header: bool,
    /// Keep what an earlier call decided, and add what is new.
    pub update: bool,
    /// Replace what an earlier call wrote.
    pub force: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    /// One table a split that has rows.
    pub files: Vec<PathBuf>,
    /// Rows of train, validation and test.
    pub rows: [usize; 3],
    /// Rows that were there before and kept their split.
    pub kept: usize,
    /// Rows of each class in train, validation and test; empty without `stratify`.
    pub classes: BTreeMap<String, [usize; 3]>,
    /// A `[data]` table for the files.
    pub config: String,
}

/// `split.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    /// By what rows are told apart.
    rule: Rule,
    shares: [f64; 2],
    /// Stratified splits: the split of each key, by its hash; hashed ones follow from the rule alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    splits: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    salt: String,
    key: Option<String>,
    group: Option<String>,
    group_until: Option<char>,
    stratify: Option<String>,
    header: bool,
}

/// Divides `data` and writes the splits into `out`.
///
/// # Errors
/// Data that cannot be read; a column that is not there; shares that leave nothing to train on; files that are there
/// already, unless `update` or `force` is set; an earlier split by another rule.
pub fn split(data: &Path, out: &Path, options: &SplitOptions) -> Result<Written, DataError> {
    check(options)?;
    let Read { units, table } = read(data, out, options)?;
    let rule = Rule {
        salt: options.salt.clone(),
        key: options.key.clone(),
        group: options.group.clone(),
        group_until: options.group_until,
        stratify: options.stratify.clone(),
        header: options.header,
    };
    let paths: Vec<PathBuf> =
        SPLITS.iter().map(|name| out.join(format!("{name}.{}", table.ending))).collect();
    let memory_path = out.join(MEMORY);
    let before = memory(&memory_path, &rule, options)?;
    let taken = paths.iter().chain([&memory_path]).find(|path| path.exists());
    if let Some(taken) = taken.filter(|_| !options.update && !options.force) {
        return Err(there(taken));
    }
    let shares = [1.0 - options.shares[0] - options.shares[1], options.shares[0], options.shares[1]];
    let splits: Vec<usize> = match options.stratify {
        None => units.iter().map(|unit| place(unit.hash, shares)).collect(),
        Some(_) => quotas(&units, shares, &before),
    };
    let mut of_row = vec![0; table.rows.len()];
    let mut classes: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut kept = 0;
    for (unit, &split) in units.iter().zip(&splits) {
        unit.rows.iter().for_each(|&row| of_row[row] = split);
        unit.classes.iter().for_each(|(class, n)| classes.entry(class.clone()).or_default()[split] += n);
        kept += if before.contains_key(&unit.hash) { unit.rows.len() } else { 0 };
    }
    let mut rows = [0; 3];
    of_row.iter().for_each(|&split| rows[split] += 1);
    if rows[0] == 0 {
        let problem =
            format!("no row is left to train on ({} rows are fewer than the shares need)", of_row.len());
        return Err(DataError::config("path", problem, "lower --validation and --test, or give more rows"));
    }
    fs::create_dir_all(out).map_err(FileError::at(out, "create"))?;
    let mut files = Vec::new();
    for (k, path) in paths.iter().enumerate() {
        if rows[k] == 0 {
            if path.exists() {
                fs::remove_file(path).map_err(FileError::at(path, "remove"))?;
            }
            continue;
        }
        let mut bytes = table.head.clone();
        let own = of_row.iter().zip(&table.rows).filter(|(split, _)| **split == k);
        own.for_each(|(_, row)| bytes.extend_from_slice(row));
        write_atomic(path, &bytes)?;
        files.push(path.clone());
    }
    let remembered = |hash: u64| format!("{hash:016x}");
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    if options.stratify.is_some() {
        all.extend(before.iter().map(|(hash, split)| (remembered(*hash), SPLITS[*split].to_string())));
        let new = units.iter().zip(&splits).map(|(unit, k)| (remembered(unit.hash), SPLITS[*k].to_string()));
        all.extend(new);
    }
    let memory = Memory { rule, shares: options.shares, splits: all };
    let text = serde_json::to_vec_pretty(&memory).map_err(|e| program(&memory_path, &e))?;
    write_atomic(&memory_path, &text)?;
    let config = table.config(&files);
    Ok(Written { files, rows, kept, classes, config })
}

fn check(options: &SplitOptions) -> Result<(), DataError> {
    let [validation, test] = options.shares;
    let odd = |share: f64| !(0.0..1.0).contains(&share);
    if odd(validation) || odd(test) || validation + test >= 1.0 || validation + test == 0.0 {
        let problem = format!("shares of {validation} and {test} do not divide the rows");
        return Err(DataError::config(
            "path",
            problem,
            "give shares between 0 and 1 that leave some to train on",
        ));
    }
    if options.key.is_some() && (options.group.is_some() || options.group_until.is_some()) {
        let problem = "rows cannot stay together both by a key and by a group";
        return Err(DataError::config("path", problem, "give one of --key and --group"));
    }
    Ok(())
}

/// What an earlier call decided, where it is to be kept.
fn memory(path: &Path, rule: &Rule, options: &SplitOptions) -> Result<BTreeMap<u64, usize>, DataError> {
    if !options.update {
        return Ok(BTreeMap::new());
    }
    if !path.exists() {
        return Err(DataError::Missing {
            path: path.into(),
            expected: "what an earlier split wrote (--update)".into(),
        });
    }
    let memory: Memory = serde_json::from_str(&read_text(path)?).map_err(|e| program(path, &e))?;
    if &memory.rule != rule {
        return Err(DataError::Unreadable {
            path: path.into(),
            problem: format!("the earlier split has another rule: {}", json(&memory.rule)),
            remedy: "give the same --key, --group, --stratify and --salt, or write to another folder".into(),
        });
    }
    if memory.splits.is_empty() && memory.shares != options.shares {
        return Err(DataError::Unreadable {
            path: path.into(),
            problem: format!(
                "the earlier split has shares of {} and {}: with others rows would move",
                memory.shares[0], memory.shares[1]
            ),
            remedy: "give the same shares, or write to another folder".into(),
        });
    }
    let entry = |(hash, split): (&String, &String)| {
        let hash = u64::from_str_radix(hash, 16).ok()?;
        Some((hash, SPLITS.iter().position(|name| name == split)?))
    };
    let all: Option<BTreeMap<u64, usize>> = memory.splits.iter().map(entry).collect();
    all.ok_or_else(|| DataError::Unreadable {
        path: path.into(),
        problem: "an entry of `splits` is no hash with a split".into(),
        remedy: "restore the file, or write to another folder".into(),
    })
}

fn json(rule: &Rule) -> String {
    serde_json::to_string(rule).unwrap_or_default()
}

fn program(path: &Path, error: &serde_json::Error) -> DataError {
    let remedy = "restore the file, or write to another folder".into();
    DataError::Unreadable { path: path.into(), problem: error.to_string(), remedy }
}

fn there(path: &Path) -> DataError {
    DataError::Unreadable {
        path: path.into(),
        problem: "is there already".into(),
        remedy: "add --update to keep its rows where they are and add new ones, --force to replace it, or give another folder".into(),
    }
}

//! Whether a training input is in validation or test too, as far as a fast check may look.
//! Owns the bounds; `kiln data stats` has none. Hands what it found, and what it left out, to `kiln check`.
//!
//! Bounds: a data file (table, IDX, NumPy, tar, Parquet) is opened where all of them have at most 64 MiB; image folders
//! with at most 100,000 files are listed, and of these only files are read that have the same size as a file of another
//! split, at most 20,000 of them and 128 MiB.

use std::collections::HashMap;
use std::path::Path;

use super::samples::{Print, fingerprint, parallel};
use crate::config::DataConfig;
use crate::dataset::{Dataset, OpenOptions};
use crate::error::DataError;
use crate::layout::{Layout, Place, fractions};
use crate::parts::{Parts, Splits};
use crate::split::Split;

impl DataConfig {
    /// Whether the same input may be in training and in another split. Blocks of plain text are not compared.
    pub fn allows_leakage(&self) -> bool {
        match self {
            DataConfig::Conll(data) => data.allow_leakage,
            DataConfig::Text(_) => true,
            _ => {
                self.images().is_some_and(|data| data.allow_leakage)
                    || self.table().is_some_and(|data| data.allow_leakage)
            }
        }
    }
}

/// Bytes of data files that are opened.
const OPENED: u64 = 64 << 20;
/// Files of a folder that are listed.
const LISTED: usize = 100_000;
/// Files that are read, and their bytes.
const READ: (usize, u64) = (20_000, 128 << 20);
/// Pairs that are named.
const NAMED: usize = 3;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leak {
    /// Samples of validation or test whose input is in training: `(split, count)`.
    pub samples: Vec<(&'static str, usize)>,
    /// The first of them, each with the training sample.
    pub pairs: Vec<(String, String)>,
    /// What was not looked at, and why.
    pub left_out: Option<String>,
}

impl Leak {
    fn nothing() -> Self {
        Self::default()
    }

    fn left_out(why: String) -> Self {
        Self {
            left_out: Some(format!("leakage between splits was not looked for: {why}")),
            ..Self::default()
        }
    }

    /// What is wrong, in one line; `None` where nothing is.
    pub fn problem(&self) -> Option<String> {
        let counts: Vec<String> = self.samples.iter().map(|(split, n)| format!("{n} of {split}")).collect();
        let pairs: Vec<String> = self.pairs.iter().map(|(a, b)| format!("{b} is {a}")).collect();
        (!counts.is_empty()).then(|| {
            format!(
                "training inputs are held out too: {} have the same content as a training sample ({})",
                counts.join(" and "),
                pairs.join("; ")
            )
        })
    }
}

/// Looks for inputs that training shares with validation or test.
///
/// # Errors
/// Data that cannot be opened, as in training.
pub fn leakage(config: &DataConfig, options: &OpenOptions<'_>) -> Result<Leak, DataError> {
    if config.allows_leakage() {
        return Ok(Leak::nothing());
    }
    let parts = Parts::new(config)?;
    let (mut trained, mut held_out) = (false, false);
    for (own, layout) in parts.layouts() {
        let (shares, [train, validation, test]) = (fractions(own, layout)?, layout.places());
        trained |= train.is_some();
        held_out |= validation.is_some() || test.is_some() || shares.validation > 0.0 || shares.test > 0.0;
    }
    if !trained || !held_out {
        return Ok(Leak::nothing());
    }
    if let Some(why) = too_large(parts.layouts().map(|(_, layout)| layout)) {
        return Ok(Leak::left_out(why));
    }
    let (splits, _) = Dataset::samples(config, options)?;
    compare(&splits)
}

fn too_large<'a>(layouts: impl Iterator<Item = &'a Layout>) -> Option<String> {
    let (mut bytes, mut entries) = (0, 0);
    for place in layouts.flat_map(Layout::places).flatten() {
        match place {
            Place::Folder(folder) => entries += count(folder, LISTED - entries.min(LISTED), 0),
            other => bytes += other.files().iter().map(|file| size(file)).sum::<u64>(),
        }
    }
    let stats = "`kiln data stats` looks at all";
    if entries > LISTED {
        return Some(format!("there are more than {LISTED} files; {stats}"));
    }
    (bytes > OPENED).then(|| format!("the data files have {} MiB; {stats}", bytes >> 20))
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |meta| meta.len())
}

/// Entries below a folder, or more than `most`.
fn count(folder: &Path, most: usize, depth: usize) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut n = 0;
    for entry in entries.flatten() {
        n += 1;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && depth < 32 {
            n += count(&entry.path(), most.saturating_sub(n), depth + 1);
        }
        if n > most {
            break;
        }
    }
    n
}

/// A sample of one of the splits.
type At = (usize, usize);

fn compare(splits: &Splits) -> Result<Leak, DataError> {
    let there: Vec<(usize, &Split)> =
        splits.iter().enumerate().filter_map(|(k, split)| Some((k, split.as_ref()?))).collect();
    let all: Vec<At> = there.iter().flat_map(|&(k, split)| (0..split.len()).map(move |i| (k, i))).collect();
    let of = |&(k, i): &At| splits[k].as_ref().map(|split| (split, i));
    let sizes = parallel(all.len(), |n| of(&all[n]).and_then(|(split, i)| split.file_size(i)))?;
    let (candidates, skipped) = candidates(&all, &sizes);
    let prints = parallel(candidates.len(), |n| {
        let at = &candidates[n];
        of(at).map(|(split, i)| fingerprint(split, i))
    })?;
    let mut training: HashMap<Print, At> = HashMap::new();
    let mut leak = Leak::nothing();
    // Training comes first. A sample that cannot be read has a fault of its own, which training tells.
    for (at, print) in candidates.iter().zip(prints) {
        let Some(Ok(print)) = print else { continue };
        if at.0 == 0 {
            training.entry(print).or_insert(*at);
        } else if let Some(twin) = training.get(&print) {
            let name = if at.0 == 1 { "validation" } else { "test" };
            match leak.samples.iter_mut().find(|(own, _)| *own == name) {
                Some((_, n)) => *n += 1,
                None => leak.samples.push((name, 1)),
            }
            if leak.pairs.len() < NAMED
                && let (Some((a, i)), Some((b, j))) = (of(twin), of(at))
            {
                leak.pairs.push((a.name(i), b.name(j)));
            }
        }
    }
    leak.left_out = (skipped > 0).then(|| {
        format!(
            "leakage between splits was looked for in {} of {} files that have the size of another; `kiln data stats` looks at all",
            candidates.len(),
            candidates.len() + skipped
        )
    });
    Ok(leak)
}

/// Samples whose file is as large as a training file of another split's, or whose size nobody knows; training first. Files
/// beyond the bounds are counted only.
fn candidates(all: &[At], sizes: &[Option<u64>]) -> (Vec<At>, usize) {
    let mut seen: HashMap<u64, (bool, bool)> = HashMap::new();
    for (&(k, _), size) in all.iter().zip(sizes) {
        if let Some(size) = size {
            let (training, held_out) = seen.entry(*size).or_default();
            *(if k == 0 { training } else { held_out }) = true;
        }
    }
    let shared = |size: &u64| seen.get(size) == Some(&(true, true));
    let unknown = all.iter().zip(sizes).filter(|(_, size)| size.is_none()).map(|(at, _)| *at);
    let mut wanted: Vec<At> = unknown.collect();
    let mut files: Vec<(u64, At)> =
        all.iter().zip(sizes).filter_map(|(at, size)| Some(((*size)?, *at))).collect();
    files.retain(|(size, _)| shared(size));
    files.sort_unstable(); // whole sizes together, so that what is read can be compared
    let mut bytes = 0;
    let within = files.iter().take(READ.0).take_while(|(size, _)| {
        bytes += size;
        bytes <= READ.1
    });
    let within = within.count();
    wanted.extend(files[..within].iter().map(|(_, at)| *at));
    wanted.sort_unstable();
    (wanted, files.len() - within)
}

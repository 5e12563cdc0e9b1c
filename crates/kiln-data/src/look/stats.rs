//! `kiln data stats`: everything that can be counted of a data set without training on it.
//! Owns what is counted; the parts beside it count. Never changes the data; hands one value to print or write as JSON.

use std::collections::BTreeMap;

use kiln_core::TaskKind;
use serde::Serialize;

use super::columns::{ColumnStats, profile};
use super::duplicates::{Duplicates, Printed};
use super::samples::{Range, Seen, look};
use crate::config::{DataConfig, Missing};
use crate::dataset::{Dataset, OpenOptions};
use crate::error::DataError;
use crate::label::Label;
use crate::layout::Place;
use crate::parts::Parts;
use crate::preprocessor::Program;
use crate::source::table::Format;
use crate::split::Split;

/// Unreadable samples that are named.
const NAMED: usize = 20;

/// A data set in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// What is learned.
    pub task: TaskKind,
    /// `image`, `text` or `table`.
    pub kind: &'static str,
    /// Train, validation and test, as far as they are there.
    pub splits: Vec<SplitStats>,
    /// The same inputs more than once; `None` for blocks of plain text, which are not compared.
    pub duplicates: Option<Duplicates>,
    /// What a reader should know of the numbers.
    pub notes: Vec<String>,
}

/// A split in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitStats {
    /// `train`, `validation` or `test`.
    pub name: &'static str,
    /// Samples.
    pub samples: usize,
    /// Samples (of tags: words) of each class, in index order; none where nothing is classified.
    pub classes: Vec<ClassCount>,
    /// The numbers to learn, by their columns.
    pub values: Vec<(String, Range)>,
    /// Of images.
    pub images: Option<Images>,
    /// Of texts.
    pub lengths: Option<Lengths>,
    /// Of the files behind the split, every column; splits that are shares of one file have it all.
    pub columns: Vec<ColumnStats>,
    /// Samples that cannot be read.
    pub unreadable: Unreadable,
}

/// Samples that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// How many.
    pub samples: usize,
    /// The first of them, with the reason.
    pub first: Vec<String>,
}

/// A class and its samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// Its samples.
    pub samples: usize,
}

/// Sizes of images, before any transform.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Images {
    /// Pixels from top to bottom, upright.
    pub height: Range,
    /// Pixels from left to right, upright.
    pub width: Range,
    /// Different sizes.
    pub sizes: usize,
    /// Images by the format of their file; `pixels` where they are in no file of their own.
    pub formats: BTreeMap<String, usize>,
}

/// Lengths of texts in tokens, special tokens included, before they are cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lengths {
    /// Tokens.
    pub tokens: Range,
    /// 95 of 100 texts are at most so long.
    pub p95: usize,
    /// `data.tokenizer.max_length`.
    pub max_length: usize,
    /// Texts that are longer and are cut.
    pub truncated: usize,
    /// Texts without anything but blanks.
    pub blank: usize,
    /// Tokens of each text, in order; not part of the JSON.
    #[serde(skip)]
    pub(crate) all: Vec<usize>,
}

/// Counts everything; lists at most `limit` groups of duplicates.
///
/// # Errors
/// Data that cannot be opened. Missing numbers are counted even where training would refuse them.
pub fn stats(config: &DataConfig, options: &OpenOptions<'_>, limit: usize) -> Result<Stats, DataError> {
    let lenient = lenient(config);
    let data = Dataset::open(&lenient, options)?;
    let uncut = match &data.preprocessor.program {
        Program::Text { text, .. } => Some(text.uncut()?),
        Program::Image(_) | Program::Table(_) | Program::Corpus(_) => None,
    };
    let corpus = data.preprocessor.is_corpus();
    let mut columns: [Vec<ColumnStats>; 3] = Default::default();
    for (k, (own, layout)) in Parts::new(&lenient)?.layouts().enumerate() {
        for (columns, place) in columns.iter_mut().zip(layout.places()) {
            let mut of_place = place.as_ref().map_or(Ok(Vec::new()), |place| columns_of(place, own))?;
            if k < lenient.sources().len() {
                of_place.iter_mut().for_each(|column| column.name = format!("sources.{k}: {}", column.name));
            }
            columns.extend(of_place);
        }
    }
    let mut stats = Vec::new();
    let mut printed = Vec::new();
    let parts = [("train", &data.train), ("validation", &data.validation), ("test", &data.test)];
    for (k, (name, split)) in parts.into_iter().enumerate() {
        let Some(split) = split else { continue };
        let seen = if corpus { Vec::new() } else { look(split, uncut.as_ref())? };
        // A share of the training file has that file's columns, which are told once.
        let columns = std::mem::take(&mut columns[k]);
        stats.push(split_stats(name, split, &seen, &data, columns));
        printed.push(Printed { name, split, prints: seen.iter().map(|seen| seen.print).collect() });
    }
    let duplicates = (!corpus).then(|| Duplicates::of(&printed, &data.classes, limit));
    let mut notes = Vec::new();
    if corpus {
        notes.push(
            "plain text is one stream of tokens: its samples are blocks, which are not compared".into(),
        );
    }
    if data.preprocessor.kind() == "image" {
        notes.push(
            "images are the same where the bytes of their files are; the same picture saved twice is not found"
                .into(),
        );
    }
    Ok(Stats { task: options.task.kind(), kind: data.preprocessor.kind(), splits: stats, duplicates, notes })
}

/// The same data with missing numbers let through, so that they can be counted.
pub(super) fn lenient(config: &DataConfig) -> DataConfig {
    let mut config = config.clone();
    match &mut config {
        DataConfig::Csv(table)
        | DataConfig::Tsv(table)
        | DataConfig::Jsonl(table)
        | DataConfig::Parquet(table) => {
            table.table.missing = Missing::Mean;
        }
        _ => {}
    }
    config
}

fn columns_of(place: &Place, config: &DataConfig) -> Result<Vec<ColumnStats>, DataError> {
    let Some(table) = config.table() else { return Ok(Vec::new()) };
    let (files, format) = match place {
        Place::Table(path, format) => (vec![path.clone()], *format),
        Place::Parquet(files) => (files.clone(), Format::Parquet),
        _ => return Ok(Vec::new()),
    };
    let (columns, _) = profile(&files, format, table.header, usize::MAX)?;
    Ok(columns.iter().map(super::columns::Profile::stats).collect())
}

fn split_stats(
    name: &'static str,
    split: &Split,
    seen: &[Seen],
    data: &Dataset,
    columns: Vec<ColumnStats>,
) -> SplitStats {
    let faults = || seen.iter().filter_map(|seen| seen.fault.clone());
    let unreadable = Unreadable { samples: faults().count(), first: faults().take(NAMED).collect() };
    let longest = match data.preprocessor.input() {
        kiln_core::InputSpec::Tokens { max_length, .. } => *max_length,
        _ => 0,
    };
    SplitStats {
        name,
        samples: split.len(),
        classes: classes(split, &data.classes),
        values: values(split, &data.classes),
        images: images(seen),
        lengths: lengths(seen, longest),
        columns,
        unreadable,
    }
}

fn classes(split: &Split, names: &[String]) -> Vec<ClassCount> {
    let mut counts = vec![0_usize; names.len()];
    let mut any = false;
    let mut add = |class: usize| {
        any = true;
        if let Some(count) = counts.get_mut(class) {
            *count += 1;
        }
    };
    for i in 0..split.len() {
        match split.label(i) {
            Label::Class(class) => add(*class),
            Label::MultiHot(flags) => {
                flags.iter().enumerate().filter(|(_, flag)| **flag > 0.0).for_each(|(class, _)| add(class));
            }
            Label::Tags(tags) => tags.iter().for_each(|tag| add(*tag)),
            Label::None | Label::Values(_) | Label::Tokens(_) => {}
        }
    }
    let named = names.iter().zip(counts).map(|(name, samples)| ClassCount { name: name.clone(), samples });
    if any { named.collect() } else { Vec::new() }
}

fn values(split: &Split, names: &[String]) -> Vec<(String, Range)> {
    let column = |k: usize| {
        let value = |i: usize| match split.label(i) {
            Label::Values(values) => values.get(k).map(|x| f64::from(*x)),
            _ => None,
        };
        Range::of((0..split.len()).filter_map(value).collect())
    };
    names.iter().enumerate().filter_map(|(k, name)| Some((name.clone(), column(k)?))).collect()
}

fn images(seen: &[Seen]) -> Option<Images> {
    let sizes: Vec<(usize, usize)> = seen.iter().filter_map(|seen| seen.size).collect();
    let height = Range::of(sizes.iter().map(|size| size.0 as f64).collect())?;
    let width = Range::of(sizes.iter().map(|size| size.1 as f64).collect())?;
    let mut formats = BTreeMap::new();
    for format in seen.iter().filter_map(|seen| seen.format.clone()) {
        *formats.entry(format).or_insert(0) += 1;
    }
    let sizes = sizes.into_iter().collect::<std::collections::HashSet<_>>().len();
    Some(Images { height, width, sizes, formats })
}

fn lengths(seen: &[Seen], max_length: usize) -> Option<Lengths> {
    let all: Vec<usize> = seen.iter().filter_map(|seen| seen.tokens).collect();
    let tokens = Range::of(all.iter().map(|n| *n as f64).collect())?;
    let mut sorted = all.clone();
    sorted.sort_unstable();
    let p95 = sorted[(sorted.len() * 95).div_ceil(100).saturating_sub(1)];
    let truncated = all.iter().filter(|n| **n > max_length).count();
    let blank = seen.iter().filter(|seen| seen.blank).count();
    Some(Lengths { tokens, p95, max_length, truncated, blank, all })
}

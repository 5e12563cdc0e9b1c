//! `kiln data preview`: one HTML file of what a model will see, which opens without a network.
//! Owns the page's order; images.rs and texts.rs draw samples, svg.rs charts. Reads through the same preprocessor and
//! loader as training.

mod images;
mod texts;

pub use images::pictures;

use std::fmt::Write;

use super::columns::{Bars, ColumnStats};
use super::report;
use super::stats::{self, SplitStats, Stats};
use super::svg::{escaped, histogram, rows};
use crate::config::{DataConfig, LoaderConfig};
use crate::dataset::{Dataset, OpenOptions};
use crate::error::DataError;
use crate::loader::Loader;
use crate::mixup::Mixup;
use crate::order::Order;
use crate::split::Split;

/// Classes in the chart of balance.
const CLASSES: usize = 60;

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2rem;max-width:75rem;color:#222}\
    h2{margin-top:2.5rem;border-bottom:1px solid #ccc}p{max-width:60rem;color:#444}svg{max-width:46rem;width:100%;display:block}\
    svg text{font:11px system-ui,sans-serif;fill:#333}.s0{fill:#4878a8}.s1{fill:#e08a3c}.s2{fill:#5b9f5b}\
    svg line{stroke:#c0392b;stroke-width:1.5}table{border-collapse:collapse}td,th{padding:.2rem .6rem;text-align:left;vertical-align:top}\
    .grid{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;max-width:14rem}figcaption{font-size:12px;overflow-wrap:anywhere}\
    img{image-rendering:pixelated;min-width:96px;border:1px solid #ddd}pre{background:#f6f6f6;padding:1rem;overflow-x:auto}\
    .t{display:inline-block;margin:1px;padding:1px 3px;border:1px solid #ddd;border-radius:3px;font:12px ui-monospace,monospace;white-space:pre}\
    .special{color:#888;background:#f3f3f3}.pad{color:#bbb;border-style:dashed}.second{background:#eef6ee}\
    .scored{background:#fde9c8;border-color:#e0a03c}.t small{color:#a04000;margin-left:3px}.name{color:#666;font-size:12px}";

/// What is shown.
#[derive(Debug, Clone)]
pub struct PreviewOptions {
    /// Over the page.
    pub title: String,
    /// The run's seed, which fixes every random draw.
    pub seed: u64,
    /// Samples that are shown.
    pub samples: usize,
}

/// The page.
///
/// # Errors
/// Data that cannot be opened, and samples that cannot be prepared where the config does not let them be left out.
pub fn preview(
    config: &DataConfig,
    options: &OpenOptions<'_>,
    shown: &PreviewOptions,
) -> Result<String, DataError> {
    let data = Dataset::open(config, options)?;
    let counts = stats::stats(config, options, 10)?;
    let title = escaped(&shown.title);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"generator\" content=\"{GENERATOR}\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p>{}</p>",
        escaped(&head(&counts))
    );
    html += &balance(&counts.splits);
    html += &lengths(&counts.splits);
    if let Some(split) = data.train.as_ref().or(data.validation.as_ref()).or(data.test.as_ref()) {
        html += &samples(config, &data, split, shown)?;
    }
    for split in &counts.splits {
        html += &columns(split);
    }
    let _ = write!(html, "<h2>In numbers</h2><pre>{}</pre>", escaped(&report::page(&counts)));
    Ok(html + "</body></html>\n")
}

/// By this word a page is known again.
pub const GENERATOR: &str = "kiln data preview";

fn head(counts: &Stats) -> String {
    let splits: Vec<String> = counts.splits.iter().map(|s| format!("{} {}", s.samples, s.name)).collect();
    format!("{} of {} samples: {}.", counts.task, counts.kind, splits.join(", "))
}

fn balance(splits: &[SplitStats]) -> String {
    let with: Vec<&SplitStats> = splits.iter().filter(|split| !split.classes.is_empty()).collect();
    let Some(first) = with.first() else { return String::new() };
    let series: Vec<&str> = with.iter().map(|split| split.name).collect();
    let bar = |k: usize| {
        let counts = with.iter().map(|split| split.classes.get(k).map_or(0.0, |c| c.samples as f64));
        (first.classes[k].name.clone(), counts.collect())
    };
    let all = first.classes.len();
    let bars: Vec<(String, Vec<f64>)> = (0..all.min(CLASSES)).map(bar).collect();
    let cut = match all > CLASSES {
        true => format!("<p>The first {CLASSES} of {all} classes.</p>"),
        false => String::new(),
    };
    format!("<h2>Samples of each class</h2>{cut}{}", rows(&bars, &series))
}

fn lengths(splits: &[SplitStats]) -> String {
    let mut html = String::new();
    for split in splits {
        let Some(lengths) = &split.lengths else { continue };
        let numbers: Vec<f64> = lengths.all.iter().map(|n| *n as f64).collect();
        let Some(bars) = Bars::of(&numbers, 40) else { continue };
        let mark = format!("max_length {}", lengths.max_length);
        let cut = report::share(lengths.truncated, split.samples);
        let _ = write!(
            html,
            "<h2>Tokens of a text, {}</h2><p>{} of {} texts ({cut}) are cut at {} tokens.</p>{}",
            split.name,
            lengths.truncated,
            split.samples,
            lengths.max_length,
            histogram(&bars, Some((lengths.max_length as f64, &mark)))
        );
    }
    html
}

/// Samples before and after, and the first training batch.
fn samples(
    config: &DataConfig,
    data: &Dataset,
    split: &Split,
    shown: &PreviewOptions,
) -> Result<String, DataError> {
    // Threads are not worth their start for one batch.
    let loader = LoaderConfig { workers: 0, ..config.loader().clone() };
    let order = Order::Train { seed: shown.seed, epoch: 0 };
    let mixup = config.mixup().map(|words| Mixup { config: words, classes: data.classes.len() });
    let batch = Loader::new(split, &data.preprocessor, &loader, order)?.mixed(mixup).next().transpose()?;
    let mut html = images::before_and_after(data, split, shown)?;
    if let Some(batch) = batch {
        html += &images::batch(data, split, &batch, shown.samples);
        html += &texts::batch(data, split, &batch, shown.samples);
    }
    Ok(html)
}

fn columns(split: &SplitStats) -> String {
    let mut html = String::new();
    let some = |column: &&ColumnStats| column.bars.is_some() || !column.top.is_empty();
    for column in split.columns.iter().filter(some) {
        let missing = column.missing.unwrap_or(0);
        let _ = write!(html, "<h3>{}</h3><p>{}, {missing} missing</p>", escaped(&column.name), column.kind);
        html += &match &column.bars {
            Some(bars) => histogram(bars, None),
            None => {
                let bars: Vec<_> =
                    column.top.iter().map(|(word, n)| (word.clone(), vec![*n as f64])).collect();
                rows(&bars, &["rows"])
            }
        };
    }
    match html.is_empty() {
        true => html,
        false => format!("<h2>Columns of {}</h2>{html}", split.name),
    }
}

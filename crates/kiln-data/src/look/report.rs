//! The numbers of a data set as a page of text for a terminal.
//! Owns the layout; counts nothing.

use std::fmt::Write;

use super::columns::ColumnStats;
use super::duplicates::{Duplicates, Group};
use super::samples::Range;
use super::stats::{SplitStats, Stats};

/// Classes that are listed with their counts; of more the largest and smallest.
const CLASSES: usize = 30;

/// Everything, a block a split, then what they share.
pub fn page(stats: &Stats) -> String {
    let mut text = String::new();
    for split in &stats.splits {
        text += &of_split(split, stats.kind);
    }
    text += &balance(&stats.splits);
    for split in stats.splits.iter().filter(|split| !split.columns.is_empty()) {
        text += &of_columns(split);
    }
    if let Some(duplicates) = &stats.duplicates {
        text += &of_duplicates(duplicates);
    }
    for note in &stats.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn of_split(split: &SplitStats, kind: &str) -> String {
    let mut text = format!("{:<11} {} samples\n", split.name, split.samples);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    if let Some(images) = &split.images {
        line("height", range(&images.height));
        line("width", range(&images.width));
        let formats: Vec<String> = images.formats.iter().map(|(f, n)| format!("{n} {f}")).collect();
        line("files", format!("{}; {} different sizes", formats.join(", "), images.sizes));
    }
    if let Some(lengths) = &split.lengths {
        line("tokens", format!("{}; 95 % at most {}", range(&lengths.tokens), lengths.p95));
        let cut = share(lengths.truncated, split.samples);
        line(
            "truncated",
            format!(
                "{} of {} ({cut}) by max_length = {}",
                lengths.truncated, split.samples, lengths.max_length
            ),
        );
        if lengths.blank > 0 {
            line("blank", format!("{} texts", lengths.blank));
        }
    }
    for (name, values) in &split.values {
        line("label", format!("{name}: {}", range(values)));
    }
    if split.unreadable.samples > 0 {
        line("unreadable", format!("{} {kind} samples", split.unreadable.samples));
        split.unreadable.first.iter().for_each(|fault| line("", fault.clone()));
    }
    text
}

/// `min`, `median` and `max`, with the mean.
fn range(range: &Range) -> String {
    let Range { min, median, mean, max } = range;
    format!(
        "min {}  median {}  max {}  (mean {})",
        number(*min),
        number(*median),
        number(*max),
        number(*mean)
    )
}

/// At most four digits after the point, and no more than are needed.
pub(super) fn number(x: f64) -> String {
    if x != 0.0 && (x.abs() < 1e-3 || x.abs() >= 1e9) {
        return format!("{x:.3e}");
    }
    let text = format!("{x:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

pub(super) fn share(part: usize, whole: usize) -> String {
    format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Samples a class and split.
fn balance(splits: &[SplitStats]) -> String {
    let with: Vec<&SplitStats> = splits.iter().filter(|split| !split.classes.is_empty()).collect();
    let Some(first) = with.first() else { return String::new() };
    let all = first.classes.len();
    let width = first.classes.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).clamp(5, 30);
    let mut text = format!("{:<width$}", "class");
    with.iter().for_each(|split| {
        let _ = write!(text, "  {:>18}", split.name);
    });
    text.push('\n');
    let mut order: Vec<usize> = (0..all).collect();
    if all > CLASSES {
        order.sort_by_key(|&k| std::cmp::Reverse(first.classes[k].samples));
        order.drain(CLASSES / 2..all - CLASSES / 2);
        let _ =
            writeln!(text, "({CLASSES} of {all}: those with the most and the fewest {} samples)", first.name);
    }
    for k in order {
        let name: String = first.classes[k].name.chars().take(width).collect();
        let _ = write!(text, "{name:<width$}");
        for split in &with {
            let total: usize = split.classes.iter().map(|c| c.samples).sum();
            let n = split.classes.get(k).map_or(0, |c| c.samples);
            let _ = write!(text, "  {:>9} {:>8}", n, share(n, total));
        }
        text.push('\n');
    }
    let counts = || first.classes.iter().map(|c| c.samples);
    let (most, fewest) = (counts().max().unwrap_or(0), counts().min().unwrap_or(0));
    match fewest {
        0 => text += "a class without training samples cannot be learned\n",
        _ => {
            let _ = writeln!(
                text,
                "the largest class has {:.1} times the samples of the smallest",
                most as f64 / fewest as f64
            );
        }
    }
    text
}

fn of_columns(split: &SplitStats) -> String {
    let width = split.columns.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).clamp(6, 30);
    let mut text = format!(
        "columns of {} (all rows of its file)\n{:<width$}  {:<8} {:>8}  {:>9}  values\n",
        split.name, "name", "holds", "missing", "different"
    );
    for column in &split.columns {
        let ColumnStats { name, kind, missing, distinct, .. } = column;
        let name: String = name.chars().take(width).collect();
        let missing = missing.map_or_else(|| "?".into(), |n| n.to_string());
        let distinct = distinct.map_or_else(|| "?".into(), |n| n.to_string());
        let values = match (&column.range, column.top.as_slice()) {
            (Some(own), _) => range(own),
            (None, top) => {
                top.iter().take(5).map(|(word, n)| format!("{word} ({n})")).collect::<Vec<_>>().join(", ")
            }
        };
        let _ = writeln!(text, "{name:<width$}  {kind:<8} {missing:>8}  {distinct:>9}  {values}");
    }
    text
}

fn of_duplicates(duplicates: &Duplicates) -> String {
    let mut text = String::from("exact duplicates\n");
    for (split, n) in &duplicates.within {
        let _ = writeln!(text, "  within {split:<11} {n} samples repeat an earlier one");
    }
    for shared in &duplicates.across {
        let (first, second) = (shared.first, shared.second);
        let word = if first == "train" { "LEAKAGE: " } else { "" };
        let _ = writeln!(
            text,
            "  {first} and {second}: {word}{} samples of {second} are in {first} ({} samples there, {} different inputs)",
            shared.samples, shared.samples_of_first, shared.inputs
        );
    }
    if duplicates.across.is_empty() {
        text += "  none across splits\n";
    }
    if duplicates.conflicting > 0 {
        let _ = writeln!(text, "  {} inputs have more than one label", duplicates.conflicting);
    }
    duplicates.listed.iter().for_each(|group| text += &of_group(group));
    let rest = duplicates.groups - duplicates.listed.len();
    if rest > 0 {
        let _ = writeln!(text, "  ... and {rest} more (--list N shows more, --json has them too)");
    }
    text
}

fn of_group(group: &Group) -> String {
    let members = group.members.iter().take(4).map(|m| match m.label.is_empty() {
        true => format!("{} {}", m.split, m.name),
        false => format!("{} {} ({})", m.split, m.name, m.label),
    });
    let more = group.members.len().saturating_sub(4);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let sign = if group.conflicting { "!=" } else { "==" };
    format!("  {}{more}\n", members.collect::<Vec<_>>().join(&format!(" {sign} ")))
}

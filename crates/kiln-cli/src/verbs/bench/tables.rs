//! Results of `kiln bench` as people read them on a terminal: tables, and a row in a line as it is done.
//! Owns the layout; the columns of rows are kiln-train's.

use comfy_table::{ContentArrangement, Table, presets};
use kiln_train::bench::{Comparison, Results, Row, Warmed};

/// A row in a line.
pub(super) fn line(row: &Row) -> String {
    match (&row.measured, &row.reason) {
        (Some(m), _) => format!(
            "{}: train {:.2} ms ({:.1} samples/s), infer {:.2} ms ({:.1} samples/s)",
            row.key, m.train.p50_ms, m.train.samples_per_sec, m.infer.p50_ms, m.infer.samples_per_sec
        ),
        (None, reason) => format!("{}: {}", row.key, reason.as_deref().unwrap_or("no numbers")),
    }
}

/// A warmed row in a line.
pub(super) fn warmed(warmed: &Warmed) -> String {
    match (&warmed.first_step_ms, &warmed.reason) {
        (Some([before, after]), _) => {
            format!("{}: first step {before:.1} ms, in the next process {after:.1} ms", warmed.row)
        }
        (None, reason) => format!("{}: {}", warmed.row, reason.as_deref().unwrap_or("no numbers")),
    }
}

/// All rows.
pub(super) fn rows(results: &Results) -> String {
    let (titles, lines) = results.table();
    let mut table = plain(titles);
    table.add_rows(lines);
    table.trim_fmt()
}

/// What changed from one file to another.
pub(super) fn differences(comparison: &Comparison) -> String {
    let mut table = plain(vec!["row", "what", "first ms", "second ms", "change", ""]);
    for difference in &comparison.both {
        let ms = |i: usize| difference.ms.map_or_else(|| "-".into(), |ms| format!("{:.3}", ms[i]));
        let change =
            difference.growth.map_or_else(|| "no numbers".into(), |g| format!("{:+.1} %", 100.0 * g));
        let verdict = if difference.slower { "SLOWER" } else { "" };
        let key = difference.key.to_string();
        table.add_row([key, difference.what.into(), ms(0), ms(1), change, verdict.into()]);
    }
    let mut text = table.trim_fmt();
    for (key, which) in &comparison.alone {
        text += &format!("\nonly in {which}: {key} ({})", key.hardware);
    }
    text
}

fn plain(titles: Vec<&str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles);
    table
}

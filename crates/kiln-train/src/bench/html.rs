//! Results as one HTML file: the table and a bar chart each of speeds and memory, drawn in SVG. It loads nothing.
//! Owns the page; the columns are `results`'.

use std::fmt::Write;

use kiln_core::markup::escaped;

use super::results::{METHOD, Results};
use super::row::{Measured, Row};

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2rem;max-width:90rem}table{border-collapse:collapse}\
    th,td{padding:.2rem .6rem;border-bottom:1px solid #ccc;text-align:left}svg{max-width:60rem;width:100%}\
    svg text{font:12px system-ui,sans-serif}.bar{fill:#4878a8}.interval{stroke:#222;stroke-width:1.5}\
    p{max-width:60rem;color:#444}";

/// One bar: a value with, where there is one, an interval.
struct Bar {
    label: String,
    value: f64,
    interval: Option<(f64, f64)>,
}

/// The page.
pub(super) fn page(results: &Results) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>kiln bench</title>\
         <style>{STYLE}</style></head><body><h1>kiln bench</h1><p>{}</p>",
        escaped(METHOD)
    );
    html += &table(results);
    html += &chart(results, "Training, samples a second", |m| {
        let per_sec = |ms: f64| m.train.samples_per_sec * m.train.p50_ms / ms;
        Some((m.train.samples_per_sec, Some((per_sec(m.train.p50_high_ms), per_sec(m.train.p50_low_ms)))))
    });
    html += &chart(results, "Inference, samples a second", |m| {
        let per_sec = |ms: f64| m.infer.samples_per_sec * m.infer.p50_ms / ms;
        Some((m.infer.samples_per_sec, Some((per_sec(m.infer.p50_high_ms), per_sec(m.infer.p50_low_ms)))))
    });
    html += &chart(results, "Peak memory in training, MiB", |m| m.train_peak_mib.map(|mib| (mib, None)));
    html += &chart(results, "Share of the device's matrix product in training, %", |m| {
        m.train_share_of_peak().map(|share| (100.0 * share, None))
    });
    html + "</body></html>\n"
}

fn table(results: &Results) -> String {
    let (titles, lines) = results.table();
    let row = |cells: &mut dyn Iterator<Item = &str>, tag: &str| {
        let cells: String = cells.map(|c| format!("<{tag}>{}</{tag}>", escaped(c))).collect();
        format!("<tr>{cells}</tr>")
    };
    let mut html = format!("<table>{}", row(&mut titles.iter().copied(), "th"));
    for line in &lines {
        html += &row(&mut line.iter().map(String::as_str), "td");
    }
    html + "</table>"
}

type Value = (f64, Option<(f64, f64)>);

/// Horizontal bars from 0, a row each; nothing where no row has the number.
fn chart(results: &Results, title: &str, value: impl Fn(&Measured) -> Option<Value>) -> String {
    const LEFT: f64 = 330.0;
    const WIDE: f64 = 480.0;
    const HIGH: f64 = 22.0;
    let bars: Vec<Bar> = results.rows.iter().filter_map(|row| bar(row, &value)).collect();
    let largest = bars.iter().map(|b| b.interval.map_or(b.value, |(_, high)| high)).fold(0.0, f64::max);
    if largest <= 0.0 || !largest.is_finite() {
        return String::new();
    }
    let x = |value: f64| LEFT + WIDE * value / largest;
    let height = HIGH * bars.len() as f64;
    let mut svg = format!("<h2>{}</h2><svg viewBox=\"0 0 900 {height}\" role=\"img\">", escaped(title));
    for (i, bar) in bars.iter().enumerate() {
        let y = HIGH * i as f64;
        let (text, middle, wide) = (y + 15.0, y + 11.0, x(bar.value) - LEFT);
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect class=\"bar\" x=\"{LEFT}\" y=\"{}\" width=\"{wide:.1}\" height=\"16\"/>",
            LEFT - 8.0,
            escaped(&bar.label),
            y + 3.0
        );
        let end = bar.interval.map_or(bar.value, |(_, high)| high);
        if let Some((low, high)) = bar.interval {
            let (low, high) = (x(low), x(high));
            let _ = write!(
                svg,
                "<line class=\"interval\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
            );
        }
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{text}\">{}</text>", x(end) + 6.0, short(bar.value));
    }
    svg + "</svg>"
}

fn bar(row: &Row, value: impl Fn(&Measured) -> Option<Value>) -> Option<Bar> {
    let (value, interval) = row.measured.as_ref().and_then(value)?;
    Some(Bar { label: row.key.to_string(), value, interval })
}

fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

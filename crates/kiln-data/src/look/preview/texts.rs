//! Tokens of a batch with what the model attends to and what the loss is taken of; rows of numbers as they are fed.
//! Owns the marking; the batch is the loader's.

use std::fmt::Write;

use kiln_core::IGNORE;

use crate::batch::{HostBatch, HostFeatures};
use crate::dataset::Dataset;
use crate::label::HostTarget;
use crate::look::duplicates::word;
use crate::look::svg::escaped;
use crate::preprocessor::Program;
use crate::split::Split;

/// Tokens of a text that are shown.
const TOKENS: usize = 400;
/// Columns of a row that are shown.
const COLUMNS: usize = 40;

/// The first rows of a batch; nothing for images.
pub(super) fn batch(data: &Dataset, split: &Split, batch: &HostBatch, most: usize) -> String {
    match &batch.features {
        HostFeatures::Tokens { ids, mask, types, shape: [_, t] } => {
            let rows = ids.chunks_exact(*t).zip(mask.chunks_exact(*t)).zip(types.chunks_exact(*t));
            let mut html = String::from(
                "<h2>The first training batch</h2><p><span class=\"t\">token</span> attended to, \
                 <span class=\"t special\">special</span>, <span class=\"t second\">second text</span>, \
                 <span class=\"t pad\">padding</span> masked out of attention, \
                 <span class=\"t scored\">scored<small>target</small></span> in the loss.</p>",
            );
            for (row, ((ids, mask), types)) in rows.enumerate().take(most) {
                let index = batch.indices.get(row).copied().unwrap_or_default();
                let label = word(split.label(index), &data.classes);
                let _ = write!(
                    html,
                    "<p><b>{}</b> <span class=\"name\">{}</span><br>",
                    escaped(&label),
                    escaped(&split.name(index))
                );
                let targets = targets(batch, row);
                for at in 0..ids.len().min(TOKENS) {
                    html +=
                        &token(data, ids[at], mask[at], types[at], targets.and_then(|t| t.get(at)).copied());
                }
                let rest = ids.len().saturating_sub(TOKENS);
                html += &if rest > 0 { format!(" and {rest} more</p>") } else { "</p>".into() };
            }
            html
        }
        HostFeatures::Table { numbers, categories, shape: [_, f, n] } => {
            table(data, split, (batch, most), (numbers, *f), (categories, *n))
        }
        HostFeatures::Image { .. } => String::new(),
    }
}

fn targets(batch: &HostBatch, row: usize) -> Option<&[i64]> {
    match &batch.target {
        Some(HostTarget::Tokens { ids, width }) => ids.get(row * width..(row + 1) * width),
        _ => None,
    }
}

fn token(data: &Dataset, id: i32, attended: bool, segment: i32, target: Option<i64>) -> String {
    let id = id as u32;
    let text = data.preprocessor.token(id).unwrap_or_else(|| id.to_string());
    let special = match &data.preprocessor.program {
        Program::Text { text, .. } | Program::Corpus(text) => text.special.contains(&id),
        Program::Image(_) | Program::Table(_) => false,
    };
    let mut class = String::from("t");
    let scored = target.filter(|target| *target != IGNORE);
    for (name, is) in
        [("pad", !attended), ("special", special), ("second", segment > 0), ("scored", scored.is_some())]
    {
        if is {
            class.push(' ');
            class.push_str(name);
        }
    }
    let answer = scored.map_or_else(String::new, |target| {
        let own = usize::try_from(target).ok().and_then(|k| data.classes.get(k).cloned());
        let text =
            own.or_else(|| data.preprocessor.token(target as u32)).unwrap_or_else(|| target.to_string());
        format!("<small>{}</small>", escaped(&text))
    });
    format!("<span class=\"{class}\" title=\"id {id}\">{}{answer}</span>", escaped(&text))
}

fn table(
    data: &Dataset,
    split: &Split,
    (batch, most): (&HostBatch, usize),
    (numbers, f): (&[f32], usize),
    (categories, n): (&[i32], usize),
) -> String {
    let mut html = String::from(
        "<h2>The first training batch</h2><p>Rows as the model gets them: numbers scaled, categories by their index.</p><table>",
    );
    for (row, &index) in batch.indices.iter().enumerate().take(most) {
        let label = word(split.label(index), &data.classes);
        let _ = write!(
            html,
            "<tr><td class=\"name\">{}</td><td><b>{}</b></td>",
            escaped(&split.name(index)),
            escaped(&label)
        );
        let own = numbers[row * f..(row + 1) * f].iter().map(|x| format!("{x:.3}"));
        let own = own.chain(categories[row * n..(row + 1) * n].iter().map(|k| format!("#{k}")));
        own.take(COLUMNS).for_each(|cell| {
            let _ = write!(html, "<td>{cell}</td>");
        });
        html.push_str("</tr>");
    }
    html + "</table>"
}

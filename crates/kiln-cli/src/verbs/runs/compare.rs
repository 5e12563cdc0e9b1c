//! The page of `kiln runs compare`: a column a run.
//! Owns its layout.

use std::path::PathBuf;

use kiln_train::progress::Scored;
use kiln_train::runs::{self, Comparison, Overview};

use super::show::plain;
use super::{cell, table, to_json, told};
use crate::report::Failure;
use crate::verbs::train;

pub(super) fn page(paths: Vec<PathBuf>, json: bool) -> Result<String, Failure> {
    let comparison = runs::compare(&paths)?;
    comparison.runs.iter().for_each(|run| told(&run.faults));
    if json {
        return to_json(&comparison);
    }
    Ok(format!("{}\n\n{}", config(&comparison), scores(&comparison)))
}

fn names(comparison: &Comparison, first: &str) -> Vec<String> {
    std::iter::once(first.to_string()).chain(comparison.runs.iter().map(|run| run.name.clone())).collect()
}

fn config(comparison: &Comparison) -> String {
    if comparison.config.is_empty() {
        return "the configs are the same".into();
    }
    let mut table = table(names(comparison, "config"));
    for (key, values) in &comparison.config {
        let values = values.iter().map(|value| value.as_ref().map_or("-".into(), plain));
        table.add_row(std::iter::once(key.clone()).chain(values));
    }
    table.trim_fmt()
}

fn scores(comparison: &Comparison) -> String {
    let runs = &comparison.runs;
    let mut table = table(names(comparison, "scores"));
    let mut row = |name: String, value: &dyn Fn(usize) -> String| {
        table.add_row(std::iter::once(name).chain((0..runs.len()).map(value)));
    };
    row("state".into(), &|k| runs[k].state.word().into());
    row("steps".into(), &|k| runs[k].step.to_string());
    row("seconds".into(), &|k| runs[k].seconds.map_or("-".into(), |s| format!("{s:.1}")));
    row("train loss, newest".into(), &|k| runs[k].train_loss.map_or("-".into(), train::loss));
    let of = |scored: fn(&Overview) -> Option<&Scored>| runs.iter().map(scored).collect::<Vec<_>>();
    let sections = [
        ("best", of(|run| run.best.as_ref())),
        ("newest", of(|run| run.newest.as_ref())),
        ("test", of(|run| run.test.as_ref())),
    ];
    for (what, scored) in sections.iter().filter(|(_, scored)| scored.iter().any(Option::is_some)) {
        let head = ["step", "loss"].into_iter();
        for name in head.chain(metrics(scored)) {
            row(format!("{what}: {}", name.replace('_', " ")), &|k| cell(scored[k], name));
        }
    }
    match &comparison.same_step {
        Some(same) => {
            let scored: Vec<_> = same.validation.iter().map(Some).collect();
            let step = same.step;
            row(format!("step {step}: train loss"), &|k| same.train_loss[k].map_or("-".into(), train::loss));
            for name in std::iter::once("loss").chain(metrics(&scored)) {
                row(format!("step {step}: {}", name.replace('_', " ")), &|k| {
                    cell(scored.get(k).copied().flatten(), name)
                });
            }
            table.trim_fmt()
        }
        None => format!("{}\nno step was evaluated in all of them", table.trim_fmt()),
    }
}

/// Names of the metrics, in the order of the runs.
fn metrics<'a>(scored: &[Option<&'a Scored>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for name in scored.iter().flatten().flat_map(|scored| scored.metrics.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

//! The table of `kiln runs ls`: columns and order.
//! Owns what a column shows; folders that are no runs are told on stderr and do not stop it.

use std::cmp::Ordering;
use std::path::Path;

use kiln_core::Exit;
use kiln_eval::tasks;
use kiln_train::TrainError;
use kiln_train::runs::{self, Overview};

use super::{cell, table, to_json, told};
use crate::report::{self, Failure};
use crate::verbs::train;

const HEADER: [&str; 11] =
    ["name", "when", "data", "model", "step", "epoch", "best", "at step", "train loss", "state", "seconds"];

/// Orders that are no metric.
const KEYS: [&str; 5] = ["when", "name", "step", "train_loss", "seconds"];

pub(super) fn page(dir: &Path, sort: &str, json: bool) -> Result<String, Failure> {
    let mut listing = runs::list(dir).map_err(|fault| explained(fault, dir))?;
    for (_, fault) in &listing.faults {
        report::talk(&format!("warning: {fault}"));
    }
    listing.runs.iter().for_each(|run| told(&run.faults));
    sorted(&mut listing.runs, sort)?;
    if json {
        return to_json(&listing.runs);
    }
    if listing.runs.is_empty() {
        report::talk(&format!("no runs in {}", dir.display()));
    }
    let mut table = table(HEADER.map(String::from));
    for run in &listing.runs {
        table.add_row(row(run, sort));
    }
    Ok(table.trim_fmt())
}

fn explained(fault: TrainError, dir: &Path) -> Failure {
    let failure = Failure::from(fault);
    match kiln_core::RunDir::is_run(dir) {
        true => failure.hint(format!("kiln runs show {}", dir.display())),
        false if !dir.exists() => failure.hint("give the folder that holds runs: the config's output_dir"),
        false => failure,
    }
}

fn row(run: &Overview, sort: &str) -> Vec<String> {
    let metric = if KEYS.contains(&sort) { run.metric } else { sort };
    let best = run.best.as_ref();
    vec![
        run.name.clone(),
        run.started.get(..16).unwrap_or_default().replace('T', " "),
        run.data.clone(),
        run.model.clone(),
        run.step.to_string(),
        run.epoch.map_or("-".into(), |epoch| format!("{epoch:.1}")),
        best.map_or("-".into(), |_| format!("{metric} {}", cell(best, metric))),
        cell(best, "step"),
        run.train_loss.map_or("-".into(), train::loss),
        run.state.word().into(),
        run.seconds.map_or("-".into(), |seconds| format!("{seconds:.1}")),
    ]
}

/// The best first; what has no such number comes last.
fn sorted(runs: &mut [Overview], key: &str) -> Result<(), Failure> {
    let number = |run: &Overview| match key {
        "step" => Some(run.step as f64),
        "train_loss" => run.train_loss,
        "seconds" => run.seconds,
        name => run.best_of(name),
    };
    match key {
        "when" => return Ok(()), // as they come
        "name" => {
            runs.sort_by(|a, b| a.name.cmp(&b.name));
            return Ok(());
        }
        _ => {}
    }
    let known = tasks::TASKS.iter().find_map(|task| task.metric(key));
    let is_key = KEYS.contains(&key);
    if !is_key && !runs.is_empty() && runs.iter().all(|run| run.best_of(key).is_none()) {
        return Err(unknown(runs, key));
    }
    let higher = known.map_or(!is_key || key == "step", |metric| metric.higher_is_better);
    runs.sort_by(|a, b| match (number(a), number(b)) {
        (Some(a), Some(b)) if higher => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()).then(Ordering::Equal),
    });
    Ok(())
}

fn unknown(runs: &[Overview], key: &str) -> Failure {
    let evaluated = runs.iter().filter_map(|run| run.best.as_ref());
    let mut names: Vec<&str> = evaluated.flat_map(|best| best.metrics.keys().map(String::as_str)).collect();
    names.extend(["loss"].iter().chain(&KEYS));
    names.sort_unstable();
    names.dedup();
    Failure::new(Exit::Usage, format!("--sort {key}: no run here has such a number"))
        .hint(format!("one of: {}", names.join(", ")))
}

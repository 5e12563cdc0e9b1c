//! Runs side by side: the keys of their configs that differ, and their scores at the same step.
//! Owns the comparison; lays nothing out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::{History, Overview};
use crate::error::TrainError;
use crate::progress::Scored;

/// Runs side by side, in the order they were named.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Each at a glance, with its best and newest scores.
    pub runs: Vec<Overview>,
    /// Config keys that are not the same in all, but `run_name`; null where a run has none.
    pub config: BTreeMap<String, Vec<Option<Value>>>,
    /// Their scores at one step.
    pub same_step: Option<SameStep>,
}

/// Scores at the last step that all runs evaluated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SameStep {
    /// The step.
    pub step: u64,
    /// Of the validation split.
    pub validation: Vec<Scored>,
    /// Training loss; null where the step was not logged.
    pub train_loss: Vec<Option<f64>>,
}

/// Reads the runs.
///
/// # Errors
/// One of them is no run, or its files cannot be understood.
pub fn compare(paths: &[PathBuf]) -> Result<Comparison, TrainError> {
    let runs = paths.iter().map(|path| Overview::read(path)).collect::<Result<Vec<_>, _>>()?;
    let histories = paths.iter().map(|path| History::read(&path.join("metrics.jsonl")));
    let histories = histories.collect::<Result<Vec<_>, _>>()?;
    let config = differing(&runs);
    Ok(Comparison { config, same_step: same_step(&histories), runs })
}

fn differing(runs: &[Overview]) -> BTreeMap<String, Vec<Option<Value>>> {
    let leaves: Vec<_> = runs.iter().map(|run| run.settings.leaves()).collect();
    let keys: BTreeSet<&String> = leaves.iter().flat_map(BTreeMap::keys).collect();
    let rows = keys.into_iter().map(|key| {
        let values: Vec<Option<Value>> = leaves.iter().map(|config| config.get(key).cloned()).collect();
        (key.clone(), values)
    });
    rows.filter(|(key, values)| key != "run_name" && values.iter().any(|v| *v != values[0])).collect()
}

fn same_step(histories: &[History]) -> Option<SameStep> {
    let steps = |history: &History| history.validation().map(|e| e.scored.step).collect::<BTreeSet<u64>>();
    let common = histories.iter().map(steps).reduce(|a, b| &a & &b)?;
    let step = common.last().copied()?;
    let at = |history: &History| {
        history.validation().filter(|e| e.scored.step == step).last().map(|e| e.scored.clone())
    };
    let loss = |history: &History| history.losses.iter().find(|(s, _)| *s == step).map(|(_, loss)| *loss);
    Some(SameStep {
        step,
        validation: histories.iter().filter_map(at).collect(),
        train_loss: histories.iter().map(loss).collect(),
    })
}

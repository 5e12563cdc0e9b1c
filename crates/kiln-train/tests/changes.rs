//! A run that goes on with something changed: what may change, what it means for the place in the data, and what is
//! written down of it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use kiln_train::changes::{self, Change, Changed};
use kiln_train::{Outcome, Run, Session, TrainError, replay};
use serde_json::Value;
use support::bits;
use support::runs::{ADAMW, MLP, ONE_RUN, config, finished, go, metrics, new, newest, resume, train};

/// A run that was stopped after a step.
fn stopped(config: &Path, overrides: &[&str], at: u64) -> std::path::PathBuf {
    let Outcome::Interrupted { run, step } = go(&new(config, overrides), at).unwrap() else {
        panic!("not stopped")
    };
    assert_eq!(step, at);
    run
}

/// Lines of steps.
fn logged(run: &Path) -> Vec<Value> {
    metrics(run).into_iter().filter(|line| line.get("learning_rate").is_some()).collect()
}

/// Samples that were trained on in each pass.
fn samples_by_pass(run: &Path) -> Vec<u64> {
    let mut passes: Vec<u64> = Vec::new();
    for line in logged(run) {
        let pass = (line["epoch"].as_f64().unwrap() - 1e-9) as usize;
        passes.resize(passes.len().max(pass + 1), 0);
        passes[pass] += line["samples"].as_u64().unwrap();
    }
    passes
}

#[test]
fn more_epochs_are_as_if_they_had_been_asked_for_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nepochs = 3\n"));
    let whole = train(&path, &["run_name=whole"]);
    let short = train(&path, &["run_name=short", "train.epochs=1"]);
    assert_eq!(short.steps, 41);
    let longer = finished(go(&resume(&short.run, &["train.epochs=3"]), 0).unwrap());
    assert_eq!(longer.steps, 123);
    assert_eq!(bits(&newest(&whole.run).model), bits(&newest(&short.run).model));
    let change = Change { key: "train.epochs".into(), was: "1".into(), is: "3".into() };
    assert_eq!(changes::read(&short.run).unwrap(), [Changed { step: 41, changes: vec![change] }]);
    // It stays so without being said again, and is not written down again.
    let saved = fs::read_to_string(short.run.join("config.toml")).unwrap();
    assert!(saved.contains("epochs = 3"), "{saved}");
    assert_eq!(finished(go(&resume(&short.run, &[]), 0).unwrap()).steps, 123);
    assert_eq!(changes::read(&short.run).unwrap().len(), 1);
    // Steps before the change cannot be replayed with the config after it; those behind it can.
    let look = |step| replay(&short.run, step, &[], &mut |_| {});
    let older = look(10).unwrap_err();
    assert_eq!(older.exit(), kiln_core::Exit::Usage);
    assert!(
        older
            .to_string()
            .ends_with("--step 10: train.epochs changed after step 41, and the run has the new config")
    );
    assert_eq!(older.hint().unwrap(), "steps from 42 on can be replayed");
    let seen = look(100).unwrap();
    assert_eq!((seen.logged_loss.map(|loss| loss as f32), seen.trouble.is_none()), (Some(seen.loss), true));
    let config = newest(&short.run).progress;
    assert_eq!((config.epoch, config.batch), (3, 0));
}

#[test]
fn another_batch_size_goes_on_behind_the_samples_that_were_seen() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "{ADAMW}[schedule]\nlr_scheduler_type = \"linear\"\n[train]\nepochs = 3\n[checkpoint]\nevery = \"1 epoch\"\n"
    );
    let path = config(folder.path(), MLP, &rest);
    // 1,292 samples: 41 steps of 32. After 50 steps 288 of the second pass are used.
    let run = stopped(&path, &["run_name=run"], 50);
    let half = finished(go(&resume(&run, &["data.loader.batch_size=24"]), 0).unwrap());
    // 1,004 samples are left of the second pass: 42 steps of 24; the third has 54.
    assert_eq!(half.steps, 50 + 42 + 54);
    assert_eq!(samples_by_pass(&run), [1292, 1292, 1292]);
    let lines = logged(&run);
    // The rate goes by passes: it falls on where it was, and to zero at the end.
    let rates: Vec<f64> = lines.iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect();
    assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    let planned = 3 * 54;
    let at = |step: usize| 1e-3 * (planned - step) as f64 / planned as f64;
    assert!((rates[50] - at(54 + 12)).abs() < 1e-12, "{} {}", rates[50], at(54 + 12));
    assert!((rates.last().unwrap() - at(planned - 1)).abs() < 1e-12);
    // Passes end where they end.
    let evaluated: Vec<u64> = metrics(&run)
        .iter()
        .filter(|line| line["split"] == "validation")
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(evaluated, [41, 92, 146]);
    assert_eq!(lines[49]["epoch"].as_f64().unwrap(), 1.0 + 9.0 / 41.0);

    // Stopped between the change and the next save: it goes on as if it had not been.
    let run = stopped(&path, &["run_name=again"], 50);
    let start = resume(&run, &["data.loader.batch_size=24"]);
    let never = AtomicBool::new(false);
    let mut session = Session { callbacks: Vec::new(), interrupt: &never, process_start: Instant::now() };
    let alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    drop(Run::start(&start, &mut session).unwrap());
    drop(alone);
    assert_eq!(changes::read(&run).unwrap().len(), 1);
    assert_eq!(finished(go(&resume(&run, &[]), 0).unwrap()).steps, half.steps);
    assert_eq!(bits(&newest(&run).model), bits(&newest(&half.run).model));
    // And within the changed pass.
    let run = stopped(&path, &["run_name=third"], 50);
    let Outcome::Interrupted { step: 61, .. } =
        go(&resume(&run, &["data.loader.batch_size=24"]), 61).unwrap()
    else {
        panic!("not stopped")
    };
    assert_eq!((newest(&run).progress.skipped, newest(&run).progress.batch), (288, 11));
    assert_eq!(finished(go(&resume(&run, &[]), 0).unwrap()).steps, half.steps);
    assert_eq!(bits(&newest(&run).model), bits(&newest(&half.run).model));
    assert_eq!(logged(&run), lines);
}

#[test]
fn other_groups_rates_and_limits_hold_from_the_step_they_are_declared_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nepochs = 2\n"));
    let run = stopped(&path, &["run_name=groups"], 10);
    let changed =
        ["train.gradient_accumulation_steps=4", "optimizer.learning_rate=5e-4", "train.max_grad_norm=0.5"];
    let summary = finished(go(&resume(&run, &changed), 0).unwrap());
    // 31 batches are left of the first pass: 8 groups; the second has 11.
    assert_eq!(summary.steps, 10 + 8 + 11);
    assert_eq!(samples_by_pass(&run), [1292, 1292]);
    let rates: Vec<f64> = logged(&run).iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect();
    assert!(rates[..10].iter().all(|rate| *rate == 1e-3) && rates[10..].iter().all(|rate| *rate == 5e-4));
    let recorded = changes::read(&run).unwrap();
    let keys: Vec<&str> = recorded[0].changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(
        (recorded[0].step, keys),
        (10, vec!["optimizer.learning_rate", "train.gradient_accumulation_steps", "train.max_grad_norm"])
    );
}

#[test]
fn a_run_that_lost_patience_goes_on_with_more_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let rest = "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.0\n[train]\nepochs = 5\nearly_stopping_patience = 1\n";
    let path = config(folder.path(), MLP, rest);
    let run = train(&path, &[]);
    assert_eq!((run.steps, run.stopped_early.is_some()), (82, true));
    let more = finished(go(&resume(&run.run, &["train.early_stopping_patience=3"]), 0).unwrap());
    assert_eq!((more.steps, more.stopped_early.as_deref()), (164, Some("no improvement in 3 evaluations")));
}

#[test]
fn what_must_not_change_is_refused_with_the_difference_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nepochs = 2\n"));
    let run = stopped(&path, &[], 50);
    let before = fs::read_to_string(run.join("config.toml")).unwrap();
    for (overrides, words) in [
        (vec!["seed=8", "train.epochs=9"], vec!["seed: the run has 42, now 8"]),
        (
            vec!["precision=bf16", "model.hidden=[64]"],
            vec!["precision: the run has", "model.hidden: the run has [32]"],
        ),
        (vec!["train.epochs=1"], vec!["train.epochs: ends after step 41, and the run has done 50"]),
        (vec!["train.max_steps=7"], vec!["train.max_steps: ends after step 7"]),
    ] {
        let error = go(&resume(&run, &overrides), 0).unwrap_err();
        assert!(matches!(error, TrainError::Changed { .. }), "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(!text.contains("train.epochs: the run has 2"), "{text}");
        assert!(error.hint().unwrap().contains("optimizer.learning_rate, "), "{:?}", error.hint());
    }
    assert_eq!(fs::read_to_string(run.join("config.toml")).unwrap(), before);
    assert!(changes::read(&run).unwrap().is_empty());
    // Steps instead of epochs, and what is of one process alone is not written down.
    let summary = finished(go(&resume(&run, &["train.max_steps=55", "data.loader.workers=0"]), 0).unwrap());
    assert_eq!(summary.steps, 55);
    let keys: Vec<String> = changes::read(&run).unwrap()[0].changes.iter().map(|c| c.key.clone()).collect();
    assert_eq!(keys, ["train.epochs", "train.max_steps"]);
}

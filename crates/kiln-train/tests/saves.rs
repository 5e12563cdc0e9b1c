//! Saves beside the loop: what stays on the disk, what a save that fails means, and checkpoints of other formats.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use kiln_core::Exit;
use kiln_core::event::{Callback, Event};
use kiln_train::{TrainError, checkpoint};
use serde_json::{Value, json};
use support::bits;
use support::runs::{ADAMW, MLP, config, finished, go, metrics, new, newest, resume, train, watched};

/// Does something when a step was saved (0: after the first step), and keeps what is told.
struct At<F> {
    saved: u64,
    act: F,
    told: Rc<RefCell<Vec<String>>>,
}

impl<F: Fn()> Callback for At<F> {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(info) if info.step == 1 && self.saved == 0 => (self.act)(),
            Event::Note(note) => self.told.borrow_mut().push((*note).to_string()),
            Event::Saved { path, step } => {
                assert!(path.join("manifest.json").exists(), "told before it is there");
                self.told.borrow_mut().push(format!("saved {step}"));
                if *step == self.saved {
                    (self.act)();
                }
            }
            _ => {}
        }
    }
}

/// Trains with something done when a step was saved; also what was told.
fn train_with(
    config: &Path,
    overrides: &[&str],
    saved: u64,
    act: impl Fn() + Clone + 'static,
) -> (Result<kiln_train::Outcome, TrainError>, Vec<String>) {
    let told = Rc::new(RefCell::new(Vec::new()));
    let outcome = watched(&new(config, overrides), |_| {
        Box::new(At { saved, act: act.clone(), told: Rc::clone(&told) })
    });
    let told = told.borrow().clone();
    (outcome, told)
}

fn steps(run: &Path) -> Vec<u64> {
    checkpoint::steps(&run.join("checkpoints")).unwrap()
}

#[test]
fn so_many_of_the_best_are_kept_and_the_best_becomes_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "{ADAMW}[train]\nmax_steps = 60\n[evaluate]\nevery = \"5 steps\"\nmetric_for_best_model = \"loss\"\n\
         [checkpoint]\nevery = \"7 steps\"\nkeep_last = 1\nkeep_best = 3\n"
    );
    let path = config(folder.path(), MLP, &rest);
    // A rate that grows beyond all bounds: the loss falls, and then rises.
    let summary = train(&path, &["optimizer.learning_rate=5.0", "schedule.warmup_steps=60"]);
    let mut ranked: Vec<(f64, u64)> = metrics(&summary.run)
        .iter()
        .filter(|line| line["split"] == "validation")
        .map(|line| (line["loss"].as_f64().unwrap(), line["step"].as_u64().unwrap()))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(ranked.len() == 12 && ranked[..3].iter().all(|(_, step)| *step < 60), "{ranked:?}");
    // The three best, and the last.
    let mut expected: Vec<u64> = ranked[..3].iter().map(|(_, step)| *step).chain([60]).collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(steps(&summary.run), expected);
    assert_eq!(summary.chosen_step, ranked[0].1);
    let best = checkpoint::load(&checkpoint::folder(&summary.run.join("checkpoints"), ranked[0].1)).unwrap();
    let model = kiln_models::weights::read(&summary.model).unwrap();
    assert_eq!(bits(&model), bits(&best.model));

    // Where the best is damaged, the next one becomes the model.
    let damaged = checkpoint::folder(&summary.run.join("checkpoints"), ranked[0].1).join("model.safetensors");
    fs::write(damaged, "x").unwrap();
    let again = finished(go(&resume(&summary.run, &[]), 0).unwrap());
    assert_eq!(again.chosen_step, ranked[1].1);
    // And with `false` the last.
    let last = finished(go(&resume(&summary.run, &["checkpoint.keep_best=false"]), 0).unwrap());
    assert_eq!(last.chosen_step, 60);
}

/// A file in the place of the folder of checkpoints, as a disk that went away leaves a folder that is none.
fn away(run: &Path) {
    fs::rename(run.join("checkpoints"), run.join("aside")).unwrap();
    fs::write(run.join("checkpoints"), "").unwrap();
}

fn back(run: &Path) {
    fs::remove_file(run.join("checkpoints")).unwrap();
    fs::rename(run.join("aside"), run.join("checkpoints")).unwrap();
}

#[test]
fn a_save_that_fails_ends_the_run_and_the_one_before_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!("{ADAMW}[train]\nmax_steps = 30\n[checkpoint]\nevery = \"10 steps\"\n");
    let path = config(folder.path(), MLP, &rest);
    let whole = train(&path, &["run_name=whole"]);
    let run = folder.path().join("runs/cut");
    let there = run.clone();
    let (outcome, told) = train_with(&path, &["run_name=cut"], 10, move || away(&there));
    let error = outcome.unwrap_err();
    assert!(matches!(error, TrainError::Unsaved { step: 20, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("step 20") && text.contains("runs/cut/checkpoints: cannot"), "{text}");
    assert_eq!((error.exit(), told.contains(&"saved 10".into())), (Exit::Io, true));
    assert!(error.hint().unwrap().contains("kiln train --resume"), "{:?}", error.hint());
    back(&run);
    finished(go(&resume(&run, &[]), 0).unwrap());
    assert_eq!(bits(&newest(&whole.run).model), bits(&newest(&run).model));
    assert_eq!(metrics(&whole.run), metrics(&run));
}

#[test]
fn by_policy_a_save_that_fails_is_said_and_the_next_makes_up_for_it() {
    let folder = tempfile::tempdir().unwrap();
    // A rate of nothing: the first evaluation stays the best.
    let rest = "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.0\n[train]\nmax_steps = 30\n[evaluate]\n\
         every = \"10 steps\"\n[checkpoint]\nevery = \"1000 steps\"\nkeep_best = 2\non_error = \"continue\"\n";
    let path = config(folder.path(), MLP, rest);
    let run = folder.path().join("runs/cut");
    let there: PathBuf = run.clone();
    let broken = move || {
        fs::write(there.join("checkpoints"), "").unwrap();
    };
    // The folder is not there before the first save, which is of the best.
    let (outcome, told) = train_with(&path, &["run_name=cut"], 0, broken);
    let summary = finished(outcome.unwrap());
    let warnings: Vec<&String> = told.iter().filter(|note| note.starts_with("warning:")).collect();
    assert!(warnings.len() >= 2, "{told:?}");
    assert!(warnings[0].contains("step 10") && warnings[0].contains("training goes on"), "{warnings:?}");
    assert_eq!((summary.steps, summary.chosen_step), (30, 30), "what was not saved cannot be chosen");

    // One that is repaired in time.
    let run = folder.path().join("runs/repaired");
    let told = Rc::new(RefCell::new(Vec::new()));
    struct Repair(PathBuf, Rc<RefCell<Vec<u64>>>);
    impl Callback for Repair {
        fn on(&mut self, event: &Event<'_>) {
            match event {
                Event::Step(info) if info.step == 1 => fs::write(&self.0, "").unwrap(),
                Event::Note(note) if note.starts_with("warning:") => fs::remove_file(&self.0).unwrap(),
                Event::Saved { step, .. } => self.1.borrow_mut().push(*step),
                _ => {}
            }
        }
    }
    let start = new(&path, &["run_name=repaired"]);
    let place = run.join("checkpoints");
    let outcome = watched(&start, |_| Box::new(Repair(place.clone(), Rc::clone(&told)))).unwrap();
    let summary = finished(outcome);
    assert_eq!(*told.borrow(), [20, 30]);
    assert_eq!(summary.chosen_step, 20, "the best of those that are there");
    assert_eq!(steps(&run), [20, 30]);
}

#[test]
fn a_run_folder_that_is_gone_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!("{ADAMW}[train]\nmax_steps = 30\n[checkpoint]\nevery = \"10 steps\"\n");
    let path = config(folder.path(), MLP, &rest);
    let (run, elsewhere) = (folder.path().join("runs/gone"), folder.path().join("elsewhere"));
    let (from, to) = (run.clone(), elsewhere.clone());
    let (outcome, _) = train_with(&path, &["run_name=gone"], 10, move || fs::rename(&from, &to).unwrap());
    let error = outcome.unwrap_err();
    assert_eq!(error.exit(), Exit::Io, "{error}");
    assert!(error.to_string().contains("runs/gone"), "{error}");
    assert!(error.hint().unwrap().contains("bring the run folder back"), "{:?}", error.hint());
    assert!(!run.exists());
    fs::rename(&elsewhere, &run).unwrap();
    assert_eq!(finished(go(&resume(&run, &[]), 0).unwrap()).steps, 30);
}

/// Changes a checkpoint's files and makes its manifest fit.
fn rewritten(folder: &Path, format: u64, change: impl Fn(&mut Value)) {
    let progress = folder.join("progress.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&progress).unwrap()).unwrap();
    change(&mut value);
    let bytes = serde_json::to_vec(&value).unwrap();
    fs::write(&progress, &bytes).unwrap();
    let manifest = folder.join("manifest.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    value["format"] = format.into();
    value["kiln"] = "9.9.9".into();
    value["files"]["progress.json"] =
        json!({"bytes": bytes.len(), "blake3": blake3::hash(&bytes).to_hex().to_string()});
    fs::write(manifest, serde_json::to_vec(&value).unwrap()).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_an_older_one_brought_up() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "{ADAMW}[train]\nmax_steps = 12\n[evaluate]\nevery = \"4 steps\"\n[checkpoint]\nevery = \"4 steps\"\nkeep_last = 9\n"
    );
    let path = config(folder.path(), MLP, &rest);
    let run = train(&path, &[]).run;
    let at = checkpoint::folder(&run.join("checkpoints"), 12);
    let best = newest(&run).progress.best.unwrap();

    rewritten(&at, 1, |progress| {
        // What a kiln that kept one best wrote.
        for key in ["kept", "blocked"] {
            progress.as_object_mut().unwrap().remove(key);
        }
    });
    assert_eq!(newest(&run).progress.kept, [best]);

    for (format, change) in [(3, "new_key"), (0, "old_key")] {
        rewritten(&at, format, |progress| progress[change] = 1.into());
        // The one before would load, and would silently undo four steps.
        let error = go(&resume(&run, &[]), 0).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("step-00000012/manifest.json"), "{text}");
        assert!(text.contains(&format!("expected checkpoint format 1 to 2, got {format}")), "{text}");
        assert!(text.contains("kiln 9.9.9") && error.hint().unwrap().contains("kiln 9.9.9"), "{text}");
        assert_eq!(error.exit(), Exit::Io);
    }
}

#[test]
fn another_models_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!("{ADAMW}[train]\nmax_steps = 4\n");
    let run = train(&config(folder.path(), MLP, &rest), &["run_name=own"]).run;
    let other =
        train(&config(folder.path(), "kind = \"mlp\"\nhidden = [16]\n", &rest), &["run_name=other"]).run;
    let place = |run: &Path| checkpoint::folder(&run.join("checkpoints"), 4);
    fs::remove_dir_all(place(&run)).unwrap();
    fs::rename(place(&other), place(&run)).unwrap();
    let error = go(&resume(&run, &[]), 0).unwrap_err();
    assert!(matches!(error, TrainError::Weights { .. }), "{error}");
    assert!(error.to_string().contains("step-00000004") && error.exit() == Exit::Data, "{error}");
}

#[test]
fn time_that_saves_and_logging_take_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!("{ADAMW}[train]\nmax_steps = 20\n[checkpoint]\nevery = \"1 steps\"\n");
    let summary = train(&config(folder.path(), MLP, &rest), &[]);
    let (saving, logging) = (summary.blocked.saving, summary.blocked.logging);
    assert!(saving > 0.0 && logging > 0.0 && saving + logging < summary.seconds, "{:?}", summary.blocked);
    assert!(newest(&summary.run).progress.blocked.logging > 0.0);
}

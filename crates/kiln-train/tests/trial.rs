//! Runs that try a config out: a dry run does everything and leaves nothing; a few batches are learned by heart, augmented
//! anew each time, and resumed to the bit.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use kiln_core::event::{Callback, Event};
use kiln_train::{DryRun, Outcome, Session, Start, TrainError};
use support::bits;
use support::runs::{ADAMW, MLP, SGD, config, go, metrics, new, newest, resume, train, watched};

fn dry(start: &Start) -> Result<DryRun, TrainError> {
    let never = AtomicBool::new(false);
    let mut session = Session { callbacks: Vec::new(), interrupt: &never, process_start: Instant::now() };
    kiln_train::dry_run(start, &mut session)
}

/// Everything below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            if path.is_dir() {
                [files(&path), vec![format!("{path:?}")]].concat()
            } else {
                vec![format!("{path:?}")]
            }
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_dry_run_does_everything_once_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rest =
        format!("{ADAMW}[average]\nkind = \"ema\"\n[train]\nepochs = 3\ngradient_accumulation_steps = 2\n");
    let path = config(folder.path(), MLP, &rest);
    let before = files(folder.path());
    let done = dry(&new(&path, &["log.histograms=true"])).unwrap();
    assert_eq!(files(folder.path()), before, "something was left");
    // 1292 samples in 41 batches of 32, two a step.
    assert_eq!((done.train_samples, done.steps, done.accumulation), (1292, (63, 21), (2, 32)));
    assert_eq!(done.parameters, (64 * 32 + 32 + 32 * 10 + 10, 64 * 32 + 32 + 32 * 10 + 10));
    assert_eq!((done.kept, done.evaluation.unwrap().0), (3, "validation"));
    assert_eq!(done.output_dir, folder.path().join("runs"));
    // The first step of the run, and the size of what it saves: weights, two moments and an average.
    let run = train(&path, &["train.epochs=1"]);
    let first = metrics(&run.run)[0]["loss"].as_f64().unwrap();
    assert!((f64::from(done.loss) - first).abs() < 1e-6, "{} {first}", done.loss);
    let values = done.parameters.0 as u64;
    assert!(
        (16 * values..24 * values + 20_000).contains(&done.checkpoint_bytes),
        "{}",
        done.checkpoint_bytes
    );
    assert!((4 * values..8 * values + 20_000).contains(&done.model_bytes), "{}", done.model_bytes);
}

#[test]
fn a_dry_run_finds_what_would_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{SGD}[train]\nmax_steps = 5\n"));
    let fault = |overrides: &[&str]| dry(&new(&path, overrides)).unwrap_err().to_string();
    let scaled = |std: &str| format!("data.transforms=[{{kind=\"normalize\", mean=[0.0], std=[{std}]}}]");
    assert!(fault(&[&scaled("1e-38")]).contains("step 1: the gradient norm is inf"));
    assert!(fault(&["data.loader.batch_size=5000", "data.loader.drop_last=true"]).contains("no full batch"));
    let run = train(&path, &["run_name=there"]);
    assert!(fault(&["run_name=there"]).contains("exists already"));
    assert!(dry(&resume(&run.run, &[])).unwrap_err().to_string().contains("leave --resume out"));
    assert!(!files(folder.path()).iter().any(|name| name.contains("dry-run")));
    // Where there is no place to write: a file stands where the folder should be.
    fs::write(folder.path().join("file"), "").unwrap();
    let out = format!("output_dir={:?}", folder.path().join("file/runs"));
    assert!(fault(&[&out]).contains("file: cannot make a folder in"));
}

/// Keeps the notes.
struct Notes<'a>(&'a std::sync::Mutex<Vec<String>>);

impl Callback for Notes<'_> {
    fn on(&mut self, event: &Event<'_>) {
        if let Event::Note(note) = event {
            self.0.lock().unwrap().push(note.to_string());
        }
    }
}

fn verdict(start: &Start) -> (Outcome, String) {
    let notes: &std::sync::Mutex<Vec<String>> = Box::leak(Box::default());
    let outcome = watched(start, |_| Box::new(Notes(notes))).unwrap();
    let found = notes.lock().unwrap().iter().find(|note| note.starts_with("overfit: ")).cloned();
    (outcome, found.unwrap_or_default())
}

#[test]
fn a_few_batches_are_learned_by_heart_and_the_end_says_whether() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 80\n"));
    let (_, said) = verdict(&new(&path, &["run_name=learns", "train.overfit_batches=2"]));
    assert!(said.contains("the loss of the 2 batches fell from"), "{said}");
    // Passes of two batches; steps, schedule and evaluations are those of the whole data.
    let lines = metrics(&folder.path().join("runs/learns"));
    let steps: Vec<_> = lines.iter().filter(|line| line["grad_norm"].is_f64()).collect();
    assert_eq!(steps.len(), 80);
    assert_eq!((steps[1]["epoch"].as_f64(), steps[79]["epoch"].as_f64()), (Some(1.0), Some(40.0)));
    assert_eq!(lines.iter().filter(|line| line["split"] == "validation").count(), 2);
    // A rate of nothing.
    let (_, said) = verdict(&new(&path, &["train.overfit_batches=1", "optimizer.learning_rate=0"]));
    assert!(said.contains("the loss of the batch did not fall"), "{said}");
    let (_, said) = verdict(&new(&path, &[]));
    assert_eq!(said, "");
}

#[test]
fn the_batches_are_the_first_ones_augmented_anew_and_a_stopped_run_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let plain = "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.0\n[train]\nmax_steps = 6\n";
    let crop = "[[data.transforms]]\nkind = \"random_crop\"\nsize = 8\npadding = 2\n";
    let losses = |rest: &str, name: &str, overrides: &[&str]| -> Vec<f64> {
        let path = config(folder.path(), MLP, rest);
        let run = train(&path, &[&[&*format!("run_name={name}")], overrides].concat());
        metrics(&run.run)
            .iter()
            .filter_map(|line| line["grad_norm"].as_f64().and(line["loss"].as_f64()))
            .collect()
    };
    let whole = losses(plain, "whole", &[]);
    let few = losses(plain, "few", &["train.overfit_batches=2"]);
    assert_eq!(
        few,
        [whole[0], whole[1], whole[0], whole[1], whole[0], whole[1]],
        "not the first two batches"
    );
    let augmented = losses(&format!("{plain}{crop}"), "augmented", &["train.overfit_batches=1"]);
    assert!(
        augmented.windows(2).all(|pair| pair[0] != pair[1]),
        "augmented the same each time: {augmented:?}"
    );

    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 20\n{crop}"));
    let by = ["train.overfit_batches=3", "train.gradient_accumulation_steps=2"];
    let whole = train(&path, &by);
    let Outcome::Interrupted { run, .. } = go(&new(&path, &by), 7).unwrap() else { panic!("not stopped") };
    go(&resume(&run, &[]), 0).unwrap();
    assert_eq!(bits(&newest(&run).model), bits(&newest(&whole.run).model));
    assert_eq!(metrics(&run), metrics(&whole.run));
    let changed = go(&resume(&run, &["train.overfit_batches=4"]), 0).unwrap_err().to_string();
    assert!(changed.contains("train.overfit_batches"), "{changed}");
}

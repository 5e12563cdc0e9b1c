//! Runs on the digits that the repository carries: a config, the run, how it ended and what it left.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kiln_core::event::{Callback, Event};
use kiln_train::{Outcome, Run, Session, Start, Summary, TrainError, checkpoint};
use serde_json::Value;

use super::clockless;

/// A config on the digits that the repository carries, in `folder`.
pub fn config(folder: &Path, model: &str, rest: &str) -> PathBuf {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits");
    let text = format!(
        "device = \"cpu\"\noutput_dir = {out:?}\n{rest}\n[model]\n{model}\n[data]\nkind = \"idx\"\npath = {digits:?}\n\
         validation_fraction = 0.1\n",
        out = folder.join("runs"),
    );
    // Tables after top-level keys: `rest` may open some; the data's own are written as dotted overrides by tests.
    let path = folder.join("digits.toml");
    std::fs::write(&path, text).unwrap();
    path
}

pub const MLP: &str = "kind = \"mlp\"\nhidden = [32]\n";
pub const CNN: &str = "kind = \"cnn\"\nchannels = [8, 8]\nhidden = 16\ndropout = 0.2\n";
pub const SGD: &str = "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.05\nmomentum = 0.9\n";
pub const ADAMW: &str = "[optimizer]\nkind = \"adamw\"\n";

/// Asks to stop after a step, as a signal would.
struct InterruptAt<'a>(u64, &'a AtomicBool);

impl Callback for InterruptAt<'_> {
    fn on(&mut self, event: &Event<'_>) {
        let step = match event {
            Event::Step(info) => info.step,
            Event::Evaluated(info) => info.step,
            _ => return,
        };
        if step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

/// Burn's CPU generator is one a process: runs of two tests at once would draw from each other's.
pub static ONE_RUN: Mutex<()> = Mutex::new(());

pub fn go(start: &Start, interrupt_at: u64) -> Result<Outcome, TrainError> {
    watched(start, |interrupt| Box::new(InterruptAt(interrupt_at, interrupt)))
}

pub fn watched(
    start: &Start,
    watch: impl for<'a> Fn(&'a AtomicBool) -> Box<dyn Callback + 'a>,
) -> Result<Outcome, TrainError> {
    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let interrupt = AtomicBool::new(false);
    let mut session =
        Session { callbacks: vec![watch(&interrupt)], interrupt: &interrupt, process_start: Instant::now() };
    Run::start(start, &mut session)?.finish(&mut session)
}

pub fn new(config: &Path, overrides: &[&str]) -> Start {
    Start::New { config: config.into(), overrides: overrides.iter().map(ToString::to_string).collect() }
}

pub fn resume(run: &Path, overrides: &[&str]) -> Start {
    let overrides = overrides.iter().map(ToString::to_string).collect();
    Start::Resume { run: run.into(), config: None, overrides }
}

pub fn finished(outcome: Outcome) -> Summary {
    match outcome {
        Outcome::Finished(summary) => *summary,
        Outcome::Interrupted { step, .. } => panic!("interrupted after step {step}"),
    }
}

pub fn train(config: &Path, overrides: &[&str]) -> Summary {
    finished(go(&new(config, overrides), 0).unwrap())
}

pub fn newest(run: &Path) -> checkpoint::Checkpoint {
    checkpoint::latest(&run.join("checkpoints")).unwrap().unwrap().checkpoint
}

/// `metrics.jsonl` without what depends on the clock.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| clockless(serde_json::from_str(line).unwrap())).collect()
}

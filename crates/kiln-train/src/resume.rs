//! How a run goes on: its folder, its newest checkpoint, and what was declared to change.
//! Owns what a change means for the run's position and state; `changes` has the list of what may change.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::RunDir;
use kiln_core::event::Event;
use kiln_core::files::{FileError, write_atomic};

use crate::changes::{self, Changed};
use crate::checkpoint::{self, Latest};
use crate::config::Config;
use crate::error::TrainError;
use crate::load::{self, Loaded};
use crate::progress::Progress;
use crate::run::{Run, Session, rewind};
use crate::run_log::RunLog;
use crate::setup::Parts;

/// Opens a run folder and brings everything to where training goes on.
pub(crate) fn resume(run: &Path, loaded: Loaded, session: &mut Session<'_>) -> Result<Run, TrainError> {
    let dir = RunDir::open(run)?;
    let saved_text = kiln_core::files::read_text(&dir.config())?;
    let saved = load::from_resolved_toml(&saved_text, &dir.config())?;
    let changes = changes::declared(run, &saved.resolved, &loaded.resolved)?;
    checkpoint::tidy(&dir.checkpoints())?;
    let latest = rewind::newest(&dir.checkpoints(), loaded.config.train.on_nonfinite, session)?;
    let mut parts = Parts::open(&loaded.config, session)?;
    let progress = match &latest {
        Some(latest) => {
            let progress = parts.restore(latest, run, session)?;
            placed(progress, latest, run, &loaded.config, &parts)?
        }
        None => {
            session.tell(&Event::Note("no checkpoint was saved yet: starts from the beginning"));
            Progress::new(
                loaded.config.seed,
                saved.resolved.hash(),
                parts.plan.train_samples,
                loaded.config.precision,
            )
        }
    };
    let text = match changes.is_empty() {
        true => saved_text,
        false => {
            let text = loaded.resolved.to_toml();
            let step = progress.step;
            let words: Vec<String> =
                changes.iter().map(|c| format!("{} {} -> {}", c.key, c.was, c.is)).collect();
            changes::record(dir.path(), &Changed { step, changes })?;
            rewrite(&dir.config(), &text)?;
            session.tell(&Event::Note(&format!("changed from step {step} on: {}", words.join(", "))));
            text
        }
    };
    let (log, note) = RunLog::open(&dir, &loaded.config.log, &text, &progress)?;
    if let Some(note) = note {
        session.tell(&Event::Note(&note));
    }
    let run = parts.run(loaded.config, text, dir, log, progress)?;
    if let Some(latest) = &latest {
        run.tell_where(&latest.folder, session);
    }
    Ok(run)
}

/// Replaces a run's config by a changed one. Its age stays: it is the run's.
fn rewrite(config: &Path, text: &str) -> Result<(), FileError> {
    let began = fs::metadata(config).and_then(|m| m.modified());
    write_atomic(config, text.as_bytes())?;
    if let (Ok(began), Ok(file)) = (began, fs::File::options().write(true).open(config)) {
        let _ = file.set_modified(began); // a wrong age harms no run
    }
    Ok(())
}

/// A checkpoint's position and state under the config that goes on: the pass goes on behind the samples that were used, in
/// batches of the new size; what ended the run ends it no more where the config says so.
fn placed(
    mut progress: Progress,
    latest: &Latest,
    run: &Path,
    now: &Config,
    parts: &Parts,
) -> Result<Progress, TrainError> {
    let path = latest.folder.join("config.toml");
    let then = load::from_resolved_toml(&kiln_core::files::read_text(&path)?, &path)?.config;
    let refused = |difference: String| {
        let what = "config";
        Err(TrainError::Changed { run: run.to_path_buf(), what, differences: format!("  {difference}") })
    };
    let (old, new) = (then.data.loader(), now.data.loader());
    if old.batch_size != new.batch_size && (progress.batch > 0 || progress.skipped > 0) {
        if new.length_bucketing || new.max_tokens.is_some() {
            return refused(format!(
                "data.loader.batch_size: the run has {}, now {}: texts are sorted into batches by length, and the run is \
                 within a pass; change it after a pass (checkpoint.every = \"1 epoch\")",
                old.batch_size, new.batch_size
            ));
        }
        progress.skipped += progress.batch * old.batch_size;
        progress.batch = 0;
        if parts.left_of_pass(now, &progress) == 0 {
            progress.next_pass();
        }
    }
    let left = parts.left_of_pass(now, &progress);
    let total = parts.plan.total_steps.saturating_add_signed(-parts.plan.shift(now, &progress, left));
    let ends = |config: &Config| (config.train.epochs, config.train.max_steps);
    if total < progress.step && ends(&then) != ends(now) {
        let key = if now.train.max_steps.is_some() { "train.max_steps" } else { "train.epochs" };
        return refused(format!("{key}: ends after step {total}, and the run has done {}", progress.step));
    }
    if then.train.early_stopping_patience != now.train.early_stopping_patience {
        progress.stopped_early = None; // the loop asks again
        let patience = now.train.early_stopping_patience;
        if patience.is_some_and(|patience| progress.stale_evaluations >= patience) {
            progress.stopped_early =
                Some(format!("no improvement in {} evaluations", progress.stale_evaluations));
        }
    }
    if let Some(plateau) = &mut progress.plateau {
        // Falls so far stay.
        plateau.learning_rate *= now.optimizer.learning_rate() / then.optimizer.learning_rate();
    }
    Ok(progress)
}

impl Run {
    fn tell_where(&self, folder: &Path, session: &mut Session<'_>) {
        let what = match self.is_over() {
            true => "the run is finished, its model is made again",
            false => "resumes",
        };
        let step = self.progress.step;
        session.tell(&Event::Note(&format!("{what}: after step {step}, from {}", folder.display())));
    }
}

/// The newest run in `output_dir` that was started from this config.
pub(crate) fn latest_run(loaded: &Loaded, config: &Path) -> Result<PathBuf, TrainError> {
    let out = &loaded.config.output_dir;
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    if out.is_dir() {
        for entry in fs::read_dir(out).map_err(FileError::at(out, "read"))? {
            let run = entry.map_err(FileError::at(out, "read"))?.path();
            let saved = run.join("config.toml");
            let Ok(text) = fs::read_to_string(&saved) else { continue };
            let Ok(modified) = fs::metadata(&saved).and_then(|m| m.modified()) else { continue };
            if load::from_resolved_toml(&text, &saved)
                .is_ok_and(|l| l.resolved.hash() == loaded.resolved.hash())
            {
                found.push((modified, run));
            }
        }
    }
    found.sort();
    found.pop().map(|(_, run)| run).ok_or_else(|| {
        TrainError::NothingToResume(format!(
            "{}: no run of this config in {} (a changed config is another run; to change a run: kiln train RUN key=value)",
            config.display(),
            out.display()
        ))
    })
}

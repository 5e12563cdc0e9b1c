//! `kiln train --dry-run`: everything that a run does, once: data, weights, one optimizer step, one batch of evaluation, a
//! checkpoint and a model written and read back. Owns the place where it writes, which is gone afterwards; the parts are
//! the run's own. Never touches a run folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_core::RunDir;
use kiln_core::event::Event;
use kiln_core::files::FileError;
use kiln_core::run_dir::RunDirError;
use kiln_data::config::CacheKind;
use kiln_eval::Bundle;
use serde::Serialize;
use serde_json::json;

use super::guard::read;
use super::{Run, Session};
use crate::bench::machine;
use crate::checkpoint;
use crate::config::OnNonfinite;
use crate::error::TrainError;
use crate::load;
use crate::pass;
use crate::setup::Start;

/// What would run, and what one of everything took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRun {
    /// The folder that run folders would be made in.
    pub output_dir: PathBuf,
    /// Parameters, and those that train.
    pub parameters: (usize, usize),
    /// Training samples.
    pub train_samples: usize,
    /// Optimizer steps of the run, and of one pass over the samples.
    pub steps: (u64, u64),
    /// Batches whose gradients make one step, and samples of one batch.
    pub accumulation: (usize, usize),
    /// The loss of the first step, before it.
    pub loss: f32,
    /// Seconds of that step; the first is often slower than the others.
    pub step_seconds: f64,
    /// The split of which one batch was scored, and the seconds that took; `None` without such a split.
    pub evaluation: Option<(&'static str, f64)>,
    /// Bytes of a checkpoint and of the model folder.
    pub checkpoint_bytes: u64,
    /// Bytes of the model folder.
    pub model_bytes: u64,
    /// Checkpoints that are kept at most.
    pub kept: usize,
    /// Peak of this process's memory, MiB, where the system tells.
    pub peak_mib: Option<f64>,
}

/// Does everything of a new run once, in a folder of its own that is removed afterwards.
///
/// # Errors
/// Whatever would end the run: config, device, data, weights, numbers, files. A run to resume is not a new one.
pub fn dry_run(start: &Start, session: &mut Session<'_>) -> Result<DryRun, TrainError> {
    let loaded = match start {
        Start::New { config, overrides } => load::load(config, overrides)?,
        Start::Drafted { text, origin, overrides } => load::load_text(text, origin, overrides)?,
        Start::ResumeLatest { .. } | Start::Resume { .. } => {
            let message = "a dry run is of a new run: leave --resume out".into();
            return Err(TrainError::NothingToResume(message));
        }
    };
    let config = loaded.config;
    let output_dir = config.output_dir.clone();
    if let Some(path) = RunDir::taken(&output_dir, config.run_name.as_deref()) {
        return Err(RunDirError::Exists { path }.into());
    }
    // On the disk where the run would write, so that what is wrong with it shows.
    let place = existing(&output_dir);
    let aside = tempfile::Builder::new()
        .prefix(".kiln-dry-run-")
        .tempdir_in(&place)
        .map_err(FileError::at(&place, "make a folder in"))?;
    let mut more = vec![format!("output_dir={}", json!(aside.path().join("runs")))];
    if config.data.loader().cache == CacheKind::Disk {
        more.push(format!("data.loader.cache_dir={}", json!(aside.path().join("cache"))));
    }
    let with = |overrides: &[String]| [overrides, &more].concat();
    let scratch = match start {
        Start::Drafted { text, origin, overrides } => {
            Start::Drafted { text: text.clone(), origin: origin.clone(), overrides: with(overrides) }
        }
        Start::New { config, overrides } => Start::New { config: config.clone(), overrides: with(overrides) },
        resumed => resumed.clone(),
    };
    Run::start(&scratch, session)?.once(output_dir, session)
}

impl Run {
    /// One of everything.
    fn once(mut self, output_dir: PathBuf, session: &mut Session<'_>) -> Result<DryRun, TrainError> {
        // ---- one optimizer step ------------------------------------------------------------------------------
        let (total, steps_per_epoch) = (self.plan.total_steps, self.plan.steps_per_epoch);
        session.tell(&Event::Started { step: 0, total, steps_per_epoch });
        let train = self.train.clone();
        let batches = self.plan.accumulation.min(self.plan.batches_per_epoch);
        let mut loader = pass::loader(&self.config, &self.dataset, &train, self.progress.pass())?;
        let began = Instant::now();
        self.finetune.thaw(&mut *self.net, 0);
        let group = self.gradients(&mut loader, batches)?;
        let values = group.numbers().map(|numbers| read(numbers, 1)).transpose()?.unwrap_or_default();
        let loss = group.mean(&values[..group.weights.len().min(values.len())]);
        self.config.train.on_nonfinite = OnNonfinite::Stop;
        let in_pass = self.plan.batches_per_epoch;
        self = self.take(group, batches, in_pass, began)?;
        self.settle(true, true, session)?;
        let step_seconds = began.elapsed().as_secs_f64();
        drop(loader);

        // ---- one batch of evaluation -------------------------------------------------------------------------
        let splits = [("validation", &self.dataset.validation), ("test", &self.dataset.test)];
        let split = splits.into_iter().find_map(|(name, split)| Some((name, split.clone()?)));
        let evaluation = match split {
            Some((name, split)) => Some((name, self.one_batch(&split)?.as_secs_f64())),
            None => None,
        };

        // ---- what is written, and read back ------------------------------------------------------------------
        self.save_at_last(session)?;
        let folder = checkpoint::folder(&self.dir.checkpoints(), self.progress.step);
        checkpoint::load(&folder)?;
        self.leave_model()?;
        let model = self.dir.model();
        Bundle::open(&model, &self.device.clone().inner())?;
        let parameters = self.net.parameters();
        let count = |of: &dyn Fn(bool) -> bool| {
            let own = parameters.iter().filter(|info| of(info.trainable));
            own.map(|info| info.shape.iter().product::<usize>()).sum::<usize>()
        };
        let best = self.config.checkpoint.keep_best.most();
        Ok(DryRun {
            output_dir,
            parameters: (count(&|_| true), count(&|trains| trains)),
            train_samples: self.plan.train_samples,
            steps: (self.plan.total_steps, self.plan.steps_per_epoch),
            accumulation: (self.plan.accumulation, self.config.data.loader().batch_size),
            loss,
            step_seconds,
            evaluation,
            checkpoint_bytes: bytes(&folder)?,
            model_bytes: bytes(&model)?,
            kept: self.config.checkpoint.keep_last + best,
            peak_mib: machine::peak_mib(),
        })
    }

    /// Scores one batch of a split.
    fn one_batch(&self, split: &kiln_data::Split) -> Result<Duration, TrainError> {
        let began = Instant::now();
        let net = self.weights(self.evaluate());
        let device = self.device.clone().inner();
        let mut one = |_, _| false;
        kiln_nn::precision::within(self.config.precision, || {
            self.evaluation(&*net, split, &device).run(&mut one)
        })?;
        Ok(began.elapsed())
    }
}

/// What of a path is there: the folder, or the nearest above it.
fn existing(folder: &Path) -> PathBuf {
    let here = Path::new(".");
    let above = folder.ancestors().map(|path| if path.as_os_str().is_empty() { here } else { path });
    above.into_iter().find(|path| path.exists()).unwrap_or(here).to_path_buf()
}

/// Bytes of all files in a folder.
fn bytes(folder: &Path) -> Result<u64, FileError> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).map_err(FileError::at(folder, "list"))? {
        let entry = entry.map_err(FileError::at(folder, "list"))?;
        let path = entry.path();
        sum += match path.is_dir() {
            true => bytes(&path)?,
            false => entry.metadata().map_err(FileError::at(&path, "look at"))?.len(),
        };
    }
    Ok(sum)
}

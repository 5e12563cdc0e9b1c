//! What a run writes down as it goes: `metrics.jsonl`, and the same for TensorBoard.
//! Owns `[log]`, and that both are cut to one checkpoint on a resume; never says what is logged, nor when.

use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_core::files::FileError;
use kiln_core::{Net, RunDir};
use kiln_data::look::pictures;
use kiln_data::{HostBatch, Preprocessor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metrics_log::MetricsLog;
use crate::progress::Progress;
use crate::tensorboard::{self, EventLog};

/// What is written down beside `metrics.jsonl`. Nothing here changes what is trained; all of it may change on resume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogConfig {
    /// Write TensorBoard's event files into the run folder: `tensorboard --logdir runs`.
    pub tensorboard: bool,
    /// Write the distribution of every trained parameter at each evaluation, for TensorBoard. It copies the weights to the
    /// host, as a checkpoint does.
    pub histograms: bool,
    /// Optimizer steps between lines with `update_ratio`, the norm of an update over the norm of the weights: it costs some
    /// passes over all weights. Only lines that are written anyway have it; 0: none has.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub update_ratio_every: u64,
    /// What the device computes at most, in 1e12 operations a second, as its data sheet or `kiln bench` has it for the run's
    /// precision: `model_flops_utilisation` is the share of it that the model's own operations reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub peak_tflops: Option<f64>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { tensorboard: true, histograms: false, update_ratio_every: 100, peak_tflops: None }
    }
}

/// Samples that are shown of a run's first batch.
const SHOWN: usize = 8;

/// The open files.
#[derive(Debug)]
pub(crate) struct RunLog {
    metrics: MetricsLog,
    events: Option<EventLog>,
    histograms: bool,
}

impl RunLog {
    /// Begins the files of a run, or goes on where `progress` was saved; also answers what a person should know of them.
    ///
    /// # Errors
    /// The system refuses, or `metrics.jsonl` is shorter than it was then.
    pub(crate) fn open(
        dir: &RunDir,
        config: &LogConfig,
        text: &str,
        progress: &Progress,
    ) -> Result<(Self, Option<String>), FileError> {
        let metrics = MetricsLog::open(&dir.metrics(), progress.metrics_bytes)?;
        let note = tensorboard::cut(dir.path(), progress.events.as_ref())?;
        let events = match config.tensorboard {
            true => Some(events(dir, text, progress)?),
            false => None,
        };
        Ok((Self { metrics, events, histograms: config.histograms }, note))
    }

    /// Writes one line of `metrics.jsonl`, and its numbers for TensorBoard.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        self.metrics.write(line)?;
        match (&mut self.events, serde_json::to_value(line)) {
            (Some(events), Ok(Value::Object(line))) => events.line(&line),
            _ => Ok(()),
        }
    }

    /// Writes what the weights look like, where that is asked for.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn weights(&mut self, step: u64, net: &dyn Net) -> Result<(), FileError> {
        match self.events.as_mut().filter(|_| self.histograms) {
            Some(events) => events.weights(step, net),
            None => Ok(()),
        }
    }

    /// Writes the first images of a batch as the model sees them, for TensorBoard; nothing of other samples.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn samples(
        &mut self,
        step: u64,
        preprocessor: &Preprocessor,
        batch: &HostBatch,
    ) -> Result<(), FileError> {
        match &mut self.events {
            Some(events) => events.samples(step, pictures(preprocessor, batch, SHOWN)),
            None => Ok(()),
        }
    }

    /// Notes in `progress` how far what was written goes, and answers the files that are to be made durable so far.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn flushed(&mut self, progress: &mut Progress) -> Result<Vec<(PathBuf, File)>, FileError> {
        progress.metrics_bytes = self.metrics.bytes();
        progress.events = self.events.as_ref().map(EventLog::at);
        let files = [Some(self.metrics.file()), self.events.as_ref().map(EventLog::file)];
        let copy = |(path, file): (&Path, &File)| {
            Ok((path.to_path_buf(), file.try_clone().map_err(FileError::at(path, "open"))?))
        };
        files.into_iter().flatten().map(copy).collect()
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn sync(&mut self, progress: &mut Progress) -> Result<(), FileError> {
        self.flushed(progress)?
            .iter()
            .try_for_each(|(path, file)| file.sync_data().map_err(FileError::at(path, "sync")))
    }
}

/// The next event file. The first one has the config, and what `metrics.jsonl` holds of a run that began without.
fn events(dir: &RunDir, text: &str, progress: &Progress) -> Result<EventLog, FileError> {
    let goes_on = progress.events.is_some();
    let mut events = EventLog::create(dir.path(), if goes_on { progress.step } else { 0 })?;
    if !goes_on {
        events.config(text)?;
        earlier(&dir.metrics(), &mut events)?;
    }
    Ok(events)
}

fn earlier(metrics: &Path, events: &mut EventLog) -> Result<(), FileError> {
    for line in kiln_core::files::read_text(metrics)?.lines() {
        if let Ok(Value::Object(line)) = serde_json::from_str(line) {
            events.line(&line)?;
        }
    }
    Ok(())
}

//! A run at a glance, from its small files: config, summary, the newest checkpoint's progress, the end of its log.
//! Owns what is looked at first; reads no file whole that grows with the run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kiln_core::RunDir;
use kiln_core::event::Metrics;
use kiln_core::files::FileError;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::history::{evaluated, number, trained};
use super::{Settings, is_run, unreadable};
use crate::changes::{self, Changed};
use crate::checkpoint;
use crate::error::TrainError;
use crate::finish::Summary;
use crate::progress::{Progress, Scored};

/// Bytes of the log's end that are looked at.
const TAIL: u64 = 64 * 1024;

/// What has become of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A process trains it now.
    Running(String),
    /// It has its model, after all its steps.
    Finished,
    /// It has its model, after fewer steps, for this reason.
    StoppedEarly(String),
    /// It has no model, and nobody trains it: it was stopped or killed, or failed.
    Interrupted,
}

impl State {
    /// In a word or two.
    pub fn word(&self) -> &'static str {
        match self {
            State::Running(_) => "running",
            State::Finished => "finished",
            State::StoppedEarly(_) => "stopped early",
            State::Interrupted => "interrupted",
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// A run at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// When it began, local time as in RFC 3339: the age of its config.
    pub started: String,
    /// What has become of it.
    pub state: State,
    /// The task's word.
    pub task: String,
    /// The data in a word or two.
    pub data: String,
    /// The net in a word or two.
    pub model: String,
    /// Optimizer steps done, as far as they are written down.
    pub step: u64,
    /// Passes over the training samples.
    pub epoch: Option<f64>,
    /// The number that chooses the best.
    pub metric: &'static str,
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// The best validation result.
    pub best: Option<Scored>,
    /// The newest validation result.
    pub newest: Option<Scored>,
    /// The chosen weights on the test split, once the run has finished.
    pub test: Option<Scored>,
    /// Training loss of the newest logged step.
    pub train_loss: Option<f64>,
    /// Seconds trained, over all resumes, as far as they are written down.
    pub seconds: Option<f64>,
    /// What was changed when it went on, and from which step on.
    pub changes: Vec<Changed>,
    /// The config.
    #[serde(skip)]
    pub settings: Settings,
    /// Files of it that could not be understood, where the others say enough.
    pub faults: Vec<String>,
}

impl Overview {
    /// Looks at a run folder.
    ///
    /// # Errors
    /// It holds no run, or its config or log cannot be understood.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        is_run(path)?;
        let config = path.join("config.toml");
        let settings = Settings::read(&config)?;
        let mut faults = Vec::new();
        let mut noted = |fault: TrainError| faults.push(fault.to_string());
        let summary = summary(path).unwrap_or_else(|fault| {
            noted(fault);
            None
        });
        let progress = progress(&path.join("checkpoints"), &mut noted);
        let changes = changes::read(path).unwrap_or_else(|fault| {
            noted(fault);
            Vec::new()
        });
        let log = Tail::read(&path.join("metrics.jsonl"))?;
        let metric = settings.metric();
        let name = path.canonicalize().unwrap_or_else(|_| path.into());
        let logged = log.line.as_ref();
        let step = logged.and_then(trained).map_or(0, |(step, _)| step);
        let elapsed = logged.and_then(|line| line.get("elapsed")).and_then(Value::as_f64);
        let saved = progress.as_ref();
        Ok(Self {
            name: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.into(),
            started: started(&config)?,
            state: match (RunDir::holder(path), &summary) {
                (Some(holder), _) => State::Running(holder),
                (None, None) => State::Interrupted,
                (None, Some(Summary { stopped_early: Some(reason), .. })) => {
                    State::StoppedEarly(reason.clone())
                }
                (None, Some(_)) => State::Finished,
            },
            task: settings.task().into(),
            data: settings.data(),
            model: settings.model(),
            step: step.max(saved.map_or(0, |p| p.step)).max(summary.as_ref().map_or(0, |s| s.steps)),
            epoch: logged.and_then(|line| line.get("epoch")).and_then(Value::as_f64),
            metric: metric.name,
            higher_is_better: metric.higher_is_better,
            best: later(saved.and_then(|p| p.best.clone()), log.best),
            newest: later(saved.and_then(|p| p.newest.clone()), log.newest),
            test: summary.as_ref().and_then(|s| s.test.clone()),
            train_loss: logged.and_then(trained).map(|(_, loss)| loss),
            seconds: match (&summary, saved.map(|p| p.seconds)) {
                (Some(summary), _) => Some(summary.seconds),
                (None, Some(seconds)) => Some(seconds.max(elapsed.unwrap_or(0.0))),
                (None, None) => elapsed,
            },
            changes,
            settings,
            faults,
        })
    }

    /// A number of the best evaluation: `loss`, or a metric.
    pub fn best_of(&self, name: &str) -> Option<f64> {
        number(self.best.as_ref()?, name)
    }
}

/// Of two results that of the later step; of one step the second.
fn later(first: Option<Scored>, second: Option<Scored>) -> Option<Scored> {
    match (first, second) {
        (Some(a), Some(b)) => Some(if b.step >= a.step { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn summary(run: &Path) -> Result<Option<Summary>, TrainError> {
    let path = run.join("summary.json");
    if !path.exists() {
        return Ok(None);
    }
    let bytes = kiln_core::files::read(&path)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| unreadable(&path, e))
}

/// Of the newest checkpoint whose progress can be read.
fn progress(checkpoints: &Path, noted: &mut dyn FnMut(TrainError)) -> Option<Progress> {
    let steps = checkpoint::steps(checkpoints).unwrap_or_else(|fault| {
        noted(fault.into());
        Vec::new()
    });
    steps.into_iter().rev().find_map(|step| {
        let path = checkpoint::folder(checkpoints, step).join("progress.json");
        let read = kiln_core::files::read(&path).map_err(TrainError::from);
        let parsed = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| unreadable(&path, e)));
        parsed.map_err(&mut *noted).ok()
    })
}

/// When the config was written.
fn started(config: &Path) -> Result<String, TrainError> {
    let modified =
        std::fs::metadata(config).and_then(|m| m.modified()).map_err(FileError::at(config, "read"))?;
    let stamp = Timestamp::try_from(modified).unwrap_or_default();
    Ok(stamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}

/// What the end of a log says.
#[derive(Default)]
struct Tail {
    line: Option<Metrics>,
    best: Option<Scored>,
    newest: Option<Scored>,
}

impl Tail {
    /// From the last line back; a log that is not there yet says nothing.
    fn read(path: &Path) -> Result<Self, TrainError> {
        let text = match end(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(FileError::at(path, "read")(e).into()),
        };
        let mut tail = Self::default();
        for (behind, text) in text.lines().rev().enumerate() {
            let of_split = text.contains("\"split\":");
            if !of_split && tail.line.is_some() {
                continue;
            }
            let line: Metrics = serde_json::from_str(text).map_err(|e| {
                let lines = std::fs::read(path).map_or(0, |all| all.iter().filter(|b| **b == b'\n').count());
                unreadable(path, format!("line {}: {e}", lines.saturating_sub(behind)))
            })?;
            match evaluated(&line).filter(|e| e.split == "validation") {
                Some(found) => {
                    let best = Some(found.scored.clone()).filter(|_| found.is_best);
                    tail.best = tail.best.or(best);
                    tail.newest = tail.newest.or(Some(found.scored));
                }
                None if trained(&line).is_some() => tail.line = tail.line.or(Some(line)),
                None => {}
            }
        }
        Ok(tail)
    }
}

/// The whole lines within the last bytes of a file.
fn end(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let last = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let first = if from == 0 { 0 } else { bytes.iter().position(|b| *b == b'\n').map_or(last, |at| at + 1) };
    Ok(String::from_utf8_lossy(&bytes[first.min(last)..last]).into_owned())
}

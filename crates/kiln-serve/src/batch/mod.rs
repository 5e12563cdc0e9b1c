//! Many inputs answered into one file, as a job that can be killed at any time and goes on where it was.
//! Owns the order of a job: windows of inputs, each committed as a part; then one file of the parts, whole or not there.
//! Never reads an input (kiln-data) and never answers one (kiln-eval).
//!
//! ```text
//! OUT.parts/          while the job is not complete
//!   job.json          what is asked of whom; a job that differs does not go on here
//!   lock              held while a process writes
//!   00000000.jsonl    the first window: a line an input, answered or not
//! OUT                 the answers, in the order of the inputs
//! OUT.failures.jsonl  the inputs without an answer, and why; only where there are some
//! OUT.job.json        what was asked of whom, counts and throughput
//! ```
//!
//! Windows and batches are cut by position alone, so that a job that was killed gives the bytes that it would have given.

mod columns;
mod error;
mod format;
mod parts;
mod shard;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use error::BatchError;
use kiln_core::files::{FileError, sync_folder, write_atomic};
use kiln_data::inputs::{Fingerprint, Input};
use kiln_eval::{Answer, EvalError};
use parts::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
pub use shard::Shard;

/// What is asked of whom. Answers of two jobs may stand in one file only where these are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash of the model's files.
    pub model: String,
    /// The inputs with their hashes.
    pub inputs: Vec<Fingerprint>,
    /// Which of the inputs: `k/n`.
    pub shard: Shard,
    /// Columns kept beside the answers: the name in the input and the name in the output.
    pub keep: Vec<(String, String)>,
    /// Everything else that answers depend on: device, batch size, what is asked.
    pub settings: Map<String, Value>,
}

/// What becomes of answers that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// They are refused, unless they are the complete answers of this very job.
    New,
    /// The job goes on behind them.
    Resume,
    /// They are replaced.
    Overwrite,
}

/// A job.
#[derive(Debug)]
pub struct Job<'a> {
    /// The file of answers.
    pub output: &'a Path,
    /// What is asked.
    pub identity: Identity,
    /// Inputs answered between two commits; a multiple of the batch size.
    pub window: usize,
    /// What becomes of answers that are there.
    pub start: Start,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Inputs answered, those of earlier processes included.
    pub answered: u64,
    /// Inputs without an answer, those of earlier processes included.
    pub failed: u64,
    /// Inputs a second of this process.
    pub per_second: f64,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The file is there.
    Complete {
        /// Inputs answered.
        answered: u64,
        /// Inputs without an answer.
        failed: u64,
        /// Where those are listed.
        failures: PathBuf,
        /// The reason of the first.
        first: Option<String>,
    },
    /// It was there before, of this very job.
    Already {
        /// Inputs answered.
        answered: u64,
        /// Inputs without an answer.
        failed: u64,
    },
    /// Asked to stop; what was answered is kept.
    Stopped {
        /// Inputs with or without an answer.
        rows: u64,
    },
}

/// What a window is asked of.
pub type Ask<'a> = dyn FnMut(Vec<Input>) -> Result<Vec<Answer>, EvalError> + 'a;

impl Job<'_> {
    /// Answers the inputs that are this job's share of `inputs`, all of them in their order. `watch` sees every commit and
    /// says whether to go on.
    ///
    /// # Errors
    /// Answers of another job are there, or a process that writes them; the model or the disk fails. Parts that were
    /// committed are kept.
    pub fn run(
        &self,
        inputs: impl Iterator<Item = Input>,
        ask: &mut Ask<'_>,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<End, BatchError> {
        let format = format::of(self.output)?;
        if let Some((answered, failed)) = self.is_complete()? {
            return Ok(End::Already { answered, failed });
        }
        let mut parts = Parts::open(self)?;
        let (began, before) = (Instant::now(), parts.rows());
        let shard = self.identity.shard;
        let own = inputs.enumerate().filter(|(index, _)| shard.holds(*index as u64));
        let mut own = own.skip(before as usize).peekable();
        while own.peek().is_some() {
            let window: Vec<(usize, Input)> = own.by_ref().take(self.window).collect();
            let lines = self.lines(window, ask)?;
            if let Some(most) = format.most_columns {
                let got = columns::Columns::of(lines.iter()).len();
                if got > most {
                    return Err(BatchError::Wide { path: self.output.into(), got, most });
                }
            }
            parts.commit(&lines)?;
            let seconds = began.elapsed().as_secs_f64().max(1e-9);
            let per_second = (parts.rows() - before) as f64 / seconds;
            if !watch(Progress { answered: parts.answered, failed: parts.failed, per_second }) {
                return Ok(End::Stopped { rows: parts.rows() });
            }
        }
        self.finish(parts, format, began, before)
    }

    /// A window's lines, in the order of its inputs.
    fn lines(
        &self,
        window: Vec<(usize, Input)>,
        ask: &mut Ask<'_>,
    ) -> Result<Vec<Map<String, Value>>, BatchError> {
        let (heads, inputs): (Vec<_>, Vec<_>) = window
            .into_iter()
            .map(|(index, mut input)| ((index, std::mem::take(&mut input.kept)), input))
            .unzip();
        let answers = ask(inputs)?;
        heads.into_iter().zip(answers).map(|((index, kept), answer)| self.line(index, kept, answer)).collect()
    }

    fn line(
        &self,
        index: usize,
        kept: Vec<String>,
        answer: Answer,
    ) -> Result<Map<String, Value>, BatchError> {
        let (input, rest) = match answer {
            Answer::Prediction(prediction) => (prediction.input, prediction.answer),
            Answer::Unanswered { input, error } => {
                (input, Map::from_iter([(ERROR.to_string(), json!(error))]))
            }
        };
        let mut line = Map::from_iter([("index".to_string(), json!(index)), ("input".into(), json!(input))]);
        for ((_, name), word) in self.identity.keep.iter().zip(kept) {
            if line.contains_key(name) || rest.contains_key(name) || name == ERROR {
                return Err(BatchError::Name { name: name.clone() });
            }
            line.insert(name.clone(), json!(word));
        }
        line.extend(rest);
        Ok(line)
    }

    /// One file of all parts, its neighbours, and then no parts.
    fn finish(
        &self,
        parts: Parts,
        format: &format::Format,
        began: Instant,
        before: u64,
    ) -> Result<End, BatchError> {
        let failures = beside(self.output, "failures.jsonl");
        let first = parts.failures(&failures)?;
        let whole = parts.folder().join("whole");
        format.write(&whole, self.output, &parts, &self.identity)?;
        fs::rename(&whole, self.output).map_err(FileError::at(self.output, "write"))?;
        let (answered, failed) = (parts.answered, parts.failed);
        let seconds = began.elapsed().as_secs_f64();
        let head = json!({
            "kiln": env!("CARGO_PKG_VERSION"),
            "status": COMPLETE,
            "answered": answered,
            "failed": failed,
            "resumed_behind": before,
            "seconds": seconds,
            "inputs_per_second": (parts.rows() - before) as f64 / seconds.max(1e-9),
            "job": self.identity,
        });
        write_atomic(&beside(self.output, HEAD), pretty(&head).as_bytes())?;
        sync_folder(folder_of(self.output))?;
        parts.remove()?;
        Ok(End::Complete { answered, failed, failures, first })
    }

    /// The counts of the answers that are there, where they are complete and of this job.
    fn is_complete(&self) -> Result<Option<(u64, u64)>, BatchError> {
        if self.start == Start::Overwrite || !self.output.exists() || parts::is_there(self.output) {
            return Ok(None);
        }
        let exists = |why: &str| BatchError::Exists { path: self.output.into(), why: why.into() };
        let head = beside(self.output, HEAD);
        if !head.is_file() {
            return Err(exists(", and nothing says of which job it is"));
        }
        let head: Value = serde_json::from_slice(&kiln_core::files::read(&head)?)
            .map_err(|e| BatchError::Damaged { path: head, problem: e.to_string() })?;
        let job = serde_json::from_value::<Identity>(head["job"].clone()).ok();
        match job.as_ref().map(|job| self.identity.differs(job)) {
            Some(None) if head["status"] == COMPLETE => {
                let count = |key: &str| head[key].as_u64().unwrap_or_default();
                Ok(Some((count("answered"), count("failed"))))
            }
            Some(Some((what, before, now))) => {
                Err(exists(&format!(", of another job: {what} was {before}, now {now}")))
            }
            Some(None) | None => Err(exists(", of another version of kiln")),
        }
    }
}

const ERROR: &str = "error";
const COMPLETE: &str = "complete";
const HEAD: &str = "job.json";

impl Identity {
    /// The first thing that another job asks otherwise: its name, there and here.
    fn differs(&self, before: &Self) -> Option<(String, String, String)> {
        let flat = |identity: &Self| match serde_json::to_value(identity) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let (mut here, mut there) = (flat(self), flat(before));
        let settings = |fields: &mut Map<String, Value>| {
            if let Some(Value::Object(settings)) = fields.remove("settings") {
                fields.extend(settings);
            }
        };
        settings(&mut here);
        settings(&mut there);
        let keys: Vec<String> = here.keys().chain(there.keys()).cloned().collect();
        let get = |fields: &Map<String, Value>, key: &str| fields.get(key).cloned().unwrap_or(Value::Null);
        let changed = keys.into_iter().find(|key| get(&here, key) != get(&there, key))?;
        let (now, before) = (get(&here, &changed).to_string(), get(&there, &changed).to_string());
        Some((changed, before, now))
    }
}

/// `OUT.what`.
fn beside(output: &Path, what: &str) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(what);
    output.with_file_name(name)
}

fn folder_of(output: &Path) -> &Path {
    output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The hash of a model folder: of every file in it but its README, by name.
///
/// # Errors
/// A file cannot be read.
pub fn model_hash(folder: &Path) -> Result<String, FileError> {
    let entries = fs::read_dir(folder).map_err(FileError::at(folder, "list"))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::at(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && name != "README.md" {
            files.push((name, path));
        }
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for (name, path) in &files {
        hasher.update(name.as_bytes()).update(&[0]);
        let file = fs::File::open(path).map_err(FileError::at(path, "open"))?;
        hasher.update_reader(file).map_err(FileError::at(path, "read"))?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;

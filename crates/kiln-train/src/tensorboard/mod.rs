//! TensorBoard's event files in a run folder: what `metrics.jsonl` has, as scalars by optimizer step, the config as a text,
//! weights as histograms,
//! the first samples as images. Owns these files, and only those whose names end in `.kiln`. Part of the run's state, as
//! `metrics.jsonl`: a resumed run cuts off what was written after its checkpoint. It goes on in a new file that begins
//! with a restart mark, so that a TensorBoard that is open forgets those steps too.

mod histogram;
mod message;
mod record;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_core::Net;
use kiln_core::files::FileError;
use kiln_core::run_dir::host;
use kiln_data::look::Picture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use histogram::Histogram;
use message::{What, event};

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".kiln";

/// Keys of a step's line in `metrics.jsonl`, and the tags they have.
const TAGS: &[(&str, &str)] = &[
    ("loss", "train/loss"),
    ("learning_rate", "train/learning_rate"),
    ("grad_norm", "train/grad_norm"),
    ("epoch", "train/epoch"),
    ("loss_scale", "train/loss_scale"),
    ("samples_per_second", "throughput/samples_per_second"),
    ("tokens_per_second", "throughput/tokens_per_second"),
    ("step_p50_ms", "throughput/step_p50_ms"),
    ("step_p95_ms", "throughput/step_p95_ms"),
    ("data_wait_share", "throughput/data_wait_share"),
    ("model_tflops", "throughput/model_tflops"),
    ("model_flops_utilisation", "throughput/model_flops_utilisation"),
    ("update_ratio", "train/update_ratio"),
    ("memory_mib", "throughput/memory_mib"),
];

/// How far a run's events go: the newest file and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsAt {
    /// Its name.
    pub file: String,
    /// Bytes up to here.
    pub bytes: u64,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct EventLog {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl EventLog {
    /// Makes a new file in a run folder, later by name than all others. Where there are others, it begins with the mark that
    /// steps after `step` are written again.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn create(run: &Path, step: u64) -> Result<Self, FileError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let newest = files(run)?.iter().filter_map(|path| stamp(path)).max();
        let host: String = host().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let after = newest.map_or(now, |newest| now.max(newest + 1));
        let path = run.join(format!("{PREFIX}{after:010}.{host}.{}{SUFFIX}", std::process::id()));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(FileError::at(&path, "create"))?;
        let mut log = Self { path, file, bytes: 0 };
        log.put(0, &What::Version)?;
        if newest.is_some() {
            log.put(step + 1, &What::Restart)?;
        }
        Ok(log)
    }

    fn put(&mut self, step: u64, what: &What<'_>) -> Result<(), FileError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        let record = record::framed(&event(now, step, what));
        self.file.write_all(&record).map_err(FileError::at(&self.path, "write"))?;
        self.bytes += record.len() as u64;
        Ok(())
    }

    /// Writes the config.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn config(&mut self, toml: &str) -> Result<(), FileError> {
        let mut fence = "```".to_string();
        while toml.contains(&fence) {
            fence.push('`');
        }
        self.put(0, &What::Text("config", &format!("{fence}toml\n{toml}\n{fence}\n")))
    }

    /// Writes the numbers of a line of `metrics.jsonl`, rounded to single precision; what is null there is left out.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn line(&mut self, line: &Map<String, Value>) -> Result<(), FileError> {
        let step = line.get("step").and_then(Value::as_u64).unwrap_or_default();
        let scalars = scalars(line);
        if scalars.is_empty() { Ok(()) } else { self.put(step, &What::Scalars(&scalars)) }
    }

    /// Writes the distribution of every parameter that is trained.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn weights(&mut self, step: u64, net: &dyn Net) -> Result<(), FileError> {
        let mut state = net.state();
        let trained = net.parameters().into_iter().filter(|parameter| parameter.trainable);
        let all: Vec<(String, Histogram)> = trained
            .filter_map(|parameter| {
                let values = state.remove(&parameter.name)?.convert::<f32>();
                Some((format!("weights/{}", parameter.name), Histogram::of(values.as_slice::<f32>().ok()?)?))
            })
            .collect();
        if all.is_empty() { Ok(()) } else { self.put(step, &What::Histograms(&all)) }
    }

    /// Writes pictures under the numbers that they have.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn samples(&mut self, step: u64, pictures: Vec<Picture>) -> Result<(), FileError> {
        let tagged = pictures.into_iter().enumerate().map(|(k, picture)| (format!("samples/{k}"), picture));
        let all: Vec<(String, Picture)> = tagged.collect();
        if all.is_empty() { Ok(()) } else { self.put(step, &What::Images(&all)) }
    }

    /// How far it goes.
    pub(crate) fn at(&self) -> EventsAt {
        let name = self.path.file_name().unwrap_or_default();
        EventsAt { file: name.to_string_lossy().into_owned(), bytes: self.bytes }
    }

    /// The open file.
    pub(crate) fn file(&self) -> (&Path, &File) {
        (&self.path, &self.file)
    }
}

/// Cuts the event files of a run to what they were at a checkpoint; without one nothing of them stays. Answers what a
/// person should know: that something is missing.
///
/// # Errors
/// The system refuses.
pub(crate) fn cut(run: &Path, at: Option<&EventsAt>) -> Result<Option<String>, FileError> {
    let mut found = 0;
    for path in files(run)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let keep = match at {
            Some(at) if name < at.file => continue,
            Some(at) if name == at.file => at.bytes,
            _ => 0,
        };
        let length = fs::metadata(&path).map_err(FileError::at(&path, "read"))?.len();
        if keep > 0 {
            found = length;
        }
        if length > keep {
            let file = OpenOptions::new().write(true).open(&path).map_err(FileError::at(&path, "open"))?;
            file.set_len(keep).map_err(FileError::at(&path, "truncate"))?;
        }
    }
    Ok(at.filter(|at| found < at.bytes).map(|at| {
        format!(
            "TensorBoard will miss earlier steps: {}: expected at least the {} bytes that the checkpoint recorded, got \
             {found}",
            run.join(&at.file).display(),
            at.bytes
        )
    }))
}

/// kiln's event files in a run folder, oldest first.
fn files(run: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(run).map_err(FileError::at(run, "read"))? {
        let path = entry.map_err(FileError::at(run, "read"))?.path();
        if stamp(&path).is_some() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The seconds in the name of an event file of kiln's.
fn stamp(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split('.').next()?.parse().ok()
}

/// The scalars of a line of `metrics.jsonl`, by tag: what concerns a split under its name, what a step under `train` and
/// `throughput`.
fn scalars(line: &Map<String, Value>) -> Vec<(String, f32)> {
    let number = |value: &Value| value.as_f64().map(|x| x as f32);
    match line.get("split").and_then(Value::as_str) {
        Some(split) => {
            let of_split = line.iter().filter(|(key, _)| *key != "step");
            of_split.filter_map(|(key, value)| Some((format!("{split}/{key}"), number(value)?))).collect()
        }
        None => {
            let known = TAGS.iter();
            known.filter_map(|(key, tag)| Some(((*tag).to_string(), number(line.get(*key)?)?))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn lines_of_every_kind_have_their_tags() {
        let tags = |json: &str| scalars(&line(json)).into_iter().map(|(tag, _)| tag).collect::<Vec<_>>();
        assert_eq!(tags(r#"{"step":1,"epoch":0.5,"loss":2.0,"samples":8}"#), ["train/loss", "train/epoch"]);
        assert_eq!(tags(r#"{"step":1,"skipped":"overflow","loss_scale":8.0}"#), ["train/loss_scale"]);
        let evaluation = r#"{"step":1,"split":"test","loss":2.0,"auc":null,"accuracy":1.0,"is_best":true}"#;
        assert_eq!(tags(evaluation), ["test/loss", "test/accuracy"]);
        assert_eq!(tags(r#"{"step":1,"split":"train","bad_samples":3}"#), ["train/bad_samples"]);
    }

    #[test]
    fn a_new_file_is_the_last_by_name_whatever_the_clock_says() {
        let run = tempfile::tempdir().unwrap();
        let later = run.path().join(format!("{PREFIX}9000000000.host.1{SUFFIX}"));
        fs::write(&later, "x").unwrap();
        fs::write(run.path().join(format!("{PREFIX}9999999999.host.1")), "another program's").unwrap();
        let log = EventLog::create(run.path(), 0).unwrap();
        assert_eq!(files(run.path()).unwrap(), [later, log.path]);
    }

    #[test]
    fn a_cut_leaves_what_was_there_at_the_checkpoint_and_says_what_is_missing() {
        let run = tempfile::tempdir().unwrap();
        let mut first = EventLog::create(run.path(), 0).unwrap();
        first.line(&line(r#"{"step":1,"loss":2.0}"#)).unwrap();
        let at = first.at();
        first.line(&line(r#"{"step":2,"loss":1.0}"#)).unwrap();
        let second = EventLog::create(run.path(), 1).unwrap();
        assert_eq!(cut(run.path(), Some(&at)).unwrap(), None);
        let length = |log: &EventLog| fs::metadata(&log.path).unwrap().len();
        assert_eq!((length(&first), length(&second)), (at.bytes, 0));
        let more = EventsAt { bytes: at.bytes + 1, ..at.clone() };
        let note = cut(run.path(), Some(&more)).unwrap().unwrap();
        assert!(note.contains("miss earlier steps") && note.contains(&at.bytes.to_string()), "{note}");
        assert_eq!(cut(run.path(), None).unwrap(), None);
        assert_eq!(length(&first), 0);
    }
}

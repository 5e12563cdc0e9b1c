//! `bad_samples.jsonl`: one JSON object a sample that was left out of a split, with its name and the reason, and in the
//! folder `quarantine` a copy of its file where `data.loader.on_bad_sample` says so.
//! Owns that file; decides nothing (the loader does). A resumed run knows those of before by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use kiln_core::RunDir;
use kiln_core::files::FileError;
use kiln_data::config::OnBadSample;
use kiln_data::{BadSample, DataError, Split};
use serde::{Deserialize, Serialize};

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    split: String,
    index: usize,
    sample: String,
    reason: String,
    /// Where its copy is, below the run's folder.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    quarantined: Option<PathBuf>,
}

/// What a run has written down of samples that it left out.
#[derive(Debug)]
pub(crate) struct BadSamples {
    run: PathBuf,
    quarantine: bool,
    /// Split and place of those that stand in the file.
    written: BTreeSet<(String, usize)>,
    /// How many of each split the user has been told of.
    told: BTreeMap<&'static str, usize>,
}

impl BadSamples {
    /// Reads what the run has written before; `splits` are told, so that they count on from there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn open(
        dir: &RunDir,
        policy: OnBadSample,
        splits: &[(&'static str, &Option<Split>)],
    ) -> Result<Self, FileError> {
        let quarantine = policy == OnBadSample::Quarantine;
        let (run, written) = (dir.path().to_path_buf(), BTreeSet::new());
        let mut all = Self { run, quarantine, written, told: BTreeMap::new() };
        let path = all.path();
        let text = if path.exists() { kiln_core::files::read_text(&path)? } else { String::new() };
        // A last line that a kill cut is written again.
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            let split = splits.iter().find(|(name, _)| *name == line.split).and_then(|(_, s)| s.as_ref());
            if let Some(split) = split.filter(|split| split.name(line.index) == line.sample) {
                let Line { index, sample: name, reason, .. } = line;
                split.leave_out(BadSample { index, name, reason });
                all.written.insert((line.split, index));
            }
        }
        Ok(all)
    }

    fn path(&self) -> PathBuf {
        self.run.join("bad_samples.jsonl")
    }

    /// Writes down what a split's loader has left out since the last call.
    ///
    /// # Errors
    /// The system refuses to write, or to read a sample's file for its copy.
    pub(crate) fn write(&mut self, name: &'static str, split: &Split) -> Result<(), DataError> {
        if split.bad_count() == self.written.iter().filter(|(of, _)| of == name).count() {
            return Ok(());
        }
        let path = self.path();
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let mut file: File = open.map_err(FileError::at(&path, "open"))?;
        for sample in split.bad() {
            if self.written.insert((name.to_string(), sample.index)) {
                let quarantined = self.copy(name, split, sample.index)?;
                let BadSample { index, name: sample, reason } = sample;
                let line = Line { split: name.into(), index, sample, reason, quarantined };
                let mut text =
                    serde_json::to_vec(&line).map_err(|e| FileError::at(&path, "write")(e.into()))?;
                text.push(b'\n');
                file.write_all(&text).map_err(FileError::at(&path, "write"))?;
            }
        }
        Ok(())
    }

    /// Leaves a copy of a sample's file in the run; where it is, below the run's folder.
    fn copy(&self, name: &str, split: &Split, index: usize) -> Result<Option<PathBuf>, DataError> {
        // A file that cannot be read at all has no copy; its line says why.
        let encoded = if self.quarantine { split.encoded(index).ok().flatten() } else { None };
        let Some((file, bytes)) = encoded else { return Ok(None) };
        let folder = self.run.join("quarantine");
        fs::create_dir_all(&folder).map_err(FileError::at(&folder, "create"))?;
        let place = PathBuf::from("quarantine").join(format!("{name}-{index:08}-{file}"));
        let path = self.run.join(&place);
        fs::write(&path, bytes).map_err(FileError::at(&path, "write"))?;
        Ok(Some(place))
    }

    /// What to tell of a split where more samples are left out than when it was last told.
    pub(crate) fn news(&mut self, name: &'static str, split: &Split) -> Option<String> {
        let bad = split.bad_count();
        if self.told.insert(name, bad).unwrap_or(0) == bad {
            return None;
        }
        let (total, path) = (split.len(), self.path());
        let share = 100.0 * bad as f64 / total as f64;
        Some(format!(
            "{name}: {bad} of {total} samples cannot be used and are left out ({share:.1} %), named in {}",
            path.display()
        ))
    }
}

//! `kiln selftest resume`: a config's own run, killed and resumed, against the same run left alone.
//! Owns the three processes, when one is killed and what is compared; trains nothing itself.
//!
//! The runs are short ones of the user's config in a folder that is removed afterwards: the same data, model, optimizer and
//! device, fewer steps. A kill is the system's (SIGKILL), in the middle of a step, and each resume goes on from whatever was
//! on the disk then. Compared are the BLAKE3 hashes that the last checkpoints' manifests have, and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use kiln_core::RunDir;
use kiln_core::files::{FileError, read, read_text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::checkpoint;
use crate::error::TrainError;
use crate::load;

/// What to try.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The `kiln` that is run.
    pub program: PathBuf,
    /// The config.
    pub config: PathBuf,
    /// Overrides of it.
    pub overrides: Vec<String>,
    /// Steps of each run.
    pub steps: u64,
    /// How often one of them is killed.
    pub kills: u64,
}

/// One thing that both runs have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// A file of the last checkpoint, or `metrics.jsonl`.
    pub what: String,
    /// Hash of the run that was left alone.
    pub whole: String,
    /// Hash of the run that was killed.
    pub killed: String,
}

impl Compared {
    /// Whether they are the same.
    pub fn is_equal(&self) -> bool {
        self.whole == self.killed
    }
}

/// What a trial showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// Steps of each run.
    pub steps: u64,
    /// At which steps a run was killed.
    pub killed_at: Vec<u64>,
    /// From which steps it went on.
    pub resumed_from: Vec<u64>,
    /// By name.
    pub compared: Vec<Compared>,
}

impl Resumed {
    /// Whether everything is the same.
    pub fn is_exact(&self) -> bool {
        self.compared.iter().all(Compared::is_equal)
    }
}

/// How often a run that is over too soon is made longer.
const LONGER: u32 = 4;

/// Runs, kills, resumes and compares. `tell` is told what is under way.
///
/// # Errors
/// The config has a fault, a run fails, or it is over before it can be killed however many steps it has.
pub fn resume(trial: &Trial, tell: &mut dyn FnMut(&str)) -> Result<Resumed, TrainError> {
    load::load(&trial.config, &trial.overrides)?;
    let aside = tempfile::tempdir().map_err(FileError::at(&std::env::temp_dir(), "make a folder in"))?;
    for longer in 0..LONGER {
        let steps = trial.steps << (2 * longer);
        let out = aside.path().join(steps.to_string());
        let runs = Runs { trial, steps, out: &out, every: (steps / (2 * trial.kills + 2)).max(1) };
        if let Some(resumed) = runs.go(tell)? {
            return Ok(resumed);
        }
        tell(&format!("{steps} steps were over before a kill: once more with {}", 4 * steps));
    }
    Err(TrainError::Selftest("the run is over before it can be killed: give more --steps".into()))
}

/// The runs of one length.
struct Runs<'a> {
    trial: &'a Trial,
    steps: u64,
    out: &'a Path,
    /// Steps between checkpoints.
    every: u64,
}

/// A process of `kiln train`.
struct Process {
    child: Child,
    stderr: PathBuf,
}

impl Runs<'_> {
    /// `None` where a run was over too soon.
    fn go(&self, tell: &mut dyn FnMut(&str)) -> Result<Option<Resumed>, TrainError> {
        tell(&format!("a run of {} steps, left alone", self.steps));
        self.start("whole")?.finish()?;
        let killed = self.out.join("killed");
        let (mut killed_at, mut resumed_from) = (Vec::new(), Vec::new());
        let mut process = self.start("killed")?;
        for kill in 1..=self.trial.kills {
            let target = (self.steps * kill / (self.trial.kills + 1)).max(1);
            let Some(at) = process.kill_at(&killed, target)? else { return Ok(None) };
            let from = checkpoint::steps(&killed.join("checkpoints"))?.into_iter().next_back().unwrap_or(0);
            tell(&format!("killed after step {at}; resumed from step {from}"));
            killed_at.push(at);
            resumed_from.push(from);
            process = self.command(&["--resume".into(), killed.display().to_string()], "resume")?;
        }
        process.finish()?;
        let compared = compared(&self.out.join("whole"), &killed)?;
        Ok(Some(Resumed { steps: self.steps, killed_at, resumed_from, compared }))
    }

    fn start(&self, name: &str) -> Result<Process, TrainError> {
        let Self { trial, steps, every, out } = self;
        let mut words = vec![trial.config.display().to_string()];
        words.extend(trial.overrides.iter().cloned());
        words.extend([
            format!("output_dir={}", json!(out)),
            format!("run_name={name}"),
            format!("train.max_steps={steps}"),
            "train.logging_steps=1".into(),
            format!("checkpoint.every={every} steps"),
        ]);
        self.command(&words, name)
    }

    fn command(&self, words: &[String], name: &str) -> Result<Process, TrainError> {
        std::fs::create_dir_all(self.out).map_err(FileError::at(self.out, "create"))?;
        let stderr = self.out.join(format!("{name}.stderr"));
        let file = File::create(&stderr).map_err(FileError::at(&stderr, "create"))?;
        let program = &self.trial.program;
        let mut command = Command::new(program);
        command.arg("train").args(words).arg("--plain");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().map_err(FileError::at(program, "run"))?;
        Ok(Process { child, stderr })
    }
}

impl Process {
    /// Waits for its end, which must be a good one.
    fn finish(mut self) -> Result<(), TrainError> {
        let status = self.child.wait().map_err(FileError::at(&self.stderr, "wait for the run of"))?;
        self.good(status)
    }

    fn good(&self, status: ExitStatus) -> Result<(), TrainError> {
        if status.success() {
            return Ok(());
        }
        let said = read_text(&self.stderr)?;
        let tail: Vec<&str> = said.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Err(TrainError::Selftest(format!("a run ended with {status}:\n{}", tail.join("\n"))))
    }

    /// Kills it once the log has this step; at which step it was then, or `None` where it was over before.
    fn kill_at(&mut self, run: &Path, target: u64) -> Result<Option<u64>, TrainError> {
        let failed = |e| FileError::at(&self.stderr, "wait for the run of")(e);
        loop {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                return self.good(status).map(|()| None);
            }
            let at = newest_step(&run.join("metrics.jsonl"));
            if at >= target {
                self.child.kill().map_err(failed)?;
                let status = self.child.wait().map_err(failed)?;
                // It may have ended by itself in between.
                return Ok((!status.success()).then(|| newest_step(&run.join("metrics.jsonl"))));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The step of the last whole line of a log.
fn newest_step(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let step = |line: &str| serde_json::from_str::<Value>(line).ok()?["step"].as_u64();
    text.lines().rev().find_map(step).unwrap_or(0)
}

#[derive(Deserialize)]
struct Manifest {
    files: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    blake3: String,
}

/// What the last checkpoints hold, but for `progress.json`, which has times in it, and the logs without theirs.
fn compared(whole: &Path, killed: &Path) -> Result<Vec<Compared>, TrainError> {
    let [a, b] = [hashes(whole)?, hashes(killed)?];
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let of = |hashes: &BTreeMap<String, String>, name: &String| {
        hashes.get(name).cloned().unwrap_or_else(|| "not there".into())
    };
    Ok(names
        .into_iter()
        .map(|name| Compared { what: name.clone(), whole: of(&a, name), killed: of(&b, name) })
        .collect())
}

fn hashes(run: &Path) -> Result<BTreeMap<String, String>, TrainError> {
    if !RunDir::is_run(run) {
        return Err(TrainError::Selftest(format!("{}: no run here", run.display())));
    }
    let checkpoints = run.join("checkpoints");
    let Some(last) = checkpoint::steps(&checkpoints)?.into_iter().next_back() else {
        return Err(TrainError::Selftest(format!("{}: no checkpoint", checkpoints.display())));
    };
    let path = checkpoint::folder(&checkpoints, last).join("manifest.json");
    let unreadable =
        |e: serde_json::Error| TrainError::Unreadable { path: path.clone(), reason: e.to_string() };
    let manifest: Manifest = serde_json::from_slice(&read(&path)?).map_err(unreadable)?;
    let tensors = manifest.files.into_iter().filter(|(name, _)| name.ends_with(".safetensors"));
    let mut all: BTreeMap<String, String> =
        tensors.map(|(name, entry)| (format!("step {last}: {name}"), entry.blake3)).collect();
    let log = clockless(&read_text(&run.join("metrics.jsonl"))?);
    all.insert("metrics.jsonl, but for its times".into(), blake3::hash(log.as_bytes()).to_hex().to_string());
    Ok(all)
}

/// A log without what depends on the clock: of a step, what `Pace` and the clock give.
fn clockless(log: &str) -> String {
    const KEPT: [&str; 4] = ["loss", "learning_rate", "grad_norm", "samples"];
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).ok()?;
        let object = line.as_object_mut()?;
        if object.contains_key("grad_norm") {
            object.retain(|key, _| KEPT.contains(&key.as_str()) || key == "step");
        }
        Some(line.to_string())
    };
    log.lines().filter_map(line).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_differ_in_their_times_alone_are_equal() {
        let log = |loss: f64, elapsed: f64| {
            format!(
                "{{\"step\":1,\"loss\":{loss},\"grad_norm\":1.0,\"elapsed\":{elapsed}}}\n{{\"step\":1,\"split\":\"test\"}}\n"
            )
        };
        assert_eq!(clockless(&log(1.0, 2.0)), clockless(&log(1.0, 3.0)));
        assert_ne!(clockless(&log(1.0, 2.0)), clockless(&log(1.5, 2.0)));
        assert!(clockless(&log(1.0, 2.0)).contains("\"split\":\"test\""));
    }
}

//! One process a row: this binary again, asked for one thing. A row that panics, aborts or is killed for its memory ends
//! its own process and becomes a line of the table; the others run.
//! Owns the asking and what an ending means; the asked process answers with `measure` or `ceilings`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};

use super::measure::outline;
use super::{BenchError, Ceilings, Results, Row, RowSpec, Status, ceilings, measure};

/// What a process is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A row.
    Row(RowSpec),
    /// What a device reaches at best.
    Ceilings(String),
}

/// What it answers, as one line of JSON on stdout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The row, with numbers or with the reason why there are none.
    Row(Box<Row>),
    /// A device's best.
    Ceilings(Ceilings),
}

impl Ask {
    /// Does what is asked, in this process.
    ///
    /// # Errors
    /// The device's best cannot be measured. (A row that fails is an answer.)
    pub fn answer(&self, process_start: std::time::Instant) -> Result<Answer, BenchError> {
        match self {
            Ask::Row(spec) => Ok(Answer::Row(Box::new(measure(spec, process_start)))),
            Ask::Ceilings(device) => Ok(Answer::Ceilings(ceilings(&device.parse()?)?)),
        }
    }
}

/// Runs rows in processes of `binary`, which answers to `arguments` followed by an [`Ask`] in JSON.
pub struct Crew {
    binary: PathBuf,
    arguments: Vec<String>,
    /// By device.
    ceilings: BTreeMap<String, Option<Ceilings>>,
}

impl Crew {
    /// A crew that starts `binary`.
    pub fn new(binary: PathBuf, arguments: Vec<String>) -> Self {
        Self { binary, arguments, ceilings: BTreeMap::new() }
    }

    /// Measures every row, telling `told` of each as it is done.
    ///
    /// # Errors
    /// A process cannot be started. (A row that fails is a row.)
    pub fn run(&mut self, specs: &[RowSpec], told: &mut dyn FnMut(&Row)) -> Result<Results, BenchError> {
        let mut rows = Vec::new();
        for spec in specs {
            let ended = self.ask(&Ask::Row(spec.clone()))?;
            let mut row = match answer(&ended) {
                Some(Answer::Row(row)) => *row,
                _ => Row { status: Status::Failed, reason: Some(ending(&ended)), ..outline(spec) },
            };
            if row.status != Status::Unsupported
                && let Some(best) = self.best(&spec.device)?
            {
                row.key.hardware = best.hardware;
                if let Some(measured) = &mut row.measured {
                    measured.peak_gflops = Some(best.gflops);
                    measured.peak_copy_gb_per_sec = Some(best.copy_gb_per_sec);
                }
            }
            told(&row);
            rows.push(row);
        }
        Ok(Results::new(rows))
    }

    /// A device's best, measured once.
    fn best(&mut self, device: &str) -> Result<Option<Ceilings>, BenchError> {
        if let Some(known) = self.ceilings.get(device) {
            return Ok(known.clone());
        }
        let best = match answer(&self.ask(&Ask::Ceilings(device.into()))?) {
            Some(Answer::Ceilings(best)) => Some(best),
            _ => None,
        };
        self.ceilings.insert(device.into(), best.clone());
        Ok(best)
    }

    fn ask(&self, ask: &Ask) -> Result<Output, BenchError> {
        let child = |source| BenchError::Child { binary: self.binary.clone(), source };
        let text = serde_json::to_string(ask).map_err(|e| child(e.into()))?;
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).arg(text).stdin(Stdio::null());
        command.output().map_err(child)
    }
}

fn answer(ended: &Output) -> Option<Answer> {
    serde_json::from_slice(&ended.stdout).ok()
}

/// Why a process ended without an answer: its signal or exit code, and the last thing it said.
fn ending(ended: &Output) -> String {
    let said = String::from_utf8_lossy(&ended.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = |line: &&&str| !line.starts_with("note:") && !line.starts_with("stack backtrace");
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let last = match panic {
        Some(at) => lines[at..].iter().take(2).copied().collect::<Vec<_>>().join(" "),
        None => lines.iter().rev().find(telling).map_or_else(String::new, |line| (*line).to_string()),
    };
    let how = how(&ended.status);
    if last.is_empty() { how } else { format!("{how}: {last}") }
}

#[cfg(unix)]
fn how(status: &std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(9) => "killed (signal 9), as the system does when memory runs out".into(),
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with {status}"),
    }
}

#[cfg(not(unix))]
fn how(status: &std::process::ExitStatus) -> String {
    format!("ended with {status}")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn row(script: &str) -> Row {
        let mut crew = Crew::new("/bin/sh".into(), vec!["-c".into(), script.into()]);
        let spec = RowSpec {
            config: "a/net.toml".into(),
            overrides: vec!["seed=1".into()],
            device: "cpu".into(),
            precision: "f32".into(),
            batch_size: Some(8),
            warmup: 1,
            steps: 1,
            seconds: 0.0,
            check_loss: false,
            keep: None,
        };
        let mut told = 0;
        let results = crew.run(&[spec], &mut |_| told += 1).unwrap();
        assert_eq!((told, results.rows.len()), (1, 1));
        results.rows[0].clone()
    }

    #[test]
    fn a_process_that_dies_is_a_row_that_says_how() {
        for (script, reason) in [
            ("kill -9 $$", "killed (signal 9), as the system does when memory runs out"),
            (
                "echo 'memory allocation of 7 bytes failed' >&2; kill -6 $$",
                "signal 6: memory allocation of 7",
            ),
            (
                "printf \"thread 'main' panicked at a.rs:1:\\nno shape\\nnote: run\\n\" >&2; exit 101",
                "a.rs:1: no shape",
            ),
            ("echo hello; exit 3", "exit status: 3"),
        ] {
            let row = row(script);
            let said = row.reason.unwrap();
            assert!(said.contains(reason), "{said}");
            assert_eq!((row.status, row.key.config.as_str()), (Status::Failed, "net seed=1"));
        }
    }
}

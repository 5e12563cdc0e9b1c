//! One process a row: this binary again, asked for one thing. A row that panics, aborts, hangs or is killed for its memory
//! ends its own process and becomes a line of the table; the others run.
//! Owns the asking; the asked process answers with `measure` or `ceilings`, `ending` says why it did not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::child::{self, Ended};
use super::ending::ending;
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
    limit: Duration,
    /// By device.
    ceilings: BTreeMap<String, Option<Ceilings>>,
}

impl Crew {
    /// A crew that starts `binary`, and ends a process that takes longer than `limit`.
    pub fn new(binary: PathBuf, arguments: Vec<String>, limit: Duration) -> Self {
        Self { binary, arguments, limit, ceilings: BTreeMap::new() }
    }

    /// Measures every row, telling `told` of each as it is done.
    ///
    /// # Errors
    /// A process cannot be started. (A row that fails is a row.)
    pub fn run(&mut self, specs: &[RowSpec], told: &mut dyn FnMut(&Row)) -> Result<Results, BenchError> {
        let mut rows = Vec::new();
        for spec in specs {
            let mut row = self.row(spec)?;
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

    /// One row, whatever becomes of its process.
    pub(super) fn row(&self, spec: &RowSpec) -> Result<Row, BenchError> {
        let ended = self.ask(&Ask::Row(spec.clone()))?;
        if let Some(Answer::Row(row)) = answer(&ended) {
            return Ok(*row);
        }
        let (status, reason) = ending(&ended);
        Ok(Row { status, reason: Some(reason), ..outline(spec) })
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

    fn ask(&self, ask: &Ask) -> Result<Ended, BenchError> {
        let unstarted = |source| BenchError::Child { binary: self.binary.clone(), source };
        let text = serde_json::to_string(ask).map_err(|e| unstarted(e.into()))?;
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).arg(text);
        child::run(command, self.limit).map_err(unstarted)
    }
}

fn answer(ended: &Ended) -> Option<Answer> {
    serde_json::from_slice(&ended.stdout).ok()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn rows(scripts: &str, limit: Duration) -> Vec<Row> {
        let mut crew = Crew::new("/bin/sh".into(), vec!["-c".into(), scripts.into()], limit);
        let spec = |device: &str| RowSpec {
            config: "a/net.toml".into(),
            overrides: vec!["seed=1".into()],
            device: device.into(),
            precision: "f32".into(),
            batch_size: Some(8),
            longest: false,
            warmup: 1,
            steps: 1,
            seconds: 0.0,
            check_loss: false,
            keep: None,
        };
        let mut told = 0;
        let results = crew.run(&[spec("cpu"), spec("ndarray")], &mut |_| told += 1).unwrap();
        assert_eq!((told, results.rows.len()), (2, 2), "each row is there, whatever became of the other");
        results.rows
    }

    #[test]
    fn a_process_that_dies_is_a_row_that_says_how() {
        let hour = Duration::from_secs(3600);
        for (script, status, reason) in [
            ("kill -9 $$", None, "killed (signal 9)"),
            (
                "echo 'memory allocation of 7 bytes failed' >&2; kill -6 $$",
                Some(Status::OutOfMemory),
                "signal 6: memory allocation of 7",
            ),
            ("echo hello; exit 3", Some(Status::Failed), "exit status: 3"),
        ] {
            for row in rows(script, hour) {
                let said = row.reason.unwrap();
                assert!(said.contains(reason), "{said}");
                assert_eq!(row.key.config, "net seed=1");
                assert_eq!(row.status, status.unwrap_or(row.status), "{said}");
            }
        }
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        for row in rows("exec sleep 600", Duration::from_millis(50)) {
            assert_eq!(row.reason.as_deref(), Some("ended after 0.05 seconds, its limit"));
            assert_eq!(row.status, Status::Failed);
        }
    }
}

//! `kiln bench`: what configs cost on devices, as a table and files; comparing and merging such files.
//! Owns the words; kiln-train measures, each row in a process that this verb answers for too, `tables` lays out.

mod specs;
mod tables;

use std::path::PathBuf;
use std::time::Duration;

use kiln_core::Exit;
use kiln_core::device::{CACHE_VARIABLE, kernel_bytes, kernel_folder};
use kiln_train::bench::{Ask, BenchError, Crew, METHOD, Results, RowSpec, Status, Warmed, compare};
use serde::Serialize;

use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Time training and inference of configs on devices, compare and merge such results
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    rows: Rows,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say which rows got slower from one file to another; exit 1 where one did by more than allowed
    Compare {
        /// bench.json to compare with
        first: PathBuf,
        /// bench.json that is compared
        second: PathBuf,
        /// How much slower a median may be, as 5% or 0.05
        #[arg(long, default_value = "5%", value_parser = share)]
        fail_over: f64,
    },
    /// Put the rows of many files, for example of many machines, into one
    Merge {
        /// Files named bench.json
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Folder to write to
        #[arg(short, long)]
        output: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Rows {
    /// Config files; device=cpu,cuda:0,cuda:0-plain (plain: without kiln's own forms of ops) precision=f32 batch_size=8,32 for a row of each; overrides of all configs
    #[arg(value_name = "CONFIG... [KEY=VALUE]...")]
    words: Vec<String>,
    /// Steps before the measured ones
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    warmup: u32,
    /// Measured steps at least
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    steps: u32,
    /// Seconds of measured steps at least
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds after which the process of a row is ended and the row marked
    #[arg(long, default_value_t = 3600.0, value_parser = limit)]
    timeout: f64,
    /// Fail a row whose loss is not lower after the steps than before (one that is not finite fails always)
    #[arg(long)]
    check_loss: bool,
    /// Tune and compile what the rows need on their GPUs, keep it for later processes, and measure only the first steps
    #[arg(long, conflicts_with_all = ["warmup", "steps", "seconds", "check_loss", "output", "keep"])]
    warm: bool,
    /// Folder to write bench.json, bench.csv, bench.md and bench.html to
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Folder for each row's start weights and batch, for other programs
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the results as one JSON object
    #[arg(long)]
    json: bool,
    /// The process of one row: what is asked of it
    #[arg(long, hide = true, value_name = "JSON", value_parser = ask)]
    row: Option<Ask>,
}

pub(crate) fn run(args: Args) -> Outcome {
    match (args.what, args.rows) {
        (Some(What::Compare { first, second, fail_over }), _) => {
            let comparison = compare(&Results::read(&first)?, &Results::read(&second)?, fail_over);
            stdout::line(&tables::differences(&comparison))?;
            Ok(if comparison.fails() { Exit::Failed } else { Exit::Done })
        }
        (Some(What::Merge { files, output }), _) => {
            let parts = files.iter().map(|file| Results::read(file)).collect::<Result<_, _>>()?;
            let merged = Results::merged(parts);
            merged.write(&output)?;
            stdout::line(&tables::rows(&merged))?;
            Ok(Exit::Done)
        }
        (None, Rows { row: Some(ask), .. }) => {
            let answer = ask.answer(crate::process_start())?;
            stdout::line(&to_json(&answer)?)?;
            Ok(Exit::Done)
        }
        (None, rows) => rows.run(),
    }
}

impl Rows {
    fn run(self) -> Outcome {
        let specs = self.specs()?;
        let binary = std::env::current_exe()
            .map_err(|e| Failure::new(Exit::Io, format!("cannot find the path of this binary: {e}")))?;
        let limit = Duration::from_secs_f64(self.timeout);
        let mut crew = Crew::new(binary, vec!["bench".into(), "--row".into()], limit);
        if self.warm {
            return self.warmed(&crew, &specs);
        }
        let results = crew.run(&specs, &mut |row| report::talk(&tables::line(row)))?;
        if let Some(folder) = &self.output {
            results.write(folder)?;
        }
        let text = || format!("{}\n\n{METHOD}", tables::rows(&results));
        stdout::line(&if self.json { results.json() } else { text() })?;
        Ok(ended(results.rows.iter().map(|row| row.status)))
    }

    fn warmed(&self, crew: &Crew, specs: &[RowSpec]) -> Outcome {
        let told = |warmed: &Warmed| report::talk(&tables::warmed(warmed));
        let folder = kernel_folder();
        let bytes = || folder.as_deref().map_or(0, kernel_bytes);
        let bytes_before = bytes();
        let rows = crew.warm(specs, &mut |row| told(row))?;
        let kept = Kept { rows, bytes_before, bytes: bytes(), folder };
        stdout::line(&if self.json { to_json(&kept)? } else { kept.to_string() })?;
        Ok(ended(kept.rows.iter().map(|row| row.status)))
    }
}

/// What `--warm` leaves.
#[derive(Debug, Serialize)]
struct Kept {
    rows: Vec<Warmed>,
    /// Where kernels are kept; none in a build without a backend that keeps any.
    folder: Option<PathBuf>,
    bytes_before: u64,
    bytes: u64,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.folder {
            Some(folder) => write!(
                f,
                "kernels: {} bytes kept in {} ({} before); {CACHE_VARIABLE} names another place",
                self.bytes,
                folder.display(),
                self.bytes_before
            ),
            None => write!(f, "kernels: none kept by the backends of this binary"),
        }
    }
}

/// What the command ends with.
fn ended(mut statuses: impl Iterator<Item = Status>) -> Exit {
    let failed = statuses.any(|status| matches!(status, Status::Failed | Status::OutOfMemory));
    if failed { Exit::Failed } else { Exit::Done }
}

/// `5%` or `0.05`.
fn share(word: &str) -> Result<f64, String> {
    let (number, scale) = word.strip_suffix('%').map_or((word, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().map_err(|e| e.to_string())? / scale;
    if (0.0..=100.0).contains(&share) { Ok(share) } else { Err("expected a share such as 5% or 0.05".into()) }
}

fn seconds(word: &str) -> Result<f64, String> {
    let seconds = word.parse::<f64>().map_err(|e| e.to_string())?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0 to 86400".into()) }
}

fn limit(word: &str) -> Result<f64, String> {
    seconds(word).and_then(|limit| if limit > 0.0 { Ok(limit) } else { Err("expected more than 0".into()) })
}

fn ask(word: &str) -> Result<Ask, String> {
    serde_json::from_str(word).map_err(|e| e.to_string())
}

fn to_json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit: error.exit() }
    }
}

//! `kiln predict -o`: a job into a file, which goes on where it was killed.
//! Owns the words of a job and its progress line; kiln-serve keeps the job.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_core::Exit;
use kiln_data::inputs;
use kiln_serve::batch::{End, Identity, Job, Progress, Shard, Start, model_hash};
use serde_json::{Map, Value, json};

use super::Args;
use super::asked::Asked;
use crate::report::{self, Failure, Outcome};

/// Batches between two commits.
const BATCHES: usize = 16;
/// Between lines of progress.
const EVERY: Duration = Duration::from_secs(5);

/// The words of a job.
#[derive(Debug, clap::Args)]
pub(crate) struct JobArgs {
    /// Write here instead of stdout: .jsonl, .csv, .parquet, or a new .db or .sqlite file; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Go on with a job that was stopped or killed; the file will be the same to the byte
    #[arg(long, requires = "output")]
    resume: bool,
    /// Replace the file, or the parts of a job that was stopped
    #[arg(long, requires = "output", conflicts_with = "resume")]
    overwrite: bool,
    /// Answer every N-th input, from the K-th on, into a file of its own; `index` counts all inputs
    #[arg(long, requires = "output", value_name = "K/N")]
    shard: Option<Shard>,
    /// A column of the table to hand on beside each answer, under another name where one is given; may be given several times
    #[arg(long, requires = "output", value_name = "COLUMN[=NAME]")]
    keep: Vec<String>,
}

impl JobArgs {
    /// What can be refused before a model is opened.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let names = self.kept();
        let twice =
            names.iter().enumerate().find(|(i, (_, name))| names[..*i].iter().any(|(_, n)| n == name));
        match twice {
            Some((_, (_, name))) => Err(Failure::new(Exit::Usage, format!("--keep names \"{name}\" twice"))
                .hint("give one of them another name: --keep COLUMN=NAME")),
            None => Ok(()),
        }
    }

    /// Columns to keep: in the input and in the output.
    fn kept(&self) -> Vec<(String, String)> {
        let pair = |word: &String| match word.split_once('=') {
            Some((column, name)) => (column.to_string(), name.to_string()),
            None => (word.clone(), word.clone()),
        };
        self.keep.iter().map(pair).collect()
    }
}

/// Set by the first SIGINT or SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

pub(super) fn run(asked: &Asked, args: &Args, folder: &Path, device: &str, output: &Path) -> Outcome {
    let start = match (args.job.resume, args.job.overwrite) {
        (true, _) => Start::Resume,
        (_, true) => Start::Overwrite,
        _ => Start::New,
    };
    let identity = Identity {
        model: model_hash(folder)?,
        inputs: args.inputs.iter().map(|input| inputs::fingerprint(input)).collect::<Result<_, _>>()?,
        shard: args.job.shard.unwrap_or(Shard::ALL),
        keep: args.job.kept(),
        settings: settings(args, device),
    };
    let columns: Vec<String> = identity.keep.iter().map(|(column, _)| column.clone()).collect();
    let opened: Vec<inputs::Inputs> = args
        .inputs
        .iter()
        .map(|input| inputs::open(input, asked.preprocessor(), &columns))
        .collect::<Result<_, _>>()?;
    let total = opened
        .iter()
        .map(|inputs| inputs.size_hint())
        .try_fold(0, |sum, (low, high)| (high == Some(low)).then_some(sum + low));
    catch_signals()?;
    let window = asked.at_once(args) * BATCHES;
    let job = Job { output, identity, window, start };
    let mut last = Instant::now();
    let mut watch = |progress: Progress| {
        if last.elapsed() >= EVERY {
            last = Instant::now();
            report::talk(&line(progress, total));
        }
        !STOP.load(Ordering::SeqCst)
    };
    let end = job.run(opened.into_iter().flatten(), &mut |inputs| asked.answers(inputs), &mut watch)?;
    ended(end, output)
}

/// What answers depend on beside the model and the inputs.
fn settings(args: &Args, device: &str) -> Map<String, Value> {
    let words = json!({
        "device": device,
        "batch_size": args.batch_size,
        "embed": args.embed,
        "tta": args.tta.map(|shown| format!("{shown:?}").to_lowercase()),
        "generation": args.generation.words(),
    });
    match words {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn line(progress: Progress, total: Option<usize>) -> String {
    let Progress { answered, failed, per_second } = progress;
    let rows = answered + failed;
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    let without = if failed > 0 { format!(", {failed} of them without an answer") } else { String::new() };
    let left = total.filter(|_| per_second > 0.0).map_or(String::new(), |total| {
        format!(", {:.0} s left", (total as f64 - rows as f64).max(0.0) / per_second)
    });
    format!("{rows}{of} inputs{without}, {per_second:.0} a second{left}")
}

fn ended(end: End, output: &Path) -> Outcome {
    match end {
        End::Complete { answered, failed: 0, .. } => {
            report::talk(&format!("{answered} answers in {}", output.display()));
            Ok(Exit::Done)
        }
        End::Complete { answered, failed, failures, first } => {
            let message = format!(
                "{failed} of {} inputs could not be answered; the first: {}",
                answered + failed,
                first.unwrap_or_default()
            );
            Err(Failure::new(Exit::Data, message).hint(format!(
                "{} holds the reason of each; the other {answered} are answered in {}",
                failures.display(),
                output.display()
            )))
        }
        End::Already { answered, failed } => {
            report::talk(&format!(
                "{} holds the {answered} answers of this job already ({failed} inputs without one)",
                output.display()
            ));
            Ok(if failed == 0 { Exit::Done } else { Exit::Data })
        }
        End::Stopped { rows } => {
            report::talk(&format!("stopped behind {rows} inputs; go on with --resume"));
            Ok(Exit::Resumable)
        }
    }
}

/// The first SIGINT or SIGTERM stops behind the window that is being answered; a second one at once, which loses only that.
fn catch_signals() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            #[expect(clippy::exit, reason = "a second signal asks for exactly this")]
            std::process::exit(130);
        }
        report::talk("stopping behind these inputs; once more to stop at once");
    })
    .map_err(|e| Failure::new(Exit::Failed, format!("cannot catch signals: {e}")))
}

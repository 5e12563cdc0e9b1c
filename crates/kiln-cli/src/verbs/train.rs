//! `kiln train`: a new run of a config, or the continuation of one. Signals, progress and the final table.

mod batch_size;
mod dry_run;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_core::Exit;
use kiln_train::init;
use kiln_train::progress::Scored;
use kiln_train::{Outcome, Run, Session, Start, Summary, TrainError};

use crate::hub;
use crate::progress::Progress;
use crate::report::{self, Failure};
use crate::stdout;

/// Train from a config, or resume a run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Config file, then `key=value` overrides (`train.epochs=3 optimizer.learning_rate=1e-4`). Without a file
    /// `data.path=DATA` is enough: the rest is what `kiln init DATA` would guess. A run folder instead goes on from its newest
    /// checkpoint, with what the overrides change (`kiln train RUN train.epochs=20`)
    #[arg(value_name = "CONFIG|RUN [KEY=VALUE]...")]
    words: Vec<String>,
    /// Continue RUN, or without RUN the newest run of CONFIG, from its newest checkpoint
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "")]
    resume: Option<String>,
    /// Do everything once and leave nothing: data, weights, one step, one batch of evaluation, a checkpoint and a model
    /// written and read back in a folder that is removed
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Try micro-batches of 1, 2, 4, ... samples, each in a process of its own, and print how fast each trains and what memory
    /// it takes, and the setting to write; trains nothing
    #[arg(long, conflicts_with_all = ["resume", "dry_run", "overfit_batches"])]
    find_batch_size: bool,
    /// Train on the first N batches alone, again and again, and say at the end whether their loss fell: a net that cannot
    /// learn a few batches by heart has a fault
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    overfit_batches: Option<u64>,
    /// No progress bar: plain lines, as when stderr is not a terminal
    #[arg(long)]
    plain: bool,
}

static INTERRUPT: AtomicBool = AtomicBool::new(false);

pub(crate) fn run(args: Args) -> report::Outcome {
    let process_start = crate::process_start();
    let mut words = args.words;
    words.extend(args.overfit_batches.map(|batches| format!("train.overfit_batches={batches}")));
    let start = with_pulled(start(words, args.resume)?)?;
    if args.find_batch_size {
        return batch_size::run(&start);
    }
    catch_signals()?;
    let progress = Progress::new(args.plain);
    let mut session = Session { callbacks: vec![Box::new(progress)], interrupt: &INTERRUPT, process_start };
    if args.dry_run {
        return dry_run::run(&start, &mut session);
    }
    let outcome = Run::start(&start, &mut session).and_then(|run| run.finish(&mut session));
    drop(session); // the bar is gone before the table
    if let Err(TrainError::OutOfMemory(what)) = &outcome
        && let Some(words) = what.smaller.as_ref().filter(|_| what.restart)
    {
        report::talk(&format!("memory ran out ({}); goes on with {}", what.reason, words.join(" ")));
        return again(&what.run, words, args.plain);
    }
    let outcome = outcome?;
    match outcome {
        Outcome::Finished(summary) => {
            report::talk(&table(&summary));
            stdout::line(&summary.run.display().to_string())?;
            Ok(Exit::Done)
        }
        Outcome::Interrupted { run, step } => {
            let run = run.display();
            report::talk(&format!("stopped after step {step}; to continue: kiln train --resume {run}"));
            stdout::line(&run.to_string())?;
            Ok(Exit::Resumable)
        }
    }
}

/// Goes on with a run in a process of its own, for this one's device may not give its memory back.
fn again(run: &Path, words: &[String], plain: bool) -> report::Outcome {
    let failed = |e| Failure::new(Exit::Failed, format!("cannot start this program again: {e}"));
    let mut command = std::process::Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("train").arg(run).args(words).args(plain.then_some("--plain"));
    #[cfg(unix)]
    return Err(failed(std::os::unix::process::CommandExt::exec(&mut command)));
    #[cfg(not(unix))]
    Ok(match command.status().map_err(failed)?.code() {
        Some(0) => Exit::Done,
        Some(75) => Exit::Resumable,
        _ => Exit::Failed,
    })
}

/// Sorts the words: a config first (optional when a run is named), then overrides.
fn start(mut words: Vec<String>, resume: Option<String>) -> Result<Start, Failure> {
    let mut resume = resume;
    // `--resume config.toml` names a config, not a run.
    if let Some(named) = resume.as_deref().filter(|r| Path::new(r).is_file() || is_override(r)) {
        words.insert(0, named.to_string());
        resume = Some(String::new());
    }
    let mut config = words.iter().position(|word| !is_override(word)).map(|i| PathBuf::from(words.remove(i)));
    // A run folder goes on.
    if let Some(run) = config.take_if(|named| resume.is_none() && named.is_dir()) {
        resume = Some(run.display().to_string());
    }
    if let Some(stray) = words.iter().find(|w| !is_override(w)) {
        return Err(Failure::new(
            Exit::Usage,
            format!("`{stray}`: expected an override such as `train.epochs=3`"),
        )
        .hint("one config a run; overrides are written key=value, without spaces"));
    }
    match (config, resume) {
        (Some(config), None) => Ok(Start::New { config, overrides: words }),
        (Some(config), Some(run)) if run.is_empty() => Ok(Start::ResumeLatest { config, overrides: words }),
        (config, Some(run)) if !run.is_empty() => {
            Ok(Start::Resume { run: run.into(), config, overrides: words })
        }
        (None, None) if data_of(&words).is_some() => drafted(words),
        _ => Err(Failure::new(Exit::Usage, "no config given")
            .hint("kiln train CONFIG [key=value]..., kiln train data.path=DATA, or kiln train RUN")),
    }
}

/// The data that overrides name.
fn data_of(words: &[String]) -> Option<PathBuf> {
    let value = |key: &str| words.iter().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value("data.path").or(value("data.train")).map(|path| PathBuf::from(path.trim_matches(['"', '\''])))
}

/// A run without a config: the guesses of `kiln init`, said, under the overrides.
fn drafted(words: Vec<String>) -> Result<Start, Failure> {
    let data = data_of(&words).unwrap_or_default();
    let stem = data.canonicalize().unwrap_or_else(|_| data.clone());
    let stem = stem.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let origin = PathBuf::from(format!("{stem}.toml"));
    let draft = init::draft(&data, &init::Asked::of(&words)?, &origin, Path::to_path_buf)?;
    let asked = words.iter().rev().find_map(|word| word.strip_prefix("data.kind="));
    if let Some(asked) = asked.filter(|asked| asked.trim_matches(['"', '\'']) != draft.kind) {
        let message = format!("data.kind={asked}: {} looks like {}", data.display(), draft.kind);
        return Err(Failure::new(Exit::Usage, message).hint("leave data.kind out, or write a config"));
    }
    report::talk(&format!("no config: what follows is guessed from {}", data.display()));
    draft.notes.iter().for_each(|note| report::talk(&format!("- {note}")));
    Ok(Start::Drafted { text: draft.text, origin, overrides: words })
}

/// The same, with the folders of models that the config takes from the Hub.
fn with_pulled(start: Start) -> Result<Start, Failure> {
    Ok(match start {
        Start::New { config, overrides } => {
            Start::New { overrides: hub::pulled(&config, &overrides)?, config }
        }
        Start::ResumeLatest { config, overrides } => {
            Start::ResumeLatest { overrides: hub::pulled(&config, &overrides)?, config }
        }
        Start::Resume { run, config: Some(config), overrides } => {
            let overrides = hub::pulled(&config, &overrides)?;
            Start::Resume { run, config: Some(config), overrides }
        }
        other @ (Start::Resume { config: None, .. } | Start::Drafted { .. }) => other,
    })
}

/// `key=value`, where the key is dotted words: a path that holds a `=` is not one.
fn is_override(word: &str) -> bool {
    word.split_once('=').is_some_and(|(key, _)| {
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '_' || c == '-')
    }) && !Path::new(word).exists()
}

/// The first SIGINT or SIGTERM asks the loop to save and stop; a second one ends the process at once.
fn catch_signals() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if INTERRUPT.swap(true, Ordering::SeqCst) {
            #[expect(clippy::exit, reason = "a second signal asks for exactly this")]
            std::process::exit(130);
        }
        report::talk("stopping after this step; once more to stop at once");
    })
    .map_err(|e| Failure::new(Exit::Failed, format!("cannot catch signals: {e}")))
}

fn table(summary: &Summary) -> String {
    let names: Vec<&String> =
        summary.validation.iter().chain(&summary.test).next().map_or(vec![], |s| s.metrics.keys().collect());
    let mut table = comfy_table::Table::new();
    let header = ["split".to_string(), "loss".into()];
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(header.into_iter().chain(names.iter().map(|name| name.replace('_', " "))));
    let mut row = |name: &str, scored: &Option<Scored>| {
        if let Some(s) = scored {
            let mut cells = vec![name.to_string(), loss(s.loss)];
            cells.extend(names.iter().map(|name| match s.metrics.get(*name) {
                Some(value) => crate::progress::cell(name, value),
                None => "-".into(),
            }));
            table.add_row(cells);
        }
    };
    row("validation", &summary.validation);
    row("test", &summary.test);
    let early = summary.stopped_early.as_ref().map(|r| format!(" (stopped early: {r})")).unwrap_or_default();
    let Summary { steps, chosen_step, seconds, model, .. } = summary;
    let head =
        format!("{steps} steps in {seconds:.1} s{early}; the model has the weights of step {chosen_step}");
    let body = match table.is_empty() {
        true => "nothing was scored: the data has neither a validation nor a test split".to_string(),
        false => table.to_string(),
    };
    format!("{head}\n{body}\nmodel: {}", model.display())
}

/// A loss that a person can read, also when a run has diverged.
pub(crate) fn loss(value: f64) -> String {
    if value.abs() < 1e4 { format!("{value:.4}") } else { format!("{value:.3e}") }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit: error.exit() }
    }
}

//! `kiln runs`: what runs left: a table of them, one of them with its curves, some of them side by side.
//! Owns the words and which run is meant; kiln-train reads run folders, the files beside lay them out.

mod compare;
mod ls;
mod plot;
mod show;

use std::path::{Path, PathBuf};

use kiln_core::{Exit, RunDir};
use kiln_train::progress::Scored;
use serde::Serialize;

use crate::progress;
use crate::report::{self, Failure, Outcome};
use crate::stdout;
use crate::verbs::train;

/// Where runs are, if nobody says otherwise.
const RUNS: &str = "runs";

/// List runs, show one, or compare some
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A table of the runs in a folder
    Ls {
        /// Folder of run folders
        #[arg(default_value = RUNS)]
        dir: PathBuf,
        /// A metric (accuracy, f1, ...) or loss of the best evaluation, best first; or when, name, step, train_loss, seconds
        #[arg(long, value_name = "METRIC", default_value = "when")]
        sort: String,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// One run: config, results, learning curves, files
    Show {
        /// Run folder, or its name in runs/
        run: PathBuf,
        /// Also write the learning curves to an SVG file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Runs side by side: config keys that differ, and scores
    Compare {
        /// Run folders, or their names in runs/
        #[arg(required = true, num_args = 2..)]
        run: Vec<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    let text = match args.what {
        What::Ls { dir, sort, json } => ls::page(&dir, &sort, json)?,
        What::Show { run, svg, json } => show::page(&named(run), svg.as_deref(), json)?,
        What::Compare { run, json } => compare::page(run.into_iter().map(named).collect(), json)?,
    };
    stdout::line(text.trim_end())?;
    Ok(Exit::Done)
}

/// The folder that a word means: a path, else a name in `runs`.
fn named(run: PathBuf) -> PathBuf {
    let inside = Path::new(RUNS).join(&run);
    if !run.exists() && RunDir::is_run(&inside) { inside } else { run }
}

fn to_json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))
}

/// Says what could not be read of a run that is shown nevertheless.
fn told(faults: &[String]) {
    faults.iter().for_each(|fault| report::talk(&format!("warning: {fault}")));
}

/// `loss` or a metric of an evaluation as a person reads it.
fn cell(scored: Option<&Scored>, name: &str) -> String {
    match (scored, name) {
        (None, _) => "-".into(),
        (Some(scored), "loss") => train::loss(scored.loss),
        (Some(scored), "step") => scored.step.to_string(),
        (Some(scored), name) => {
            scored.metrics.get(name).map_or("-".into(), |value| progress::cell(name, value))
        }
    }
}

/// A table without lines.
fn table(header: impl IntoIterator<Item = String>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Disabled)
        .set_header(header.into_iter().collect::<Vec<_>>());
    table
}

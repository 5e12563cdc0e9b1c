//! `kiln data stats`: a data set in numbers, for a person or as JSON.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_data::look;

use super::{loaded, with_options};
use crate::report::{Failure, Outcome};
use crate::stdout;

/// Counts, sizes, lengths, classes, missing values and exact duplicates
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Config file
    config: PathBuf,
    /// Values that replace those of the config, for example data.path=other
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Groups of duplicates to name, those across splits first; by default 10, with --json all
    #[arg(long, value_name = "N")]
    list: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let loaded = loaded(&args.config, &args.overrides)?;
    let limit = args.list.unwrap_or(if args.json { usize::MAX } else { 10 });
    let stats = with_options(&loaded, |options| look::stats(&loaded.config.data, options, limit))?;
    let text = match args.json {
        true => serde_json::to_string(&stats)
            .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?,
        false => look::page(&stats),
    };
    stdout::line(text.trim_end())?;
    Ok(Exit::Done)
}

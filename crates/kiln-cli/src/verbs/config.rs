//! `kiln config`: a config with every value and where it came from, or the JSON Schema of all configs.
//! Owns nothing but the choice of form; kiln-train resolves. Data goes to stdout.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_train::load;
use serde_json::Value;

use crate::report::{Failure, Outcome};
use crate::stdout;

/// Show a config resolved, or its JSON Schema
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Every value with its origin, as TOML that loads to the same values
    Show {
        /// Config file
        config: PathBuf,
        /// Values that replace those of the config, for example train.epochs=3
        #[arg(value_name = "KEY=VALUE")]
        overrides: Vec<String>,
        /// Print one JSON object with value and origin per dotted key
        #[arg(long)]
        json: bool,
    },
    /// JSON Schema of a config, for editors
    Schema,
}

pub(crate) fn run(args: Args) -> Outcome {
    let text = match args.what {
        What::Show { config, overrides, json } => {
            let loaded = load::resolve(&config, &overrides)?;
            if json { pretty(&loaded.resolved.to_json())? } else { loaded.resolved.annotated() }
        }
        What::Schema => pretty(&load::schema())?,
    };
    stdout::line(text.trim_end())?;
    Ok(Exit::Done)
}

fn pretty(value: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))
}

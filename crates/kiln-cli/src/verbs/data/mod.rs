//! `kiln data`: a look at what a config reads, and one set of samples divided into splits.
//! Owns words and output; kiln-data looks, counts and divides.

mod preview;
mod split;
mod stats;

use std::path::{Path, PathBuf};

use kiln_data::OpenOptions;
use kiln_train::load::{self, Loaded};

use crate::hub;
use crate::report::{Failure, Outcome};

/// Count, show and divide data
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Counts, sizes, lengths, classes, missing values and exact duplicates
    Stats(stats::Args),
    /// One HTML file of what a model will see, which opens without a network
    Preview(preview::Args),
    /// Divide a table or a folder of images into train, validation and test, so that rows never move
    Split(split::Args),
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Stats(args) => stats::run(&args),
        What::Preview(args) => preview::run(&args),
        What::Split(args) => split::run(args),
    }
}

fn loaded(config: &Path, overrides: &[String]) -> Result<Loaded, Failure> {
    Ok(load::load(config, &hub::pulled(config, overrides)?)?)
}

/// What the data needs to know of the rest of a config.
fn with_options<T>(loaded: &Loaded, f: impl FnOnce(&OpenOptions<'_>) -> T) -> T {
    let config = &loaded.config;
    let known = config.model.pretrained().and_then(|path| kiln_models::brought_classes(path));
    let tokenizer_folder = config.model.pretrained().map(PathBuf::as_path);
    f(&OpenOptions { tokenizer_folder, task: config.task, known_classes: known.as_deref() })
}

//! `kiln data preview`: the page is kiln-data's; this file knows where it goes and what it may replace.

use std::path::{Path, PathBuf};

use kiln_core::Exit;
use kiln_core::files::{FileError, write_atomic};
use kiln_data::look::{self, GENERATOR, PreviewOptions};

use super::{loaded, with_options};
use crate::report::{Failure, Outcome};
use crate::stdout;

/// One HTML file of what a model will see, which opens without a network
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Config file
    config: PathBuf,
    /// Values that replace those of the config, for example data.path=other
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// The page; by default the config's name with `.preview.html`, here. An older preview there is replaced
    #[arg(short, long, value_name = "FILE.html")]
    output: Option<PathBuf>,
    /// Samples to show
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    samples: u32,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let stem = args.config.file_stem().unwrap_or_default().to_string_lossy();
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{stem}.preview.html")));
    free(&path)?;
    let loaded = loaded(&args.config, &args.overrides)?;
    let shown = PreviewOptions {
        title: args.config.display().to_string(),
        seed: loaded.config.seed,
        samples: args.samples as usize,
    };
    let page = with_options(&loaded, |options| look::preview(&loaded.config.data, options, &shown))?;
    write_atomic(&path, page.as_bytes())?;
    stdout::line(&path.display().to_string())?;
    Ok(Exit::Done)
}

/// Refuses to replace what is no preview.
fn free(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let bytes = std::fs::read(path).map_err(FileError::at(path, "read"))?;
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
    match head.contains(GENERATOR) {
        true => Ok(()),
        false => {
            Err(Failure::new(Exit::Usage, format!("{}: is there already, and is no preview", path.display()))
                .hint("give another file: -o FILE.html"))
        }
    }
}

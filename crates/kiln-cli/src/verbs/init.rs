//! `kiln init`: a commented config for data, written after a look at them, and checked.
//! Owns where the file goes; kiln-train writes the text.

use std::path::{Path, PathBuf};

use kiln_core::Exit;
use kiln_core::files::write_atomic;
use kiln_data::resplit::relative;
use kiln_train::init::{Asked, draft};
use kiln_train::load;

use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Look at data and write a config for it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A folder of images, a table (.csv, .tsv, .jsonl, .parquet), a folder of tables, a Hugging Face folder, .npz, .tar
    data: PathBuf,
    /// What is known already, for example data.label=price model.preset=resnet50
    #[arg(value_name = "KEY=VALUE")]
    known: Vec<String>,
    /// The config to write
    #[arg(short, long, value_name = "FILE.toml", default_value = "config.toml")]
    output: PathBuf,
    /// Replace the config that is there
    #[arg(long)]
    force: bool,
}

/// Keys that the guesses are made around; others belong into the config or behind it.
const KNOWN: [&str; 6] =
    ["data.label", "data.text", "task.kind", "model.kind", "model.preset", "model.pretrained"];

pub(crate) fn run(args: Args) -> Outcome {
    if args.output.exists() && !args.force {
        return Err(Failure::new(Exit::Usage, format!("{}: is there already", args.output.display()))
            .hint("add --force to replace it, or give another file: -o FILE.toml"));
    }
    let unknown = args.known.iter().find(|word| !KNOWN.contains(&word.split('=').next().unwrap_or_default()));
    if let Some(word) = unknown {
        return Err(Failure::new(Exit::Usage, format!("`{word}`: not one of {}", KNOWN.join(", ")))
            .hint("write other values into the config that this writes"));
    }
    let folder = args.output.parent().unwrap_or(Path::new("")).to_path_buf();
    let place = |path: &Path| relative(path, &folder);
    let draft = draft(&args.data, &Asked::of(&args.known)?, &args.output, place)?;
    write_atomic(&args.output, draft.text.as_bytes())?;
    draft.notes.iter().for_each(|note| report::talk(&format!("- {note}")));
    let shown = args.output.display().to_string();
    stdout::line(&shown)?;
    let loaded = load::check(&args.output, &[]).map_err(|faults| {
        let failure = Failure::from(faults);
        Failure {
            message: format!("error: {shown} was written, and this is wrong yet:\n{}", failure.message),
            ..failure
        }
    })?;
    loaded.notes.iter().for_each(|note| report::talk(note));
    report::talk(&format!("{shown}: ok; next: kiln data preview {shown}, then kiln train {shown}"));
    Ok(Exit::Done)
}

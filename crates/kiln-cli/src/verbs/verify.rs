//! `kiln verify`: the check of an exported ONNX model, repeated from its own files.
//! Owns what is printed of it; kiln-onnx checks.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_onnx::{Checked, file, verify};

use crate::report::Outcome;
use crate::stdout;

/// Repeat the check of an exported ONNX model from its own files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// model.onnx that `kiln export` wrote, or its folder
    file: PathBuf,
}

pub(crate) fn run(args: Args) -> Outcome {
    let path = if args.file.is_dir() { args.file.join(file::MODEL) } else { args.file };
    for checked in verify(&path)? {
        stdout::line(&line(&checked))?;
    }
    Ok(Exit::Done)
}

/// One case as a person reads it.
pub(super) fn line(checked: &Checked) -> String {
    let Checked { case, shape, difference, allowed } = checked;
    format!("{case:<14} answers {shape:?}: largest difference {difference:.2e}, allowed {allowed:.2e}")
}

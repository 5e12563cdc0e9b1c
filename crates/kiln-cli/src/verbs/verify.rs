//! `kiln verify`: the check of an exported ONNX model, repeated from its own files.
//! Owns what is printed of it; kiln-onnx checks.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_onnx::{Checked, file, verify, verify_by_onnxruntime};

use crate::report::{self, Outcome};
use crate::stdout;

/// Repeat the check of an exported ONNX model from its own files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// model.onnx that `kiln export` wrote, or its folder
    file: PathBuf,
    /// By ONNX Runtime instead of the built-in tract: its library, else the one of ORT_DYLIB_PATH, else the system's
    #[arg(long, value_name = "LIBRARY", num_args = 0..=1, require_equals = true)]
    onnxruntime: Option<Option<PathBuf>>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let path = if args.file.is_dir() { args.file.join(file::MODEL) } else { args.file };
    let checked = match args.onnxruntime {
        Some(library) => {
            let (runtime, checked) = verify_by_onnxruntime(&path, library.as_deref())?;
            report::talk(&format!("checked by {runtime}"));
            checked
        }
        None => verify(&path)?,
    };
    for checked in checked {
        stdout::line(&line(&checked))?;
    }
    Ok(Exit::Done)
}

/// One case as a person reads it.
pub(super) fn line(checked: &Checked) -> String {
    let Checked { case, shape, difference, allowed } = checked;
    format!("{case:<14} answers {shape:?}: largest difference {difference:.2e}, allowed {allowed:.2e}")
}

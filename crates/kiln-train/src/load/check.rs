//! `kiln check`: the config's faults, then those of the data it names. No device is touched.
//! Owns the translation of data errors into faults with a place; the data room finds them. Part of `load`.

use std::path::Path;

use kiln_core::Exit;
use kiln_core::config::{BAD_DATA, Fault, Report};
use kiln_data::{DataError, Dataset, OpenOptions};

use super::{Loaded, load};

/// Reads a config as `load` does, and looks at the data.
///
/// # Errors
/// Every fault of the config; where it has none, every fault of the data.
pub fn check(path: &Path, overrides: &[String]) -> Result<Loaded, Report> {
    let loaded = load(path, overrides)?;
    let tokenizer_folder = loaded.config.model.pretrained().map(AsRef::as_ref);
    let options = OpenOptions { tokenizer_folder, task: loaded.config.task, known_classes: None };
    let errors = Dataset::check(&loaded.config.data, &options);
    let faults: Vec<Fault> = errors.iter().map(|error| fault(&loaded, error)).collect();
    if faults.is_empty() { Ok(loaded) } else { Err(Report::new(faults)) }
}

fn fault(loaded: &Loaded, error: &DataError) -> Fault {
    let key = match error {
        DataError::Config { field, .. } => format!("data.{field}"),
        _ => "data".into(),
    };
    let code = if error.exit() == Exit::Usage { "conflict" } else { BAD_DATA };
    loaded.resolved.fault_of(code, &key, error.to_string(), error.hint().unwrap_or_default())
}

//! JSON Lines: an answer a line.

use std::fs::File;
use std::io::{BufWriter, Write};

use kiln_core::files::FileError;
use serde_json::Value;

use super::{BatchError, Format, Source};

pub(super) const FORMAT: Format = Format { endings: &["jsonl"], most_columns: None, write };

fn write(source: &Source<'_>) -> Result<(), BatchError> {
    let file = File::create(source.path).map_err(FileError::at(source.path, "create"))?;
    let mut out = BufWriter::new(file);
    for line in source.parts.answers() {
        writeln!(out, "{}", Value::Object(line?)).map_err(FileError::at(source.named, "write"))?;
    }
    out.flush().map_err(FileError::at(source.named, "write"))?;
    out.get_ref().sync_all().map_err(FileError::at(source.named, "sync"))?;
    Ok(())
}

//! CSV as RFC 4180 has it, with a header; a missing cell is empty, lists are JSON.

use std::fs::File;

use csv::Writer;
use kiln_core::files::FileError;

use super::{BatchError, Format, Source};
use crate::batch::columns::text;

pub(super) const FORMAT: Format = Format { endings: &["csv"], most_columns: None, write };

fn write(source: &Source<'_>) -> Result<(), BatchError> {
    let columns = source.columns()?;
    let file = File::create(source.path).map_err(FileError::at(source.path, "create"))?;
    let mut out = Writer::from_writer(file);
    let fault = |e: csv::Error| source.fault(e);
    let names: Vec<String> = columns.list().into_iter().map(|column| column.name).collect();
    out.write_record(&names).map_err(fault)?;
    for line in source.parts.answers() {
        let cells = columns.cells(&line?);
        out.write_record(cells.iter().map(|cell| text(cell).unwrap_or_default())).map_err(fault)?;
    }
    let file = out.into_inner().map_err(|e| source.fault(e))?;
    file.sync_all().map_err(FileError::at(source.named, "sync"))?;
    Ok(())
}

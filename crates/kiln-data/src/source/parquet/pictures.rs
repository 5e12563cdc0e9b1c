//! The images that a Parquet file holds as bytes, row by row.
//! Owns a bounded store of the row groups that were read last; never decodes an image. Hands bytes to the table source.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use parquet::data_type::ByteArray;

use super::file::ParquetFile;
use super::values::{Cells, Value, read};
use crate::config::Column;
use crate::error::DataError;

/// Most bytes of row groups that are kept, beside those in use.
const KEPT: usize = 128 << 20;

/// The images of a row group.
type Group = Arc<Vec<Option<ByteArray>>>;
type Key = (usize, usize);

/// Row groups of all files of a source, the last used first.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<Vec<(Key, Arc<OnceLock<Group>>)>>);

impl Groups {
    /// The group of a key; `load` is called once, however many threads ask, and others wait for it alone.
    fn get(&self, key: Key, load: impl Fn() -> Result<Group, DataError>) -> Result<Group, DataError> {
        let slot = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = match all.iter().position(|(own, _)| *own == key) {
                Some(place) => all.remove(place).1,
                None => Arc::default(),
            };
            all.insert(0, (key, Arc::clone(&slot)));
            let mut kept = 0;
            all.retain(|(own, slot)| {
                kept += slot.get().map_or(0, |group| group.iter().flatten().map(ByteArray::len).sum());
                kept <= KEPT || *own == key
            });
            slot
        };
        if let Some(group) = slot.get() {
            return Ok(Arc::clone(group));
        }
        let group = load()?;
        Ok(Arc::clone(slot.get_or_init(|| group)))
    }
}

/// The images of one file.
#[derive(Debug)]
pub(crate) struct Pictures {
    file: Arc<ParquetFile>,
    /// Which file of the source it is.
    number: usize,
    leaf: usize,
    /// Rows before each row group, and all rows.
    starts: Vec<usize>,
    groups: Arc<Groups>,
}

impl Pictures {
    /// `None` where the column holds paths alone.
    pub(crate) fn new(
        file: &Arc<ParquetFile>,
        number: usize,
        column: &Column,
        groups: &Arc<Groups>,
    ) -> Result<Option<Self>, DataError> {
        let leaf = file.image(column)?.bytes;
        let (file, groups, starts) = (Arc::clone(file), Arc::clone(groups), file.starts());
        Ok(leaf.map(|leaf| Self { file, number, leaf, starts, groups }))
    }

    /// The row group of a row.
    pub(crate) fn group(&self, row: usize) -> usize {
        self.starts.partition_point(|start| *start <= row).saturating_sub(1)
    }

    /// The bytes of a row's image; `None` where the row has none.
    pub(crate) fn bytes(&self, row: usize) -> Result<Option<Vec<u8>>, DataError> {
        let group = self.group(row);
        let all = self.groups.get((self.number, group), || self.load(group))?;
        let from = self.starts.get(group).copied().unwrap_or_default();
        Ok(all.get(row - from).and_then(|own| own.as_ref().map(|bytes| bytes.data().to_vec())))
    }

    fn load(&self, group: usize) -> Result<Group, DataError> {
        let (mut columns, rows) = read(&self.file, group, &[self.leaf])?;
        let cells = (0..rows).map(|_| columns.first_mut().map(Cells::next));
        let bytes = |value| match value {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        Ok(Arc::new(cells.map(bytes).collect()))
    }
}

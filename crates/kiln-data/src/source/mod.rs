//! Where samples come from: one file a kind of source.
//! Owns what the kinds have in common; never splits or prepares. Hands raw samples to `Split`.

pub(crate) mod conll;
pub(crate) mod faulty;
pub(crate) mod folder;
pub(crate) mod format;
pub(crate) mod idx;
pub(crate) mod joined;
pub(crate) mod jsonl;
pub(crate) mod many;
pub(crate) mod npy;
pub(crate) mod npz;
pub(crate) mod parquet;
pub(crate) mod rows;
pub(crate) mod sqlite;
pub(crate) mod table;
pub(crate) mod tar;
pub(crate) mod text;

use std::path::{Path, PathBuf};

use kiln_core::TaskKind;

use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// Named samples in a fixed order, each with the word of its class.
pub(crate) trait Source: std::fmt::Debug + Send + Sync {
    fn len(&self) -> usize;
    /// The path of sample `i`, or `file:row`.
    fn name(&self, i: usize) -> String;
    fn raw(&self, i: usize) -> Result<Raw, DataError>;
    /// The classes in index order where nobody names them.
    fn classes(&self, task: TaskKind) -> Result<Vec<String>, DataError>;
    /// The label of every sample; `names` are the classes in index order.
    fn labels(&self, task: TaskKind, names: &[String]) -> Result<Vec<Label>, DataError>;
    /// What fixes the split of sample `i`: a hash of its relative path or of its content.
    fn hash(&self, i: usize) -> [u8; 32];
    /// `(H, W)` of sample `i` before any transform; `None` where samples are no images.
    fn size(&self, i: usize) -> Result<Option<(usize, usize)>, DataError>;
    /// The name and the bytes of the file that sample `i` is decoded from; `None` where no file holds it alone.
    fn encoded(&self, _: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        Ok(None)
    }
    /// Bytes of the file that sample `i` is decoded from, without reading it; `None` where that is not known.
    fn file_size(&self, _: usize) -> Option<u64> {
        None
    }
    /// The file that sample `i` is decoded from and its place there: whenever the sample changes, so does the file. `None`
    /// where samples are decoded already.
    fn origin(&self, _: usize) -> Option<(PathBuf, u64)> {
        None
    }
    /// Whether the origin does hold sample `i`; a Parquet file may say its path instead.
    fn is_in_origin(&self, _: usize) -> bool {
        true
    }
    /// The shard (row group, tar file) of sample `i`: what is read together cheaply, in the samples' order.
    fn shard(&self, _: usize) -> usize {
        0
    }
    /// Where the source is, for messages.
    fn place(&self) -> String;
}

/// The name and the bytes of a sample's own file; `None` where it is gone.
pub(crate) fn file(path: &Path) -> Result<Option<(String, Vec<u8>)>, DataError> {
    let name = path.file_name().map_or_else(|| "sample".into(), |name| name.to_string_lossy().into_owned());
    match std::fs::read(path).map_err(DataError::opening(path, "a sample")) {
        Ok(bytes) => Ok(Some((name, bytes))),
        Err(DataError::Missing { .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A source whose samples have one class each was asked for labels of another task.
pub(crate) fn only_classes(task: TaskKind, place: impl FnOnce() -> String) -> Result<(), DataError> {
    match task {
        TaskKind::Classification => Ok(()),
        other => Err(DataError::Kind {
            place: place(),
            expected: "samples with labels for the task",
            got: format!("one class a sample, which {other} cannot learn from"),
        }),
    }
}

/// The index of `class`, or an error that calls the place by name.
pub(crate) fn class_index(
    class: &str,
    classes: &[String],
    place: impl FnOnce() -> String,
) -> Result<usize, DataError> {
    classes.iter().position(|known| known == class).ok_or_else(|| DataError::Class {
        place: place(),
        class: class.into(),
        known: classes.to_vec(),
    })
}

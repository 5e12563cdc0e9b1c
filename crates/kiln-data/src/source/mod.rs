//! Where samples come from: one file a kind of source.
//! Owns what the kinds have in common; never splits or prepares. Hands raw samples to `Split`.

pub(crate) mod folder;
pub(crate) mod idx;
pub(crate) mod jsonl;
pub(crate) mod rows;
pub(crate) mod table;

use crate::error::DataError;
use crate::split::Raw;

/// Named samples in a fixed order, each with the word of its class.
pub(crate) trait Source: std::fmt::Debug + Send + Sync {
    fn len(&self) -> usize;
    /// The path of sample `i`, or `file:row`.
    fn name(&self, i: usize) -> String;
    fn raw(&self, i: usize) -> Result<Raw, DataError>;
    /// The classes in index order where nobody names them.
    fn classes(&self) -> Vec<String>;
    /// Class index of every sample.
    fn labels(&self, classes: &[String]) -> Result<Vec<usize>, DataError>;
    /// What fixes the split of sample `i`: a hash of its relative path or of its content.
    fn hash(&self, i: usize) -> [u8; 32];
    /// `(H, W)` of sample `i` before any transform; `None` where samples are no images.
    fn size(&self, i: usize) -> Result<Option<(usize, usize)>, DataError>;
    /// Where the source is, for messages.
    fn place(&self) -> String;
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

//! Several files of one kind as one source, in the order they are given.
//! Owns which sample is whose; never reads. Hands each question to the file that has the answer.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_core::TaskKind;

use super::{Source, many};
use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// Sources one after the other.
#[derive(Debug)]
pub(crate) struct Joined {
    parts: Vec<Arc<dyn Source>>,
    /// Samples before each part, and all.
    starts: Vec<usize>,
    place: String,
}

impl Joined {
    pub(crate) fn new(parts: Vec<Arc<dyn Source>>, place: String) -> Self {
        let ends = parts.iter().scan(0, |sum, part| {
            *sum += part.len();
            Some(*sum)
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Self { parts, starts, place }
    }

    /// Whose sample `i` is, and its place there.
    fn of(&self, i: usize) -> (&dyn Source, usize) {
        let part =
            self.starts.partition_point(|start| *start <= i).saturating_sub(1).min(self.parts.len() - 1);
        (&*self.parts[part], i - self.starts[part])
    }
}

impl Source for Joined {
    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or_default()
    }

    fn name(&self, i: usize) -> String {
        let (part, i) = self.of(i);
        part.name(i)
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        let (part, i) = self.of(i);
        part.raw(i)
    }

    /// Those of the first where all have the same, in its order; else all of them, sorted.
    fn classes(&self, task: TaskKind) -> Result<Vec<String>, DataError> {
        let all: Vec<Vec<String>> =
            self.parts.iter().map(|part| part.classes(task)).collect::<Result<_, _>>()?;
        match all.as_slice() {
            [first, rest @ ..] if rest.iter().all(|own| own == first) => Ok(first.clone()),
            _ => Ok(many::sorted(all.into_iter().flatten().collect())),
        }
    }

    fn labels(&self, task: TaskKind, names: &[String]) -> Result<Vec<Label>, DataError> {
        let all = self.parts.iter().map(|part| part.labels(task, names)).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        let (part, i) = self.of(i);
        part.hash(i)
    }

    fn size(&self, i: usize) -> Result<Option<(usize, usize)>, DataError> {
        let (part, i) = self.of(i);
        part.size(i)
    }

    fn encoded(&self, i: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        let (part, i) = self.of(i);
        part.encoded(i)
    }

    fn file_size(&self, i: usize) -> Option<u64> {
        let (part, i) = self.of(i);
        part.file_size(i)
    }

    fn origin(&self, i: usize) -> Option<(PathBuf, u64)> {
        let (part, i) = self.of(i);
        part.origin(i)
    }

    fn is_in_origin(&self, i: usize) -> bool {
        let (part, i) = self.of(i);
        part.is_in_origin(i)
    }

    fn shard(&self, i: usize) -> usize {
        let before = |start: usize| {
            self.parts[start].len().checked_sub(1).map_or(0, |last| self.parts[start].shard(last) + 1)
        };
        let part =
            self.starts.partition_point(|start| *start <= i).saturating_sub(1).min(self.parts.len() - 1);
        (0..part).map(before).sum::<usize>() + self.parts[part].shard(i - self.starts[part])
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

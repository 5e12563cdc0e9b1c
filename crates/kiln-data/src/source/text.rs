//! Plain text as one long row of token ids, cut into blocks.
//! Owns the ids and the cut; never tokenizes (corpus.rs does). Hands blocks to `Split`.

use kiln_core::TaskKind;

use super::Source;
use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// Token ids, in two bytes each where the vocabulary allows.
#[derive(Debug)]
pub(crate) enum Ids {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

impl Ids {
    pub(crate) fn new(ids: Vec<u32>, vocab_size: usize) -> Self {
        match vocab_size <= 1 << 16 {
            true => Ids::Narrow(ids.into_iter().map(|id| id as u16).collect()),
            false => Ids::Wide(ids),
        }
    }

    fn len(&self) -> usize {
        match self {
            Ids::Narrow(ids) => ids.len(),
            Ids::Wide(ids) => ids.len(),
        }
    }

    fn cut(&self, from: usize, to: usize) -> Vec<u32> {
        match self {
            Ids::Narrow(ids) => ids[from..to].iter().map(|id| u32::from(*id)).collect(),
            Ids::Wide(ids) => ids[from..to].to_vec(),
        }
    }
}

/// Blocks of one text.
#[derive(Debug)]
pub(crate) struct TextSource {
    place: String,
    ids: Ids,
    /// Tokens that a sample reads; one more is its last answer.
    block: usize,
    stride: usize,
    /// The last block may be shorter, so that every token but the first is an answer once.
    whole: bool,
}

impl TextSource {
    /// Blocks whose starts are `stride` apart.
    pub(crate) fn training(place: String, ids: Ids, block: usize, stride: usize) -> Result<Self, DataError> {
        Self::checked(Self { place, ids, block, stride, whole: false }, block + 1)
    }

    /// Blocks that do not overlap and leave nothing out.
    pub(crate) fn evaluation(place: String, ids: Ids, block: usize) -> Result<Self, DataError> {
        Self::checked(Self { place, ids, block, stride: block, whole: true }, 2)
    }

    fn checked(source: Self, needed: usize) -> Result<Self, DataError> {
        let got = source.ids.len();
        let of = format!("(tokens, for a block of {})", source.block);
        match got < needed {
            true => Err(DataError::TooFew { place: source.place, of, needed, got }),
            false => Ok(source),
        }
    }
}

impl Source for TextSource {
    fn len(&self) -> usize {
        match self.whole {
            true => (self.ids.len() - 1).div_ceil(self.block),
            false => (self.ids.len() - 1 - self.block) / self.stride + 1,
        }
    }

    fn name(&self, i: usize) -> String {
        format!("{}, token {}", self.place, i * self.stride)
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        let from = i * self.stride;
        Ok(Raw::Tokens(self.ids.cut(from, (from + self.block + 1).min(self.ids.len()))))
    }

    fn classes(&self, _: TaskKind) -> Result<Vec<String>, DataError> {
        Ok(Vec::new())
    }

    /// A block holds its own answers.
    fn labels(&self, _: TaskKind, _: &[String]) -> Result<Vec<Label>, DataError> {
        Ok(Vec::new())
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        *blake3::hash(self.name(i).as_bytes()).as_bytes()
    }

    fn size(&self, _: usize) -> Result<Option<(usize, usize)>, DataError> {
        Ok(None)
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(source: &TextSource) -> Vec<Vec<u32>> {
        let tokens = |i| match source.raw(i) {
            Ok(Raw::Tokens(ids)) => ids,
            other => panic!("{other:?}"),
        };
        (0..source.len()).map(tokens).collect()
    }

    #[test]
    fn training_blocks_start_a_stride_apart_and_evaluation_reads_every_token_once() {
        let ids = |n: u32, v| Ids::new((0..n).collect(), v);
        let every = TextSource::training("t".into(), ids(6, 10), 3, 1).unwrap();
        assert_eq!(blocks(&every), [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]);
        let apart = TextSource::training("t".into(), ids(8, 1 << 20), 3, 3).unwrap();
        assert_eq!(blocks(&apart), [[0, 1, 2, 3], [3, 4, 5, 6]]);
        let whole = TextSource::evaluation("t".into(), ids(8, 10), 3).unwrap();
        assert_eq!(blocks(&whole), [vec![0, 1, 2, 3], vec![3, 4, 5, 6], vec![6, 7]]);
        assert!(TextSource::training("t".into(), ids(3, 10), 3, 1).is_err());
        assert!(TextSource::evaluation("t".into(), ids(1, 10), 3).is_err());
    }
}

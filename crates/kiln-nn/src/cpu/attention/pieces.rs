//! How attention is cut for the threads: heads, texts that see themselves alone, tiles of queries.
//! Owns the cut; never arithmetic.

use std::ops::Range;

use crate::attention::Texts;

/// Queries of one head and the keys that they may see: what a thread takes at once.
pub(super) struct Piece {
    pub(super) head: usize,
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
}

impl Piece {
    /// Queries of a tile: its scores take a quarter of a MiB.
    fn tile(&self) -> usize {
        ((1 << 16) / self.keys.len().max(1)).clamp(16, 128)
    }

    /// Scores of a tile.
    pub(super) fn scores(&self) -> usize {
        self.tile().min(self.queries.len()) * self.keys.len()
    }

    /// First row and number of rows of each tile.
    pub(super) fn tiles(&self) -> impl Iterator<Item = (usize, usize)> {
        let (tile, end) = (self.tile(), self.queries.end);
        self.queries.clone().step_by(tile).map(move |first| (first, tile.min(end - first)))
    }
}

/// The pieces of `heads` (batch by heads) of `T` queries and `S` keys each; a piece for each text where there are texts.
pub(super) fn pieces(texts: Option<&Texts>, heads: usize, [t, s]: [usize; 2]) -> Vec<Piece> {
    let Some(texts) = texts else {
        return (0..heads).map(|head| Piece { head, queries: 0..t, keys: 0..s }).collect();
    };
    let mut end = 0;
    let seen = |(text, length): (usize, &usize)| {
        let keys = end..end + length;
        end = keys.end;
        (if texts.one_asks { text..text + 1 } else { keys.clone() }, keys)
    };
    let seen: Vec<_> = texts.lengths.iter().enumerate().map(seen).collect();
    let of_head = |head| move |(queries, keys)| Piece { head, queries, keys };
    (0..heads).flat_map(|head| seen.iter().cloned().map(of_head(head))).collect()
}

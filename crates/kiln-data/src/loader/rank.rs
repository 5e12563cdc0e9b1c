//! Which samples of a batch are one process's, where several share it.
//! Owns the rule; prepares nothing. The loader asks it.

use std::ops::Range;

use crate::error::DataError;

/// One process of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) rank: usize,
    pub(super) world: usize,
}

impl Default for Rank {
    /// The only one.
    fn default() -> Self {
        Self { rank: 0, world: 1 }
    }
}

impl Rank {
    pub(super) fn new(rank: usize, world: usize) -> Result<Self, DataError> {
        match rank < world {
            true => Ok(Self { rank, world }),
            false => Err(DataError::config(
                "loader",
                format!("there is no rank {rank} of {world}"),
                "count ranks from 0 to below their number",
            )),
        }
    }

    /// Its own of `n` samples in a row.
    pub(super) fn share(self, n: usize) -> Range<usize> {
        let at = |rank: usize| (rank as u128 * n as u128).div_ceil(self.world as u128) as usize;
        at(self.rank)..at(self.rank + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_each_other_and_differ_by_one_at_most() {
        for n in 0..40 {
            for world in 1..9 {
                let shares: Vec<_> =
                    (0..world).map(|rank| Rank::new(rank, world).unwrap().share(n)).collect();
                assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
                let sizes = || shares.iter().map(Range::len);
                assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
            }
        }
        assert!(Rank::new(2, 2).is_err());
    }
}

//! A matrix cut into blocks of columns, one a thread: rows are added in their order, whatever the number of threads.
//! Owns the disjointness of the blocks. Gradients that sum over rows use it.

use rayon::prelude::*;

use super::slices::Shared;

/// Columns of a block: a few cache lines of every row.
const BLOCK: usize = 64;

/// One block of columns.
pub(crate) struct Columns {
    values: Shared,
    width: usize,
    first: usize,
    count: usize,
}

impl Columns {
    /// The blocks of rows of `width`, in parallel.
    pub(crate) fn of(values: &mut [f32], width: usize) -> impl ParallelIterator<Item = Columns> + '_ {
        assert_eq!(values.len() % width.max(1), 0, "rows of {width} in {} values", values.len());
        let values = Shared::new(values);
        (0..width.div_ceil(BLOCK)).into_par_iter().map(move |block| {
            let first = block * BLOCK;
            Columns { values, width, first, count: BLOCK.min(width - first) }
        })
    }

    /// Adds this block's part of a `row` to the matrix's row at `place`, which the caller has compared with the rows
    /// there are.
    pub(crate) fn add(&mut self, place: usize, row: &[f32]) {
        let row = &row[self.first..self.first + self.count];
        // SAFETY: blocks share no column, so no other thread has this place.
        let to = unsafe { self.values.slice(place * self.width + self.first, self.count) };
        to.iter_mut().zip(row).for_each(|(to, x)| *to += x);
    }
}

//! Matrix products. Most of float32 are the `gemm` crate's. In half precision, and in float32 where that is faster, both
//! sides are packed into panels, rounded on the way, and summed in float32 (after Goto and van de Geijn, 2008, Anatomy
//! of High-Performance Matrix Multiplication): bfloat16 by the processor's own dot product (AVX-512 BF16) where it has
//! one; float16, and bfloat16 elsewhere, by float32 products of the rounded inputs.
//! Owns which thread does what; every sum has an order that the number of threads does not change.
//!
//! Sizes: `M` rows, `N` columns, `K` what is summed over.

mod format;
mod pack;
#[cfg(test)]
mod tests;
mod tile;
mod turn;

use std::cell::Cell;
use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

pub(crate) use self::format::Format;
pub(crate) use self::pack::{Lanes, Packed, Side, units_of};
use self::tile::Job;
use super::simd::{Level, level};
use super::slices::Shared;
use crate::precision::Precision;

/// A matrix in memory: where it starts, and how far apart its rows and its columns are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<P> {
    pub(crate) at: P,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<P> Matrix<P> {
    /// Rows of `width` values.
    pub(crate) fn rows(at: P, width: usize) -> Self {
        Self { at, row: width, column: 1 }
    }

    /// The same read the other way: rows are columns.
    pub(crate) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// Whether a product may use all threads or is itself the work of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    All,
    One,
}

/// `out [M, N] = keep * out + scale * left [M, K] right [K, N]`, where `keep` is 0 (whatever `out` held) or 1.
///
/// # Safety
/// The matrices lie within their memory; rows or columns of `out` lie together; `out` overlaps neither of the others and
/// no other thread's place.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn product(
    sizes: [usize; 3],
    out: Matrix<*mut f32>,
    accumulate: bool,
    left: Matrix<*const f32>,
    right: Matrix<*const f32>,
    scale: f32,
    threads: Threads,
    precision: Precision,
) {
    if precision != Precision::F32 || threads == Threads::All && suits(sizes, out, left, right) {
        // SAFETY: the caller's promise.
        return unsafe {
            product_in(Format::of(precision), sizes, out, accumulate, [left, right], scale, threads)
        };
    }
    let ([m, n, k], sides) =
        (sizes, [left, right].map(|side| (side.at, side.column as isize, side.row as isize)));
    let [(left, left_column, left_row), (right, right_column, right_row)] = sides;
    let parallelism = match threads {
        Threads::All => Parallelism::Rayon(0),
        Threads::One => Parallelism::None,
    };
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.at,
            out.column as isize,
            out.row as isize,
            accumulate,
            left,
            left_column,
            left_row,
            right,
            right_column,
            right_row,
            1.0f32,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Whether a product of float32 is one of those where packing both sides here is faster than the `gemm` crate: the right
/// side's columns lie together (a layer's weight is such), or the left side's rows do not while the answer is wide; and a
/// panel of rows is full. Measured on AVX-512 only, which has the tiles for it.
fn suits(
    [m, n, k]: [usize; 3],
    out: Matrix<*mut f32>,
    left: Matrix<*const f32>,
    right: Matrix<*const f32>,
) -> bool {
    let (m, n, left, right) = match out.column {
        1 => (m, n, left, right),
        _ => (n, m, right.transposed(), left.transposed()),
    };
    let small = m * n * k < 1 << 27;
    let of_weight = right.row == 1 && right.column != 1 && (n <= 2 * k || small);
    let of_rows = left.row == 1 && left.column != 1 && n > m;
    level() == Level::Avx512 && m >= 8 && (of_weight || of_rows)
}

/// # Safety
/// As [`product`].
unsafe fn product_in(
    format: Format,
    [m, n, k]: [usize; 3],
    out: Matrix<*mut f32>,
    accumulate: bool,
    [left, right]: [Matrix<*const f32>; 2],
    scale: f32,
    threads: Threads,
) {
    if out.column != 1 {
        assert_eq!(out.row, 1, "a product into a matrix of which neither rows nor columns lie together");
        let (out, sides) = (out.transposed(), [right.transposed(), left.transposed()]);
        // SAFETY: the caller's promise.
        return unsafe { product_in(format, [n, m, k], out, accumulate, sides, scale, threads) };
    }
    let format = format.of_rows(m);
    let out = Out { at: Shared::from(out.at), stride: out.row, scale, accumulate };
    // SAFETY: the caller's promise.
    unsafe {
        let left = Lanes::new(left.at, left.row, left.column);
        let right = Lanes::new(right.at, right.column, right.row);
        match threads {
            Threads::All => on_all([m, n, k], out, left, right, format),
            Threads::One => on_one([m, n, k], out, left, right, format),
        }
    }
}

/// Where tiles go.
#[derive(Clone, Copy)]
struct Out {
    at: Shared,
    stride: usize,
    scale: f32,
    accumulate: bool,
}

/// Values of the right matrix that a thread packs at once.
const RIGHT: usize = 1 << 22;
/// Values of the left matrix that a thread packs at once.
const LEFT: usize = 1 << 16;

/// Each thread computes one block of the answer and packs what it needs for it: packing twice costs less than reading
/// what another core has packed.
///
/// # Safety
/// As [`product`].
unsafe fn on_all([m, n, k]: [usize; 3], out: Out, left: Lanes, right: Lanes, format: Format) {
    let [rows, columns] = block([m, n], rayon::current_num_threads());
    let (rows, columns) = (rows.next_multiple_of(format.rows), columns.next_multiple_of(format.columns));
    let across = n.div_ceil(columns);
    (0..m.div_ceil(rows) * across).into_par_iter().for_each(|i| {
        let (row, column) = (i / across * rows, i % across * columns);
        let sizes = [rows.min(m - row), columns.min(n - column), k];
        let out = Out { at: Shared::from(out.at.at(row * out.stride + column)), ..out };
        // SAFETY: the caller's promise; blocks share no place of `out`.
        unsafe { on_one(sizes, out, left.from(row), right.from(column), format) };
    });
}

/// Rows and columns of a block, for as many blocks as there are threads and the least to pack.
fn block([m, n]: [usize; 2], threads: usize) -> [usize; 2] {
    let blocks = (1..=threads)
        .filter(|down| threads.is_multiple_of(*down))
        .map(|down| [m.div_ceil(down), n.div_ceil(threads / down)]);
    blocks.min_by_key(|block| block[0] + block[1]).unwrap_or([m, n])
}

/// # Safety
/// As [`product`].
unsafe fn on_one([m, n, k]: [usize; 3], out: Out, left: Lanes, right: Lanes, format: Format) {
    let columns = (RIGHT / k.max(1)).max(1).next_multiple_of(format.columns);
    let rows = (LEFT / k.max(1)).max(1).next_multiple_of(format.rows);
    for column in (0..n).step_by(columns) {
        packed_here(format, &right.from(column), columns.min(n - column), k, format.columns, |right| {
            for row in (0..m).step_by(rows) {
                packed_here(format, &left.from(row), rows.min(m - row), k, format.rows, |left| {
                    let out = Out { at: Shared::from(out.at.at(row * out.stride + column)), ..out };
                    // SAFETY: the caller's promise.
                    unsafe { tiles(format, left, right, 0..right.panels(), out) };
                });
            }
        });
    }
}

/// Rows of a left matrix, packed by all threads for many products.
pub(crate) fn left(format: Format, x: &impl Side, m: usize, k: usize) -> Packed {
    Packed::shared(format, x, m, k, format.rows)
}

/// Columns of a right matrix, packed by all threads for many products.
pub(crate) fn right(format: Format, x: &impl Side, n: usize, k: usize) -> Packed {
    Packed::shared(format, x, n, k, format.columns)
}

/// `out [M, N] = keep * out + left right`, on this thread; `right` has `n` columns.
///
/// # Safety
/// As [`product`], and `left` and `right` have as many `k`.
pub(crate) unsafe fn times(
    format: Format,
    left: &Packed,
    right: &impl Side,
    n: usize,
    out: Matrix<*mut f32>,
    accumulate: bool,
) {
    let out = Out { at: Shared::from(out.at), stride: out.row, scale: 1.0, accumulate };
    packed_here(format, right, n, left.k, format.columns, |right| {
        // SAFETY: the caller's promise.
        unsafe { tiles(format, left, right, 0..right.panels(), out) };
    });
}

/// `out [M, N] = keep * out + left right`, on this thread.
///
/// # Safety
/// As [`product`].
pub(crate) unsafe fn both(
    format: Format,
    [m, n, k]: [usize; 3],
    left: &impl Side,
    right: &impl Side,
    out: Matrix<*mut f32>,
    accumulate: bool,
) {
    packed_here(format, left, m, k, format.rows, |left| {
        // SAFETY: the caller's promise.
        unsafe { times(format, left, right, n, out, accumulate) };
    });
}

/// Lends a side packed into memory of this thread.
fn packed_here<T>(
    format: Format,
    x: &impl Side,
    lanes: usize,
    k: usize,
    width: usize,
    f: impl FnOnce(&Packed) -> T,
) -> T {
    thread_local! {
        static ROOMS: Cell<Vec<Vec<u32>>> = const { Cell::new(Vec::new()) };
    }
    let mut rooms = ROOMS.take();
    let used = rooms.pop().unwrap_or_default();
    ROOMS.set(rooms);
    let packed = Packed::here(format, x, lanes, k, width, used);
    let answer = f(&packed);
    let mut rooms = ROOMS.take();
    rooms.push(packed.units);
    ROOMS.set(rooms);
    answer
}

/// Multiplies all of `left` with some panels of `right`.
///
/// # Safety
/// `out` has the rows of `left` and the columns of `right`, and no other thread writes them.
unsafe fn tiles(format: Format, left: &Packed, right: &Packed, panels: Range<usize>, out: Out) {
    let blocks: Vec<_> = left.blocks(format).zip(right.blocks(format)).collect();
    if blocks.is_empty() && !out.accumulate {
        for row in 0..left.lanes {
            let columns = panels.start * right.width..right.lanes.min(panels.end * right.width);
            // SAFETY: the caller's promise.
            unsafe { out.at.slice(row * out.stride + columns.start, columns.len()) }.fill(0.0);
        }
    }
    for (i, ((of_left, ks), (of_right, _))) in blocks.into_iter().enumerate() {
        let units = format.units(ks.len());
        for column in panels.clone() {
            for row in 0..left.panels() {
                let (first_row, first_column) = (row * left.width, column * right.width);
                let job = Job {
                    units,
                    left: left.units[of_left + row * units * left.width..].as_ptr(),
                    right: right.units[of_right + column * units * right.width..].as_ptr(),
                    out: out.at.at(first_row * out.stride + first_column),
                    stride: out.stride,
                    rows: left.width.min(left.lanes - first_row),
                    columns: right.width.min(right.lanes - first_column),
                    scale: out.scale,
                    accumulate: out.accumulate || i > 0,
                };
                // SAFETY: the panels have the units, and the tile lies in `out`.
                unsafe { (format.multiply)(&job) };
            }
        }
    }
}

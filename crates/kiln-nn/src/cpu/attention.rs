//! Scaled dot-product attention in tiles: no matrix of all queries by all keys is kept (after Dao et al., 2022,
//! FlashAttention); the backward pass forms the weights of a tile again from each row's largest score and sum.
//! Owns the processor's form; `attention.rs` has the plain one and the choice, `pieces` what a thread takes at once.
//!
//! Difference: a tile holds whole rows of scores, which a core's cache can, so the softmax needs no running maximum.
//!
//! Shapes: `B` batch, `N` heads, `T` queries, `S` keys, `W` head width.

mod pieces;

use burn::tensor::{Bool, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::ops::Range;

use self::pieces::{Piece, pieces};
use super::gemm::{Matrix, Threads, product};
use super::kernel::{Kernel, Value, run, truths};
use super::math::exp;
use super::simd::{max16, simd, sum16};
use super::slices::{Shared, dims, scratch, tensor, unwritten};
use crate::attention::Texts;
use crate::precision::{self, Precision};
use crate::random::{Draw, key, threshold};

/// As [`attention`](crate::attention::attention); `hidden [B or 1, 1, T or 1, S]` is true where a key is not seen, `texts`
/// says which see themselves alone, `drop` the probability that a weight is zeroed. `None` where the tensors are not the processor's.
pub(crate) fn attention(
    [query, keys, value]: [&Tensor<4>; 3],
    hidden: Option<&Tensor<4, Bool>>,
    texts: Option<Texts>,
    drop: Option<f64>,
) -> Option<Tensor<4>> {
    let values = [Value::of(query.clone())?, Value::of(keys.clone())?, Value::of(value.clone())?];
    let hidden = match hidden {
        Some(hidden) => Some(truths(hidden.clone())?),
        None => None,
    };
    let scale = 1.0 / (query.dims()[3].max(1) as f32).sqrt();
    let precision = precision::now();
    Some(run(Attention { scale, hidden, texts, drop: drop.map(Drop::new), precision }, values))
}

#[derive(Debug, Clone, Copy)]
struct Drop {
    key: u64,
    below: u32,
    scale: f32,
}

impl Drop {
    fn new(probability: f64) -> Self {
        let scale = (1.0 / (1.0 - probability)) as f32;
        Self { key: key(), below: threshold(probability), scale }
    }
}

#[derive(Debug, Clone)]
struct Attention {
    scale: f32,
    hidden: Option<FlexTensor>,
    texts: Option<Texts>,
    drop: Option<Drop>,
    precision: Precision,
}

/// `[B, N, T, W]` wherever its values lie.
struct Heads<'a> {
    values: &'a [f32],
    start: usize,
    strides: [usize; 4],
}

impl<'a> Heads<'a> {
    fn of(x: &'a FlexTensor) -> Self {
        let mut strides = [0; 4];
        strides.iter_mut().zip(x.layout().strides()).for_each(|(to, from)| *to = *from as usize);
        Self { values: x.storage(), start: x.layout().start_offset(), strides }
    }

    /// `[T, W]` of one head, from a row on.
    fn matrix(&self, [b, n, row]: [usize; 3]) -> Matrix<*const f32> {
        let place = self.start + b * self.strides[0] + n * self.strides[1] + row * self.strides[2];
        Matrix { at: self.values[place..].as_ptr(), row: self.strides[2], column: self.strides[3] }
    }
}

/// What lies backwards in memory is copied; every other view is read in place.
fn readable(x: FlexTensor) -> FlexTensor {
    match x.layout().strides().iter().all(|stride| *stride >= 0) {
        true => x,
        false => x.to_contiguous(),
    }
}

/// An answer `[B, T, N, W]` in memory, which the layer's projection reads in place, seen as `[B, N, T, W]`.
fn heads(values: Vec<f32>, sizes: &Sizes, rows: usize) -> FlexTensor {
    tensor(values, &[sizes.b, rows, sizes.n, sizes.w]).permute(&[0, 2, 1, 3])
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    b: usize,
    n: usize,
    t: usize,
    s: usize,
    w: usize,
}

impl Sizes {
    fn of(query: &FlexTensor, keys: &FlexTensor) -> Self {
        let (q, k) = (dims(query), dims(keys));
        Self { b: q[0], n: q[1], t: q[2], s: k[2], w: q[3] }
    }

    /// A head's place in `[B, T, N, W]`.
    fn out(&self, values: Shared, [b, n, row]: [usize; 3], rows: usize) -> Matrix<*mut f32> {
        let place = ((b * rows + row) * self.n + n) * self.w;
        Matrix { at: values.at(place), row: self.n * self.w, column: 1 }
    }
}

/// The truths of one head's rows, if any key is hidden.
#[derive(Clone, Copy)]
struct Hidden<'a> {
    truths: &'a [u8],
    row: usize,
}

impl<'a> Hidden<'a> {
    fn row(&self, i: usize, seen: &Range<usize>) -> &'a [u8] {
        &self.truths[i * self.row..][seen.clone()]
    }
}

impl Attention {
    fn hidden(&self, sizes: &Sizes, b: usize, first: usize) -> Option<Hidden<'_>> {
        let hidden = self.hidden.as_ref()?;
        let shape = dims(hidden);
        let row = if shape[2] == 1 { 0 } else { sizes.s };
        let batch = if shape[0] == 1 { 0 } else { shape[2] * sizes.s };
        let truths = &hidden.storage::<u8>()[hidden.layout().start_offset()..];
        Some(Hidden { truths: &truths[b * batch + first * row..], row })
    }

    /// The keys that a tile's rows see, from the first to the last that any does. All where some row sees none: its
    /// weights are then equal.
    fn seen(hidden: Option<Hidden<'_>>, rows: usize, keys: Range<usize>) -> Range<usize> {
        let Some(hidden) = hidden else { return keys };
        let (mut start, mut end) = (keys.end, 0);
        let rows = if hidden.row == 0 { rows.min(1) } else { rows };
        for i in 0..rows {
            let row = hidden.row(i, &keys);
            let (Some(a), Some(z)) = (row.iter().position(|h| *h == 0), row.iter().rposition(|h| *h == 0))
            else {
                return keys;
            };
            (start, end) = (start.min(a), end.max(z + 1));
        }
        start..end
    }
}

/// One tile of one head.
struct Tile<'a> {
    sizes: Sizes,
    head: usize,
    first: usize,
    rows: usize,
    seen: Range<usize>,
    hidden: Option<Hidden<'a>>,
    precision: Precision,
}

impl<'a> Tile<'a> {
    fn new(op: &'a Attention, sizes: Sizes, piece: &Piece, (first, rows): (usize, usize)) -> Self {
        let hidden = op.hidden(&sizes, piece.head / sizes.n, first);
        let seen = Attention::seen(hidden, rows, piece.keys.clone());
        Self { sizes, head: piece.head, first, rows, seen, hidden, precision: op.precision }
    }

    fn width(&self) -> usize {
        self.seen.len()
    }

    fn query(&self) -> [usize; 3] {
        [self.head / self.sizes.n, self.head % self.sizes.n, self.first]
    }

    fn keys(&self) -> [usize; 3] {
        [self.head / self.sizes.n, self.head % self.sizes.n, self.seen.start]
    }

    /// `out = scale left rightᵀ` with rows of queries on the left and of keys on the right.
    fn scores(&self, out: &mut [f32], left: &Heads<'_>, right: &Heads<'_>, scale: f32) {
        let out = Matrix::rows(out.as_mut_ptr(), self.width());
        let sizes = [self.rows, self.width(), self.sizes.w];
        let (left, right) = (left.matrix(self.query()), right.matrix(self.keys()).transposed());
        // SAFETY: the matrices lie in their tensors, whose shapes `run` was given; `out` is this thread's.
        unsafe { product(sizes, out, false, left, right, scale, Threads::One, self.precision) };
    }

    fn for_rows(&self, mut f: impl FnMut(usize, Option<&[u8]>)) {
        for i in 0..self.rows {
            f(i, self.hidden.map(|hidden| hidden.row(i, &self.seen)));
        }
    }

    /// The draw of a row's weights.
    fn draw(&self, drop: &Drop, i: usize) -> Draw {
        let row = self.head * self.sizes.t + self.first + i;
        Draw::new(drop.key, row * self.sizes.s + self.seen.start)
    }
}

simd! {
    /// Scores of a row become weights; the largest score and the reciprocal of the sum.
    fn softmax(row: &mut [f32], hidden: Option<&[u8]>) -> (f32, f32) {
        hide(row, hidden);
        let largest = max16(row);
        for x in row.iter_mut() {
            *x = exp(*x - largest);
        }
        let inverse = 1.0 / sum16(row.len(), |i| row[i]);
        for x in row.iter_mut() {
            *x *= inverse;
        }
        (largest, inverse)
    }
}

simd! {
    /// As [`softmax`] gave them, from the two numbers it gave.
    fn softmax_again(row: &mut [f32], hidden: Option<&[u8]>, largest: f32, inverse: f32) {
        hide(row, hidden);
        for x in row.iter_mut() {
            *x = exp(*x - largest) * inverse;
        }
    }
}

simd! {
    fn drop_some(row: &[f32], out: &mut [f32], draw: Draw, below: u32, scale: f32) {
        for (i, (x, y)) in row.iter().zip(out).enumerate() {
            *y = if draw.at(i) < below { 0.0 } else { x * scale };
        }
    }
}

simd! {
    fn drop_in_place(row: &mut [f32], draw: Draw, below: u32, scale: f32) {
        for (i, x) in row.iter_mut().enumerate() {
            *x = if draw.at(i) < below { 0.0 } else { *x * scale };
        }
    }
}

simd! {
    /// The gradient of the scores from those of the weights, in place: w (dw - sum of w dw).
    fn softmax_back(weights: &[f32], gradient: &mut [f32]) {
        let mean = sum16(weights.len(), |i| weights[i] * gradient[i]);
        for (dw, w) in gradient.iter_mut().zip(weights) {
            *dw = w * (*dw - mean);
        }
    }
}

#[inline(always)]
fn hide(row: &mut [f32], hidden: Option<&[u8]>) {
    if let Some(hidden) = hidden {
        for (x, hidden) in row.iter_mut().zip(hidden) {
            *x = if *hidden != 0 { f32::MIN } else { *x };
        }
    }
}

impl Kernel<3> for Attention {
    /// Query, key, value, and `[B, N, T, 2]`: largest score and reciprocal of the sum.
    type Kept = ([FlexTensor; 3], Vec<f32>);

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Self::Kept) {
        let inputs = inputs.map(readable);
        let [query, keys, value] = inputs.each_ref().map(Heads::of);
        let sizes = Sizes::of(&inputs[0], &inputs[1]);
        let mut y = unwritten(sizes.b * sizes.t * sizes.n * sizes.w);
        let mut stats = unwritten(2 * sizes.b * sizes.n * sizes.t);
        let (out, shared) = (Shared::new(&mut y), Shared::new(&mut stats));
        pieces(self.texts.as_ref(), sizes.b * sizes.n, [sizes.t, sizes.s]).into_par_iter().for_each(
            |piece| {
                scratch(piece.scores(), |weights| {
                    for place in piece.tiles() {
                        let tile = Tile::new(self, sizes, &piece, place);
                        let weights = &mut weights[..tile.rows * tile.width()];
                        // SAFETY: the tile's rows are this thread's.
                        let stats =
                            unsafe { shared.slice(2 * (piece.head * sizes.t + tile.first), 2 * tile.rows) };
                        tile.scores(weights, &query, &keys, self.scale);
                        tile.for_rows(|i, hidden| {
                            let row = &mut weights[i * tile.width()..][..tile.width()];
                            (stats[2 * i], stats[2 * i + 1]) = softmax(row, hidden);
                            if let Some(drop) = &self.drop {
                                drop_in_place(row, tile.draw(drop, i), drop.below, drop.scale);
                            }
                        });
                        let weights = Matrix::rows(weights.as_ptr(), tile.width());
                        let shape = [tile.rows, sizes.w, tile.width()];
                        let out = sizes.out(out, tile.query(), sizes.t);
                        // SAFETY: as in `scores`; a head's rows of the answer are written by this thread alone.
                        unsafe {
                            product(
                                shape,
                                out,
                                false,
                                weights,
                                value.matrix(tile.keys()),
                                1.0,
                                Threads::One,
                                self.precision,
                            );
                        }
                    }
                });
            },
        );
        (heads(y, &sizes, sizes.t), (inputs, stats))
    }

    fn backward(
        &self,
        (inputs, stats): Self::Kept,
        gradient: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = readable(gradient);
        let [query, keys, value] = inputs.each_ref().map(Heads::of);
        let dy = Heads::of(&gradient);
        let sizes = Sizes::of(&inputs[0], &inputs[1]);
        let Sizes { b, n, t, s, w } = sizes;
        let mut dquery = unwritten(b * n * t * w);
        let (mut dkeys, mut dvalue) = (vec![0.0; b * n * s * w], vec![0.0; b * n * s * w]);
        let (dq, dk, dv) = (Shared::new(&mut dquery), Shared::new(&mut dkeys), Shared::new(&mut dvalue));
        pieces(self.texts.as_ref(), sizes.b * sizes.n, [sizes.t, sizes.s]).into_par_iter().for_each(
            |piece| {
                scratch(3 * piece.scores(), |room| {
                    for place in piece.tiles() {
                        let tile = Tile::new(self, sizes, &piece, place);
                        let (rows, width) = (tile.rows, tile.width());
                        let (weights, room) = room.split_at_mut(rows * width);
                        let (slopes, room) = room.split_at_mut(rows * width);
                        let dropped = &mut room[..rows * width];
                        let stats = &stats[2 * (piece.head * t + tile.first)..];
                        tile.scores(weights, &query, &keys, self.scale);
                        tile.scores(slopes, &dy, &value, 1.0);
                        tile.for_rows(|i, hidden| {
                            let at = i * width..(i + 1) * width;
                            let (weights, slopes) = (&mut weights[at.clone()], &mut slopes[at.clone()]);
                            softmax_again(weights, hidden, stats[2 * i], stats[2 * i + 1]);
                            if let Some(drop) = &self.drop {
                                let draw = tile.draw(drop, i);
                                drop_some(weights, &mut dropped[at], draw, drop.below, drop.scale);
                                drop_in_place(slopes, draw, drop.below, drop.scale);
                            }
                            softmax_back(weights, slopes);
                        });
                        let used = if self.drop.is_some() { dropped.as_ptr() } else { weights.as_ptr() };
                        let used = Matrix::rows(used, width).transposed();
                        let slopes = Matrix::rows(slopes.as_ptr(), width);
                        let (of_query, of_keys) = (tile.query(), tile.keys());
                        let (dq, dk) = (sizes.out(dq, of_query, t), sizes.out(dk, of_keys, s));
                        let dv = sizes.out(dv, of_keys, s);
                        let (query, keys) = (query.matrix(of_query), keys.matrix(of_keys));
                        let dy = dy.matrix(of_query);
                        // SAFETY: as in `scores`; a head's rows of the gradients are written by this thread alone.
                        unsafe {
                            product([width, w, rows], dv, true, used, dy, 1.0, Threads::One, self.precision);
                            product(
                                [rows, w, width],
                                dq,
                                false,
                                slopes,
                                keys,
                                self.scale,
                                Threads::One,
                                self.precision,
                            );
                            let slopes = slopes.transposed();
                            product(
                                [width, w, rows],
                                dk,
                                true,
                                slopes,
                                query,
                                self.scale,
                                Threads::One,
                                self.precision,
                            );
                        }
                    }
                });
            },
        );
        [Some(heads(dquery, &sizes, t)), Some(heads(dkeys, &sizes, s)), Some(heads(dvalue, &sizes, s))]
    }
}

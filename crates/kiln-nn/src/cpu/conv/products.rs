//! A convolution and its gradients as products over tiles of patches.
//! Owns which thread does what: every sum has an order that the number of threads does not change.

use rayon::prelude::*;

use super::super::gemm::{Format, Lanes, Matrix, Packed, Threads, both, left, product, times};
use super::super::slices::{CHUNK, Shared, scratch, unwritten};
use super::patches::{Padded, Patches, Slopes};
use super::sizes::{Sizes, Tile};
use super::unfold::gather;

pub(super) fn convolve(sizes: &Sizes, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let mut y = unwritten(sizes.written_shape().iter().product());
    let (out, tiles, format) = (
        Shared::new(&mut y),
        sizes.tiles(rayon::current_num_threads(), sizes.depth() + sizes.written),
        Format::of(sizes.precision).of_rows(sizes.written),
    );
    let padded = Padded::new(sizes, x);
    let (pixels, taps) = (padded.pixels(sizes), padded.taps(sizes));
    let (written, depth) = (sizes.written, sizes.depth());
    let weights: Vec<Packed> = (0..sizes.groups)
        .map(|group| {
            let weight = &weight[group * written * depth..][..written * depth];
            // SAFETY: `written` rows of `depth`, one behind the other.
            left(format, &unsafe { Lanes::new(weight.as_ptr(), depth, 1) }, written, depth)
        })
        .collect();
    (0..sizes.groups * tiles.len()).into_par_iter().for_each(|i| {
        let (tile, group) = (tiles[i / sizes.groups], i % sizes.groups);
        let taps = &taps[group * depth..][..depth];
        let patches = Patches::new(sizes, &padded, &pixels, tile, taps, true);
        let bias = bias.map(|bias| &bias[group * written..][..written]);
        into_tile(sizes, tile, group, bias, out, |to| {
            let n = tile.pixels(sizes);
            // SAFETY: tiles share no pixel of the answer.
            unsafe { times(format, &weights[group], &patches, n, to, bias.is_some()) };
        });
    });
    y
}

/// Calls `f` with the place of a tile of the answer, which holds the bias where there is one.
fn into_tile(
    sizes: &Sizes,
    tile: Tile,
    group: usize,
    bias: Option<&[f32]>,
    y: Shared,
    f: impl FnOnce(Matrix<*mut f32>),
) {
    let (written, pixels, whole) = (sizes.written, tile.pixels(sizes), sizes.pixels());
    let at = |b: usize, o: usize| ((b * sizes.groups + group) * written + o) * whole;
    scratch(written * pixels, |room| {
        let (out, row) = match tile.place(sizes) {
            Some((b, pixel)) => (y.at(at(b, 0) + pixel), whole),
            None => (room.as_mut_ptr(), pixels),
        };
        for (o, bias) in bias.unwrap_or_default().iter().enumerate() {
            // SAFETY: row `o` of the answer's tile, which is this thread's.
            unsafe { std::slice::from_raw_parts_mut(out.wrapping_add(o * row), pixels) }.fill(*bias);
        }
        f(Matrix { at: out, row, column: 1 });
        if tile.place(sizes).is_none() {
            let images = tile.images(sizes);
            for (i, b) in images.clone().enumerate() {
                for o in 0..written {
                    // SAFETY: as above.
                    let to = unsafe { y.slice(at(b, o), whole) };
                    to.copy_from_slice(&room[(o * images.len() + i) * whole..][..whole]);
                }
            }
        }
    });
}

/// The input's gradient where the stride is not 1: patches of it, added where they overlap.
pub(super) fn of_input(sizes: &Sizes, weight: &[f32], dy: &[f32]) -> Vec<f32> {
    let image = sizes.groups * sizes.read * sizes.pixels_read();
    let mut dx = vec![0.0; sizes.batch * image];
    let (written, depth) = (sizes.written, sizes.depth());
    let tiles = sizes.tiles(rayon::current_num_threads(), sizes.depth() + sizes.written);
    let Some(longest) = tiles.iter().map(|t| t.rows).max() else { return dx };
    // Images that tiles share belong to one thread.
    let images = longest.div_ceil(sizes.out[0]);
    let mine = |first: usize| {
        let rows = first * sizes.out[0]..(first + images) * sizes.out[0];
        tiles.iter().copied().filter(move |tile| rows.contains(&tile.first))
    };
    dx.par_chunks_mut((images * image).max(1)).enumerate().for_each(|(i, dx)| {
        for tile in mine(i * images) {
            for group in 0..sizes.groups {
                let pixels = tile.pixels(sizes);
                scratch((depth + written) * pixels, |room| {
                    let (patches, room) = room.split_at_mut(depth * pixels);
                    let dy = sizes.gradient(dy, group, tile, room);
                    let weight = Matrix::rows(weight[group * written * depth..].as_ptr(), depth);
                    let out = Matrix::rows(patches.as_mut_ptr(), pixels);
                    // SAFETY: `patches` is this thread's, the others are whole tensors.
                    unsafe {
                        let size = [depth, pixels, written];
                        product(
                            size,
                            out,
                            false,
                            weight.transposed(),
                            dy,
                            1.0,
                            Threads::One,
                            sizes.precision,
                        );
                    }
                    sizes.fold(patches, group, tile, i * images, dx);
                });
            }
        }
    });
    dx
}

/// A part of the weight's gradient: some rows and columns of one group's, over some of the tiles.
struct Part {
    group: usize,
    written: std::ops::Range<usize>,
    read: std::ops::Range<usize>,
    chunk: usize,
}

/// Parts, the tiles, and how many chunks these are cut into, whose sums are added at the end.
fn parts(sizes: &Sizes) -> (Vec<Part>, Vec<Tile>, usize) {
    /// Parts for the threads: a fixed number, because sums go from tile to tile and may not depend on the threads.
    const PARTS: usize = 16;
    let blocks = |n: usize, count: usize| {
        let step = n.div_ceil(count.max(1)).max(1);
        (0..n).step_by(step).map(move |first| first..n.min(first + step))
    };
    // Sizes below which a product is not worth its packing.
    let columns = (sizes.depth() / 256).clamp(1, PARTS.min(sizes.read.max(1)));
    let rows = (PARTS / columns).clamp(1, (sizes.written / 128).max(1));
    let chunks = PARTS.div_ceil(columns * rows * sizes.groups);
    let tiles = sizes.tiles(chunks, sizes.depth() / columns + sizes.written / rows);
    let chunks = chunks.clamp(1, tiles.len().max(1));
    let mut parts = Vec::new();
    for chunk in 0..chunks {
        for group in 0..sizes.groups {
            for written in blocks(sizes.written, rows) {
                for read in blocks(sizes.read, columns) {
                    parts.push(Part { group, written: written.clone(), read, chunk });
                }
            }
        }
    }
    (parts, tiles, chunks)
}

pub(super) fn of_weight(sizes: &Sizes, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (parts, tiles, chunks) = parts(sizes);
    let size = sizes.groups * sizes.written * sizes.depth();
    if tiles.is_empty() {
        return vec![0.0; size];
    }
    let mut sums = unwritten(chunks * size);
    let (out, format) = (Shared::new(&mut sums), Format::of(sizes.precision).of_rows(sizes.written));
    let padded = Padded::new(sizes, x);
    let (pixels, taps) = (padded.pixels(sizes), padded.taps(sizes));
    let tiles: Vec<&[Tile]> =
        (0..chunks).map(|i| &tiles[i * tiles.len() / chunks..(i + 1) * tiles.len() / chunks]).collect();
    parts.par_iter().for_each(|part| {
        let depth = sizes.depth();
        let (row, column) = (part.group * sizes.written + part.written.start, part.read.start * sizes.taps());
        let at = out.at(part.chunk * size + row * depth + column);
        let taps = &taps[part.group * depth + column..][..part.read.len() * sizes.taps()];
        for (i, tile) in tiles[part.chunk].iter().enumerate() {
            let slopes = Slopes::new(sizes, dy, part.group, part.written.start, *tile);
            let patches = Patches::new(sizes, &padded, &pixels, *tile, taps, false);
            let out = Matrix { at, row: depth, column: 1 };
            let size = [part.written.len(), taps.len(), tile.pixels(sizes)];
            // SAFETY: parts share no place of the sums.
            unsafe { both(format, size, &slopes, &patches, out, i > 0) };
        }
    });
    let (total, others) = sums.split_at_mut(size);
    total.par_chunks_mut(CHUNK).enumerate().for_each(|(i, total)| {
        for other in others.chunks_exact(size.max(1)) {
            total.iter_mut().zip(&other[i * CHUNK..]).for_each(|(total, x)| *total += x);
        }
    });
    sums.truncate(size);
    sums
}

impl Sizes {
    /// `K`
    fn depth(&self) -> usize {
        self.read * self.taps()
    }

    /// The answer's gradient for a tile, `[OUT, pixels]`, in place or gathered from its images.
    fn gradient(&self, dy: &[f32], group: usize, tile: Tile, room: &mut [f32]) -> Matrix<*const f32> {
        let (all, first) = (self.groups * self.written, group * self.written);
        if let Some((b, pixel)) = tile.place(self) {
            let place = (b * all + first) * self.pixels() + pixel;
            return Matrix::rows(dy[place..].as_ptr(), self.pixels());
        }
        gather(dy, [all, first, self.pixels()], self.written, tile.images(self), room);
        Matrix::rows(room.as_ptr(), tile.pixels(self))
    }
}

//! A convolution in which every channel written sees one channel read.
//! Owns its loops and their cut for the threads; `plane.rs` owns how a channel lies.

use rayon::prelude::*;

use super::super::plane::{LANES, Plane, ROWS, Window, fill, take};
use super::super::simd::{fold16, simd};
use super::super::slices::{scratch, unwritten};
use super::sizes::Sizes;

/// Values that a thread reads before it takes the next piece of work.
const PIECE: usize = 1 << 14;

impl Sizes {
    fn plane(&self) -> Plane {
        let Self { image, out, kernel, stride, dilation, before, .. } = *self;
        Plane::new(Window { image, out, kernel, stride, dilation, before })
    }

    /// Channels of a piece of work.
    fn channels(&self) -> usize {
        (PIECE / self.pixels_read().max(self.written * self.pixels()).max(1)).max(1)
    }
}

simd! {
    fn sum_taps(plane: &Plane, padded: &[f32], weight: &[f32], bias: f32, y: &mut [f32]) {
        match plane.out()[1] {
            ..=8 => sum_taps_of::<8>(plane, padded, weight, bias, y),
            _ => sum_taps_of::<LANES>(plane, padded, weight, bias, y),
        }
    }
}

/// Several rows at once, so that sums do not wait for each other; the plane has as many.
#[inline(always)]
fn sum_taps_of<const L: usize>(plane: &Plane, padded: &[f32], weight: &[f32], bias: f32, y: &mut [f32]) {
    let (step, [height, width]) = (plane.step(), plane.out());
    assert!(padded.len() >= plane.len() && weight.len() == plane.taps().len());
    for (i, y) in y.chunks_mut(ROWS * width).enumerate() {
        let first = i * ROWS * step;
        for column in (0..width).step_by(L) {
            let mut sums = [[bias; L]; ROWS];
            for (tap, weight) in plane.taps().iter().zip(weight) {
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: rows up to `height`'s next multiple, and columns of whole vectors, lie in the plane.
                    let x: [f32; L] = unsafe { plane.load(padded, first + row * step + tap + column) };
                    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum = x.mul_add(*weight, *sum));
                }
            }
            for (y, sums) in y.chunks_exact_mut(width).zip(&sums) {
                match y[column..].first_chunk_mut() {
                    Some(y) => *y = *sums,
                    None => y[column..].iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
                }
            }
        }
    }
    debug_assert_eq!(y.len(), height * width);
}

simd! {
    /// The padded plane's gradient, added to.
    fn scatter(plane: &Plane, dy: &[f32], weight: &[f32], padded: &mut [f32]) {
        let (step, [_, width]) = (plane.step(), plane.out());
        for (oh, dy) in dy.chunks_exact(width).enumerate() {
            for (tap, weight) in plane.taps().iter().zip(weight) {
                let to = &mut padded[oh * step + tap..][..width];
                to.iter_mut().zip(dy).for_each(|(to, dy)| *to = dy.mul_add(*weight, *to));
            }
        }
    }
}

simd! {
    /// The weight's gradient, a row of lanes a tap, added to. `dy`: rows filled up to whole lanes with zeros.
    fn correlate(plane: &Plane, padded: &[f32], dy: &[f32], sums: &mut [[f32; LANES]]) {
        // So many taps at once share what is read of `dy`, and do not wait for each other.
        match sums.len() {
            n if n % 9 == 0 => correlate_by::<9>(plane, padded, dy, sums),
            n if n % 7 == 0 => correlate_by::<7>(plane, padded, dy, sums),
            n if n % 5 == 0 => correlate_by::<5>(plane, padded, dy, sums),
            n if n % 4 == 0 => correlate_by::<4>(plane, padded, dy, sums),
            _ => correlate_by::<1>(plane, padded, dy, sums),
        }
    }
}

#[inline(always)]
fn correlate_by<const N: usize>(plane: &Plane, padded: &[f32], dy: &[f32], sums: &mut [[f32; LANES]]) {
    let (step, width) = (plane.step(), plane.out()[1].next_multiple_of(LANES));
    assert!(padded.len() >= plane.len() && dy.len() <= plane.out()[0] * width);
    for (taps, all) in plane.taps().chunks_exact(N).zip(sums.chunks_exact_mut(N)) {
        let mut sums = [[0.0; LANES]; N];
        sums.copy_from_slice(all);
        for (oh, dy) in dy.chunks_exact(width).enumerate() {
            for (i, dy) in dy.chunks_exact(LANES).enumerate() {
                for (tap, sums) in taps.iter().zip(&mut sums) {
                    // SAFETY: as in `sum_taps_of`.
                    let x: [f32; LANES] = unsafe { plane.load(padded, oh * step + tap + i * LANES) };
                    sums.iter_mut().zip(x).zip(dy).for_each(|((sum, x), dy)| *sum = x.mul_add(*dy, *sum));
                }
            }
        }
        all.copy_from_slice(&sums);
    }
}

pub(super) fn convolve(sizes: &Sizes, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (plane, pixels, many, channels) = (sizes.plane(), sizes.pixels(), sizes.written, sizes.channels());
    let mut y = unwritten(sizes.written_shape().iter().product());
    let pieces = y.par_chunks_mut((many * pixels * channels).max(1));
    pieces.zip(x.par_chunks(sizes.pixels_read() * channels)).enumerate().for_each(|(i, (y, x))| {
        scratch(plane.len(), |padded| {
            padded.fill(0.0);
            let each = y.chunks_exact_mut(many * pixels).zip(x.chunks_exact(sizes.pixels_read()));
            for (j, (y, x)) in each.enumerate() {
                let first = (i * channels + j) % sizes.groups * many;
                fill(&plane, x, padded);
                for (out, y) in (first..).zip(y.chunks_exact_mut(pixels)) {
                    let weight = &weight[out * sizes.taps()..][..sizes.taps()];
                    sum_taps(&plane, padded, weight, bias.map_or(0.0, |bias| bias[out]), y);
                }
            }
        });
    });
    y
}

pub(super) fn of_input(sizes: &Sizes, weight: &[f32], dy: &[f32]) -> Vec<f32> {
    let (plane, pixels, many) = (sizes.plane(), sizes.pixels(), sizes.written);
    let mut dx = unwritten(sizes.batch * sizes.groups * sizes.pixels_read());
    dx.par_chunks_mut(sizes.pixels_read()).zip(dy.par_chunks((many * pixels).max(1))).enumerate().for_each(
        |(i, (dx, dy))| {
            let first = i % sizes.groups * many;
            scratch(plane.len(), |padded| {
                padded.fill(0.0);
                for (out, dy) in (first..).zip(dy.chunks_exact(pixels)) {
                    scatter(&plane, dy, &weight[out * sizes.taps()..][..sizes.taps()], padded);
                }
                dx.fill(0.0);
                take(&plane, padded, dx);
            });
        },
    );
    dx
}

pub(super) fn of_weight(sizes: &Sizes, x: &[f32], dy: &[f32]) -> Vec<f32> {
    /// Parts of the channels written that one channel read is put into its plane for.
    const PARTS: usize = 8;
    let (plane, taps, many) = (sizes.plane(), sizes.taps(), sizes.written);
    let part = many.div_ceil(PARTS).max(1);
    let parts = (0..sizes.groups * many.div_ceil(part)).into_par_iter().map(|i| {
        let (group, first) = (i / many.div_ceil(part), i % many.div_ceil(part) * part);
        of_weights(sizes, &plane, group, first..many.min(first + part), x, dy)
    });
    let sums: Vec<Vec<[f32; LANES]>> = parts.collect();
    let dweight: Vec<f32> = sums.iter().flatten().map(fold16).collect();
    debug_assert_eq!(dweight.len(), sizes.groups * many * taps);
    dweight
}

/// The gradient of some weights of a group, a row of lanes a tap.
fn of_weights(
    sizes: &Sizes,
    plane: &Plane,
    group: usize,
    written: std::ops::Range<usize>,
    x: &[f32],
    dy: &[f32],
) -> Vec<[f32; LANES]> {
    let (taps, pixels) = (sizes.taps(), sizes.pixels());
    let width = sizes.out[1].next_multiple_of(LANES);
    let mut sums = vec![[0.0; LANES]; written.len() * taps];
    scratch(plane.len() + sizes.out[0] * width, |room| {
        room.fill(0.0);
        let (padded, rows) = room.split_at_mut(plane.len());
        for b in 0..sizes.batch {
            let channel = b * sizes.groups + group;
            fill(plane, &x[channel * sizes.pixels_read()..][..sizes.pixels_read()], padded);
            for (j, sums) in written.clone().zip(sums.chunks_exact_mut(taps)) {
                let dy = &dy[(channel * sizes.written + j) * pixels..][..pixels];
                for (to, dy) in rows.chunks_exact_mut(width).zip(dy.chunks_exact(sizes.out[1])) {
                    to[..dy.len()].copy_from_slice(dy);
                }
                correlate(plane, padded, rows, sums);
            }
        }
    });
    sums
}

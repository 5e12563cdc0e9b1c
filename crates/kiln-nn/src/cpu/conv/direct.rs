//! A convolution whose patches are packed nowhere: every value of the padded image is spread over a vector of output
//! channels where it lies (after Georganas et al., 2018, Anatomy of High-Performance Deep Learning Convolutions).
//! Owns the form for AVX-512; `products.rs` has the one for any processor, and for kernels of one tap.
//!
//! A unit is a float32, or two bfloat16 of successive channels in 32 bits.

use std::arch::x86_64::*;

use rayon::prelude::*;

use super::super::gemm::{Format, Lanes, Packed, right, units_of};
use super::super::simd::{Level, level};
use super::super::slices::{Shared, unwritten};
use super::sizes::Sizes;

/// Output channels of a panel of weights, and pixels of a tile of the answer.
const LANES: usize = 32;
const PIXELS: usize = 8;

/// Whether this form pays: enough to sum, and panels that are filled.
pub(super) fn suits(sizes: &Sizes) -> bool {
    let lanes = sizes.written.next_multiple_of(LANES);
    level() == Level::Avx512
        && sizes.taps() > 1
        && sizes.read * sizes.taps() >= 64
        && 4 * lanes <= 5 * sizes.written
}

/// As `products::convolve`.
pub(super) fn convolve(sizes: &Sizes, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let plan = Plan::new(sizes);
    let mut y = unwritten(sizes.written_shape().iter().product());
    let image = plan.padded(x);
    let weights: Vec<Packed> = (0..sizes.groups).map(|group| plan.panels(weight, group)).collect();
    let (out, total) = (Shared::new(&mut y), sizes.batch * sizes.pixels());
    let step = total.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(PIXELS).max(PIXELS);
    let panels = sizes.written.div_ceil(LANES);
    (0..total.div_ceil(step) * sizes.groups).into_par_iter().for_each(|i| {
        let (part, group) = (i / sizes.groups * step, i % sizes.groups);
        for panel in 0..panels {
            for first in (part..total.min(part + step)).step_by(PIXELS) {
                let count = PIXELS.min(total - first);
                let sums = plan.tile(&image, group, weights[group].panel(plan.format, panel), first, count);
                plan.write(&sums, out, bias, [group, panel], first, count);
            }
        }
    });
    y
}

/// Where things lie.
struct Plan<'a> {
    sizes: &'a Sizes,
    format: Format,
    /// Units of a group's channels.
    deep: usize,
    /// Rows and columns of the padded image.
    padded: [usize; 2],
    /// From the beginning of a patch to each of its units, in a group.
    taps: Vec<u32>,
    /// From the beginning of an image to the patch of each pixel.
    patches: Vec<u32>,
}

impl<'a> Plan<'a> {
    fn new(sizes: &'a Sizes) -> Self {
        let format = Format::of(sizes.precision);
        let deep = format.units(sizes.read);
        let [rows, columns] = [0, 1].map(|axis| sizes.reach(axis));
        let units = sizes.batch * sizes.groups * deep * rows * columns;
        assert!(u32::try_from(units).is_ok(), "conv2d: images of more than 2^32 values");
        let [down, right] = sizes.dilation;
        let rows_of = (0..deep)
            .flat_map(|c| (0..sizes.kernel[0]).map(move |kh| c * rows * columns + kh * down * columns));
        let taps = rows_of.flat_map(|row| (0..sizes.kernel[1]).map(move |kw| (row + kw * right) as u32));
        let patch = |pixel: usize| {
            pixel / sizes.out[1] * sizes.stride[0] * columns + pixel % sizes.out[1] * sizes.stride[1]
        };
        let patches = (0..sizes.pixels()).map(|pixel| patch(pixel) as u32).collect();
        Self { sizes, format, deep, padded: [rows, columns], taps: taps.collect(), patches }
    }

    /// Images with their padding in units, `[B, groups deep, rows, columns]`.
    fn padded(&self, x: &[f32]) -> Vec<u32> {
        let (sizes, [rows, columns]) = (self.sizes, self.padded);
        let [height, width] = sizes.image;
        let mut image = unwritten(sizes.batch * sizes.groups * self.deep * rows * columns);
        let (to, from, seen) = sizes.seen_of_row();
        image.par_chunks_exact_mut(rows * columns).enumerate().for_each(|(i, plane)| {
            let (of_group, unit) = (i / self.deep * sizes.read, i % self.deep);
            let row_of =
                |channel: usize, y: usize| &x[((of_group + channel) * height + y) * width + from..][..seen];
            for (row, line) in plane.chunks_exact_mut(columns).enumerate() {
                let y = row as isize - sizes.before[0];
                if y < 0 || y >= height as isize {
                    line.fill(0);
                    continue;
                }
                line[..to].fill(0);
                line[to + seen..].fill(0);
                let (line, y) = (&mut line[to..to + seen], y as usize);
                match self.format.pairs {
                    true => {
                        let second = (2 * unit + 1 < sizes.read).then(|| row_of(2 * unit + 1, y));
                        units_of(self.format, line, row_of(2 * unit, y), second);
                    }
                    false => units_of(self.format, line, row_of(unit, y), None),
                }
            }
        });
        image
    }

    /// The weights of a group, output channels as lanes; lanes beyond the last channel are zero.
    fn panels(&self, weight: &[f32], group: usize) -> Packed {
        let (sizes, taps) = (self.sizes, self.sizes.taps());
        let depth = sizes.read * taps;
        let values = &weight[group * sizes.written * depth..][..sizes.written * depth];
        let of_pairs = self.format.pairs.then(|| paired(values, depth, taps, 2 * self.taps.len()));
        let (values, depth) = match &of_pairs {
            Some(of_pairs) => (of_pairs.as_slice(), 2 * self.taps.len()),
            None => (values, depth),
        };
        // SAFETY: `written` rows of `depth`, one behind the other.
        let side = unsafe { Lanes::new(values.as_ptr(), depth, 1) };
        right(self.format, &side, sizes.written, depth)
    }

    /// The sums of a panel's channels for `count` pixels from `first` on, counted through the batch.
    fn tile(
        &self,
        image: &[u32],
        group: usize,
        weights: impl Iterator<Item = impl AsRef<[u32]>>,
        first: usize,
        count: usize,
    ) -> [[f32; LANES]; PIXELS] {
        let (sizes, plane) = (self.sizes, self.padded[0] * self.padded[1]);
        let at = std::array::from_fn(|i| {
            let pixel = first + i.min(count - 1);
            let (b, pixel) = (pixel / sizes.pixels(), pixel % sizes.pixels());
            image[(b * sizes.groups + group) * self.deep * plane + self.patches[pixel] as usize..].as_ptr()
        });
        let mut sums = [[0.0; LANES]; PIXELS];
        for (taps, weights) in self.taps.chunks(self.format.units(self.format.depth())).zip(weights) {
            let weights = weights.as_ref();
            assert_eq!(weights.len(), taps.len() * LANES);
            // SAFETY: `suits` and `Format::of` have asked the processor; the panel has the units, and a patch lies within
            // its padded image, whose sides are its reach.
            unsafe {
                match self.format.pairs {
                    true => pairs(taps, weights.as_ptr(), &at, &mut sums),
                    false => floats(taps, weights.as_ptr(), &at, &mut sums),
                }
            }
        }
        sums
    }

    fn write(
        &self,
        sums: &[[f32; LANES]; PIXELS],
        out: Shared,
        bias: Option<&[f32]>,
        [group, panel]: [usize; 2],
        first: usize,
        count: usize,
    ) {
        let (sizes, pixels) = (self.sizes, self.sizes.pixels());
        let channels = sizes.groups * sizes.written;
        for lane in 0..LANES.min(sizes.written - panel * LANES) {
            let o = group * sizes.written + panel * LANES + lane;
            let bias = bias.map_or(0.0, |bias| bias[o]);
            let place = |pixel: usize| (pixel / pixels * channels + o) * pixels + pixel % pixels;
            if count == PIXELS && first % pixels + PIXELS <= pixels {
                // SAFETY: tiles share no pixel of the answer.
                let to = unsafe { out.slice(place(first), PIXELS) };
                to.iter_mut().zip(sums).for_each(|(to, sums)| *to = sums[lane] + bias);
            } else {
                for (i, sums) in sums.iter().enumerate().take(count) {
                    // SAFETY: as above.
                    unsafe { *out.at(place(first + i)) = sums[lane] + bias };
                }
            }
        }
    }
}

/// Rows of `depth` weights with the same tap of two successive channels side by side; a channel that is missing is zero.
fn paired(weights: &[f32], depth: usize, taps: usize, length: usize) -> Vec<f32> {
    let mut paired = unwritten(weights.len() / depth * length);
    paired.par_chunks_exact_mut(length).zip(weights.par_chunks_exact(depth)).for_each(|(row, weights)| {
        for (to, channels) in row.chunks_exact_mut(2 * taps).zip(weights.chunks(2 * taps)) {
            let (first, second) = channels.split_at(taps);
            let second = second.iter().chain(std::iter::repeat(&0.0));
            for ((to, first), second) in to.chunks_exact_mut(2).zip(first).zip(second) {
                (to[0], to[1]) = (*first, *second);
            }
        }
    });
    paired
}

/// A tile of `PIXELS` pixels and two vectors of channels, in registers.
macro_rules! tile {
    ($name:ident, $features:literal, $add:expr) => {
        /// Adds to `out`.
        ///
        /// # Safety
        /// The processor has the features; `weights` has `LANES` units for each of the taps, and every place of `at` reaches
        /// to all of them.
        #[target_feature(enable = $features)]
        unsafe fn $name(
            taps: &[u32],
            mut weights: *const u32,
            at: &[*const u32; PIXELS],
            out: &mut [[f32; LANES]; PIXELS],
        ) {
            let mut sums = [[_mm512_setzero_ps(); 2]; PIXELS];
            for (sums, out) in sums.iter_mut().zip(out.iter()) {
                // SAFETY: a row has two vectors.
                unsafe {
                    sums[0] = _mm512_loadu_ps(out.as_ptr());
                    sums[1] = _mm512_loadu_ps(out.as_ptr().add(16));
                }
            }
            for tap in taps {
                // SAFETY: the caller's promise.
                unsafe {
                    let lanes =
                        [_mm512_loadu_si512(weights.cast()), _mm512_loadu_si512(weights.add(16).cast())];
                    for (sums, at) in sums.iter_mut().zip(at) {
                        let x = _mm512_set1_epi32(*at.add(*tap as usize) as i32);
                        for (sum, lanes) in sums.iter_mut().zip(lanes) {
                            *sum = $add(*sum, x, lanes);
                        }
                    }
                    weights = weights.add(LANES);
                }
            }
            for (out, sums) in out.iter_mut().zip(sums) {
                // SAFETY: a row has two vectors.
                unsafe {
                    _mm512_storeu_ps(out.as_mut_ptr(), sums[0]);
                    _mm512_storeu_ps(out.as_mut_ptr().add(16), sums[1]);
                }
            }
        }
    };
}

tile!(floats, "avx512f", |sum, x, lanes| _mm512_fmadd_ps(
    _mm512_castsi512_ps(x),
    _mm512_castsi512_ps(lanes),
    sum
));
tile!(pairs, "avx512f,avx512bf16", |sum, x: __m512i, lanes: __m512i| _mm512_dpbf16_ps(
    sum,
    std::mem::transmute::<__m512i, __m512bh>(x),
    std::mem::transmute::<__m512i, __m512bh>(lanes)
));

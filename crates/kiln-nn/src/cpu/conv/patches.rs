//! The patches of a padded image as a side of a product, read where they lie: no matrix of them is ever made.
//! Owns the tables of places; `products.rs` multiplies.

use rayon::prelude::*;

use super::super::gemm::Side;
use super::super::slices::unwritten;
use super::sizes::{Sizes, Tile};

/// All images with their padding, `[B, groups IN, rows, columns]`.
pub(super) struct Padded<'a> {
    values: std::borrow::Cow<'a, [f32]>,
    rows: usize,
    columns: usize,
}

impl<'a> Padded<'a> {
    pub(super) fn new(sizes: &Sizes, x: &'a [f32]) -> Self {
        let [rows, columns] = [0, 1].map(|axis| sizes.reach(axis));
        let ([height, width], above) = (sizes.image, sizes.before[0]);
        let planes = sizes.batch * sizes.groups * sizes.read;
        assert!(u32::try_from(planes * rows * columns).is_ok(), "conv2d: images of more than 2^32 values");
        if [rows, columns] == sizes.image && sizes.before == [0, 0] {
            return Self { values: x.into(), rows, columns };
        }
        let mut values = unwritten(planes * rows * columns);
        let (to, from, seen) = sizes.seen_of_row();
        values.par_chunks_exact_mut(rows * columns).zip(x.par_chunks_exact(height * width)).for_each(
            |(plane, image)| {
                for (row, plane) in plane.chunks_exact_mut(columns).enumerate() {
                    let y = row as isize - above;
                    if y < 0 || y >= height as isize {
                        plane.fill(0.0);
                        continue;
                    }
                    plane[..to].fill(0.0);
                    plane[to..to + seen].copy_from_slice(&image[y as usize * width + from..][..seen]);
                    plane[to + seen..].fill(0.0);
                }
            },
        );
        Self { values: values.into(), rows, columns }
    }

    /// Where the patch of each pixel of the answer begins in a group's first channel: for all images.
    pub(super) fn pixels(&self, sizes: &Sizes) -> Vec<u32> {
        let plane = sizes.groups * sizes.read * self.rows * self.columns;
        let images = (0..sizes.batch).map(|b| b * plane);
        let rows = |b: usize| (0..sizes.out[0]).map(move |oh| b + oh * sizes.stride[0] * self.columns);
        let row = |first: usize| (0..sizes.out[1]).map(move |ow| (first + ow * sizes.stride[1]) as u32);
        images.flat_map(rows).flat_map(row).collect()
    }

    /// Where each value of a patch lies from its beginning, for every channel of every group.
    pub(super) fn taps(&self, sizes: &Sizes) -> Vec<u32> {
        let channels = 0..sizes.groups * sizes.read;
        let rows = channels.flat_map(|c| {
            let channel = c * self.rows * self.columns;
            (0..sizes.kernel[0]).map(move |kh| channel + kh * sizes.dilation[0] * self.columns)
        });
        rows.flat_map(|row| (0..sizes.kernel[1]).map(move |kw| (row + kw * sizes.dilation[1]) as u32))
            .collect()
    }
}

/// Patches of some pixels, `[K, pixels]` with pixels as lanes, or the other way round.
pub(super) struct Patches<'a> {
    values: &'a [f32],
    /// Places of the lines' beginnings, and of the values along them.
    pixels: &'a [u32],
    taps: &'a [u32],
    pixels_are_lanes: bool,
    /// Pixels that lie together wherever one begins that is a multiple of it.
    together: usize,
}

impl<'a> Patches<'a> {
    /// Of a tile's pixels and some of the taps; `pixels` and `taps` are of all of them.
    pub(super) fn new(
        sizes: &Sizes,
        padded: &'a Padded<'_>,
        pixels: &'a [u32],
        tile: Tile,
        taps: &'a [u32],
        pixels_are_lanes: bool,
    ) -> Self {
        let first = tile.first * sizes.out[1];
        let pixels = &pixels[first..first + tile.pixels(sizes)];
        let rows = if sizes.stride[1] == 1 { sizes.out[1] } else { 1 };
        let together = [16, 8, 4].into_iter().find(|n| rows % n == 0).unwrap_or(1);
        let values = &padded.values[..];
        // What `line` relies on.
        let last = |places: &[u32]| places.iter().copied().max().unwrap_or(0) as usize;
        assert!(pixels.is_empty() || taps.is_empty() || last(pixels) + last(taps) < values.len());
        Self { values, pixels, taps, pixels_are_lanes, together }
    }

    /// `N` values from place `from` on.
    #[inline(always)]
    fn run<const N: usize>(&self, from: usize) -> [f32; N] {
        // SAFETY: `new` has compared the places of all patches with the image; successive pixels are successive places.
        unsafe { *self.values.as_ptr().add(from).cast() }
    }

    #[inline(always)]
    fn in_parts<const N: usize, const P: usize>(&self, first: usize, tap: usize) -> [f32; N] {
        let mut values = [0.0; N];
        let (parts, _) = values.as_chunks_mut::<P>();
        for (i, part) in parts.iter_mut().enumerate() {
            *part = self.run::<P>(self.pixels[first + i * P] as usize + tap);
        }
        values
    }
}

impl Side for Patches<'_> {
    fn along_lanes(&self) -> bool {
        self.pixels_are_lanes
    }

    #[inline(always)]
    fn line<const N: usize>(&self, lane: usize, k: usize, count: usize) -> [f32; N] {
        let (first, tap) = if self.pixels_are_lanes { (lane, k) } else { (k, lane) };
        let mut values = [0.0; N];
        if count == 0 {
            return values;
        }
        let tap = self.taps[tap] as usize;
        if count >= N {
            let (from, to) = (self.pixels[first] as usize, self.pixels[first + N - 1] as usize);
            if to - from == N - 1 {
                return self.run::<N>(from + tap);
            }
            if first.is_multiple_of(self.together) && N.is_multiple_of(self.together) {
                match self.together {
                    16 => return self.in_parts::<N, 16>(first, tap),
                    8 => return self.in_parts::<N, 8>(first, tap),
                    4 => return self.in_parts::<N, 4>(first, tap),
                    _ => {}
                }
            }
        }
        for (to, pixel) in values.iter_mut().zip(&self.pixels[first..]).take(count) {
            *to = self.run::<1>(*pixel as usize + tap)[0];
        }
        values
    }
}

/// The gradient of the answer for a tile, `[OUT, pixels]` of a group, whose pixels may lie in several images.
pub(super) struct Slopes<'a> {
    values: &'a [f32],
    /// Of a group, and channels of all.
    first: usize,
    channels: usize,
    pixels: usize,
    tile: usize,
}

impl<'a> Slopes<'a> {
    /// From channel `first` of a group on.
    pub(super) fn new(sizes: &Sizes, dy: &'a [f32], group: usize, first: usize, tile: Tile) -> Self {
        let channels = sizes.groups * sizes.written;
        let first = group * sizes.written + first;
        Self { values: dy, first, channels, pixels: sizes.pixels(), tile: tile.first * sizes.out[1] }
    }
}

impl Side for Slopes<'_> {
    fn along_lanes(&self) -> bool {
        false
    }

    #[inline(always)]
    fn line<const N: usize>(&self, lane: usize, k: usize, count: usize) -> [f32; N] {
        // Of 32 bits: such divisions take half the time.
        let (place_in_all, pixels) = ((self.tile + k) as u32, self.pixels as u32);
        let image = (place_in_all / pixels) as usize;
        let pixel = self.tile + k - image * self.pixels;
        let place =
            |image: usize, pixel: usize| (image * self.channels + self.first + lane) * self.pixels + pixel;
        if count >= N
            && pixel + N <= self.pixels
            && let Some(run) = self.values[place(image, pixel)..].first_chunk()
        {
            return *run;
        }
        let mut values = [0.0; N];
        let (mut image, mut pixel) = (image, pixel);
        for to in values.iter_mut().take(count) {
            *to = self.values[place(image, pixel)];
            pixel += 1;
            if pixel == self.pixels {
                (image, pixel) = (image + 1, 0);
            }
        }
        values
    }
}

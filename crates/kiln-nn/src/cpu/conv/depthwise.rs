//! A convolution in which every channel written sees one channel read.
//! Owns its loops: a plane is copied with its padding, split by the stride so that the pixels a tap sees lie in a row.

use rayon::prelude::*;

use super::super::simd::{fold16, simd};
use super::super::slices::{scratch, unwritten};
use super::sizes::Sizes;

/// Outputs computed at once.
const LANES: usize = 16;

/// How a padded plane lies: `[rows, phases, width]`, pixel `j stride + phase` of a row at `j` of its phase.
#[derive(Debug, Clone, Copy)]
struct Plane {
    sizes: Sizes,
    phases: usize,
    width: usize,
    rows: usize,
}

impl Plane {
    fn new(sizes: &Sizes) -> Self {
        let reach = |axis: usize| sizes.dilation[axis] * (sizes.kernel[axis] - 1);
        let width = sizes.out[1].next_multiple_of(LANES) + reach(1) / sizes.stride[1];
        let rows = (sizes.out[0] - 1) * sizes.stride[0] + reach(0) + 1;
        Self { sizes: *sizes, phases: sizes.stride[1], width, rows }
    }

    fn len(&self) -> usize {
        self.rows * self.phases * self.width
    }

    /// Where the pixels that a tap sees from row `oh` of the answer begin.
    #[inline(always)]
    fn place(&self, oh: usize, kh: usize, kw: usize) -> usize {
        let across = kw * self.sizes.dilation[1];
        let row = oh * self.sizes.stride[0] + kh * self.sizes.dilation[0];
        (row * self.phases + across % self.phases) * self.width + across / self.phases
    }

    /// Calls `f` with each place of the plane that is a pixel's, and the pixel.
    #[inline(always)]
    fn each_pixel(&self, mut f: impl FnMut(usize, usize)) {
        let ([height, width], [above, left]) = (self.sizes.image, self.sizes.before);
        for row in 0..self.rows {
            let y = row as isize - above;
            if y < 0 || y >= height as isize {
                continue;
            }
            for phase in 0..self.phases {
                let offset = phase as isize - left;
                let stride = self.phases as isize;
                let first = ((-offset).max(0) + stride - 1) / stride;
                let end = (((width as isize - offset).max(0) + stride - 1) / stride).min(self.width as isize);
                for j in first..end {
                    let x = y as usize * width + (j * stride + offset) as usize;
                    f((row * self.phases + phase) * self.width + j as usize, x);
                }
            }
        }
    }
}

simd! {
    fn fill(plane: &Plane, x: &[f32], padded: &mut [f32]) {
        padded.fill(0.0);
        plane.each_pixel(|place, pixel| padded[place] = x[pixel]);
    }
}

simd! {
    fn add_back(plane: &Plane, padded: &[f32], dx: &mut [f32]) {
        plane.each_pixel(|place, pixel| dx[pixel] += padded[place]);
    }
}

simd! {
    fn taps(plane: &Plane, padded: &[f32], weight: &[f32], bias: f32, y: &mut [f32]) {
        let [kh, kw] = plane.sizes.kernel;
        for (oh, y) in y.chunks_exact_mut(plane.sizes.out[1]).enumerate() {
            for (i, y) in y.chunks_mut(LANES).enumerate() {
                let mut sums = [bias; LANES];
                for (tap, weight) in weight.iter().enumerate().take(kh * kw) {
                    let place = plane.place(oh, tap / kw, tap % kw) + i * LANES;
                    let x: &[f32] = &padded[place..][..LANES];
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = x.mul_add(*weight, *sum);
                    }
                }
                y.copy_from_slice(&sums[..y.len()]);
            }
        }
    }
}

simd! {
    /// The padded plane's gradient, added to.
    fn scatter(plane: &Plane, dy: &[f32], weight: &[f32], padded: &mut [f32]) {
        let kw = plane.sizes.kernel[1];
        for (oh, dy) in dy.chunks_exact(plane.sizes.out[1]).enumerate() {
            for (tap, weight) in weight.iter().enumerate() {
                let to = &mut padded[plane.place(oh, tap / kw, tap % kw)..][..dy.len()];
                for (to, dy) in to.iter_mut().zip(dy) {
                    *to = dy.mul_add(*weight, *to);
                }
            }
        }
    }
}

simd! {
    /// The weight's gradient, `[KH KW]`, added to. `dy`: rows padded to whole lanes with zeros.
    fn correlate(plane: &Plane, padded: &[f32], dy: &[f32], dweight: &mut [f32]) {
        let kw = plane.sizes.kernel[1];
        let width = plane.sizes.out[1].next_multiple_of(LANES);
        for (tap, dweight) in dweight.iter_mut().enumerate() {
            let mut sums = [0.0f32; LANES];
            for (oh, dy) in dy.chunks_exact(width).enumerate() {
                let x = &padded[plane.place(oh, tap / kw, tap % kw)..][..width];
                for (x, dy) in x.chunks_exact(LANES).zip(dy.chunks_exact(LANES)) {
                    for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                        *sum = x.mul_add(*dy, *sum);
                    }
                }
            }
            *dweight += fold16(&sums);
        }
    }
}

pub(super) fn convolve(sizes: &Sizes, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (plane, pixels, many) = (Plane::new(sizes), sizes.pixels(), sizes.written);
    let mut y = unwritten(sizes.written_shape().iter().product());
    y.par_chunks_mut(many * pixels).zip(x.par_chunks(sizes.pixels_read().max(1))).enumerate().for_each(
        |(i, (y, x))| {
            let first = i % sizes.groups * many;
            scratch(plane.len(), |padded| {
                fill(&plane, x, padded);
                for (j, y) in y.chunks_exact_mut(pixels).enumerate() {
                    let weight = &weight[(first + j) * sizes.taps()..][..sizes.taps()];
                    taps(&plane, padded, weight, bias.map_or(0.0, |bias| bias[first + j]), y);
                }
            });
        },
    );
    y
}

pub(super) fn of_input(sizes: &Sizes, weight: &[f32], dy: &[f32]) -> Vec<f32> {
    let (plane, pixels, many) = (Plane::new(sizes), sizes.pixels(), sizes.written);
    let mut dx = vec![0.0; sizes.batch * sizes.groups * sizes.pixels_read()];
    dx.par_chunks_mut(sizes.pixels_read().max(1)).zip(dy.par_chunks(many * pixels)).enumerate().for_each(
        |(i, (dx, dy))| {
            let first = i % sizes.groups * many;
            scratch(plane.len(), |padded| {
                padded.fill(0.0);
                for (j, dy) in dy.chunks_exact(pixels).enumerate() {
                    scatter(&plane, dy, &weight[(first + j) * sizes.taps()..][..sizes.taps()], padded);
                }
                add_back(&plane, padded, dx);
            });
        },
    );
    dx
}

pub(super) fn of_weight(sizes: &Sizes, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (plane, pixels, many) = (Plane::new(sizes), sizes.pixels(), sizes.written);
    let width = sizes.out[1].next_multiple_of(LANES);
    let mut dweight = vec![0.0; sizes.groups * many * sizes.taps()];
    dweight.par_chunks_mut(many * sizes.taps()).enumerate().for_each(|(group, dweight)| {
        scratch(plane.len() + sizes.out[0] * width, |room| {
            let (padded, rows) = room.split_at_mut(plane.len());
            rows.fill(0.0);
            for b in 0..sizes.batch {
                let channel = b * sizes.groups + group;
                fill(&plane, &x[channel * sizes.pixels_read()..][..sizes.pixels_read()], padded);
                for (j, dweight) in dweight.chunks_exact_mut(sizes.taps()).enumerate() {
                    let dy = &dy[(channel * many + j) * pixels..][..pixels];
                    for (to, dy) in rows.chunks_exact_mut(width).zip(dy.chunks_exact(sizes.out[1])) {
                        to[..dy.len()].copy_from_slice(dy);
                    }
                    correlate(&plane, padded, rows, dweight);
                }
            }
        });
    });
    dweight
}

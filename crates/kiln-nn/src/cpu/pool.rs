//! The largest pixel of each window, and the mean of all pixels.
//! Own the processor's forms; `ops/pool.rs` has the plain ones and the check of shapes.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::kernel::Kernel;
use super::plane::{LANES, Plane, Window, fill};
use super::simd::simd;
use super::slices::{CHUNK, contiguous, dims, scratch, tensor, unwritten, values};

/// Windows of at most 256 pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPool(pub(crate) Window);

simd! {
    /// The first of the largest of each window, one that is no number before all; and which tap sees it.
    fn largest(plane: &Plane, padded: &[f32], y: &mut [f32], which: Option<&mut [u8]>) {
        let width = plane.out()[1];
        assert!(padded.len() >= plane.len() && y.len() <= plane.out()[0] * width);
        match which {
            None => {
                for (row, y) in y.chunks_exact_mut(width).enumerate() {
                    for (i, y) in y.chunks_mut(LANES).enumerate() {
                        let (found, _) = largest_of(plane, padded, row, i * LANES);
                        y.iter_mut().zip(found).for_each(|(y, x)| *y = x);
                    }
                }
            }
            Some(which) => {
                let rows = y.chunks_exact_mut(width).zip(which.chunks_exact_mut(width));
                for (row, (y, which)) in rows.enumerate() {
                    for (i, (y, which)) in y.chunks_mut(LANES).zip(which.chunks_mut(LANES)).enumerate() {
                        let (found, taps) = largest_of(plane, padded, row, i * LANES);
                        y.iter_mut().zip(found).for_each(|(y, x)| *y = x);
                        which.iter_mut().zip(taps).for_each(|(which, tap)| *which = tap as u8);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn largest_of(plane: &Plane, padded: &[f32], row: usize, column: usize) -> ([f32; LANES], [u32; LANES]) {
    let mut found = [f32::NEG_INFINITY; LANES];
    let mut which = first_seen(plane.window(), row, column);
    for (tap, place) in (0u32..).zip(plane.taps()) {
        // SAFETY: `largest` has compared the lengths; row and column are the answer's.
        let x: [f32; LANES] = unsafe { plane.load(padded, row * plane.step() + place + column) };
        for i in 0..LANES {
            let larger = x[i] > found[i] || x[i].is_nan();
            found[i] = if larger { x[i] } else { found[i] };
            which[i] = if larger { tap } else { which[i] };
        }
    }
    (found, which)
}

/// The first tap of some windows that sees the image and not the border: that of a window of nothing but minus infinity.
#[inline(always)]
fn first_seen(window: &Window, row: usize, column: usize) -> [u32; LANES] {
    let border = |axis: usize, at: usize| {
        let before = window.before[axis].cast_unsigned() as u32;
        before.saturating_sub((at * window.stride[axis]) as u32)
    };
    let above = border(0, row) * window.kernel[1] as u32;
    std::array::from_fn(|lane| above + border(1, column + lane))
}

/// The gradient of a plane, added to: each of the answer's goes where its value came from.
fn give_back(window: &Window, which: &[u8], dy: &[f32], dx: &mut [f32]) {
    let (width, across) = (window.image[1], window.out[1]);
    let [above, left] = window.before.map(isize::cast_unsigned);
    let taps: Vec<usize> = (0..window.kernel[0] * window.kernel[1])
        .map(|tap| tap / window.kernel[1] * width + tap % window.kernel[1])
        .collect();
    for (row, (which, dy)) in which.chunks_exact(across).zip(dy.chunks_exact(across)).enumerate() {
        let row = row * window.stride[0] * width;
        for (column, (tap, dy)) in which.iter().zip(dy).enumerate() {
            let seen = row + column * window.stride[1] + taps[usize::from(*tap)];
            dx[seen - (above * width + left)] += dy;
        }
    }
}

impl MaxPool {
    fn pixels(self) -> [usize; 2] {
        [self.0.image, self.0.out].map(|[height, width]| height * width)
    }

    /// Planes `f` of the answer and `which` from those of `x`.
    fn apply(self, x: FlexTensor, which: Option<&mut [u8]>) -> FlexTensor {
        let (x, [read, written]) = (contiguous(x), self.pixels());
        let ([batch, channels, ..], [height, width]) = (shape(&x), self.0.out);
        let plane = Plane::new(self.0);
        let mut y = unwritten(batch * channels * written);
        let one = |x: &[f32], y: &mut [f32], which: Option<&mut [u8]>| {
            scratch(plane.len(), |padded| {
                padded.fill(f32::NEG_INFINITY);
                fill(&plane, x, padded);
                largest(&plane, padded, y, which);
            });
        };
        let planes = y.par_chunks_mut(written).zip(values(&x).par_chunks(read));
        match which {
            None => planes.for_each(|(y, x)| one(x, y, None)),
            Some(which) => {
                planes.zip(which.par_chunks_mut(written)).for_each(|((y, x), which)| one(x, y, Some(which)));
            }
        }
        tensor(y, &[batch, channels, height, width])
    }
}

fn shape(x: &FlexTensor) -> [usize; 4] {
    std::array::from_fn(|i| dims(x)[i])
}

impl Kernel<1> for MaxPool {
    /// Of each value of the answer, the tap that saw it.
    type Kept = Vec<u8>;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, Vec<u8>) {
        let [batch, channels, ..] = shape(&x);
        let mut which = vec![0; batch * channels * self.pixels()[1]];
        (self.apply(x, Some(&mut which)), which)
    }

    fn infer(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        self.apply(x, None)
    }

    fn backward(&self, which: Vec<u8>, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let (gradient, [read, written]) = (contiguous(gradient), self.pixels());
        let ([batch, channels, ..], [height, width]) = (shape(&gradient), self.0.image);
        let mut dx = unwritten(batch * channels * read);
        let planes = dx.par_chunks_mut(read).zip(values(&gradient).par_chunks(written));
        planes.zip(which.par_chunks(written)).for_each(|((dx, dy), which)| {
            dx.fill(0.0);
            give_back(&self.0, which, dy, dx);
        });
        [Some(tensor(dx, &[batch, channels, height, width]))]
    }
}

/// The mean over the pixels of each channel, so many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Average {
    pub(crate) image: [usize; 2],
}

impl Average {
    fn pixels(self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Channels that a thread takes at once.
    fn channels(self) -> usize {
        CHUNK.div_ceil(self.pixels())
    }
}

simd! {
    fn average(x: &[f32], y: &mut [f32], pixels: usize) {
        for (x, y) in x.chunks_exact(pixels).zip(y) {
            // Eight lanes, added by name: that keeps them in vectors, and a small image is not worth more.
            let mut lanes = [0.0f32; 8];
            let (whole, rest) = x.as_chunks::<8>();
            for chunk in whole {
                lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
            }
            let [a, b, c, d, e, f, g, h] = lanes;
            let sum = rest.iter().fold(((a + e) + (c + g)) + ((b + f) + (d + h)), |sum, x| sum + x);
            *y = sum / pixels as f32;
        }
    }
}

impl Kernel<1> for Average {
    type Kept = ();

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        let (x, pixels) = (contiguous(x), self.pixels());
        let [batch, channels, ..] = shape(&x);
        let mut y = unwritten(batch * channels);
        y.par_chunks_mut(self.channels())
            .zip(values(&x).par_chunks(self.channels() * pixels))
            .for_each(|(y, x)| average(x, y, pixels));
        (tensor(y, &[batch, channels]), ())
    }

    fn backward(&self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let (gradient, pixels) = (contiguous(gradient), self.pixels());
        let dy = values(&gradient);
        let mut dx = unwritten(dy.len() * pixels);
        dx.par_chunks_mut(self.channels() * pixels).zip(dy.par_chunks(self.channels())).for_each(
            |(dx, dy)| {
                dx.chunks_exact_mut(pixels).zip(dy).for_each(|(dx, dy)| dx.fill(dy / pixels as f32));
            },
        );
        let found = dims(&gradient);
        [Some(tensor(dx, &[found[0], found[1], self.image[0], self.image[1]]))]
    }
}

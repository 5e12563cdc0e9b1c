//! One channel of an image as the taps of a kernel see it: with a border, and split by the stride so that the pixels a
//! tap sees from a row of the answer lie in a row.
//! Owns the arithmetic of places; never what is done with the pixels. Depthwise convolutions and pooling use it.

use super::simd::simd;

/// Outputs computed at once: of so many rows, a vector or two of each.
pub(crate) const ROWS: usize = 4;
pub(crate) const LANES: usize = 16;

/// How a kernel moves over an image; each `[height, width]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) image: [usize; 2],
    pub(crate) out: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Border before the image; less than none where its first pixels are not seen.
    pub(crate) before: [isize; 2],
}

/// How the plane lies: `[rows, phases, width]`, pixel `j stride + phase` of a row at `j` of its phase.
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    window: Window,
    width: usize,
    rows: usize,
    /// Where the pixels that each tap sees begin, from the place of a row of the answer.
    taps: Vec<usize>,
}

impl Plane {
    pub(crate) fn new(window: Window) -> Self {
        let reach = |axis: usize| window.dilation[axis] * (window.kernel[axis] - 1);
        let width = window.out[1].next_multiple_of(LANES) + reach(1) / window.stride[1];
        let rows = (window.out[0].next_multiple_of(ROWS) - 1) * window.stride[0] + reach(0) + 1;
        let tap = |tap: usize| {
            let [down, across] = [tap / window.kernel[1], tap % window.kernel[1]];
            let [down, across] = [down * window.dilation[0], across * window.dilation[1]];
            let phases = window.stride[1];
            (down * phases + across % phases) * width + across / phases
        };
        let taps = (0..window.kernel[0] * window.kernel[1]).map(tap).collect();
        Self { window, width, rows, taps }
    }

    /// How the kernel moves.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Values of the plane.
    pub(crate) fn len(&self) -> usize {
        self.rows * self.window.stride[1] * self.width
    }

    /// From the place of a row of the answer to that of the next.
    pub(crate) fn step(&self) -> usize {
        self.window.stride[0] * self.window.stride[1] * self.width
    }

    /// See the field.
    pub(crate) fn taps(&self) -> &[usize] {
        &self.taps
    }

    /// Height and width of the answer.
    pub(crate) fn out(&self) -> [usize; 2] {
        self.window.out
    }

    /// Calls `f` with each run of pixels: its place in the plane, its first pixel's in the image, and their number.
    /// In the image they are a stride apart.
    #[inline(always)]
    fn each_run(&self, mut f: impl FnMut(usize, usize, usize)) {
        let Window { image: [height, width], before: [above, left], stride: [_, stride], .. } = self.window;
        let (first, end) = (above.max(0), (above + height as isize).clamp(0, self.rows as isize));
        for row in first..end {
            for phase in 0..stride {
                let offset = phase as isize - left;
                let first = (-offset).max(0).cast_unsigned().div_ceil(stride);
                let end = (width as isize - offset).max(0).cast_unsigned().div_ceil(stride).min(self.width);
                if first < end {
                    let pixel = (row - above) * width as isize + (first * stride) as isize + offset;
                    let place = (row.cast_unsigned() * stride + phase) * self.width + first;
                    f(place, pixel.cast_unsigned(), end - first);
                }
            }
        }
    }

    /// `L` values from `place` on.
    ///
    /// # Safety
    /// `padded` is as long as the plane, and `place` is that of a row of the answer (of rows up to the next multiple of
    /// `ROWS`) plus a tap's, plus the first of a vector's columns.
    #[inline(always)]
    pub(crate) unsafe fn load<const L: usize>(&self, padded: &[f32], place: usize) -> [f32; L] {
        debug_assert!(place + L <= self.len() && self.len() <= padded.len());
        // SAFETY: the caller's promise; `new` made room for exactly these.
        unsafe { padded.as_ptr().add(place).cast::<[f32; L]>().read_unaligned() }
    }

    #[inline(always)]
    fn fill_body(&self, x: &[f32], padded: &mut [f32]) {
        let stride = self.window.stride[1];
        self.each_run(|place, pixel, n| {
            let (to, x) = (&mut padded[place..place + n], &x[pixel..=pixel + (n - 1) * stride]);
            // SAFETY: `i` is below `n`, and the slices reach to the place of `n - 1`.
            strided(n, stride, |i, j| unsafe { *to.get_unchecked_mut(i) = *x.get_unchecked(j) });
        });
    }

    #[inline(always)]
    fn take_body(&self, padded: &[f32], x: &mut [f32]) {
        let stride = self.window.stride[1];
        self.each_run(|place, pixel, n| {
            let (from, x) = (&padded[place..place + n], &mut x[pixel..=pixel + (n - 1) * stride]);
            // SAFETY: as in `fill_body`.
            strided(n, stride, |i, j| unsafe { *x.get_unchecked_mut(j) = *from.get_unchecked(i) });
        });
    }
}

/// Calls `f` with `0, 1 .. n - 1` and `stride` times that, in loops that can be vectorised for the usual strides.
#[inline(always)]
fn strided(n: usize, stride: usize, mut f: impl FnMut(usize, usize)) {
    match stride {
        1 => (0..n).for_each(|i| f(i, i)),
        2 => (0..n).for_each(|i| f(i, 2 * i)),
        _ => (0..n).for_each(|i| f(i, stride * i)),
    }
}

simd! {
    /// Puts an image into the plane; what is not the image's stays.
    pub(crate) fn fill(plane: &Plane, x: &[f32], padded: &mut [f32]) {
        plane.fill_body(x, padded);
    }
}

simd! {
    /// Takes an image out of the plane; pixels that no tap can see stay.
    pub(crate) fn take(plane: &Plane, padded: &[f32], x: &mut [f32]) {
        plane.take_body(padded, x);
    }
}

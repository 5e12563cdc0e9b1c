//! The numbers of a convolution, and its cut into tiles of output rows.
//! Own the arithmetic of places; never touch a pixel.

use burn::tensor::ops::ConvOptions;

use rayon::prelude::*;

use super::super::slices::unwritten;
use crate::precision::Precision;

#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// `IN` and `OUT`, of one group.
    pub(super) read: usize,
    pub(super) written: usize,
    /// `H W`, `OH OW`, `KH KW`
    pub(super) image: [usize; 2],
    pub(super) out: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Zeros before the image; less than none where its first pixels are not seen.
    pub(super) before: [isize; 2],
    /// What the inputs of products are rounded to.
    pub(super) precision: Precision,
}

impl Sizes {
    pub(super) fn new(
        x: [usize; 4],
        weight: [usize; 4],
        options: &ConvOptions<2>,
        precision: Precision,
    ) -> Self {
        let ConvOptions { stride, padding, dilation, groups } = *options;
        let (image, kernel) = ([x[2], x[3]], [weight[2], weight[3]]);
        let out = [0, 1].map(|i| {
            let padded = image[i] + padding[i].0 + padding[i].1;
            (padded - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1
        });
        let before = padding.map(|(before, _)| before as isize);
        let [batch, read, written] = [x[0], weight[1], weight[0] / groups];
        Self { batch, groups, read, written, image, out, kernel, stride, dilation, before, precision }
    }

    /// The convolution that gives the input's gradient from the answer's, where no pixel is skipped.
    pub(super) fn reversed(&self) -> Option<Self> {
        let before = [0, 1].map(|i| (self.dilation[i] * (self.kernel[i] - 1)) as isize - self.before[i]);
        (self.stride == [1, 1]).then_some(Self {
            read: self.written,
            written: self.read,
            image: self.out,
            out: self.image,
            before,
            ..*self
        })
    }

    /// The weight of [`Sizes::reversed`]: `[IN, OUT, KH, KW]` of each group, the taps from last to first.
    pub(super) fn turned(&self, weight: &[f32]) -> Vec<f32> {
        let taps = self.taps();
        let mut turned = unwritten(weight.len());
        turned.par_chunks_exact_mut((self.written * taps).max(1)).enumerate().for_each(|(i, turned)| {
            let (group, i) = (i / self.read, i % self.read);
            for (o, turned) in turned.chunks_exact_mut(taps).enumerate() {
                let from = &weight[((group * self.written + o) * self.read + i) * taps..][..taps];
                turned.iter_mut().zip(from.iter().rev()).for_each(|(to, x)| *to = *x);
            }
        });
        turned
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Pixels of one image read, and written.
    pub(super) fn pixels_read(&self) -> usize {
        self.image[0] * self.image[1]
    }

    pub(super) fn pixels(&self) -> usize {
        self.out[0] * self.out[1]
    }

    pub(super) fn written_shape(&self) -> [usize; 4] {
        [self.batch, self.groups * self.written, self.out[0], self.out[1]]
    }

    /// Pixels of the padded image along `axis` that any patch sees.
    pub(super) fn reach(&self, axis: usize) -> usize {
        let patches = (self.out[axis].max(1) - 1) * self.stride[axis];
        patches + self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Where a row of the image goes in one of the padded image, from which of its pixels on, and how many are seen.
    pub(super) fn seen_of_row(&self) -> (usize, usize, usize) {
        let (columns, width, left) = (self.reach(1), self.image[1], self.before[1]);
        let to = left.clamp(0, columns as isize) as usize;
        let from = (-left).clamp(0, width as isize) as usize;
        (to, from, (width - from).min(columns - to))
    }

    /// Outputs along `axis` for which a tap falls on the image, and the first of them's pixel.
    pub(super) fn seen(&self, axis: usize, tap: usize) -> (std::ops::Range<usize>, usize) {
        let offset = (tap * self.dilation[axis]) as isize - self.before[axis];
        let stride = self.stride[axis] as isize;
        let first = (-offset).max(0).div_ceil_by(stride);
        let end =
            (self.image[axis] as isize - offset).max(0).div_ceil_by(stride).min(self.out[axis] as isize);
        let first = first.min(end);
        (first as usize..end as usize, (first * stride + offset).max(0) as usize)
    }

    /// Tiles of one group: whole images, at least `parts` tiles where there are so many, or rows of one image; with
    /// `values` a pixel they fit a core's cache.
    pub(super) fn tiles(&self, parts: usize, values: usize) -> Vec<Tile> {
        const VALUES: usize = 1 << 18;
        const LEAST_PIXELS: usize = 256;
        let [height, width] = self.out;
        let pixels = (VALUES / values.max(1)).max(LEAST_PIXELS);
        let images = (pixels / self.pixels().max(1)).min(self.batch.div_ceil(parts));
        let tiles = |step: usize, end: usize| {
            (0..end).step_by(step).map(move |first| Tile { first, rows: step.min(end - first) })
        };
        if images > 0 {
            return tiles(images * height.max(1), self.batch * height).collect();
        }
        let rows = (pixels / width.max(1)).max(1);
        // Equal parts of an image.
        let rows = height.div_ceil(height.div_ceil(rows).max(1)).max(1);
        let image = |b: usize| tiles(rows, height).map(move |t| Tile { first: b * height + t.first, ..t });
        (0..self.batch).flat_map(image).collect()
    }
}

trait DivCeil {
    fn div_ceil_by(self, by: isize) -> isize;
}

impl DivCeil for isize {
    /// Of a number not below zero.
    fn div_ceil_by(self, by: isize) -> isize {
        (self + by - 1) / by
    }
}

/// Rows of the answer, counted through the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) first: usize,
    pub(super) rows: usize,
}

impl Tile {
    pub(super) fn pixels(&self, sizes: &Sizes) -> usize {
        self.rows * sizes.out[1]
    }

    /// Image and first pixel where the tile lies in one image.
    pub(super) fn place(&self, sizes: &Sizes) -> Option<(usize, usize)> {
        let (image, row) = (self.first / sizes.out[0], self.first % sizes.out[0]);
        (row + self.rows <= sizes.out[0]).then_some((image, row * sizes.out[1]))
    }

    /// The images of a tile that is of whole ones.
    pub(super) fn images(&self, sizes: &Sizes) -> std::ops::Range<usize> {
        self.first / sizes.out[0]..(self.first + self.rows) / sizes.out[0]
    }
}

//! Gradients of patches, added to the images that the patches came from.
//! Owns the copying; `products.rs` multiplies.

use std::ops::Range;

use super::sizes::{Sizes, Tile};

impl Sizes {
    /// Adds patches to the images they came from; `dx` begins at image `first`.
    pub(super) fn fold(&self, patches: &[f32], group: usize, tile: Tile, first: usize, dx: &mut [f32]) {
        let width = self.out[1];
        let skipped = first * self.groups * self.read * self.pixels_read();
        let mut patches = patches.chunks_exact(tile.pixels(self).max(1));
        for channel in group * self.read..(group + 1) * self.read {
            for (kh, kw) in self.each_tap() {
                let Some(patches) = patches.next() else { return };
                let (seen, from) = self.seen(1, kw);
                self.for_rows(channel, kh, tile, |row, place| {
                    let Some(place) = place.filter(|_| !seen.is_empty()) else { return };
                    let dx = dx[place - skipped + from..].iter_mut().step_by(self.stride[1]);
                    dx.zip(&patches[row * width..][seen.clone()]).for_each(|(to, x)| *to += x);
                });
            }
        }
    }

    fn each_tap(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let [height, width] = self.kernel;
        (0..height).flat_map(move |kh| (0..width).map(move |kw| (kh, kw)))
    }

    /// Calls `f` with each row of a tile and where the row of the input that `kh` sees begins, if on the image.
    fn for_rows(&self, channel: usize, kh: usize, tile: Tile, mut f: impl FnMut(usize, Option<usize>)) {
        let ([height, width], channels) = (self.image, self.groups * self.read);
        let (seen, from) = self.seen(0, kh);
        let (mut b, mut oh) = (tile.first / self.out[0], tile.first % self.out[0]);
        for row in 0..tile.rows {
            let place = seen.contains(&oh).then(|| {
                let ih = from + (oh - seen.start) * self.stride[0];
                ((b * channels + channel) * height + ih) * width
            });
            f(row, place);
            oh += 1;
            if oh == self.out[0] {
                (b, oh) = (b + 1, 0);
            }
        }
    }
}

/// Rows of `channels` for the images of a tile, `[channels, images pixels]`, from `[B, all, pixels]` from `first` on.
pub(super) fn gather(
    x: &[f32],
    [all, first, pixels]: [usize; 3],
    channels: usize,
    images: Range<usize>,
    out: &mut [f32],
) {
    let count = images.len();
    for (i, b) in images.enumerate() {
        for channel in 0..channels {
            let from = &x[(b * all + first + channel) * pixels..][..pixels];
            out[(channel * count + i) * pixels..][..pixels].copy_from_slice(from);
        }
    }
}

//! Operations that replace each level by another: Pillow's `ImageOps`.
//! Owns the tables of 256 levels; never draws a parameter. Hands images back to the transforms.

use crate::decode::DecodedImage;

type Table = [u8; 256];

/// 255 minus the level.
pub(crate) fn invert(image: DecodedImage) -> DecodedImage {
    through(image, |level| 255 - level as u8)
}

/// Inverts levels of `threshold` and above.
pub(crate) fn solarize(image: DecodedImage, threshold: f64) -> DecodedImage {
    through(image, |level| if (level as f64) < threshold { level as u8 } else { 255 - level as u8 })
}

/// Keeps the `bits` high bits; Pillow takes 1 to 8, and 0 leaves nothing.
pub(crate) fn posterize(image: DecodedImage, bits: u32) -> DecodedImage {
    let mask = (0xFF00_u32 >> bits.min(8)) as u8;
    through(image, |level| level as u8 & mask)
}

/// Stretches each channel's levels to 0..255.
pub(crate) fn autocontrast(image: DecodedImage) -> DecodedImage {
    each_channel(image, |counts| {
        let low = counts.iter().position(|&n| n > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
        if high <= low {
            return identity();
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|level| (level as f64 * scale + offset) as u8)
    })
}

/// Spreads each channel's levels so that each range of them is as frequent.
pub(crate) fn equalize(image: DecodedImage) -> DecodedImage {
    each_channel(image, |counts| {
        let last = counts.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
        let step = (counts.iter().sum::<usize>() - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut n = step / 2;
        std::array::from_fn(|level| {
            let to = n / step;
            n += counts[level];
            to.min(255) as u8
        })
    })
}

fn identity() -> Table {
    std::array::from_fn(|level| level as u8)
}

/// One table for all channels.
pub(super) fn through(mut image: DecodedImage, table: impl FnMut(usize) -> u8) -> DecodedImage {
    let table: Table = std::array::from_fn(table);
    image.pixels.iter_mut().for_each(|v| *v = table[*v as usize]);
    image
}

/// A table a channel, from how often each level is in it.
fn each_channel(mut image: DecodedImage, table: impl Fn(&[usize; 256]) -> Table) -> DecodedImage {
    let c = image.channels;
    let mut counts = vec![[0; 256]; c];
    for pixel in image.pixels.chunks_exact(c) {
        for (counts, &level) in counts.iter_mut().zip(pixel) {
            counts[level as usize] += 1;
        }
    }
    let tables: Vec<Table> = counts.iter().map(table).collect();
    for pixel in image.pixels.chunks_exact_mut(c) {
        for (table, level) in tables.iter().zip(pixel) {
            *level = table[*level as usize];
        }
    }
    image
}

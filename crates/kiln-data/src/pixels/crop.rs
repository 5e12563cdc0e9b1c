//! Windows of images and borders around them.
//! Owns which pixel lies where; never the window, which the transforms choose. Hands images back to them.

use crate::config::PaddingMode;
use crate::decode::DecodedImage;

/// Cuts `[height, width]` from `top`, `left`; what lies outside the image is zero.
pub(crate) fn crop(image: &DecodedImage, top: isize, left: isize, size: (usize, usize)) -> DecodedImage {
    let (height, width) = size;
    let c = image.channels;
    let mut pixels = vec![0; height * width * c];
    let (x0, x1) = overlap(left, width, image.width);
    for y in 0..height {
        let from = top + y as isize;
        if x0 < x1 && (0..image.height as isize).contains(&from) {
            let source = (from as usize * image.width + (x0 as isize + left) as usize) * c;
            let target = (y * width + x0) * c;
            let n = (x1 - x0) * c;
            pixels[target..target + n].copy_from_slice(&image.pixels[source..source + n]);
        }
    }
    DecodedImage { height, width, channels: c, pixels }
}

/// The part of a cut's `0..length`, begun at `start`, that lies inside `0..limit`.
fn overlap(start: isize, length: usize, limit: usize) -> (usize, usize) {
    let inside = |v: isize| v.clamp(0, length as isize) as usize;
    (inside(-start), inside(limit as isize - start))
}

/// Where torchvision's `CenterCrop` begins along one side: half the rest rounded half to even; an image smaller
/// than the cut is first padded, the odd pixel after it.
pub(crate) fn center(image: usize, cut: usize) -> isize {
    if image < cut {
        return -(((cut - image) / 2) as isize);
    }
    let (half, odd) = ((image - cut) / 2, (image - cut) % 2);
    (half + if odd == 1 { half % 2 } else { 0 }) as isize
}

/// Adds `[left, top, right, bottom]` pixels; `fill` has one level a channel and serves the constant mode.
pub(crate) fn pad(image: &DecodedImage, sides: [usize; 4], mode: PaddingMode, fill: &[u8]) -> DecodedImage {
    let [left, top, right, bottom] = sides;
    let (height, width) = (image.height + top + bottom, image.width + left + right);
    let c = image.channels;
    let columns: Vec<Option<usize>> =
        (0..width).map(|x| source(x as isize - left as isize, image.width, mode)).collect();
    let mut pixels = Vec::with_capacity(height * width * c);
    for y in 0..height {
        let row = source(y as isize - top as isize, image.height, mode);
        for column in &columns {
            match (row, column) {
                (Some(y), Some(x)) => {
                    pixels.extend_from_slice(&image.pixels[(y * image.width + x) * c..][..c]);
                }
                _ => pixels.extend_from_slice(&fill[..c]),
            }
        }
    }
    DecodedImage { height, width, channels: c, pixels }
}

/// The pixel along a side of `n` that shows at `i`; `None` in a constant border. Borders wider than the image go to
/// and fro, as `numpy.pad`.
fn source(i: isize, n: usize, mode: PaddingMode) -> Option<usize> {
    let last = n as isize - 1;
    if (0..=last).contains(&i) {
        return Some(i as usize);
    }
    match mode {
        PaddingMode::Constant => None,
        PaddingMode::Edge => Some(i.clamp(0, last) as usize),
        PaddingMode::Reflect => {
            let at = i.rem_euclid((2 * last).max(1));
            Some(if at > last { 2 * last - at } else { at.min(last) } as usize)
        }
        PaddingMode::Symmetric => {
            let at = i.rem_euclid(2 * n as isize);
            Some(if at > last { 2 * last + 1 - at } else { at } as usize)
        }
    }
}

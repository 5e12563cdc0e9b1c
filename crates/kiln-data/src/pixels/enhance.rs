//! Brightness, contrast, saturation and sharpness: Pillow's `ImageEnhance`, a blend with a degenerate image.
//! Owns the degenerate images and the blend's arithmetic; never draws a factor. Hands images back to the transforms.

use super::tone::through;
use super::{grayscale, luma};
use crate::decode::DecodedImage;

/// 0 is black, 1 the image, above 1 brighter.
pub(crate) fn brightness(image: DecodedImage, factor: f64) -> DecodedImage {
    toward_level(image, 0, factor)
}

/// 0 is the mean of the image's luma, 1 the image.
pub(crate) fn contrast(image: DecodedImage, factor: f64) -> DecodedImage {
    let levels = image.pixels.len() / image.channels;
    let sum: u64 = match image.channels {
        3 => image.pixels.as_chunks::<3>().0.iter().map(|p| u64::from(luma(p))).sum(),
        _ => image.pixels.iter().map(|&v| u64::from(v)).sum(),
    };
    let mean = (sum as f64 / levels as f64 + 0.5) as u8;
    toward_level(image, mean, factor)
}

/// 0 is grey, 1 the image; grey images stay as they are.
pub(crate) fn saturation(image: DecodedImage, factor: f64) -> DecodedImage {
    if image.channels == 1 {
        return image;
    }
    let grey = grayscale(image.clone());
    blend(&grey, image, factor)
}

/// 0 is smoothed, 1 the image, 2 sharpened.
pub(crate) fn sharpness(image: DecodedImage, factor: f64) -> DecodedImage {
    let smooth = smooth(&image);
    blend(&smooth, image, factor)
}

/// A blend with one level is a table.
fn toward_level(image: DecodedImage, level: u8, factor: f64) -> DecodedImage {
    through(image, |own| mixed(level, own as u8, factor as f32))
}

fn blend(degenerate: &DecodedImage, mut image: DecodedImage, factor: f64) -> DecodedImage {
    let factor = factor as f32;
    for (own, other) in image.pixels.iter_mut().zip(&degenerate.pixels) {
        *own = mixed(*other, *own, factor);
    }
    image
}

/// Pillow's `blend`: single precision, cut to a whole number; factors 0 and 1 are exact by themselves.
fn mixed(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Pillow's `ImageFilter.SMOOTH`: 3x3 weights 1 and a centre of 5, over 13; the border stays.
fn smooth(image: &DecodedImage) -> DecodedImage {
    let (h, w, c) = (image.height, image.width, image.channels);
    let mut out = image.clone();
    let (side, middle) = (1.0_f32 / 13.0, 5.0_f32 / 13.0);
    for y in 1..h.saturating_sub(1) {
        for i in c..(w.saturating_sub(1) * c) {
            let row = |y: usize, centre: f32| {
                let at = |i: usize| f32::from(image.pixels[y * w * c + i]);
                at(i - c) * side + at(i) * centre + at(i + c) * side
            };
            // The order of Pillow's sum: from the row below upwards.
            let sum = 0.5 + row(y + 1, side) + row(y, middle) + row(y - 1, side);
            out.pixels[y * w * c + i] = sum as u8;
        }
    }
    out
}

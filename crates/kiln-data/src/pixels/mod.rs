//! Operations on 8-bit images, each as torchvision does it on Pillow images.
//! Owns the arithmetic; never decides which operation applies, nor draws a parameter (the transforms do).
//! Takes and returns `DecodedImage` until `to_floats` writes the model's numbers.

mod blur;
mod crop;
mod enhance;
mod hue;
mod resample;
mod resize;
mod tone;
mod warp;

pub(crate) use blur::gaussian_blur;
pub(crate) use crop::{center, crop, pad};
pub(crate) use enhance::{brightness, contrast, saturation, sharpness};
pub(crate) use hue::hue;
pub(crate) use resize::resize;
pub(crate) use tone::{autocontrast, equalize, invert, posterize, solarize};
pub(crate) use warp::{affine, perspective, rotate};

use crate::decode::DecodedImage;

/// Grey or RGB as the model reads it, from any image: alpha (the last of 2 or 4 channels) is blended onto
/// `background`, or dropped without one as by Pillow's `convert`; grey becomes RGB by repetition, RGB grey by Pillow's
/// `convert("L")`.
pub(crate) fn with_channels(image: DecodedImage, channels: usize, background: Option<&[u8]>) -> DecodedImage {
    let image = without_alpha(image, background);
    let pixels = match (image.channels, channels) {
        (1, 3) => image.pixels.iter().flat_map(|&v| [v, v, v]).collect(),
        (3, 1) => image.pixels.chunks_exact(3).map(luma).collect(),
        _ => return image,
    };
    DecodedImage { channels, pixels, ..image }
}

fn without_alpha(image: DecodedImage, background: Option<&[u8]>) -> DecodedImage {
    let channels = match image.channels {
        2 => 1,
        4 => 3,
        _ => return image,
    };
    let mut pixels = Vec::with_capacity(image.pixels.len() / image.channels * channels);
    let behind = background.map(|colour| onto(colour, channels));
    for pixel in image.pixels.chunks_exact(image.channels) {
        let alpha = pixel[channels];
        match behind {
            None => pixels.extend_from_slice(&pixel[..channels]),
            Some(behind) => {
                pixels.extend((0..channels).map(|k| over(pixel[k], behind[k], alpha)));
            }
        }
    }
    DecodedImage { channels, pixels, ..image }
}

/// A colour for images of `channels` channels: one level serves all, a colour behind grey is its luma.
fn onto(colour: &[u8], channels: usize) -> [u8; 3] {
    match (colour, channels) {
        ([level], _) => [*level; 3],
        (rgb, 1) => [luma(rgb); 3],
        (rgb, _) => [rgb[0], rgb[1], rgb[2]],
    }
}

/// Pillow's `paste` with a mask: `front * alpha + back * (255 - alpha)` over 255, rounded, in whole numbers.
fn over(front: u8, back: u8, alpha: u8) -> u8 {
    let sum = u32::from(front) * u32::from(alpha) + u32::from(back) * u32::from(255 - alpha) + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

/// ITU-R 601-2 luma in 16-bit fixed point, as Pillow's `convert("L")`.
pub(crate) fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [u32::from(rgb[0]), u32::from(rgb[1]), u32::from(rgb[2])];
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// Grey in the same number of channels, as `to_grayscale`.
pub(crate) fn grayscale(image: DecodedImage) -> DecodedImage {
    let channels = image.channels;
    with_channels(with_channels(image, 1, None), channels, None)
}

/// Mirrors left to right.
pub(crate) fn flip(image: &mut DecodedImage) {
    for row in image.pixels.chunks_exact_mut(image.width * image.channels) {
        match image.channels {
            3 => row.as_chunks_mut::<3>().0.reverse(),
            _ => row.reverse(),
        }
    }
}

/// Mirrors top to bottom.
pub(crate) fn flip_vertically(image: &mut DecodedImage) {
    let row = image.width * image.channels;
    for y in 0..image.height / 2 {
        let (upper, lower) = image.pixels.split_at_mut((image.height - 1 - y) * row);
        upper[y * row..][..row].swap_with_slice(&mut lower[..row]);
    }
}

/// `[H, W, C]` levels to `[C, H, W]` numbers through one table of 256 per channel.
pub(crate) fn to_floats(image: &DecodedImage, tables: &[[f32; 256]]) -> Vec<f32> {
    let c = image.channels;
    let mut out = Vec::with_capacity(image.pixels.len());
    for (channel, table) in tables.iter().enumerate().take(c) {
        match c {
            3 => out.extend(image.pixels.as_chunks::<3>().0.iter().map(|p| table[p[channel] as usize])),
            _ => out.extend(image.pixels.iter().map(|&v| table[v as usize])),
        }
    }
    out
}

/// `(level / 255 - mean) / std` in single precision and this order, as `ToTensor` and `Normalize` compute it.
pub(crate) fn table(mean: f32, std: f32) -> [f32; 256] {
    std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
}

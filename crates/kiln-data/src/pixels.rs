//! Operations on 8-bit images, each as torchvision does it on Pillow images.
//! Owns the arithmetic; never decides which operation applies (the image program does).
//! Takes and returns `DecodedImage` until `to_floats` writes the model's numbers.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::config::Interpolation;
use crate::decode::DecodedImage;

thread_local! {
    /// Keeps the filter's buffers between images.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Grey to RGB by repetition, RGB to grey by Pillow's `convert("L")` (ITU-R 601-2 luma in 16-bit fixed point).
pub(crate) fn with_channels(image: DecodedImage, channels: usize) -> DecodedImage {
    let pixels = match (image.channels, channels) {
        (1, 3) => image.pixels.iter().flat_map(|&v| [v, v, v]).collect(),
        (3, 1) => image.pixels.chunks_exact(3).map(luma).collect(),
        _ => return image,
    };
    DecodedImage { channels, pixels, ..image }
}

fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [u32::from(rgb[0]), u32::from(rgb[1]), u32::from(rgb[2])];
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// Antialiased resize, as `PIL.Image.resize`. `None`: the filter refused the sizes. Rows first, then columns, as
/// Pillow: levels are cut to 0..255 between the two, so the order shows where a cubic overshoots.
pub(crate) fn resize(image: DecodedImage, to: (usize, usize), filter: Interpolation) -> Option<DecodedImage> {
    let filter = match filter {
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let height = image.height;
    let wide = one_pass(image, (height, to.1), filter)?;
    one_pass(wide, to, filter)
}

fn one_pass(
    image: DecodedImage,
    (height, width): (usize, usize),
    filter: FilterType,
) -> Option<DecodedImage> {
    if (image.height, image.width) == (height, width) {
        return Some(image);
    }
    let kind = if image.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = ImageRef::new(side(image.width)?, side(image.height)?, &image.pixels, kind).ok()?;
    let mut target = Image::new(side(width)?, side(height)?, kind);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    RESIZER.with_borrow_mut(|resizer| resizer.resize(&source, &mut target, &options)).ok()?;
    Some(DecodedImage { height, width, channels: image.channels, pixels: target.into_vec() })
}

fn side(n: usize) -> Option<u32> {
    u32::try_from(n).ok().filter(|n| *n > 0)
}

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

/// Mirrors left to right.
pub(crate) fn flip(image: &mut DecodedImage) {
    let c = image.channels;
    for row in image.pixels.chunks_exact_mut(image.width * c) {
        for x in 0..image.width / 2 {
            for k in 0..c {
                row.swap(x * c + k, (image.width - 1 - x) * c + k);
            }
        }
    }
}

/// `[H, W, C]` levels to `[C, H, W]` numbers through one table of 256 per channel.
pub(crate) fn to_floats(image: &DecodedImage, tables: &[[f32; 256]]) -> Vec<f32> {
    let c = image.channels;
    let mut out = Vec::with_capacity(image.pixels.len());
    for (channel, table) in tables.iter().enumerate().take(c) {
        out.extend(image.pixels.iter().skip(channel).step_by(c).map(|&v| table[v as usize]));
    }
    out
}

/// `(level / 255 - mean) / std` in single precision and this order, as `ToTensor` and `Normalize` compute it.
pub(crate) fn table(mean: f32, std: f32) -> [f32; 256] {
    std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
}

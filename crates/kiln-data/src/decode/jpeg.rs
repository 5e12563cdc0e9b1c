//! The pixels of a JPEG, to the last bit as Pillow and torchvision read them: libjpeg-turbo's accurate integer inverse
//! cosine transform, its "fancy" chroma upsampling and its tables of colour. Pretrained weights have seen these levels.
//! Owns the choice of files that are read so; never parses headers for anybody else and refuses nothing: what is not read
//! here is left to the `image` crate, whose levels differ (3 at 4:4:4 and up to 46 of subsampled chroma were measured).

use std::panic::catch_unwind;

use image::{DynamicImage, GrayImage, RgbImage};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat};

use super::{MAX_BYTES, MAX_PIXELS};

/// The image; `None` where the frame is of a rare kind, or too damaged to be read.
pub(super) fn pixels(bytes: &[u8]) -> Option<DynamicImage> {
    // Of headers that contradict themselves the decoder was seen to index past its rows, which Rust stops by a panic.
    catch_unwind(|| read(bytes)).ok().flatten()
}

fn read(bytes: &[u8]) -> Option<DynamicImage> {
    let limits =
        DecodeLimits { max_pixels: MAX_PIXELS, max_memory: Some(MAX_BYTES), ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).ok()?;
    let format = format(&decoder)?;
    decoder.set_output_format(format);
    // As libjpeg: a damaged scan is read as far as it can be, and the rest is grey.
    decoder.set_lenient(true);
    let read = decoder.decode_image().ok()?;
    let (width, height) = (u32::try_from(read.width).ok()?, u32::try_from(read.height).ok()?);
    if format == PixelFormat::Grayscale {
        GrayImage::from_raw(width, height, read.data).map(DynamicImage::ImageLuma8)
    } else {
        let levels = if format == PixelFormat::Cmyk { rgb_of_inks(&read.data) } else { read.data };
        RgbImage::from_raw(width, height, levels).map(DynamicImage::ImageRgb8)
    }
}

/// What to ask for: grey, RGB with less chroma than luma or as much, or four inks of one size. Of other frames, which few
/// programs write, the decoder is not sure.
fn format(decoder: &Decoder<'_>) -> Option<PixelFormat> {
    let header = decoder.header();
    if header.width == 0 || header.height == 0 {
        return None;
    }
    let components = &header.components;
    let sampling: Vec<_> = components.iter().map(|c| (c.horizontal_sampling, c.vertical_sampling)).collect();
    match sampling[..] {
        [_] => Some(PixelFormat::Grayscale),
        [(1 | 2, 1 | 2) | (4, 1), (1, 1), (1, 1)] => Some(PixelFormat::Rgb),
        [(1, 1), (1, 1), (1, 1), (1, 1)] => Some(PixelFormat::Cmyk),
        _ => None,
    }
}

/// Pillow's conversion of inks, which Adobe's programs store inverted: `k - k * (255 - ink) / 255`, rounded.
fn rgb_of_inks(inks: &[u8]) -> Vec<u8> {
    let mut levels = Vec::with_capacity(inks.len() / 4 * 3);
    for ink in inks.as_chunks::<4>().0 {
        let black = u32::from(ink[3]);
        levels.extend(ink[..3].iter().map(|&stored| {
            let product = (255 - u32::from(stored)) * black + 128;
            (black - (((product >> 8) + product) >> 8)) as u8
        }));
    }
    levels
}

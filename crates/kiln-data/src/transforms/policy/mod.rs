//! Augmentation by policy: RandAugment, TrivialAugment, AutoAugment and AugMix share operations and differ in how they
//! choose them and how strongly they act.
//! Owns the operations of torchvision's `_apply_image_or_video_transform`; arithmetic is `pixels`'.

mod aug_mix;
mod auto_augment;
mod rand_augment;
mod space;
mod trivial_augment;

pub use aug_mix::AugMix;
pub use auto_augment::{AutoAugment, AutoAugmentPolicy};
pub use rand_augment::RandAugment;
pub use trivial_augment::TrivialAugmentWide;

#[cfg(test)]
pub(super) use {
    aug_mix::space as aug_mix_space,
    auto_augment::{SPACE as AUTO_AUGMENT, policies},
    rand_augment::SPACE as RAND_AUGMENT,
    trivial_augment::SPACE as TRIVIAL_AUGMENT,
};

use space::Range;

use super::warps::Map;
use super::{Fill, WarpInterpolation};
use crate::decode::DecodedImage;
use crate::draw::Generator;
use crate::order::unit;
use crate::pixels::{
    affine, autocontrast, brightness, contrast, equalize, invert, posterize, rotate, saturation, sharpness,
    solarize,
};

/// One operation of a policy, with the meaning of its magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Identity,
    /// Pixels right for each pixel down.
    ShearX,
    /// Pixels down for each pixel right.
    ShearY,
    /// Pixels, cut to whole ones.
    TranslateX,
    /// Pixels, cut to whole ones.
    TranslateY,
    /// Degrees counterclockwise.
    Rotate,
    /// Factor minus 1.
    Brightness,
    /// Factor minus 1.
    Color,
    /// Factor minus 1.
    Contrast,
    /// Factor minus 1.
    Sharpness,
    /// Bits kept.
    Posterize,
    /// Share of 255.
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

/// How warps read and what lies outside the image.
#[derive(Debug)]
pub(super) struct Style<'a> {
    pub(super) interpolation: WarpInterpolation,
    pub(super) fill: &'a Fill,
}

impl Operation {
    pub(super) fn apply(self, image: DecodedImage, magnitude: f64, style: &Style<'_>) -> DecodedImage {
        let (filter, fill) = (style.interpolation, style.fill.levels());
        // The magnitude is a slope, and the matrix wants degrees.
        let slope = magnitude.atan().to_degrees();
        let sheared = |shear: [f64; 2]| {
            let matrix = Map { shear, ..Map::STILL }.matrix([0.0; 2]);
            affine(&image, matrix, (image.height, image.width), filter, &fill)
        };
        let moved = |translate: [f64; 2]| Map { translate, ..Map::STILL }.apply(&image, filter, &fill);
        match self {
            Operation::Identity => image,
            Operation::ShearX => sheared([slope, 0.0]),
            Operation::ShearY => sheared([0.0, slope]),
            Operation::TranslateX => moved([magnitude.trunc(), 0.0]),
            Operation::TranslateY => moved([0.0, magnitude.trunc()]),
            Operation::Rotate => rotate(&image, magnitude, false, filter, &fill),
            Operation::Brightness => brightness(image, 1.0 + magnitude),
            Operation::Color => saturation(image, 1.0 + magnitude),
            Operation::Contrast => contrast(image, 1.0 + magnitude),
            Operation::Sharpness => sharpness(image, 1.0 + magnitude),
            Operation::Posterize => posterize(image, magnitude as u32),
            Operation::Solarize => solarize(image, 255.0 * magnitude),
            Operation::AutoContrast => autocontrast(image),
            Operation::Equalize => equalize(image),
            Operation::Invert => invert(image),
        }
    }
}

/// An operation with the range of its magnitude.
pub(super) type Entry = (Operation, Range);

/// Operations with their magnitudes, as one image draws them.
pub(super) type Drawn = Vec<(Operation, f64)>;

/// The magnitude in bin `bin` of `bins` for an image of `size`, with a random sign where it has one.
fn magnitude(range: Range, bin: usize, bins: usize, size: (usize, usize), rng: &mut Generator) -> f64 {
    let value = range.at(bin, bins, size);
    if range.signed() && unit(rng) <= 0.5 { -value } else { value }
}

fn apply_all(image: DecodedImage, drawn: Drawn, style: &Style<'_>) -> DecodedImage {
    drawn.into_iter().fold(image, |image, (operation, magnitude)| operation.apply(image, magnitude, style))
}

fn size_of(image: &DecodedImage) -> (usize, usize) {
    (image.height, image.width)
}

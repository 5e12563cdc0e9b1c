//! The image transforms of `[[data.transforms]]`: the list of them, and what each can do.
//! Owns the list and the rules of order; pixel arithmetic is `pixels`', and the program runs them. A new transform is
//! one type that is an `Op`, and one line in the list below.

mod args;
mod color_jitter;
mod crop;
mod erasing;
mod faults;
mod flip;
mod gaussian_blur;
mod hugging_face;
mod normalize;
mod pad;
mod policy;
mod preset;
mod resize;
mod resized_crop;
mod three_augment;
mod tones;
mod warps;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Debug;

pub use args::{Fill, Interpolation, Padding, PaddingMode, Size, Span, WarpInterpolation};
pub use color_jitter::ColorJitter;
pub use crop::{CenterCrop, RandomCrop};
pub use erasing::{Erased, ErasedWith, RandomErasing};
pub(crate) use faults::Faults;
pub use faults::{Fault, faults};
pub use flip::{RandomHorizontalFlip, RandomVerticalFlip};
pub use gaussian_blur::GaussianBlur;
pub(crate) use hugging_face::fields;
pub use normalize::Normalize;
pub use pad::Pad;
pub use policy::{AugMix, AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide};
pub use preset::{Preset, PresetName, expand};
pub(crate) use preset::{PresetOrList, preset_or_list};
pub use resize::Resize;
pub use resized_crop::RandomResizedCrop;
pub use three_augment::ThreeAugment;
pub use tones::{
    RandomAdjustSharpness, RandomAutocontrast, RandomEqualize, RandomGrayscale, RandomInvert,
    RandomPosterize, RandomSolarize,
};
pub use warps::{RandomAffine, RandomPerspective, RandomRotation, Shear};

use crate::decode::DecodedImage;
use crate::draw::Generator;
use crate::kinds::kinds;

/// What a transform does. Random ones draw from the sample's generator, in order, and act in training only.
pub(crate) trait Op: Debug {
    /// Faults of its own keys, for images of `channels` channels.
    fn check(&self, _channels: usize, _faults: &mut Faults) {}

    /// `(H, W)` after it, from the `(H, W)` before, in evaluation; training ends with the same.
    fn size(&self, size: (usize, usize)) -> (usize, usize) {
        size
    }

    /// Training.
    fn train(&self, image: DecodedImage, _rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        self.evaluate(image)
    }

    /// Evaluation and prediction: its fixed counterpart.
    fn evaluate(&self, image: DecodedImage) -> Result<DecodedImage, Misfit> {
        Ok(image)
    }

    /// What it acts on.
    fn stage(&self) -> Stage {
        Stage::Pixels
    }

    /// Whether it does the same to an image each time, in training and evaluation, and draws nothing.
    fn is_fixed(&self) -> bool {
        false
    }

    /// Training, on the `[C, H, W]` numbers that the model reads.
    fn train_numbers(&self, _values: &mut [f32], _shape: [usize; 3], _rng: &mut Generator) {}
}

/// What a transform acts on; a list goes through these in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// 8-bit pixels.
    Pixels,
    /// Pixels to numbers.
    Normalize,
    /// Numbers.
    Numbers,
}

/// An image that a transform cannot take.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) expected: String,
    pub(crate) got: String,
    pub(crate) remedy: &'static str,
}

kinds! {
    /// One image transform. Each is documented at its type, of which this is the list.
    pub enum Transform: Op {
        Resize,
        CenterCrop,
        RandomCrop,
        RandomResizedCrop,
        Pad,
        RandomHorizontalFlip,
        RandomVerticalFlip,
        RandomRotation,
        RandomAffine,
        RandomPerspective,
        ColorJitter,
        RandomGrayscale,
        GaussianBlur,
        RandomSolarize,
        RandomPosterize,
        RandomEqualize,
        RandomAutocontrast,
        RandomAdjustSharpness,
        RandomInvert,
        RandAugment,
        TrivialAugmentWide,
        AutoAugment,
        AugMix,
        ThreeAugment,
        Normalize,
        RandomErasing,
        Preset,
    }
}

//! AutoAugment (Cubuk et al., 2018): policies that were searched on ImageNet, CIFAR-10 and SVHN, as torchvision has them.
//! Owns the policies and their choice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Operation::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness, ShearX,
    ShearY, Solarize, TranslateX, TranslateY,
};
use super::space::Range;
use super::{Drawn, Entry, Operation, Style, apply_all, magnitude, size_of};
use crate::decode::DecodedImage;
use crate::draw::Generator;
use crate::order::{below, unit};
use crate::transforms::faults::Faults;
use crate::transforms::{Fill, Misfit, Op, WarpInterpolation};

/// Apply one of 25 pairs of operations that were found by search (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AutoAugment {
    /// Where the pairs were found.
    #[serde(default)]
    pub policy: AutoAugmentPolicy,
    /// How warps read pixels.
    #[serde(default)]
    pub interpolation: WarpInterpolation,
    /// Colour outside the image: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
}

/// Policies of AutoAugment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoAugmentPolicy {
    /// ImageNet.
    #[default]
    Imagenet,
    /// CIFAR-10.
    Cifar10,
    /// Street View House Numbers.
    Svhn,
}

/// Two operations, each with its probability and the bin of its magnitude, of [`BINS`].
type SubPolicy = [(Operation, f64, usize); 2];

const BINS: usize = 10;

/// torchvision's table, in its order.
pub(in crate::transforms) const SPACE: [Entry; 14] = [
    (ShearX, Range::To(0.3)),
    (ShearY, Range::To(0.3)),
    (TranslateX, Range::OfWidth(150.0 / 331.0)),
    (TranslateY, Range::OfHeight(150.0 / 331.0)),
    (Rotate, Range::To(30.0)),
    (Brightness, Range::To(0.9)),
    (Color, Range::To(0.9)),
    (Contrast, Range::To(0.9)),
    (Sharpness, Range::To(0.9)),
    (Posterize, Range::Bits(8.0, 4.0)),
    (Solarize, Range::Falling),
    (AutoContrast, Range::None),
    (Equalize, Range::None),
    (Invert, Range::None),
];

/// The 25 pairs of a policy.
pub(in crate::transforms) fn policies(policy: AutoAugmentPolicy) -> &'static [SubPolicy; 25] {
    match policy {
        AutoAugmentPolicy::Imagenet => &IMAGENET,
        AutoAugmentPolicy::Cifar10 => &CIFAR10,
        AutoAugmentPolicy::Svhn => &SVHN,
    }
}

impl Op for AutoAugment {
    fn check(&self, channels: usize, faults: &mut Faults) {
        self.fill.check(channels, faults);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let drawn = self.draw(size_of(&image), rng);
        Ok(apply_all(image, drawn, &Style { interpolation: self.interpolation, fill: &self.fill }))
    }
}

impl AutoAugment {
    pub(in crate::transforms) fn draw(&self, size: (usize, usize), rng: &mut Generator) -> Drawn {
        let pairs = policies(self.policy);
        let mut drawn = Vec::new();
        for (operation, p, bin) in pairs[below(rng, pairs.len())] {
            if unit(rng) <= p {
                let entry = SPACE.iter().find(|(own, _)| *own == operation);
                let range = entry.map_or(Range::None, |(_, range)| *range);
                drawn.push((operation, magnitude(range, bin, BINS, size, rng)));
            }
        }
        drawn
    }
}

const IMAGENET: [SubPolicy; 25] = [
    [(Posterize, 0.4, 8), (Rotate, 0.6, 9)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.8, 0), (Equalize, 0.6, 0)],
    [(Posterize, 0.6, 7), (Posterize, 0.6, 6)],
    [(Equalize, 0.4, 0), (Solarize, 0.2, 4)],
    [(Equalize, 0.4, 0), (Rotate, 0.8, 8)],
    [(Solarize, 0.6, 3), (Equalize, 0.6, 0)],
    [(Posterize, 0.8, 5), (Equalize, 1.0, 0)],
    [(Rotate, 0.2, 3), (Solarize, 0.6, 8)],
    [(Equalize, 0.6, 0), (Posterize, 0.4, 6)],
    [(Rotate, 0.8, 8), (Color, 0.4, 0)],
    [(Rotate, 0.4, 9), (Equalize, 0.6, 0)],
    [(Equalize, 0.0, 0), (Equalize, 0.8, 0)],
    [(Invert, 0.6, 0), (Equalize, 1.0, 0)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Rotate, 0.8, 8), (Color, 1.0, 2)],
    [(Color, 0.8, 8), (Solarize, 0.8, 7)],
    [(Sharpness, 0.4, 7), (Invert, 0.6, 0)],
    [(ShearX, 0.6, 5), (Equalize, 1.0, 0)],
    [(Color, 0.4, 0), (Equalize, 0.6, 0)],
    [(Equalize, 0.4, 0), (Solarize, 0.2, 4)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 0)],
    [(Invert, 0.6, 0), (Equalize, 1.0, 0)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Equalize, 0.8, 0), (Equalize, 0.6, 0)],
];

const CIFAR10: [SubPolicy; 25] = [
    [(Invert, 0.1, 0), (Contrast, 0.2, 6)],
    [(Rotate, 0.7, 2), (TranslateX, 0.3, 9)],
    [(Sharpness, 0.8, 1), (Sharpness, 0.9, 3)],
    [(ShearY, 0.5, 8), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.5, 0), (Equalize, 0.9, 0)],
    [(ShearY, 0.2, 7), (Posterize, 0.3, 7)],
    [(Color, 0.4, 3), (Brightness, 0.6, 7)],
    [(Sharpness, 0.3, 9), (Brightness, 0.7, 9)],
    [(Equalize, 0.6, 0), (Equalize, 0.5, 0)],
    [(Contrast, 0.6, 7), (Sharpness, 0.6, 5)],
    [(Color, 0.7, 7), (TranslateX, 0.5, 8)],
    [(Equalize, 0.3, 0), (AutoContrast, 0.4, 0)],
    [(TranslateY, 0.4, 3), (Sharpness, 0.2, 6)],
    [(Brightness, 0.9, 6), (Color, 0.2, 8)],
    [(Solarize, 0.5, 2), (Invert, 0.0, 0)],
    [(Equalize, 0.2, 0), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.2, 0), (Equalize, 0.6, 0)],
    [(Color, 0.9, 9), (Equalize, 0.6, 0)],
    [(AutoContrast, 0.8, 0), (Solarize, 0.2, 8)],
    [(Brightness, 0.1, 3), (Color, 0.7, 0)],
    [(Solarize, 0.4, 5), (AutoContrast, 0.9, 0)],
    [(TranslateY, 0.9, 9), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.9, 0), (Solarize, 0.8, 3)],
    [(Equalize, 0.8, 0), (Invert, 0.1, 0)],
    [(TranslateY, 0.7, 9), (AutoContrast, 0.9, 0)],
];

const SVHN: [SubPolicy; 25] = [
    [(ShearX, 0.9, 4), (Invert, 0.2, 0)],
    [(ShearY, 0.9, 8), (Invert, 0.7, 0)],
    [(Equalize, 0.6, 0), (Solarize, 0.6, 6)],
    [(Invert, 0.9, 0), (Equalize, 0.6, 0)],
    [(Equalize, 0.6, 0), (Rotate, 0.9, 3)],
    [(ShearX, 0.9, 4), (AutoContrast, 0.8, 0)],
    [(ShearY, 0.9, 8), (Invert, 0.4, 0)],
    [(ShearY, 0.9, 5), (Solarize, 0.2, 6)],
    [(Invert, 0.9, 0), (AutoContrast, 0.8, 0)],
    [(Equalize, 0.6, 0), (Rotate, 0.9, 3)],
    [(ShearX, 0.9, 4), (Solarize, 0.3, 3)],
    [(ShearY, 0.8, 8), (Invert, 0.7, 0)],
    [(Equalize, 0.9, 0), (TranslateY, 0.6, 6)],
    [(Invert, 0.9, 0), (Equalize, 0.6, 0)],
    [(Contrast, 0.3, 3), (Rotate, 0.8, 4)],
    [(Invert, 0.8, 0), (TranslateY, 0.0, 2)],
    [(ShearY, 0.7, 6), (Solarize, 0.4, 8)],
    [(Invert, 0.6, 0), (Rotate, 0.8, 4)],
    [(ShearY, 0.3, 7), (TranslateX, 0.9, 3)],
    [(ShearX, 0.1, 6), (Invert, 0.6, 0)],
    [(Solarize, 0.7, 2), (TranslateY, 0.6, 7)],
    [(ShearY, 0.8, 4), (Invert, 0.8, 0)],
    [(ShearX, 0.7, 9), (TranslateY, 0.8, 3)],
    [(ShearY, 0.8, 5), (AutoContrast, 0.7, 0)],
    [(ShearX, 0.7, 2), (Invert, 0.1, 0)],
];

//! TrivialAugment Wide (Müller and Hutter, 2021), with torchvision's operations and magnitudes.
//! Owns its table and choice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rand_augment::bins;
use super::space::Range;
use super::{Drawn, Entry, Operation, Style, apply_all, magnitude, size_of};
use crate::decode::DecodedImage;
use crate::draw::Generator;
use crate::order::below;
use crate::transforms::faults::Faults;
use crate::transforms::{Fill, Misfit, Op, WarpInterpolation};

/// Apply one random operation of random strength (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrivialAugmentWide {
    /// Bins from no effect to the strongest.
    #[serde(default = "bins")]
    #[schemars(range(min = 2, max = 1001))]
    pub num_magnitude_bins: usize,
    /// How warps read pixels.
    #[serde(default)]
    pub interpolation: WarpInterpolation,
    /// Colour outside the image: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
}

/// torchvision's table, in its order.
pub(in crate::transforms) const SPACE: [Entry; 14] = [
    (Operation::Identity, Range::None),
    (Operation::ShearX, Range::To(0.99)),
    (Operation::ShearY, Range::To(0.99)),
    (Operation::TranslateX, Range::To(32.0)),
    (Operation::TranslateY, Range::To(32.0)),
    (Operation::Rotate, Range::To(135.0)),
    (Operation::Brightness, Range::To(0.99)),
    (Operation::Color, Range::To(0.99)),
    (Operation::Contrast, Range::To(0.99)),
    (Operation::Sharpness, Range::To(0.99)),
    (Operation::Posterize, Range::Bits(8.0, 6.0)),
    (Operation::Solarize, Range::Falling),
    (Operation::AutoContrast, Range::None),
    (Operation::Equalize, Range::None),
];

impl Op for TrivialAugmentWide {
    fn check(&self, channels: usize, faults: &mut Faults) {
        let few = self.num_magnitude_bins < 2;
        faults.add_if(few, "num_magnitude_bins", "`num_magnitude_bins` is below 2", "for example: 31");
        self.fill.check(channels, faults);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let drawn = self.draw(size_of(&image), rng);
        Ok(apply_all(image, drawn, &Style { interpolation: self.interpolation, fill: &self.fill }))
    }
}

impl TrivialAugmentWide {
    pub(in crate::transforms) fn draw(&self, size: (usize, usize), rng: &mut Generator) -> Drawn {
        let (operation, range) = SPACE[below(rng, SPACE.len())];
        let bin = if range == Range::None { 0 } else { below(rng, self.num_magnitude_bins) };
        vec![(operation, magnitude(range, bin, self.num_magnitude_bins, size, rng))]
    }
}

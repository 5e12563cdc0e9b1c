//! RandAugment (Cubuk et al., 2019), with torchvision's operations and magnitudes.
//! Owns its table and choice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::space::Range;
use super::{Drawn, Entry, Operation, Style, apply_all, magnitude, size_of};
use crate::decode::DecodedImage;
use crate::draw::Generator;
use crate::order::below;
use crate::transforms::faults::Faults;
use crate::transforms::{Fill, Misfit, Op, WarpInterpolation};

/// Apply `num_ops` random operations of one strength, one after another (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandAugment {
    /// Operations.
    #[serde(default = "num_ops")]
    #[schemars(range(min = 0, max = 100))]
    pub num_ops: usize,
    /// Strength: the bin of every magnitude, from 0.
    #[serde(default = "strength")]
    #[schemars(range(min = 0, max = 1000))]
    pub magnitude: usize,
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

fn num_ops() -> usize {
    2
}

fn strength() -> usize {
    9
}

pub(super) fn bins() -> usize {
    31
}

impl Default for RandAugment {
    fn default() -> Self {
        Self {
            num_ops: num_ops(),
            magnitude: strength(),
            num_magnitude_bins: bins(),
            interpolation: WarpInterpolation::default(),
            fill: Fill::default(),
        }
    }
}

/// torchvision's table, in its order.
pub(in crate::transforms) const SPACE: [Entry; 14] = [
    (Operation::Identity, Range::None),
    (Operation::ShearX, Range::To(0.3)),
    (Operation::ShearY, Range::To(0.3)),
    (Operation::TranslateX, Range::OfWidth(150.0 / 331.0)),
    (Operation::TranslateY, Range::OfHeight(150.0 / 331.0)),
    (Operation::Rotate, Range::To(30.0)),
    (Operation::Brightness, Range::To(0.9)),
    (Operation::Color, Range::To(0.9)),
    (Operation::Contrast, Range::To(0.9)),
    (Operation::Sharpness, Range::To(0.9)),
    (Operation::Posterize, Range::Bits(8.0, 4.0)),
    (Operation::Solarize, Range::Falling),
    (Operation::AutoContrast, Range::None),
    (Operation::Equalize, Range::None),
];

impl Op for RandAugment {
    fn check(&self, channels: usize, faults: &mut Faults) {
        let (own, bins) = (self.magnitude, self.num_magnitude_bins);
        faults.add_if(bins < 2, "num_magnitude_bins", "`num_magnitude_bins` is below 2", "for example: 31");
        let problem = format!("`magnitude` is {own}, and there are {bins} bins, counted from 0");
        faults.add_if(own >= bins, "magnitude", problem, "lower it, or raise num_magnitude_bins");
        self.fill.check(channels, faults);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let drawn = self.draw(size_of(&image), rng);
        Ok(apply_all(image, drawn, &Style { interpolation: self.interpolation, fill: &self.fill }))
    }
}

impl RandAugment {
    pub(in crate::transforms) fn draw(&self, size: (usize, usize), rng: &mut Generator) -> Drawn {
        let one = |_| {
            let (operation, range) = SPACE[below(rng, SPACE.len())];
            (operation, magnitude(range, self.magnitude, self.num_magnitude_bins, size, rng))
        };
        (0..self.num_ops).map(one).collect()
    }
}

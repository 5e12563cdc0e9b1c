//! Changes of tone that happen or do not: grey, solarize, posterize, equalize, autocontrast, sharpness, invert.
//! Owns their chances and parameters; the arithmetic is `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::flip::half;
use super::{Misfit, Op};
use crate::decode::DecodedImage;
use crate::draw::{Generator, chance};
use crate::pixels::{autocontrast, equalize, grayscale, invert, posterize, sharpness, solarize};

/// A transform that acts with probability `p` in training, and never in evaluation.
macro_rules! by_chance {
    ($name:ident, |$own:ident, $image:ident| $act:expr) => {
        by_chance!($name, |$own, $image| $act, |_own, _faults| {});
    };
    ($name:ident, |$own:ident, $image:ident| $act:expr, |$me:ident, $faults:ident| $check:expr) => {
        impl Op for $name {
            fn check(&self, _channels: usize, faults: &mut Faults) {
                faults.share("p", self.p);
                let ($me, $faults) = (self, faults);
                $check;
            }

            fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
                let ($own, $image) = (self, image);
                Ok(if chance(rng, $own.p) { $act } else { $image })
            }
        }
    };
}

/// Make grey with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomGrayscale {
    /// Probability.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

fn tenth() -> f64 {
    0.1
}

/// Invert levels of `threshold` and above with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomSolarize {
    /// Level, 0 to 256; 256 inverts none.
    #[schemars(range(min = 0.0, max = 256.0))]
    pub threshold: f64,
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Keep the high `bits` of each level with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomPosterize {
    /// Bits kept.
    #[schemars(range(min = 1, max = 8))]
    pub bits: u32,
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Equalize each channel's histogram with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomEqualize {
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Stretch each channel's levels to 0..255 with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomAutocontrast {
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Sharpen or smooth with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomAdjustSharpness {
    /// 0 smooths, 1 leaves as is, 2 sharpens.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub sharpness_factor: f64,
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Invert all levels with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomInvert {
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

by_chance!(RandomGrayscale, |own, image| grayscale(image));
by_chance!(RandomEqualize, |own, image| equalize(image));
by_chance!(RandomAutocontrast, |own, image| autocontrast(image));
by_chance!(RandomInvert, |own, image| invert(image));
by_chance!(RandomSolarize, |own, image| solarize(image, own.threshold), |own, faults| {
    let wrong = !(0.0..=256.0).contains(&own.threshold);
    let problem = format!("`threshold` is {}, and must be 0 to 256", own.threshold);
    faults.add_if(wrong, "threshold", problem, "for example: threshold = 128");
});
by_chance!(RandomPosterize, |own, image| posterize(image, own.bits), |own, faults| {
    let wrong = !(1..=8).contains(&own.bits);
    faults.add_if(
        wrong,
        "bits",
        format!("`bits` is {}, and must be 1 to 8", own.bits),
        "for example: bits = 4",
    );
});
by_chance!(RandomAdjustSharpness, |own, image| sharpness(image, own.sharpness_factor), |own, faults| {
    let wrong = !(0.0..=1000.0).contains(&own.sharpness_factor);
    let problem = format!("`sharpness_factor` is {}, and must be 0 to 1000", own.sharpness_factor);
    faults.add_if(wrong, "sharpness_factor", problem, "for example: sharpness_factor = 2");
});

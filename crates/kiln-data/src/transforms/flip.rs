//! Mirrors.
//! Owns their chance; the mirrors are `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Misfit, Op};
use crate::decode::DecodedImage;
use crate::draw::{Generator, chance};
use crate::pixels::{flip, flip_vertically};

/// Mirror left to right with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomHorizontalFlip {
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Mirror top to bottom with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomVerticalFlip {
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

pub(super) fn half() -> f64 {
    0.5
}

impl Op for RandomHorizontalFlip {
    fn check(&self, _channels: usize, faults: &mut Faults) {
        faults.share("p", self.p);
    }

    fn train(&self, mut image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        if chance(rng, self.p) {
            flip(&mut image);
        }
        Ok(image)
    }
}

impl Op for RandomVerticalFlip {
    fn check(&self, _channels: usize, faults: &mut Faults) {
        faults.share("p", self.p);
    }

    fn train(&self, mut image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        if chance(rng, self.p) {
            flip_vertically(&mut image);
        }
        Ok(image)
    }
}

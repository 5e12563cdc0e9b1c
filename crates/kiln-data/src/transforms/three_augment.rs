//! 3-Augment of DeiT III (Touvron et al., 2022): each image is made grey, solarized or blurred.
//! Owns the choice and the blur's width; the arithmetic is `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Misfit, Op};
use crate::decode::DecodedImage;
use crate::draw::{Generator, between};
use crate::order::below;
use crate::pixels::{gaussian_blur, grayscale, solarize};

/// Make grey, invert levels of 128 and above, or blur, one of the three by an even draw (training only). The blur is a
/// Gaussian; Pillow's, which the authors use, is three boxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreeAugment {
    /// Least and largest standard deviation of the blur in pixels.
    #[serde(default = "sigma")]
    pub sigma: [f64; 2],
}

fn sigma() -> [f64; 2] {
    [0.1, 2.0]
}

/// What is done to one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Choice {
    Grey,
    Solarize,
    /// Of this standard deviation.
    Blur(f64),
}

impl ThreeAugment {
    pub(super) fn draw(&self, rng: &mut Generator) -> Choice {
        match below(rng, 3) {
            0 => Choice::Grey,
            1 => Choice::Solarize,
            _ => Choice::Blur(between(rng, self.sigma)),
        }
    }
}

impl Op for ThreeAugment {
    fn check(&self, _channels: usize, faults: &mut Faults) {
        faults.range("sigma", self.sigma, (1e-3, 40.0));
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        Ok(match self.draw(rng) {
            Choice::Grey => grayscale(image),
            Choice::Solarize => solarize(image, 128.0),
            // Three standard deviations to each side hold 99.7 % of the weight.
            Choice::Blur(sigma) => gaussian_blur(&image, 2 * (3.0 * sigma).ceil() as usize + 1, sigma),
        })
    }
}

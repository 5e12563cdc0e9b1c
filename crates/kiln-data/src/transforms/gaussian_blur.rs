//! Gaussian blur of random width.
//! Owns its words and draws; the blur is `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Misfit, Op, Span};
use crate::decode::DecodedImage;
use crate::draw::{Generator, between, chance};
use crate::pixels::gaussian_blur;

/// Blur with probability `p` (training only). torchvision's has no `p`: it always blurs, as the default does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GaussianBlur {
    /// Side of the window in pixels, odd.
    #[schemars(range(min = 1, max = 255))]
    pub kernel_size: usize,
    /// Standard deviation in pixels: drawn from `[low, high]`, or one number.
    #[serde(default = "sigma")]
    pub sigma: Span,
    /// Probability.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

fn sigma() -> Span {
    Span::Between([0.1, 2.0])
}

fn one() -> f64 {
    1.0
}

impl GaussianBlur {
    fn range(&self) -> [f64; 2] {
        match self.sigma {
            Span::Width(sigma) => [sigma; 2],
            Span::Between(range) => range,
        }
    }
}

impl Op for GaussianBlur {
    fn check(&self, _channels: usize, faults: &mut Faults) {
        let odd = self.kernel_size % 2 == 1 && self.kernel_size < 256;
        let problem = format!("`kernel_size` is {}, and must be odd and below 256", self.kernel_size);
        faults.add_if(!odd, "kernel_size", problem, "for example: kernel_size = 23");
        faults.range("sigma", self.range(), (1e-3, f64::MAX));
        faults.share("p", self.p);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        if !chance(rng, self.p) {
            return Ok(image);
        }
        let sigma = between(rng, self.range());
        Ok(gaussian_blur(&image, self.kernel_size, sigma))
    }
}

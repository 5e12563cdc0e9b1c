//! A random part of the image at a fixed size, the crop of Inception and of nearly every ImageNet recipe.
//! Owns which part; the cut and the filter are `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crop::center_crop;
use super::faults::Faults;
use super::resize::resized;
use super::{Interpolation, Misfit, Op, Size};
use crate::decode::DecodedImage;
use crate::draw::{Generator, between};
use crate::order::below;
use crate::pixels::crop;

/// Cut a part of random area and ratio, then resize it (training). Evaluation resizes so that `size` is
/// `crop_fraction` of the image, then cuts the centre, as timm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomResizedCrop {
    /// Side in pixels, or `[height, width]`.
    pub size: Size,
    /// Least and largest area, as shares of the image's.
    #[serde(default = "scale")]
    pub scale: [f64; 2],
    /// Least and largest width over height; its logarithm is uniform.
    #[serde(default = "ratio")]
    pub ratio: [f64; 2],
    /// The filter.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Evaluation: the cut's side as a share of the resized image's shorter side.
    #[serde(default = "crop_fraction")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub crop_fraction: f64,
}

fn scale() -> [f64; 2] {
    [0.08, 1.0]
}

fn ratio() -> [f64; 2] {
    [0.75, 4.0 / 3.0]
}

fn crop_fraction() -> f64 {
    0.875
}

impl RandomResizedCrop {
    /// torchvision's defaults.
    pub fn new(size: Size, interpolation: Interpolation) -> Self {
        Self { size, scale: scale(), ratio: ratio(), interpolation, crop_fraction: crop_fraction() }
    }

    /// `(top, left, height, width)` of the part to cut. Ten tries for a part that lies inside, then the largest part
    /// in the middle whose ratio is allowed.
    pub(super) fn part(&self, (h, w): (usize, usize), rng: &mut Generator) -> (usize, usize, usize, usize) {
        let area = (h * w) as f64;
        let [narrow, wide] = self.ratio;
        for _ in 0..10 {
            let area = area * between(rng, self.scale);
            let ratio = between(rng, [narrow.ln(), wide.ln()]).exp();
            let width = (area * ratio).sqrt().round_ties_even() as usize;
            let height = (area / ratio).sqrt().round_ties_even() as usize;
            if (1..=w).contains(&width) && (1..=h).contains(&height) {
                return (below(rng, h - height + 1), below(rng, w - width + 1), height, width);
            }
        }
        let own = w as f64 / h as f64;
        let (height, width) = match own {
            _ if own < narrow => (((w as f64 / narrow).round_ties_even() as usize).clamp(1, h), w),
            _ if own > wide => (h, ((h as f64 * wide).round_ties_even() as usize).clamp(1, w)),
            _ => (h, w),
        };
        ((h - height) / 2, (w - width) / 2, height, width)
    }

    /// The size of the whole image in evaluation: as small as covers `size / crop_fraction`.
    pub(super) fn whole(&self, (h, w): (usize, usize)) -> (usize, usize) {
        let (cut_h, cut_w) = self.size.sides();
        let grown = |side: usize| ((side as f64 / self.crop_fraction).floor() as usize).max(side);
        let (to_h, to_w) = (grown(cut_h), grown(cut_w));
        // Which side decides is told in whole numbers, so that no rounding can make the image too small.
        if to_h * w >= to_w * h { (to_h, to_h * w / h.max(1)) } else { (to_w * h / w.max(1), to_w) }
    }
}

impl Op for RandomResizedCrop {
    fn check(&self, _channels: usize, faults: &mut Faults) {
        self.size.check(faults);
        faults.range("scale", self.scale, (0.0, 1.0));
        faults.range("ratio", self.ratio, (1e-3, 1e3));
        let wrong = !(0.01..=1.0).contains(&self.crop_fraction);
        let problem = format!("`crop_fraction` is {}, and must be 0.01 to 1", self.crop_fraction);
        faults.add_if(wrong, "crop_fraction", problem, "for example: crop_fraction = 0.875");
    }

    fn size(&self, _size: (usize, usize)) -> (usize, usize) {
        self.size.sides()
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let (top, left, height, width) = self.part((image.height, image.width), rng);
        let part = crop(&image, top as isize, left as isize, (height, width));
        resized(part, self.size.sides(), self.interpolation)
    }

    fn evaluate(&self, image: DecodedImage) -> Result<DecodedImage, Misfit> {
        let whole = self.whole((image.height, image.width));
        Ok(center_crop(resized(image, whole, self.interpolation)?, self.size.sides()))
    }
}

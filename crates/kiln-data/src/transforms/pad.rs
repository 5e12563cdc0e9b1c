//! A border of fixed width, in training and evaluation.
//! Owns its words; the border itself is `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Fill, Misfit, Op, Padding, PaddingMode};
use crate::decode::DecodedImage;
use crate::pixels::pad;

/// Add pixels around the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pad {
    /// Pixels: on every side, or `[left and right, top and bottom]`, or `[left, top, right, bottom]`.
    pub padding: Padding,
    /// What they show.
    #[serde(default)]
    pub padding_mode: PaddingMode,
    /// Colour of a constant border: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
}

impl Op for Pad {
    fn is_fixed(&self) -> bool {
        true
    }

    fn check(&self, channels: usize, faults: &mut Faults) {
        self.padding.check(faults);
        self.fill.check(channels, faults);
    }

    fn size(&self, (h, w): (usize, usize)) -> (usize, usize) {
        let [left, top, right, bottom] = self.padding.sides();
        (h + top + bottom, w + left + right)
    }

    fn evaluate(&self, image: DecodedImage) -> Result<DecodedImage, Misfit> {
        Ok(pad(&image, self.padding.sides(), self.padding_mode, &self.fill.levels()))
    }
}

//! Cuts of a fixed size: the centre, or a random place.
//! Owns where they are; the cut itself is `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Fill, Misfit, Op, Padding, PaddingMode, Size};
use crate::decode::DecodedImage;
use crate::draw::Generator;
use crate::order::below;
use crate::pixels::{center, crop, pad};

/// Cut the centre.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CenterCrop {
    /// Side in pixels, or `[height, width]`.
    pub size: Size,
}

/// Pad, then cut at a random place (training); cut the centre without padding (evaluation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomCrop {
    /// Side in pixels, or `[height, width]`.
    pub size: Size,
    /// Pixels added before the cut: on every side, or `[left and right, top and bottom]`, or
    /// `[left, top, right, bottom]`.
    #[serde(default)]
    pub padding: Padding,
    /// What the added pixels show.
    #[serde(default)]
    pub padding_mode: PaddingMode,
    /// Colour of a constant border: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
    /// Pad images that are smaller than the cut instead of refusing them.
    #[serde(default)]
    pub pad_if_needed: bool,
}

impl Op for CenterCrop {
    fn is_fixed(&self) -> bool {
        true
    }

    fn check(&self, _channels: usize, faults: &mut Faults) {
        self.size.check(faults);
    }

    fn size(&self, _size: (usize, usize)) -> (usize, usize) {
        self.size.sides()
    }

    fn evaluate(&self, image: DecodedImage) -> Result<DecodedImage, Misfit> {
        Ok(center_crop(image, self.size.sides()))
    }
}

impl Op for RandomCrop {
    fn check(&self, channels: usize, faults: &mut Faults) {
        self.size.check(faults);
        self.padding.check(faults);
        self.fill.check(channels, faults);
    }

    fn size(&self, _size: (usize, usize)) -> (usize, usize) {
        self.size.sides()
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let (h, w) = self.size.sides();
        let [left, top, right, bottom] = self.borders((image.height, image.width));
        let (high, wide) = (image.height + top + bottom, image.width + left + right);
        if h > high || w > wide {
            return Err(Misfit {
                expected: format!(
                    "at least {h}x{w} to cut from, padding of {} included",
                    top.max(left).max(right).max(bottom)
                ),
                got: format!("{high}x{wide}"),
                remedy: "put a resize before random_crop, raise its padding, or set pad_if_needed = true",
            });
        }
        let (y, x) = (below(rng, high - h + 1), below(rng, wide - w + 1));
        if self.padding_mode == PaddingMode::Constant && self.fill.levels() == [0; 3] {
            // Zeros need no copy of the whole image.
            return Ok(crop(&image, y as isize - top as isize, x as isize - left as isize, (h, w)));
        }
        let padded = pad(&image, [left, top, right, bottom], self.padding_mode, &self.fill.levels());
        Ok(crop(&padded, y as isize, x as isize, (h, w)))
    }

    fn evaluate(&self, image: DecodedImage) -> Result<DecodedImage, Misfit> {
        Ok(center_crop(image, self.size.sides()))
    }
}

impl RandomCrop {
    /// `[left, top, right, bottom]` pixels to add; what is missing is added on both sides, as torchvision does.
    fn borders(&self, (height, width): (usize, usize)) -> [usize; 4] {
        let [left, top, right, bottom] = self.padding.sides();
        let (h, w) = self.size.sides();
        let missing =
            |cut: usize, there: usize| if self.pad_if_needed { cut.saturating_sub(there) } else { 0 };
        let (x, y) = (missing(w, width + left + right), missing(h, height + top + bottom));
        [left + x, top + y, right + x, bottom + y]
    }
}

pub(super) fn center_crop(image: DecodedImage, (h, w): (usize, usize)) -> DecodedImage {
    if (image.height, image.width) == (h, w) {
        return image;
    }
    crop(&image, center(image.height, h), center(image.width, w), (h, w))
}

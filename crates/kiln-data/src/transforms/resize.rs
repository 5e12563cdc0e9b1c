//! Resizing.
//! Owns the size that comes out; the filters are `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Interpolation, Misfit, Op, Size};
use crate::decode::DecodedImage;
use crate::pixels::resize;

/// Resize with an antialiased filter, as Pillow does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resize {
    /// Shorter side in pixels, or `[height, width]`.
    pub size: Size,
    /// The filter.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// The longer side at most, where `size` is one number: the image is made smaller where it would be longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_size: Option<usize>,
}

impl Op for Resize {
    fn is_fixed(&self) -> bool {
        true
    }

    fn check(&self, _channels: usize, faults: &mut Faults) {
        self.size.check(faults);
        match (self.size, self.max_size) {
            (Size::HeightWidth(_), Some(_)) => {
                let problem = "`max_size` bounds the longer side, and `size` says both sides";
                faults.add("max_size", problem, "leave `max_size` out, or give the shorter side alone");
            }
            (Size::Side(n), Some(max)) => {
                let problem = format!("`max_size` is {max}, not above the shorter side of {n}");
                faults.add_if(max <= n, "max_size", problem, "raise it");
            }
            (_, None) => {}
        }
    }

    fn size(&self, size: (usize, usize)) -> (usize, usize) {
        match self.size {
            Size::HeightWidth([h, w]) => (h, w),
            Size::Side(n) => shorter_side(n, self.max_size, size),
        }
    }

    fn evaluate(&self, image: DecodedImage) -> Result<DecodedImage, Misfit> {
        let to = self.size((image.height, image.width));
        resized(image, to, self.interpolation)
    }
}

/// Resizes, or says that it cannot be.
pub(super) fn resized(
    image: DecodedImage,
    (h, w): (usize, usize),
    filter: Interpolation,
) -> Result<DecodedImage, Misfit> {
    resize(image, (h, w), filter).ok_or_else(|| Misfit {
        expected: format!("an image that can be resized to {h}x{w}"),
        got: "one that cannot".into(),
        remedy: "replace the image or change the resize",
    })
}

/// torchvision's rule: the shorter side becomes `n`, the longer keeps the ratio, cut to a whole number; both are
/// scaled down where the longer is above `max`.
pub(super) fn shorter_side(n: usize, max: Option<usize>, (h, w): (usize, usize)) -> (usize, usize) {
    let (short, long) = (h.min(w), h.max(w));
    let (mut short, mut long) = (n, n * long / short.max(1));
    if let Some(max) = max.filter(|max| long > *max) {
        (short, long) = (max * short / long, max);
    }
    if w <= h { (long, short) } else { (short, long) }
}

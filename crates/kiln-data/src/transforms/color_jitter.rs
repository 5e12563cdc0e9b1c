//! Random brightness, contrast, saturation and hue, in random order.
//! Owns the draws; the arithmetic is `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Misfit, Op, Span};
use crate::decode::DecodedImage;
use crate::draw::{Generator, between, chance};
use crate::order::shuffle;
use crate::pixels::{brightness, contrast, hue, saturation};

/// Change brightness, contrast, saturation and hue by random factors, in random order (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ColorJitter {
    /// Factor drawn from `[1 - b, 1 + b]` (not below 0), or from `[low, high]`.
    #[serde(default = "none")]
    pub brightness: Span,
    /// As `brightness`.
    #[serde(default = "none")]
    pub contrast: Span,
    /// As `brightness`.
    #[serde(default = "none")]
    pub saturation: Span,
    /// Turn of the colour circle drawn from `[-h, h]`, or from `[low, high]`, within -0.5 to 0.5.
    #[serde(default = "none")]
    pub hue: Span,
    /// Probability that anything is changed; torchvision's has none.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

fn none() -> Span {
    Span::Width(0.0)
}

fn one() -> f64 {
    1.0
}

/// What is changed, with its factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    Brightness(f64),
    Contrast(f64),
    Saturation(f64),
    Hue(f64),
}

/// A key, the range of its factor, and the change that a factor makes.
type Ranged = (&'static str, [f64; 2], fn(f64) -> Change);

impl ColorJitter {
    /// Each with the range of its factor.
    fn ranges(&self) -> [Ranged; 4] {
        let factor = |span: Span| match span {
            Span::Width(_) => span.around(1.0).map(|v| v.max(0.0)),
            Span::Between(range) => range,
        };
        [
            ("brightness", factor(self.brightness), Change::Brightness),
            ("contrast", factor(self.contrast), Change::Contrast),
            ("saturation", factor(self.saturation), Change::Saturation),
            ("hue", self.hue.around(0.0), Change::Hue),
        ]
    }

    /// The changes in the order in which they act; those that would change nothing are left out.
    pub(super) fn changes(&self, rng: &mut Generator) -> Vec<Change> {
        let mut order = [0, 1, 2, 3];
        shuffle(&mut order, rng);
        let changes = self.ranges().map(|(key, range, change)| {
            let still = if key == "hue" { 0.0 } else { 1.0 };
            (range != [still; 2]).then(|| change(between(rng, range)))
        });
        order.iter().filter_map(|&k| changes[k]).collect()
    }
}

impl Op for ColorJitter {
    fn check(&self, _channels: usize, faults: &mut Faults) {
        let spans = [self.brightness, self.contrast, self.saturation, self.hue];
        for ((key, range, _), span) in self.ranges().into_iter().zip(spans) {
            match span {
                Span::Width(width) if width < 0.0 || width.is_nan() => {
                    faults.add(key, format!("`{key}` is {width}"), "write how far it may go, 0 or more");
                }
                _ => faults.range(key, range, if key == "hue" { (-0.5, 0.5) } else { (0.0, f64::MAX) }),
            }
        }
        faults.share("p", self.p);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        if !chance(rng, self.p) {
            return Ok(image);
        }
        Ok(self.changes(rng).into_iter().fold(image, |image, change| match change {
            Change::Brightness(factor) => brightness(image, factor),
            Change::Contrast(factor) => contrast(image, factor),
            Change::Saturation(factor) => saturation(image, factor),
            Change::Hue(factor) => hue(image, factor),
        }))
    }
}

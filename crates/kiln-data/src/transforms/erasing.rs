//! Random erasing (Zhong et al., 2017): a rectangle of the model's numbers is overwritten.
//! Owns the draws and the writing; acts after `normalize`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::flip::half;
use super::{Op, Stage};
use crate::draw::{Generator, between, chance, normal};
use crate::order::below;

/// Overwrite a random rectangle of the normalised numbers with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomErasing {
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
    /// Least and largest area, as shares of the image's.
    #[serde(default = "scale")]
    pub scale: [f64; 2],
    /// Least and largest height over width; its logarithm is uniform.
    #[serde(default = "ratio")]
    pub ratio: [f64; 2],
    /// What is written: a number, one a channel, `"random"` (every number from a standard normal distribution; timm's
    /// `pixel`) or `"color"` (one such number a channel; timm's `rand`).
    #[serde(default)]
    pub value: Erased,
}

/// What an erased rectangle holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Erased {
    /// One number.
    Number(f32),
    /// One number a channel.
    Channels(Vec<f32>),
    /// Drawn numbers.
    With(ErasedWith),
}

/// Drawn numbers, standard normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasedWith {
    /// One for every pixel and channel.
    Random,
    /// One a channel.
    Color,
}

impl Default for Erased {
    fn default() -> Self {
        Erased::Number(0.0)
    }
}

fn scale() -> [f64; 2] {
    [0.02, 0.33]
}

fn ratio() -> [f64; 2] {
    [0.3, 3.3]
}

impl RandomErasing {
    /// torchvision's areas and ratios.
    pub fn new(p: f64, value: Erased) -> Self {
        Self { p, scale: scale(), ratio: ratio(), value }
    }

    /// `(top, left, height, width)`; `None` after ten tries that did not fit.
    pub(super) fn part(
        &self,
        (h, w): (usize, usize),
        rng: &mut Generator,
    ) -> Option<(usize, usize, usize, usize)> {
        for _ in 0..10 {
            let area = (h * w) as f64 * between(rng, self.scale);
            let ratio = between(rng, self.ratio.map(f64::ln)).exp();
            let height = (area * ratio).sqrt().round_ties_even() as usize;
            let width = (area / ratio).sqrt().round_ties_even() as usize;
            if height < h && width < w {
                return Some((below(rng, h - height + 1), below(rng, w - width + 1), height, width));
            }
        }
        None
    }
}

impl Op for RandomErasing {
    fn check(&self, channels: usize, faults: &mut Faults) {
        faults.share("p", self.p);
        faults.range("scale", self.scale, (0.0, 1.0));
        faults.range("ratio", self.ratio, (1e-3, 1e3));
        if let Erased::Channels(values) = &self.value {
            let problem = format!("`value` has {} numbers for {channels} channels", values.len());
            faults.add_if(values.len() != channels, "value", problem, "give one number a channel, or one");
        }
    }

    fn stage(&self) -> Stage {
        Stage::Numbers
    }

    fn train_numbers(&self, values: &mut [f32], [_, h, w]: [usize; 3], rng: &mut Generator) {
        if !chance(rng, self.p) {
            return;
        }
        let Some((top, left, height, width)) = self.part((h, w), rng) else { return };
        for (channel, plane) in values.chunks_exact_mut(h * w).enumerate() {
            let color = match &self.value {
                Erased::Number(value) => Some(*value),
                Erased::Channels(values) => values.get(channel).copied(),
                Erased::With(ErasedWith::Color) => Some(normal(rng) as f32),
                Erased::With(ErasedWith::Random) => None,
            };
            for row in plane.chunks_exact_mut(w).skip(top).take(height) {
                row[left..left + width]
                    .iter_mut()
                    .for_each(|v| *v = color.unwrap_or_else(|| normal(rng) as f32));
            }
        }
    }
}

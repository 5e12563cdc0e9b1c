//! AugMix (Hendrycks et al., 2019): chains of operations mixed with the image.
//! Owns its table, weights and mixture. The operations are those on Pillow images, as in the authors' code; torchvision
//! turns the image into a tensor first and applies its tensor forms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::space::Range;
use super::{Drawn, Entry, Operation, Style, apply_all, magnitude, size_of};
use crate::decode::DecodedImage;
use crate::draw::{Generator, dirichlet};
use crate::order::below;
use crate::transforms::faults::Faults;
use crate::transforms::{Fill, Misfit, Op, WarpInterpolation};

/// Mix the image with `mixture_width` chains of random operations (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AugMix {
    /// Strength of the operations, 1 to 10.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 10))]
    pub severity: usize,
    /// Chains.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    pub mixture_width: usize,
    /// Operations in each chain; -1 draws 1 to 3 for each.
    #[serde(default = "drawn")]
    #[schemars(range(min = -1, max = 100))]
    pub chain_depth: i64,
    /// Of the Dirichlet and Beta distributions of the weights.
    #[serde(default = "one")]
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub alpha: f64,
    /// With brightness, colour, contrast and sharpness, which overlap with ImageNet-C's corruptions.
    #[serde(default = "yes")]
    pub all_ops: bool,
    /// How warps read pixels.
    #[serde(default = "bilinear")]
    pub interpolation: WarpInterpolation,
    /// Colour outside the image: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
}

fn three() -> usize {
    3
}

fn drawn() -> i64 {
    -1
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn bilinear() -> WarpInterpolation {
    WarpInterpolation::Bilinear
}

/// Bins of every magnitude, of which the first `severity` are drawn.
const BINS: usize = 10;

/// torchvision's table, in its order; the last four only with `all_ops`.
const SPACE: [Entry; 13] = [
    (Operation::ShearX, Range::To(0.3)),
    (Operation::ShearY, Range::To(0.3)),
    (Operation::TranslateX, Range::OfWidth(1.0 / 3.0)),
    (Operation::TranslateY, Range::OfHeight(1.0 / 3.0)),
    (Operation::Rotate, Range::To(30.0)),
    (Operation::Posterize, Range::Bits(4.0, 4.0)),
    (Operation::Solarize, Range::Falling),
    (Operation::AutoContrast, Range::None),
    (Operation::Equalize, Range::None),
    (Operation::Brightness, Range::To(0.9)),
    (Operation::Color, Range::To(0.9)),
    (Operation::Contrast, Range::To(0.9)),
    (Operation::Sharpness, Range::To(0.9)),
];

pub(in crate::transforms) fn space(all_ops: bool) -> &'static [Entry] {
    if all_ops { &SPACE } else { &SPACE[..9] }
}

impl AugMix {
    /// The operations of one chain.
    pub(in crate::transforms) fn draw(&self, size: (usize, usize), rng: &mut Generator) -> Drawn {
        let depth = usize::try_from(self.chain_depth).ok().filter(|n| *n > 0);
        let depth = depth.unwrap_or_else(|| 1 + below(rng, 3));
        let space = space(self.all_ops);
        let one = |_| {
            let (operation, range) = space[below(rng, space.len())];
            let bin = if range == Range::None { 0 } else { below(rng, self.severity) };
            (operation, magnitude(range, bin, BINS, size, rng))
        };
        (0..depth).map(one).collect()
    }
}

impl Op for AugMix {
    fn check(&self, channels: usize, faults: &mut Faults) {
        let (severity, width) = (self.severity, self.mixture_width);
        let wrong = !(1..=BINS).contains(&severity);
        faults.add_if(wrong, "severity", format!("`severity` is {severity}, and must be 1 to 10"), "write 3");
        let problem = format!("`mixture_width` is {width}, and must be 1 to 100");
        faults.add_if(!(1..=100).contains(&width), "mixture_width", problem, "for example: 3");
        let problem = format!("`chain_depth` is {}, and must be at most 100", self.chain_depth);
        faults.add_if(self.chain_depth > 100, "chain_depth", problem, "write -1 to draw 1 to 3");
        faults.range("alpha", [self.alpha; 2], (1e-3, 1e3));
        self.fill.check(channels, faults);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let own = dirichlet(rng, self.alpha, 2);
        let weights = dirichlet(rng, self.alpha, self.mixture_width);
        let mut mix: Vec<f32> = image.pixels.iter().map(|&v| own[0] as f32 * f32::from(v)).collect();
        for weight in weights {
            let weight = (weight * own[1]) as f32;
            let drawn = self.draw(size_of(&image), rng);
            let style = Style { interpolation: self.interpolation, fill: &self.fill };
            let chain = apply_all(image.clone(), drawn, &style);
            mix.iter_mut().zip(&chain.pixels).for_each(|(sum, &v)| *sum += weight * f32::from(v));
        }
        Ok(DecodedImage { pixels: mix.into_iter().map(|v| v as u8).collect(), ..image })
    }
}

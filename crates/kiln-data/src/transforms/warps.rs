//! Random rotation, affine map and perspective.
//! Owns the draws and torchvision's matrices; the warps are `pixels`'.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::flip::half;
use super::{Fill, Misfit, Op, Span, WarpInterpolation};
use crate::decode::DecodedImage;
use crate::draw::{Generator, between, chance};
use crate::order::below;
use crate::pixels::{affine, perspective, rotate};

const ANY: (f64, f64) = (f64::MIN, f64::MAX);

/// Turn by a random angle about the centre (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomRotation {
    /// Degrees counterclockwise: from `[-d, d]`, or from `[low, high]`.
    pub degrees: Span,
    /// How pixels are read.
    #[serde(default)]
    pub interpolation: WarpInterpolation,
    /// Make the result large enough for the whole turned image; put a resize after it.
    #[serde(default)]
    pub expand: bool,
    /// Colour outside the image: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
}

/// Rotate, shift, scale and shear at random about the centre (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomAffine {
    /// Degrees clockwise: from `[-d, d]`, or from `[low, high]`; 0 for none.
    pub degrees: Span,
    /// Largest shift `[horizontal, vertical]`, as shares of width and height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translate: Option<[f64; 2]>,
    /// Scale from `[low, high]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<[f64; 2]>,
    /// Degrees of shear: along x from `[-s, s]` or `[low, high]`, or `[low x, high x, low y, high y]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shear: Option<Shear>,
    /// How pixels are read.
    #[serde(default)]
    pub interpolation: WarpInterpolation,
    /// Colour outside the image: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
}

/// Degrees of shear.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Shear {
    /// Along x, from `[-s, s]`.
    Width(f64),
    /// Along x, `[low, high]`.
    X([f64; 2]),
    /// `[low x, high x, low y, high y]`
    Both([f64; 4]),
}

impl Shear {
    /// Of x and of y.
    fn ranges(self) -> [[f64; 2]; 2] {
        match self {
            Shear::Width(s) => [[-s, s], [0.0; 2]],
            Shear::X(range) => [range, [0.0; 2]],
            Shear::Both([a, b, c, d]) => [[a, b], [c, d]],
        }
    }
}

/// Move the corners at random with probability `p` (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomPerspective {
    /// How far corners move, as a share of half the side.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub distortion_scale: f64,
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
    /// How pixels are read.
    #[serde(default = "bilinear")]
    pub interpolation: WarpInterpolation,
    /// Colour outside the image: a level, or one a channel.
    #[serde(default)]
    pub fill: Fill,
}

fn bilinear() -> WarpInterpolation {
    WarpInterpolation::Bilinear
}

impl Op for RandomRotation {
    fn check(&self, channels: usize, faults: &mut Faults) {
        faults.range("degrees", self.degrees.around(0.0), ANY);
        self.fill.check(channels, faults);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let degrees = between(rng, self.degrees.around(0.0));
        Ok(rotate(&image, degrees, self.expand, self.interpolation, &self.fill.levels()))
    }
}

/// The parameters of an affine map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Map {
    pub(super) degrees: f64,
    /// Pixels right and down.
    pub(super) translate: [f64; 2],
    pub(super) scale: f64,
    /// Degrees along x and y.
    pub(super) shear: [f64; 2],
}

impl Map {
    /// What leaves an image as it is.
    pub(super) const STILL: Self = Map { degrees: 0.0, translate: [0.0; 2], scale: 1.0, shear: [0.0; 2] };

    /// From the result to the source, about `center` (x, y): torchvision's `_get_inverse_affine_matrix`.
    pub(super) fn matrix(&self, [cx, cy]: [f64; 2]) -> [f64; 6] {
        let rotation = self.degrees.to_radians();
        let [sx, sy] = self.shear.map(f64::to_radians);
        let a = (rotation - sy).cos() / sy.cos();
        let b = -(rotation - sy).cos() * sx.tan() / sy.cos() - rotation.sin();
        let c = (rotation - sy).sin() / sy.cos();
        let d = -(rotation - sy).sin() * sx.tan() / sy.cos() + rotation.cos();
        let [a, b, c, d] = [d, -b, -c, a].map(|v| v / self.scale);
        let [tx, ty] = self.translate;
        let (x, y) = (a * (-cx - tx) + b * (-cy - ty), c * (-cx - tx) + d * (-cy - ty));
        [a, b, x + cx, c, d, y + cy]
    }

    /// Applies it about the image's centre.
    pub(super) fn apply(&self, image: &DecodedImage, filter: WarpInterpolation, fill: &[u8]) -> DecodedImage {
        let center = [image.width as f64 * 0.5, image.height as f64 * 0.5];
        affine(image, self.matrix(center), (image.height, image.width), filter, fill)
    }
}

impl RandomAffine {
    pub(super) fn draw(&self, (h, w): (usize, usize), rng: &mut Generator) -> Map {
        let degrees = between(rng, self.degrees.around(0.0));
        let [x, y] = self.translate.unwrap_or_default();
        let mut shift = |most: f64| between(rng, [-most, most]).round_ties_even();
        let translate = [shift(x * w as f64), shift(y * h as f64)];
        let scale = between(rng, self.scale.unwrap_or([1.0; 2]));
        let shear = self.shear.map_or([[0.0; 2]; 2], Shear::ranges).map(|range| between(rng, range));
        Map { degrees, translate, scale, shear }
    }
}

impl Op for RandomAffine {
    fn check(&self, channels: usize, faults: &mut Faults) {
        faults.range("degrees", self.degrees.around(0.0), ANY);
        for share in self.translate.unwrap_or_default() {
            faults.share("translate", share);
        }
        faults.range("scale", self.scale.unwrap_or([1.0; 2]), (1e-3, f64::MAX));
        for range in self.shear.map_or([[0.0; 2]; 2], Shear::ranges) {
            faults.range("shear", range, (-89.0, 89.0));
        }
        self.fill.check(channels, faults);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        let map = self.draw((image.height, image.width), rng);
        Ok(map.apply(&image, self.interpolation, &self.fill.levels()))
    }
}

impl RandomPerspective {
    /// Where the corners go, from the top left clockwise: (x, y) each.
    pub(super) fn corners(&self, (h, w): (usize, usize), rng: &mut Generator) -> [[usize; 2]; 4] {
        let reach = |side: usize| (self.distortion_scale * (side / 2) as f64) as usize + 1;
        let (reach_x, reach_y) = (reach(w).min(w), reach(h).min(h));
        let mut corner = |right: bool, below_middle: bool| {
            let x = below(rng, reach_x) + if right { w - reach_x } else { 0 };
            let y = below(rng, reach_y) + if below_middle { h - reach_y } else { 0 };
            [x, y]
        };
        [corner(false, false), corner(true, false), corner(true, true), corner(false, true)]
    }
}

impl Op for RandomPerspective {
    fn check(&self, channels: usize, faults: &mut Faults) {
        faults.share("distortion_scale", self.distortion_scale);
        faults.share("p", self.p);
        self.fill.check(channels, faults);
    }

    fn train(&self, image: DecodedImage, rng: &mut Generator) -> Result<DecodedImage, Misfit> {
        if !chance(rng, self.p) {
            return Ok(image);
        }
        let (h, w) = (image.height, image.width);
        let to = self.corners((h, w), rng);
        let Some(map) = coefficients(corners(h, w), to) else { return Ok(image) };
        Ok(perspective(&image, map, self.interpolation, &self.fill.levels()))
    }
}

pub(super) fn corners(h: usize, w: usize) -> [[usize; 2]; 4] {
    [[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]]
}

/// The perspective that moves `from` to `to`, seen from the result; rounded to single precision as torchvision's.
/// `None`: the corners span no area.
pub(super) fn coefficients(from: [[usize; 2]; 4], to: [[usize; 2]; 4]) -> Option<[f64; 8]> {
    let mut rows = [[0.0; 9]; 8];
    for (i, (p, q)) in to.iter().zip(&from).enumerate() {
        let ([x, y], [u, v]) = (p.map(|n| n as f64), q.map(|n| n as f64));
        rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
        rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
    }
    let solution = solve(rows)?;
    Some(solution.map(|v| f64::from(v as f32)))
}

/// Gauss and Jordan with the largest pivot of each column.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    for k in 0..8 {
        let best = (k..8).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs()))?;
        rows.swap(k, best);
        let pivot = rows[k][k];
        if pivot.abs() < 1e-12 {
            return None;
        }
        rows[k] = rows[k].map(|v| v / pivot);
        let own = rows[k];
        for (_, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let share = row[k];
            row.iter_mut().zip(&own).for_each(|(v, o)| *v -= share * o);
        }
    }
    Some(rows.map(|row| row[8]))
}

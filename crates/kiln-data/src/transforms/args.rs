//! Words that several transforms share: sizes, filters, borders, colours, ranges.
//! Owns their forms in a config; acts on no image. The transforms read them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;

/// A side, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Size {
    /// One number.
    Side(#[schemars(range(min = 1, max = 65535))] usize),
    /// `[height, width]`
    HeightWidth([usize; 2]),
}

impl Size {
    /// Height and width; one side is both.
    pub(crate) fn sides(self) -> (usize, usize) {
        match self {
            Size::Side(n) => (n, n),
            Size::HeightWidth([h, w]) => (h, w),
        }
    }

    pub(crate) fn check(self, faults: &mut Faults) {
        let (h, w) = self.sides();
        let wrong = !(1..=65535).contains(&h) || !(1..=65535).contains(&w);
        let problem = format!("`size` is [{h}, {w}], and sides are 1 to 65535 pixels");
        faults.add_if(wrong, "size", problem, "for example: size = [32, 32]");
    }
}

/// Filters of a resize. All but `nearest` are antialiased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Linear.
    #[default]
    Bilinear,
    /// Cubic with a = -0.5, as Pillow's.
    Bicubic,
    /// Lanczos over 3 pixels.
    Lanczos,
}

/// How a warp reads between pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarpInterpolation {
    /// The nearest pixel.
    #[default]
    Nearest,
    /// Linear among 4 pixels.
    Bilinear,
    /// Cubic among 16 pixels.
    Bicubic,
}

/// Pixels to add: on every side, or `[left and right, top and bottom]`, or `[left, top, right, bottom]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Padding {
    /// Every side.
    All(#[schemars(range(min = 0, max = 4096))] usize),
    /// `[left and right, top and bottom]`
    Axes([usize; 2]),
    /// `[left, top, right, bottom]`
    Sides([usize; 4]),
}

impl Default for Padding {
    fn default() -> Self {
        Padding::All(0)
    }
}

impl Padding {
    /// `[left, top, right, bottom]`
    pub(crate) fn sides(self) -> [usize; 4] {
        match self {
            Padding::All(n) => [n; 4],
            Padding::Axes([x, y]) => [x, y, x, y],
            Padding::Sides(sides) => sides,
        }
    }

    pub(crate) fn check(self, faults: &mut Faults) {
        let most = self.sides().into_iter().max().unwrap_or_default();
        let problem = format!("`padding` is {most} pixels, and 4096 is the most");
        faults.add_if(most > 4096, "padding", problem, "lower it");
    }
}

/// What a border shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaddingMode {
    /// `fill`.
    #[default]
    Constant,
    /// The last pixel, repeated.
    Edge,
    /// The image mirrored at its last pixel.
    Reflect,
    /// The image mirrored after its last pixel, which is repeated.
    Symmetric,
}

/// A colour: one level for all channels, or one a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fill {
    /// One level.
    Level(#[schemars(range(min = 0, max = 255))] u8),
    /// One a channel.
    Color(Vec<u8>),
}

impl Default for Fill {
    fn default() -> Self {
        Fill::Level(0)
    }
}

impl Fill {
    /// A level for each of at most three channels.
    pub(crate) fn levels(&self) -> [u8; 3] {
        match self {
            Fill::Level(level) => [*level; 3],
            Fill::Color(levels) => std::array::from_fn(|k| levels.get(k).copied().unwrap_or_default()),
        }
    }

    pub(crate) fn check(&self, channels: usize, faults: &mut Faults) {
        if let Fill::Color(levels) = self {
            let problem = format!("`fill` has {} levels for {channels} channels", levels.len());
            faults.add_if(
                levels.len() != channels,
                "fill",
                problem,
                "give one level a channel, or one number",
            );
        }
    }
}

/// A range to draw from: `[low, high]`, or one number, of which each transform says what it spans.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Span {
    /// One number.
    Width(f64),
    /// `[low, high]`
    Between([f64; 2]),
}

impl Span {
    /// `[center - width, center + width]`, or the range itself.
    pub(crate) fn around(self, center: f64) -> [f64; 2] {
        match self {
            Span::Width(width) => [center - width, center + width],
            Span::Between(range) => range,
        }
    }
}

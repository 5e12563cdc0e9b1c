//! The image transforms of `[[data.transforms]]`.
//! Owns their words and defaults; `image_program` carries them out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One image transform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transform {
    /// Resize with an antialiased filter, as Pillow does.
    Resize {
        /// Shorter side in pixels, or `[height, width]`.
        size: Size,
        /// The filter.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// Cut the centre.
    CenterCrop {
        /// Side in pixels, or `[height, width]`.
        size: Size,
    },
    /// Pad with zeros, then cut at a random place (training); cut the centre (evaluation).
    RandomCrop {
        /// Side in pixels, or `[height, width]`.
        size: Size,
        /// Zeros added on every side before the cut.
        #[serde(default)]
        #[schemars(range(min = 0, max = 4096))]
        padding: usize,
    },
    /// Mirror left to right with probability `p` (training only).
    RandomHorizontalFlip {
        /// Probability.
        #[serde(default = "half")]
        #[schemars(range(min = 0.0, max = 1.0))]
        p: f64,
    },
    /// `(x / 255 - mean) / std` per channel. Without it, pixels are `x / 255`.
    Normalize {
        /// One number a channel.
        mean: Vec<f32>,
        /// One number a channel, none zero.
        std: Vec<f32>,
    },
}

/// A side, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Size {
    /// One number.
    Side(#[schemars(range(min = 1, max = 65535))] usize),
    /// `[height, width]`
    HeightWidth([usize; 2]),
}

/// Resize filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Linear.
    #[default]
    Bilinear,
    /// Cubic with a = -0.5, as Pillow's.
    Bicubic,
}

fn half() -> f64 {
    0.5
}

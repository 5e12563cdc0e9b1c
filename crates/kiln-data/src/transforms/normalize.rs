//! Pixels to numbers of a known mean and spread.
//! Owns its two lists; the program makes the tables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::{Op, Stage};

/// `(x / 255 - mean) / std` per channel. Without it, pixels are `x / 255`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Normalize {
    /// One number a channel.
    pub mean: Vec<f32>,
    /// One number a channel, none zero.
    pub std: Vec<f32>,
}

impl Op for Normalize {
    fn check(&self, channels: usize, faults: &mut Faults) {
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            let problem = format!("`{key}` has {} numbers for {channels} channels", values.len());
            let remedy = "give one number a channel, or set data.channels";
            faults.add_if(values.len() != channels, key, problem, remedy);
            let wild = values.iter().any(|v| !v.is_finite());
            faults.add_if(wild, key, format!("`{key}` is {values:?}"), "write finite numbers");
        }
        let zero = self.std.contains(&0.0);
        let problem = "`std` holds a zero, which would divide by it";
        faults.add_if(zero, "std", problem, "use 1 to leave a channel as it is");
    }

    fn stage(&self) -> Stage {
        Stage::Normalize
    }
}

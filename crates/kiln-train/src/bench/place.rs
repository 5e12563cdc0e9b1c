//! The devices that are measured and compared: those of a run, and the processor without its own forms of ops.
//! Owns the word for the latter; kiln-core knows the others.

use std::fmt;
use std::str::FromStr;

use kiln_core::device::{DeviceError, DeviceSpec};
use kiln_nn::ops::plainly;

/// The processor with every op in its plain Burn expression, as a backend without fast forms runs it.
pub const PLAIN: &str = "cpu-plain";

/// A device, or the processor in plain Burn expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    spec: DeviceSpec,
    plain: bool,
}

impl Place {
    /// The word that a config has for the device.
    pub fn device(&self) -> String {
        self.spec.to_string()
    }

    /// The device as kiln-core finds it.
    pub(super) fn spec(&self) -> &DeviceSpec {
        &self.spec
    }

    /// The backend's word, without the index.
    pub fn backend(&self) -> String {
        self.to_string().split(':').next().unwrap_or_default().to_string()
    }

    /// Runs `work` with the ops in the form of this place. Nothing that records a backward pass may leave it.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.plain { plainly(work) } else { work() }
    }
}

impl FromStr for Place {
    type Err = DeviceError;

    fn from_str(word: &str) -> Result<Self, DeviceError> {
        let plain = word.trim() == PLAIN;
        let spec = if plain { "cpu" } else { word }.parse()?;
        Ok(Self { spec, plain })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain { f.write_str(PLAIN) } else { self.spec.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_printed() {
        for (word, device, backend) in
            [("cpu", "cpu", "cpu"), ("cpu-plain", "cpu", "cpu-plain"), ("cuda:1", "cuda:1", "cuda")]
        {
            let place: Place = word.parse().unwrap();
            assert_eq!((place.to_string().as_str(), place.device().as_str()), (word, device));
            assert_eq!(place.backend(), backend);
        }
        assert!("cpu-fast".parse::<Place>().is_err());
    }
}

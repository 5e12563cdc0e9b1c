//! The devices that are measured and compared: those of a run, and each with other forms of ops than its own.
//! Owns the words for the latter; kiln-core knows the devices.

use std::fmt;
use std::str::FromStr;

use kiln_core::device::{DeviceError, DeviceSpec};
use kiln_nn::ops::{by_hand, plainly};

/// The processor with every op in its plain Burn expression, as a backend without fast forms runs it.
pub const PLAIN: &str = "cpu-plain";

/// Which forms of ops a device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forms {
    /// Its own.
    Own,
    /// Plain Burn expressions: `-plain` behind a device's word.
    Plain,
    /// Those of GPUs, on the processor: `cpu-by-hand`.
    ByHand,
}

impl Forms {
    const WORDS: [(Self, &str); 2] = [(Self::Plain, "-plain"), (Self::ByHand, "-by-hand")];

    fn suffix(self) -> &'static str {
        Self::WORDS.iter().find(|(forms, _)| *forms == self).map_or("", |(_, word)| word)
    }
}

/// A device, and which forms of ops it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    spec: DeviceSpec,
    forms: Forms,
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
        let device = self.device();
        format!("{}{}", device.split(':').next().unwrap_or_default(), self.forms.suffix())
    }

    /// Whether it is a program on the processor.
    pub fn is_processor(&self) -> bool {
        matches!(self.spec, DeviceSpec::On { backend, .. } if backend.is_processor())
    }

    /// Runs `work` with the ops in the forms of this place. Nothing that records a backward pass may leave it.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.forms {
            Forms::Own => work(),
            Forms::Plain => plainly(work),
            Forms::ByHand => by_hand(work),
        }
    }
}

impl FromStr for Place {
    type Err = DeviceError;

    fn from_str(word: &str) -> Result<Self, DeviceError> {
        let word = word.trim();
        let of = |(forms, suffix)| word.strip_suffix(suffix).map(|device| (forms, device));
        let (forms, device) = Forms::WORDS.into_iter().find_map(of).unwrap_or((Forms::Own, word));
        Ok(Self { spec: device.parse()?, forms })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.spec, self.forms.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_printed() {
        for (word, device, backend) in [
            ("cpu", "cpu", "cpu"),
            (PLAIN, "cpu", "cpu-plain"),
            ("cpu-by-hand", "cpu", "cpu-by-hand"),
            ("cuda:1", "cuda:1", "cuda"),
            ("cuda:1-plain", "cuda:1", "cuda-plain"),
        ] {
            let place: Place = word.parse().unwrap();
            assert_eq!((place.to_string().as_str(), place.device().as_str()), (word, device));
            assert_eq!(place.backend(), backend);
        }
        assert!("cpu-fast".parse::<Place>().is_err());
    }
}

//! The `key=value` words of `kiln export`.
//! Owns their names and what each may be; chooses nothing else.

use kiln_core::Exit;

use crate::report::Failure;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// ONNX that checks itself.
    Onnx,
    /// A Hugging Face folder.
    HuggingFace,
}

/// The numbers of its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F32,
    F16,
    Bf16,
    Int8,
}

/// The words, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) format: Format,
    pub(super) precision: Number,
    /// Training samples that int8 activations are calibrated with; `None` where activations stay float32.
    pub(super) calibration: Option<usize>,
}

const FORMATS: [(&str, Format); 3] =
    [("onnx", Format::Onnx), ("hf", Format::HuggingFace), ("safetensors", Format::HuggingFace)];
const NUMBERS: [(&str, Number); 4] =
    [("f32", Number::F32), ("f16", Number::F16), ("bf16", Number::Bf16), ("int8", Number::Int8)];
const CALIBRATIONS: [(&str, bool); 2] = [("none", false), ("static", true)];
/// Samples of a calibration that says no number.
const SAMPLES: usize = 256;
/// The keys, for messages.
const KEYS: &str = "format, precision, calibration and samples";

impl Words {
    /// Reads them; the later of two equal keys counts, as on every verb.
    pub(super) fn read(words: &[String]) -> Result<Self, Failure> {
        let mut read = Self { format: Format::Onnx, precision: Number::F32, calibration: None };
        let (mut calibrates, mut samples) = (false, None);
        for word in words {
            match word.split_once('=') {
                Some(("format", "int8")) => (read.format, read.precision) = (Format::Onnx, Number::Int8),
                Some(("format", value)) => read.format = one_of("format", value, &FORMATS)?,
                Some(("precision", value)) => read.precision = one_of("precision", value, &NUMBERS)?,
                Some(("calibration", value)) => {
                    calibrates = one_of("calibration", value, &CALIBRATIONS)?;
                }
                Some(("samples", value)) => samples = Some(count(value)?),
                Some((key, _)) => return Err(wrong(&format!("{key} is no key of kiln export"), KEYS)),
                None => return Err(wrong(&format!("{word:?} is no KEY=VALUE"), "format=onnx precision=f16")),
            }
        }
        if (calibrates || samples.is_some()) && read.precision != Number::Int8 {
            return Err(wrong("calibration and samples are for int8", "precision=int8"));
        }
        if samples.is_some() && !calibrates {
            return Err(wrong("samples are for a calibration", "calibration=static"));
        }
        read.calibration = calibrates.then(|| samples.unwrap_or(SAMPLES));
        Ok(read)
    }

    /// The last part of the folder that is made by default.
    pub(super) fn name(self) -> String {
        let format = if self.format == Format::Onnx { "onnx" } else { "hf" };
        match NUMBERS.iter().find(|(_, number)| *number == self.precision) {
            Some((word, _)) if self.calibration.is_some() => format!("{format}-{word}-static"),
            Some((word, number)) if *number != Number::F32 => format!("{format}-{word}"),
            _ => format.to_string(),
        }
    }
}

fn one_of<T: Copy>(key: &str, value: &str, known: &[(&str, T)]) -> Result<T, Failure> {
    let found = known.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant);
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    found.ok_or_else(|| wrong(&format!("{key}={value}: no such {key}"), &words.join(", ")))
}

fn count(value: &str) -> Result<usize, Failure> {
    let read = value.parse().ok().filter(|n| (1..=1_000_000).contains(n));
    read.ok_or_else(|| wrong(&format!("samples={value}: no such number"), "1 to 1000000"))
}

fn wrong(message: &str, known: &str) -> Failure {
    Failure::new(Exit::Usage, message).hint(format!("there is {known}"))
}

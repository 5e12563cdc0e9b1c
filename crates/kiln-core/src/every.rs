//! "Once in a while", with a unit: `"500 steps"`, `"1 epoch"`, `"10 minutes"`.
//! Owns the one rule by which the loop evaluates and saves.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A repeating moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Every {
    /// Optimizer steps.
    Steps(u64),
    /// Passes over the training samples.
    Epochs(u64),
    /// Wall-clock time.
    Minutes(u64),
}

impl Every {
    /// Whether it is due after optimizer step `step` (from 1), given the steps of an epoch and the time since it
    /// was last due.
    pub fn is_due(self, step: u64, steps_per_epoch: u64, since: Duration) -> bool {
        match self {
            Every::Steps(n) => step.is_multiple_of(n),
            Every::Epochs(n) => step.is_multiple_of(n * steps_per_epoch),
            Every::Minutes(n) => since >= Duration::from_secs(n * 60),
        }
    }
}

impl Every {
    /// As [`Every::is_due`], where passes over the samples are counted as they end, for they need not all have the same
    /// number of steps: `ended` is how many there were, after the last step of one.
    pub fn is_due_in_loop(self, step: u64, ended: Option<u64>, since: Duration) -> bool {
        match self {
            Every::Epochs(n) => ended.is_some_and(|ended| ended.is_multiple_of(n)),
            other => other.is_due(step, 1, since),
        }
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected a number and a unit such as \"500 steps\", \"1 epoch\" or \"10 minutes\", got \"{text}\""
            )
        };
        let (number, unit) = text.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
        let n: u64 = number.parse().map_err(|_| wrong())?;
        if n == 0 {
            return Err(format!("expected at least 1, got \"{text}\""));
        }
        match unit.trim() {
            "step" | "steps" => Ok(Every::Steps(n)),
            "epoch" | "epochs" => Ok(Every::Epochs(n)),
            "minute" | "minutes" => Ok(Every::Minutes(n)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Every {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Every> for String {
    fn from(every: Every) -> Self {
        every.to_string()
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, unit) = match self {
            Every::Steps(n) => (n, "step"),
            Every::Epochs(n) => (n, "epoch"),
            Every::Minutes(n) => (n, "minute"),
        };
        write!(f, "{n} {unit}{}", if *n == 1 { "" } else { "s" })
    }
}

impl JsonSchema for Every {
    fn schema_name() -> Cow<'static, str> {
        "Every".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "every",
            "pattern": r"^\s*[1-9][0-9]*\s+(step|epoch|minute)s?\s*$",
            "examples": ["500 steps", "1 epoch", "10 minutes"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_units() {
        for (text, every) in [
            ("500 steps", Every::Steps(500)),
            ("1 epoch", Every::Epochs(1)),
            ("10 minutes", Every::Minutes(10)),
        ] {
            assert_eq!(text.parse(), Ok(every));
            assert_eq!(every.to_string(), text);
        }
        for wrong in ["", "5", "0 steps", "-1 steps", "1.5 epochs", "3 weeks", "steps 5"] {
            assert!(wrong.parse::<Every>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn is_due_by_its_unit() {
        let none = Duration::ZERO;
        assert!(Every::Steps(5).is_due(10, 7, none) && !Every::Steps(5).is_due(11, 7, none));
        assert!(Every::Epochs(2).is_due(14, 7, none) && !Every::Epochs(2).is_due(7, 7, none));
        let in_loop = |every: Every, ended| every.is_due_in_loop(15, ended, none);
        assert!(in_loop(Every::Epochs(2), Some(4)) && !in_loop(Every::Epochs(2), Some(3)));
        assert!(!in_loop(Every::Epochs(1), None) && in_loop(Every::Steps(5), None));
        assert!(Every::Minutes(1).is_due(3, 7, Duration::from_secs(60)));
        assert!(!Every::Minutes(1).is_due(3, 7, Duration::from_secs(59)));
    }
}

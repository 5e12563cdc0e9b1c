//! Which inputs a job answers where several jobs share them: `k/n` answers every n-th, from the k-th on.
//! Owns how that is written; every input is of exactly one shard.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The k-th of n shards, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    k: u64,
    n: u64,
}

impl Shard {
    /// Every input.
    pub const ALL: Self = Self { k: 1, n: 1 };

    /// Whether the input at `index` (from 0) is of this shard.
    pub fn holds(self, index: u64) -> bool {
        index % self.n == self.k - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((k, n)) if k >= 1 && k <= n => Ok(Self { k, n }),
            _ => Err(format!("expected K/N with 1 <= K <= N, such as 3/16, got \"{text}\"")),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.k, self.n)
    }
}

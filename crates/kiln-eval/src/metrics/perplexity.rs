//! Perplexity of a language model: `exp` of the mean negative log-likelihood of a token.
//! Owns a sum and a count; which tokens count (not the ignored ones) is decided by whoever adds.

use super::{MetricError, Sum, check_finite, ratio};

/// Summed negative log-likelihood, in nats, and its tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Perplexity {
    nll: Sum,
    tokens: u64,
}

impl Perplexity {
    /// Adds a sum of negative log-likelihoods and how many tokens it is of.
    ///
    /// # Errors
    /// The sum is not finite.
    pub fn add(&mut self, nll: f64, tokens: u64) -> Result<(), MetricError> {
        check_finite("a negative log-likelihood", &[nll])?;
        self.nll.add(nll);
        self.tokens += tokens;
        Ok(())
    }

    /// Adds the tokens of another.
    pub fn merge(&mut self, other: &Self) {
        self.nll.merge(&other.nll);
        self.tokens += other.tokens;
    }

    /// Tokens added.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Mean negative log-likelihood of a token; `None` without tokens.
    pub fn loss(&self) -> Option<f64> {
        ratio(self.nll.value(), self.tokens as f64)
    }

    /// `exp(loss)`; infinite above a loss of 709.78 nats, `None` without tokens.
    pub fn perplexity(&self) -> Option<f64> {
        self.loss().map(f64::exp)
    }
}

//! Streaming metrics on the host, in f64, equal to scikit-learn, scipy and seqeval: one accumulator a file.
//! Owns definitions and sums; sees no tensor, net or file, and never prints. Tasks fill them and read their numbers.
//! A number that is not defined is `None`, never a stand-in, save where the reference itself defines one (said there).
//!
//! Memory is constant in the number of samples, except in `ranking` and `Spearman` (8 bytes a score or pair, 16 with
//! the vector's spare room). Order does not matter, and merged parts equal the whole.

mod class_rankings;
mod confusion;
mod correlation;
mod counts;
mod entities;
mod log_loss;
mod multi_label;
mod perplexity;
mod ranking;
mod regression;
mod sum;
mod tags;
mod top_k;

pub use class_rankings::ClassRankings;
pub use confusion::Confusion;
pub use correlation::{Pearson, Spearman};
pub use counts::{Average, Counts, Quality};
pub use entities::Entities;
pub use log_loss::LogLoss;
pub use multi_label::MultiLabel;
pub use perplexity::Perplexity;
pub use ranking::Ranking;
pub use regression::Regression;
pub use sum::{Moments, Sum};
pub use tags::EntityScheme;
pub use top_k::TopK;

/// What an accumulator cannot add; nothing is added then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// A class that does not exist.
    #[error("class {class}, but there are {classes} classes (0 to {})", classes.saturating_sub(1))]
    Class {
        /// The class given.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// Sizes that do not fit.
    #[error("{what}: expected {expected}, got {got}")]
    Length {
        /// What was counted.
        what: &'static str,
        /// The right number.
        expected: usize,
        /// The number given.
        got: usize,
    },
    /// NaN or infinity.
    #[error("{0} is not a finite number")]
    NotFinite(&'static str),
    /// A probability outside 0 to 1.
    #[error("a probability is outside 0 to 1")]
    Probability,
    /// A tag outside the scheme.
    #[error("tag '{tag}' does not fit the scheme: expected {expected}")]
    Tag {
        /// The tag given.
        tag: String,
        /// What the scheme takes.
        expected: &'static str,
    },
}

/// `a / b`, and 0 without a denominator (scikit-learn's `zero_division=0`).
fn quotient(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

/// `a / b`, if there is a denominator.
fn ratio(a: f64, b: f64) -> Option<f64> {
    (b != 0.0).then(|| a / b)
}

fn check_class(class: usize, classes: usize) -> Result<(), MetricError> {
    if class < classes { Ok(()) } else { Err(MetricError::Class { class, classes }) }
}

fn check_length(what: &'static str, expected: usize, got: usize) -> Result<(), MetricError> {
    if expected == got { Ok(()) } else { Err(MetricError::Length { what, expected, got }) }
}

fn check_finite<T: Copy + Into<f64>>(what: &'static str, values: &[T]) -> Result<(), MetricError> {
    let finite = values.iter().all(|x| Into::<f64>::into(*x).is_finite());
    if finite { Ok(()) } else { Err(MetricError::NotFinite(what)) }
}

//! Correlation of two series: Pearson's of the numbers, Spearman's of their ranks.
//! Owns moments (Pearson, constant memory) or the pairs (Spearman, 8 bytes each). Reference: scipy's `pearsonr` and
//! `spearmanr`; where they answer NaN (a constant series) or refuse (fewer than two pairs), it is `None` here.

use super::{MetricError, Moments, check_finite};

/// Pearson's linear correlation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pearson {
    moments: Moments,
}

impl Pearson {
    /// Adds a pair.
    ///
    /// # Errors
    /// A number is not finite.
    pub fn add(&mut self, x: f64, y: f64) -> Result<(), MetricError> {
        self.moments.add([x, y])
    }

    /// Adds the pairs of another.
    pub fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
    }

    /// The correlation, between -1 and 1; `None` below two pairs or where a series is constant.
    pub fn correlation(&self) -> Option<f64> {
        let of = &self.moments;
        correlation(of.together(), of.about_mean(0), of.about_mean(1))
    }
}

/// Spearman's rank correlation, ties at their mean rank. Keeps the pairs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spearman {
    pairs: Vec<[u32; 2]>,
}

impl Spearman {
    /// Adds a pair.
    ///
    /// # Errors
    /// A number is not finite.
    pub fn add(&mut self, x: f32, y: f32) -> Result<(), MetricError> {
        check_finite("a value", &[x, y])?;
        self.pairs.push([sortable(x), sortable(y)]);
        Ok(())
    }

    /// Adds the pairs of another.
    pub fn merge(&mut self, other: &Self) {
        self.pairs.extend_from_slice(&other.pairs);
    }

    /// Bytes held for the pairs, spare room included.
    pub fn bytes(&self) -> usize {
        self.pairs.capacity() * size_of::<[u32; 2]>()
    }

    /// The correlation, between -1 and 1; `None` below two pairs or where a series is constant. Ranks take the place
    /// of the numbers, hence the accumulator itself; clone it to go on adding.
    pub fn correlation(mut self) -> Option<f64> {
        rank(&mut self.pairs, 0);
        rank(&mut self.pairs, 1);
        let sum = |of: fn(&[u32; 2]) -> i128| self.pairs.iter().map(of).sum::<i128>();
        let count = self.pairs.len() as i128;
        let x = sum(|pair| i128::from(pair[0]));
        let y = sum(|pair| i128::from(pair[1]));
        let xx = count * sum(|pair| i128::from(pair[0]).pow(2)) - x * x;
        let yy = count * sum(|pair| i128::from(pair[1]).pow(2)) - y * y;
        let xy = count * sum(|pair| i128::from(pair[0]) * i128::from(pair[1])) - x * y;
        correlation(xy as f64, xx as f64, yy as f64)
    }
}

/// Sorts by one side, and puts twice its mean rank (a whole number) in its place.
fn rank(pairs: &mut [[u32; 2]], side: usize) {
    pairs.sort_unstable_by_key(|pair| pair[side]);
    let mut before = 0;
    for equals in pairs.chunk_by_mut(|a, b| a[side] == b[side]) {
        let twice = 2 * before + equals.len() + 1;
        before += equals.len();
        equals.iter_mut().for_each(|pair| pair[side] = twice as u32);
    }
}

/// Bits that sort as the number does; both zeros are the same.
fn sortable(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn correlation(together: f64, x: f64, y: f64) -> Option<f64> {
    (x > 0.0 && y > 0.0).then(|| (together / x.sqrt() / y.sqrt()).clamp(-1.0, 1.0))
}

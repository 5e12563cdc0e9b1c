//! Sums in about twice f64's precision, and from them means, squares about the mean and their products.
//! Owns the error-free steps (Dekker 1971, Knuth's two-sum) and nothing else; every accumulator of real numbers uses it.
//! With 106 bits the textbook form `n Σxy - Σx Σy` loses nothing that 1e-9 would show, is merged by adding, and does
//! not depend on the order.

use super::{MetricError, check_finite};

/// A sum of many numbers, exact to about 106 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// Adds a number.
    pub fn add(&mut self, x: f64) {
        *self = self.plus(Self { high: x, low: 0.0 });
    }

    /// Adds a product, without rounding it first.
    pub fn add_product(&mut self, x: f64, y: f64) {
        *self = self.plus(product(x, y));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        *self = self.plus(*other);
    }

    /// The sum, rounded once.
    pub fn value(&self) -> f64 {
        self.high + self.low
    }

    fn plus(self, other: Self) -> Self {
        let (high, error) = two_sum(self.high, other.high);
        if !high.is_finite() {
            return Self { high, low: 0.0 };
        }
        let (low, rest) = two_sum(self.low, other.low);
        let (high, error) = two_sum(high, error + low);
        let (high, low) = two_sum(high, error + rest);
        Self { high, low }
    }

    fn times(self, other: Self) -> Self {
        let Self { high, low } = product(self.high, other.high);
        if !high.is_finite() {
            return Self { high, low: 0.0 };
        }
        let (high, low) = two_sum(high, low + (self.high * other.low + self.low * other.high));
        Self { high, low }
    }

    fn negative(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

fn product(x: f64, y: f64) -> Sum {
    let high = x * y;
    Sum { high, low: if high.is_finite() { x.mul_add(y, -high) } else { 0.0 } }
}

/// Count, sums and range of pairs `(x, y)`: all that variance, covariance and Pearson need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    count: u64,
    sums: [Sum; 2],
    squares: [Sum; 2],
    products: Sum,
    low: [f64; 2],
    high: [f64; 2],
}

impl Default for Moments {
    fn default() -> Self {
        let (sums, squares) = ([Sum::default(); 2], [Sum::default(); 2]);
        let (low, high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        Self { count: 0, sums, squares, products: Sum::default(), low, high }
    }
}

impl Moments {
    /// Adds a pair.
    ///
    /// # Errors
    /// One is not finite.
    pub fn add(&mut self, pair: [f64; 2]) -> Result<(), MetricError> {
        check_finite("a value", &pair)?;
        self.count += 1;
        self.products.add_product(pair[0], pair[1]);
        for (side, x) in pair.into_iter().enumerate() {
            self.sums[side].add(x);
            self.squares[side].add_product(x, x);
            self.low[side] = self.low[side].min(x);
            self.high[side] = self.high[side].max(x);
        }
        Ok(())
    }

    /// Adds the pairs of another.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.products.merge(&other.products);
        for side in 0..2 {
            self.sums[side].merge(&other.sums[side]);
            self.squares[side].merge(&other.squares[side]);
            self.low[side] = self.low[side].min(other.low[side]);
            self.high[side] = self.high[side].max(other.high[side]);
        }
    }

    /// Pairs added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `Σ x²` of a side (0 or 1).
    pub fn squares(&self, side: usize) -> f64 {
        self.squares[side].value()
    }

    /// Whether all of a side are the same number.
    pub fn constant(&self, side: usize) -> bool {
        self.low[side] >= self.high[side]
    }

    /// `Σ (x - mean)²` of a side: exactly 0 if and only if it is constant.
    pub fn about_mean(&self, side: usize) -> f64 {
        if self.constant(side) {
            return 0.0;
        }
        self.centred(self.squares[side], self.sums[side], self.sums[side])
    }

    /// `Σ (x - mean x)(y - mean y)`.
    pub fn together(&self) -> f64 {
        self.centred(self.products, self.sums[0], self.sums[1])
    }

    fn centred(&self, products: Sum, x: Sum, y: Sum) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let count = self.count as f64;
        let scaled = products.times(Sum { high: count, low: 0.0 });
        scaled.plus(x.times(y).negative()).value() / count
    }
}

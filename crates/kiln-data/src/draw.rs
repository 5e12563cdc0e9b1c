//! Random numbers of the distributions that augmentation draws from, from one sample's or batch's generator.
//! Owns the distributions; the generator and its seed are order.rs's and the loader's. The transforms draw here.

use rand_chacha::ChaCha8Rng;

use crate::order::unit;

/// The generator of one sample or batch.
pub(crate) type Generator = ChaCha8Rng;

/// Uniform in `[low, high)`.
pub(crate) fn between(rng: &mut Generator, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * unit(rng)
}

/// True with probability `p`.
pub(crate) fn chance(rng: &mut Generator, p: f64) -> bool {
    unit(rng) < p
}

/// Standard normal, after Box and Muller.
pub(crate) fn normal(rng: &mut Generator) -> f64 {
    // 1 - u is never 0.
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// Gamma of this shape and scale 1, after Marsaglia and Tsang (2000); shapes below 1 by their boost.
pub(crate) fn gamma(rng: &mut Generator, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - unit(rng)).powf(1.0 / shape);
        return gamma(rng, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - unit(rng)).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// `n` shares of 1, from a symmetric Dirichlet distribution; two of them are a Beta's.
pub(crate) fn dirichlet(rng: &mut Generator, alpha: f64, n: usize) -> Vec<f64> {
    let parts: Vec<f64> = (0..n).map(|_| gamma(rng, alpha)).collect();
    let sum: f64 = parts.iter().sum();
    // Every part of a tiny alpha may be too small for a number: then one has all.
    if sum > 0.0 {
        parts.iter().map(|p| p / sum).collect()
    } else {
        (0..n).map(|k| f64::from(k == 0)).collect()
    }
}

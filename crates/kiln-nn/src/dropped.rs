//! Which values a dropout drops, as truths.
//! Owns the draw: the device's generator draws for each value, or on the processor, where that takes longer than the
//! layer's product, for a seed. Either way the device's seed decides. Adapters ask for it.

use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData};
use kiln_core::device::processor;

/// True with this probability, in the shape of `x` and without autodiff.
pub(crate) fn dropped<const D: usize>(x: &Tensor<D>, probability: f64) -> Tensor<D, Bool> {
    let device = x.device().inner();
    if processor().is_none_or(|processor| processor != device) {
        let drawn = Tensor::<D>::random(x.dims(), Distribution::Bernoulli(probability), &device);
        return drawn.greater_elem(0.5);
    }
    let values = drawn(seed(&device), probability, x.shape().num_elements());
    Tensor::from_data(TensorData::new(values, x.dims()), &device)
}

/// 48 bits of the device's generator.
fn seed(device: &Device) -> u64 {
    let half = Distribution::Uniform(0.0, f64::from(1 << 24));
    let halves = Tensor::<1>::random([2], half, device).into_data();
    halves.iter::<f32>().fold(0, |seed, half| seed << 24 | half as u64)
}

/// SplitMix64 (Steele, Lea and Flood, 2014), two values a step.
fn drawn(seed: u64, probability: f64, count: usize) -> Vec<bool> {
    let below = (probability * f64::from(u32::MAX)) as u64;
    let mut state = seed;
    let mut step = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let bits = step();
        values.push(bits >> 32 < below);
        values.push(bits & u64::from(u32::MAX) < below);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_the_probability_and_neighbours_are_independent() {
        let n = 1 << 20;
        for p in [0.1, 0.5] {
            let values = drawn(7, p, n);
            let share = |hits: usize, of: usize| hits as f64 / of as f64;
            let error = 5.0 * (p * (1.0 - p) / n as f64).sqrt();
            assert!((share(values.iter().filter(|v| **v).count(), n) - p).abs() < error, "{p}");
            for apart in [1, 2, 384] {
                let both = values.iter().zip(&values[apart..]).filter(|(a, b)| **a && **b).count();
                assert!((share(both, n - apart) - p * p).abs() < error, "{p}: {apart} apart");
            }
        }
        assert_eq!(drawn(1, 0.3, 7).len(), 7);
        assert_ne!(drawn(1, 0.5, 64), drawn(2, 0.5, 64));
    }
}

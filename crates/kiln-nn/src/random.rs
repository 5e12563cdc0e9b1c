//! Random numbers of layers that drop values: a pure function of a key and a place in the tensor, so that the backward
//! pass draws again what it would otherwise have to keep.
//! Owns the keys, one stream a thread, which the loop seeds for every micro-batch; never a device's generator, which is
//! one for the whole process on Burn flex. Elsewhere the device draws, from the same seed.

use std::cell::Cell;

use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData};
use kiln_core::device::processor;

thread_local! {
    static STREAM: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Starts this thread's stream of keys anew, and `device`'s generator where that is what draws.
pub fn seed(seed: u64, device: &Device) {
    STREAM.set((seed, 0));
    if !is_processor(device) {
        device.seed(seed);
    }
}

/// Where this thread's random numbers are, to draw them once more.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    stream: (u64, u64),
    /// Where the device draws: it cannot tell where it is, and is put to a new start.
    device: Option<(u64, Device)>,
}

/// Marks the place that a pass on `device` starts from.
pub(crate) fn place(device: &Device) -> Place {
    let device = (!is_processor(device)).then(|| {
        let seed = key();
        device.seed(seed);
        (seed, device.clone())
    });
    Place { stream: STREAM.get(), device }
}

/// Runs `f` with the random numbers that came from `place` on; those of this thread go on afterwards where they were.
pub(crate) fn again<T>(place: &Place, f: impl FnOnce() -> T) -> T {
    struct Restore((u64, u64));
    impl Drop for Restore {
        fn drop(&mut self) {
            STREAM.set(self.0);
        }
    }
    let _restore = Restore(STREAM.replace(place.stream));
    if let Some((seed, device)) = &place.device {
        device.seed(*seed);
    }
    f()
}

/// The next key of this thread's stream.
pub(crate) fn key() -> u64 {
    let (seed, drawn) = STREAM.get();
    STREAM.set((seed, drawn + 1));
    mix64(seed ^ mix64(drawn.wrapping_add(0x9E37_79B9_7F4A_7C15)))
}

/// True with this probability, without autodiff.
pub(crate) fn bernoulli<const D: usize>(
    dims: [usize; D],
    probability: f64,
    device: &Device,
) -> Tensor<D, Bool> {
    let device = device.clone().inner();
    if !is_processor(&device) {
        return Tensor::<D>::random(dims, Distribution::Bernoulli(probability), &device).greater_elem(0.5);
    }
    let (draw, below) = (Draw::new(key(), 0), threshold(probability));
    let truths: Vec<bool> = (0..dims.iter().product()).map(|i| draw.at(i) < below).collect();
    Tensor::from_data(TensorData::new(truths, dims), &device)
}

fn is_processor(device: &Device) -> bool {
    processor().is_some_and(|processor| processor == device.clone().inner())
}

/// A draw below this happens with `probability`.
pub(crate) fn threshold(probability: f64) -> u32 {
    (probability * f64::from(u32::MAX)).round() as u32
}

/// 32 random bits for every place from `start` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    first: u32,
    second: u32,
    start: u32,
}

impl Draw {
    pub(crate) fn new(key: u64, start: usize) -> Self {
        // A place has 32 bits; the rest of a place in a larger tensor changes the key.
        let key = mix64(key ^ (start as u64 >> 32));
        Self { first: key as u32, second: (key >> 32) as u32, start: start as u32 }
    }

    #[inline(always)]
    pub(crate) fn at(self, i: usize) -> u32 {
        let place = self.start.wrapping_add(i as u32);
        mix32(mix32(place ^ self.first).wrapping_add(self.second))
    }
}

/// A permutation of 32 bits in which every input bit changes every output bit about half the time ("lowbias32" of
/// hash-prospector, Wellons).
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix64(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truths(key: u64, p: f64, n: usize) -> Vec<bool> {
        let (draw, below) = (Draw::new(key, 0), threshold(p));
        (0..n).map(|i| draw.at(i) < below).collect()
    }

    #[test]
    fn the_share_is_the_probability_and_neighbours_and_keys_are_independent() {
        let n = 1 << 20;
        let share = |hits: usize, of: usize| hits as f64 / of as f64;
        for p in [0.1, 0.5] {
            let values = truths(7, p, n);
            let error = 5.0 * (p * (1.0 - p) / n as f64).sqrt();
            assert!((share(values.iter().filter(|v| **v).count(), n) - p).abs() < error, "{p}");
            for apart in [1, 2, 16, 64, 384, 1024] {
                let both = values.iter().zip(&values[apart..]).filter(|(a, b)| **a && **b).count();
                assert!((share(both, n - apart) - p * p).abs() < error, "{p}: {apart} apart");
            }
            for other in [8, 7 | 1 << 32, 7 | 1 << 63] {
                let both = values.iter().zip(truths(other, p, n)).filter(|(a, b)| **a && *b).count();
                assert!((share(both, n) - p * p).abs() < error, "{p}: key {other}");
            }
        }
    }

    #[test]
    fn a_part_draws_what_the_whole_draws_there() {
        let (whole, part) = (Draw::new(3, 0), Draw::new(3, 1000));
        assert!((0..5000).all(|i| whole.at(1000 + i) == part.at(i)));
        let far = Draw::new(3, 1 << 33);
        assert!((0..64).any(|i| whole.at(i) != far.at(i)));
    }

    #[test]
    fn a_seed_fixes_the_stream_and_its_keys_differ() {
        let device = Device::flex();
        let stream = |from| {
            seed(from, &device);
            [key(), key(), key()]
        };
        assert_eq!(stream(5), stream(5));
        let all: std::collections::HashSet<u64> = stream(5).into_iter().chain(stream(6)).collect();
        assert_eq!(all.len(), 6);
    }
}

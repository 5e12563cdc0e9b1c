//! Seeds as pure functions: every random choice of a run is drawn from (seed, purpose, position), so that a
//! resumed run draws what the uninterrupted one would have. Owns no generator; kiln-data and the loop do.

/// Separates the streams that are drawn from one run seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights.
    Init = 1,
    /// Order of samples in an epoch.
    Order = 2,
    /// Augmentation of one sample.
    Augment = 3,
    /// Dropout and other randomness on the device, per micro-batch.
    Device = 4,
    /// Splits.
    Split = 5,
    /// Tokens hidden in evaluation.
    Mask = 6,
    /// A token of a generated text.
    Generate = 7,
    /// How the images of a batch are mixed.
    Mix = 8,
}

/// One seed from a run seed, a purpose and a position (epoch, index, step, ...). Platform-independent.
pub fn mix(seed: u64, purpose: Purpose, position: &[u64]) -> u64 {
    let start = splitmix(seed ^ splitmix(purpose as u64));
    position.iter().fold(start, |state, p| splitmix(state ^ splitmix(p.wrapping_add(0x9E37_79B9_7F4A_7C15))))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn splitmix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_purposes_and_seeds_are_told_apart() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..4 {
            for purpose in [Purpose::Init, Purpose::Order, Purpose::Augment, Purpose::Device] {
                for epoch in 0..8 {
                    for index in 0..64 {
                        assert!(seen.insert(mix(seed, purpose, &[epoch, index])));
                    }
                }
            }
        }
    }

    #[test]
    fn a_value_is_fixed_for_ever() {
        // A checkpoint stores the seed alone: another value here would change every resumed run.
        assert_eq!(mix(42, Purpose::Order, &[0]), mix(42, Purpose::Order, &[0]));
        assert_ne!(mix(42, Purpose::Order, &[0]), mix(42, Purpose::Order, &[0, 0]));
    }
}

//! What a panel holds and which loop multiplies two panels: chosen once a product, from the precision and the processor.
//! Owns the sizes of a tile and how values are rounded; `pack` fills panels with it, `tile` has the loops.
//!
//! A panel is `[units of k, lanes]`: lanes are rows of the left matrix or columns of the right one, and a unit is a
//! float32, or two bfloat16 of successive `k` in 32 bits, as the processor's dot product takes them.

use super::super::simd::{Level, level};
use super::tile;
use crate::precision::Precision;

/// Multiplies two panels.
pub(super) type Multiply = unsafe fn(&tile::Job);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) level: Level,
    /// Lanes of a panel of the left matrix, and of the right one.
    pub(super) rows: usize,
    pub(crate) columns: usize,
    /// Two bfloat16 a unit.
    pub(crate) pairs: bool,
    /// How a value is rounded on its way into a panel of float32.
    pub(super) rounding: Precision,
    pub(super) multiply: Multiply,
}

/// Values of `k` in a block, of float32 and of bfloat16: a panel of the left matrix stays in a core's first cache.
const DEPTH: usize = 384;
const DEPTH_OF_PAIRS: usize = 512;

impl Format {
    /// The fastest loop of this processor whose inputs are rounded to `precision`; sums are float32.
    pub(crate) fn of(precision: Precision) -> Self {
        #[cfg(target_arch = "x86_64")]
        if precision == Precision::Bf16 && level() == Level::Avx512 && has_pairs() {
            return Self { pairs: true, multiply: tile::pairs_512, ..Self::at(Level::Avx512, precision) };
        }
        Self::at(level(), precision)
    }

    /// The loop over float32 of a level that the processor has.
    pub(super) fn at(level: Level, rounding: Precision) -> Self {
        let (rows, columns, multiply): (_, _, Multiply) = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => (12, 32, tile::floats_512),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => (6, 16, tile::floats_256),
            _ => (8, 8, tile::floats),
        };
        Self { level, rows, columns, pairs: false, rounding, multiply }
    }

    /// The same for a left matrix of `m` rows: with fewer rows a panel where these fill their panels better.
    pub(crate) fn of_rows(self, m: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if self.rows == 12 && m.next_multiple_of(8) < m.next_multiple_of(12) {
            let multiply: Multiply = if self.pairs { tile::pairs_512_of_8 } else { tile::floats_512_of_8 };
            return Self { rows: 8, multiply, ..self };
        }
        self
    }

    /// Units of `k` values.
    pub(crate) fn units(&self, k: usize) -> usize {
        if self.pairs { k.div_ceil(2) } else { k }
    }

    /// Values of `k` in a block.
    pub(crate) fn depth(&self) -> usize {
        if self.pairs { DEPTH_OF_PAIRS } else { DEPTH }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_pairs() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

/// Nearest bfloat16, ties to even, as the upper half of 32 bits; what is no number stays none.
#[inline(always)]
pub(super) fn bfloat16(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) & 0xFFFF_0000;
    if x.is_nan() { (bits | 0x0040_0000) & 0xFFFF_0000 } else { rounded }
}

/// Nearest float16, ties to even, as a float32: infinite beyond 65504, steps of 2^-24 below 2^-14.
#[inline(always)]
pub(super) fn float16(x: f32) -> f32 {
    let bits = x.to_bits();
    let normal = f32::from_bits(bits.wrapping_add(0x0FFF + ((bits >> 13) & 1)) & 0xFFFF_E000);
    // 0.75 has steps of 2^-24: adding it rounds to them.
    let small = ((x.abs() + 0.75) - 0.75).copysign(x);
    let size = x.abs();
    let finite = if size < 6.103_515_6e-5 { small } else { normal };
    let bounded = if finite.abs() > 65504.0 { f32::INFINITY.copysign(x) } else { finite };
    if x.is_nan() { x } else { bounded }
}

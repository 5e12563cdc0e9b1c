//! A square of units turned: rows become columns.
//! Owns the shuffles; `pack` calls it where a matrix lies the other way than its panels.

use super::super::simd::Level;

/// Rows and columns of a square.
pub(super) const SQUARE: usize = 16;

/// 16 rows of 16 units.
pub(super) type Square = [[u32; SQUARE]; SQUARE];

/// Writes columns of `square` as rows of `panel`, which are `W` apart: `units` of them, `lanes` of each.
#[inline(always)]
pub(super) fn turn<const W: usize>(
    square: &Square,
    level: Level,
    units: usize,
    lanes: usize,
    panel: &mut [u32],
) {
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512 && lanes >= SQUARE.min(W) {
        let mut turned = [[0; SQUARE]; SQUARE];
        // SAFETY: the processor has AVX-512 F.
        unsafe { x86::turn(square, &mut turned) };
        for (turned, to) in turned.iter().zip(panel.chunks_mut(W)).take(units) {
            match W {
                8 => to[..8].copy_from_slice(&turned[..8]),
                12 => to[..12].copy_from_slice(&turned[..12]),
                _ => to[..SQUARE].copy_from_slice(turned),
            }
        }
        return;
    }
    for unit in 0..units {
        for (lane, to) in panel[unit * W..][..lanes].iter_mut().enumerate() {
            *to = square[lane][unit];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{SQUARE, Square};

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn turn(square: &Square, turned: &mut Square) {
        let mut a = [_mm512_setzero_si512(); SQUARE];
        for (a, row) in a.iter_mut().zip(square) {
            // SAFETY: a row is 64 bytes.
            *a = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        }
        // Pairs of rows, then fours within quarters of 128 bits.
        let mut b = a;
        for i in (0..SQUARE).step_by(2) {
            b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
            b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
        }
        for i in (0..SQUARE).step_by(4) {
            a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
            a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
            a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
            a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
        }
        // `a[4 g + j]` has in quarter `q` column `4 q + j` of rows `4 g ..`: quarters change places.
        for j in 0..4 {
            let low =
                [_mm512_shuffle_i32x4(a[j], a[4 + j], 0x88), _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x88)];
            let high =
                [_mm512_shuffle_i32x4(a[j], a[4 + j], 0xDD), _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xDD)];
            b[j] = _mm512_shuffle_i32x4(low[0], low[1], 0x88);
            b[8 + j] = _mm512_shuffle_i32x4(low[0], low[1], 0xDD);
            b[4 + j] = _mm512_shuffle_i32x4(high[0], high[1], 0x88);
            b[12 + j] = _mm512_shuffle_i32x4(high[0], high[1], 0xDD);
        }
        for (b, row) in b.iter().zip(turned) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), *b) };
        }
    }
}

//! Matrices cut into panels, block after block of `k`, rounded as the format says; what is missing is zero.
//! Owns the order in memory: `[blocks of k][panels][units][lanes]`. `product` multiplies panels with panels.

use std::ops::Range;

use rayon::prelude::*;

use super::super::simd::simd;
use super::super::slices::unwritten;
use super::format::{Format, bfloat16, float16};
use super::turn::{SQUARE, Square, turn};
use crate::precision::Precision;

/// What is multiplied: rows of the left matrix or columns of the right one, both called lanes.
pub(crate) trait Side: Sync {
    /// Whether lines run over lanes at one `k`; else over `k` at one lane.
    fn along_lanes(&self) -> bool;

    /// The `N` values of a line from this lane and `k` on; zeros from the `count`th on.
    fn line<const N: usize>(&self, lane: usize, k: usize, count: usize) -> [f32; N];
}

/// A side that lies in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes {
    at: *const f32,
    /// From one lane to the next, and from one `k` to the next.
    lane: usize,
    k: usize,
}

// SAFETY: nobody writes what a product reads.
unsafe impl Sync for Lanes {}

impl Lanes {
    /// # Safety
    /// Whoever packs this packs no more than there is.
    pub(crate) unsafe fn new(at: *const f32, lane: usize, k: usize) -> Self {
        Self { at, lane, k }
    }

    /// From a lane on.
    pub(super) fn from(self, lane: usize) -> Self {
        Self { at: self.at.wrapping_add(lane * self.lane), ..self }
    }
}

impl Side for Lanes {
    fn along_lanes(&self) -> bool {
        self.lane == 1
    }

    #[inline(always)]
    fn line<const N: usize>(&self, lane: usize, k: usize, count: usize) -> [f32; N] {
        let first = self.at.wrapping_add(lane * self.lane + k * self.k);
        if count >= N && (self.lane == 1 || self.k == 1) {
            // SAFETY: within the matrix, as `product`'s caller promised.
            return unsafe { *first.cast::<[f32; N]>() };
        }
        let step = if self.lane == 1 { 1 } else { self.k };
        let mut values = [0.0; N];
        for (i, to) in values.iter_mut().enumerate().take(count) {
            // SAFETY: as above.
            *to = unsafe { *first.add(i * step) };
        }
        values
    }
}

/// One side of a product, packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(super) units: Vec<u32>,
    pub(super) lanes: usize,
    pub(super) k: usize,
    /// Lanes of a panel.
    pub(super) width: usize,
}

impl Packed {
    /// Room that `of` fills; `used` is kept where it is large enough.
    fn room(format: Format, lanes: usize, k: usize, width: usize, used: Vec<u32>) -> Self {
        let whole = k / format.depth() * format.units(format.depth());
        let n = lanes.div_ceil(width) * width * (whole + format.units(k % format.depth()));
        let mut units = used;
        // Every place is written before it is read; what is there is not worth zeroing.
        if units.len() < n {
            units = unwritten(n);
        }
        Self { units, lanes, k, width }
    }

    pub(super) fn panels(&self) -> usize {
        self.lanes.div_ceil(self.width)
    }

    /// The blocks of `k`: where each begins in `units`, and its values of `k`.
    pub(super) fn blocks(&self, format: Format) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let (k, width) = (self.k, self.panels() * self.width);
        (0..k).step_by(format.depth()).map(move |first| {
            let place = first / format.depth() * format.units(format.depth()) * width;
            (place, first..k.min(first + format.depth()))
        })
    }

    /// The units of a panel, `[units of k, lanes]` for each block of `k`.
    pub(crate) fn panel(&self, format: Format, panel: usize) -> impl Iterator<Item = &[u32]> {
        self.blocks(format).map(move |(place, ks)| {
            let size = self.width * format.units(ks.len());
            &self.units[place + panel * size..][..size]
        })
    }

    /// Packs on this thread, into the memory that is given back.
    pub(super) fn here(
        format: Format,
        x: &impl Side,
        lanes: usize,
        k: usize,
        width: usize,
        used: Vec<u32>,
    ) -> Self {
        let mut packed = Self::room(format, lanes, k, width, used);
        for (place, ks) in packed.blocks(format) {
            let size = width * format.units(ks.len());
            for panel in 0..packed.panels() {
                let lanes = panel * width..lanes.min((panel + 1) * width);
                fill(format, x, lanes, ks.clone(), width, &mut packed.units[place + panel * size..][..size]);
            }
        }
        packed
    }

    /// Packs on all threads.
    pub(super) fn shared(format: Format, x: &impl Side, lanes: usize, k: usize, width: usize) -> Self {
        let mut packed = Self::room(format, lanes, k, width, Vec::new());
        let panels = packed.panels();
        let mut rest = packed.units.as_mut_slice();
        let mut parts = Vec::new();
        for first in (0..k).step_by(format.depth()) {
            let ks = first..k.min(first + format.depth());
            let size = width * format.units(ks.len());
            let (block, others) = std::mem::take(&mut rest).split_at_mut(size * panels);
            rest = others;
            parts.extend(
                block.chunks_exact_mut(size).enumerate().map(|(panel, units)| (panel, ks.clone(), units)),
            );
        }
        parts.into_par_iter().for_each(|(panel, ks, units)| {
            fill(format, x, panel * width..lanes.min((panel + 1) * width), ks, width, units);
        });
        packed
    }
}

simd! {
    /// One panel.
    fn fill(
        format: Format,
        x: &impl Side,
        lanes: Range<usize>,
        ks: Range<usize>,
        width: usize,
        panel: &mut [u32],
    ) {
        // A loop for each width: copies of a known length are moves, others are calls.
        match width {
            32 => fill_width::<32>(format, x, lanes, ks, panel),
            16 => fill_width::<16>(format, x, lanes, ks, panel),
            12 => fill_width::<12>(format, x, lanes, ks, panel),
            8 => fill_width::<8>(format, x, lanes, ks, panel),
            6 => fill_width::<6>(format, x, lanes, ks, panel),
            _ => unreachable!("no format has panels of {width}"),
        }
    }
}

#[inline(always)]
fn fill_width<const W: usize>(
    format: Format,
    x: &impl Side,
    lanes: Range<usize>,
    ks: Range<usize>,
    panel: &mut [u32],
) {
    match x.along_lanes() {
        true => fill_lanes::<W>(format, x, lanes, ks, panel),
        false => fill_depth::<W>(format, x, lanes, ks, panel),
    }
}

#[inline(always)]
fn fill_lanes<const W: usize>(
    format: Format,
    x: &impl Side,
    lanes: Range<usize>,
    ks: Range<usize>,
    panel: &mut [u32],
) {
    let step = if format.pairs { 2 } else { 1 };
    let (panel, _) = panel.as_chunks_mut::<W>();
    for (k, units) in ks.clone().step_by(step).zip(panel) {
        let first: [f32; W] = x.line(lanes.start, k, lanes.len());
        if !format.pairs {
            single(&first, format.rounding, units);
            continue;
        }
        let count = if k + 1 < ks.end { lanes.len() } else { 0 };
        let second: [f32; W] = x.line(lanes.start, k + 1, count);
        for ((unit, first), second) in units.iter_mut().zip(first).zip(second) {
            *unit = bfloat16(first) >> 16 | bfloat16(second);
        }
    }
}

#[inline(always)]
fn fill_depth<const W: usize>(
    format: Format,
    x: &impl Side,
    lanes: Range<usize>,
    ks: Range<usize>,
    panel: &mut [u32],
) {
    let step = if format.pairs { 2 * SQUARE } else { SQUARE };
    for (i, k) in ks.clone().step_by(step).enumerate() {
        let count = step.min(ks.end - k);
        for first in (0..W).step_by(SQUARE) {
            let mut square: Square = [[0; SQUARE]; SQUARE];
            for (lane, square) in (lanes.start + first..lanes.end).zip(&mut square) {
                match format.pairs {
                    true => pairs(&x.line(lane, k, count), square),
                    false => single(&x.line(lane, k, count), format.rounding, square),
                }
            }
            let place = i * SQUARE * W + first;
            turn::<W>(&square, format.level, format.units(count), SQUARE.min(W - first), &mut panel[place..]);
        }
    }
}

/// Float32 as units.
#[inline(always)]
fn single<const N: usize>(values: &[f32; N], rounding: Precision, units: &mut [u32; N]) {
    match rounding {
        Precision::F32 => units.iter_mut().zip(values).for_each(|(unit, x)| *unit = x.to_bits()),
        Precision::Bf16 => units.iter_mut().zip(values).for_each(|(unit, x)| *unit = bfloat16(*x)),
        Precision::F16 => units.iter_mut().zip(values).for_each(|(unit, x)| *unit = float16(*x).to_bits()),
    }
}

/// Pairs within a line along `k`.
#[inline(always)]
fn pairs(values: &[f32; 2 * SQUARE], units: &mut [u32; SQUARE]) {
    for (i, unit) in units.iter_mut().enumerate() {
        *unit = bfloat16(values[2 * i]) >> 16 | bfloat16(values[2 * i + 1]);
    }
}

simd! {
    /// Units of a line, and of a second one where they are pairs; that one may be zeros.
    pub(crate) fn units_of(format: Format, line: &mut [u32], first: &[f32], second: Option<&[f32]>) {
        if let (true, Some(second)) = (format.pairs, second) {
            for ((unit, first), second) in line.iter_mut().zip(first).zip(second) {
                *unit = bfloat16(*first) >> 16 | bfloat16(*second);
            }
            return;
        }
        let shift = if format.pairs { 16 } else { 0 };
        match format.rounding {
            Precision::F32 => line.iter_mut().zip(first).for_each(|(unit, x)| *unit = x.to_bits()),
            Precision::Bf16 => line.iter_mut().zip(first).for_each(|(unit, x)| *unit = bfloat16(*x) >> shift),
            Precision::F16 => line.iter_mut().zip(first).for_each(|(unit, x)| *unit = float16(*x).to_bits()),
        }
    }
}

//! Sums over slices in many lanes, so that additions do not wait for each other; in an order that neither the machine
//! nor the threads change.
//! Owns that order. The norms and the losses use it, not short rows: a sum costs as much as some hundred values.

use std::hint::black_box;

use super::simd::fold16;

/// Values that lanes of float32 take before their sum goes to double precision.
const MANY: usize = 1 << 14;

/// Lanes of a part, and parts.
const LANES: usize = 16;
const PARTS: usize = 4;

/// `M` sums of the same values.
#[derive(Clone, Copy)]
pub(crate) struct Sums<const M: usize> {
    lanes: [[[f32; LANES]; M]; PARTS],
    totals: [f64; M],
    taken: usize,
}

impl<const M: usize> Sums<M> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { lanes: [[[0.0; LANES]; M]; PARTS], totals: [0.0; M], taken: 0 }
    }

    /// Adds what `f` makes of the first values of the slices, of the second and so on; the slices are equally long.
    #[inline(always)]
    pub(crate) fn add<const N: usize>(&mut self, x: [&[f32]; N], f: impl Fn([f32; N]) -> [f32; M] + Copy) {
        let n = x.first().map_or(0, |x| x.len());
        assert!(x.iter().all(|x| x.len() == n), "slices of different lengths");
        let mut first = 0;
        if n >= PARTS * LANES {
            let mut lanes = self.lanes;
            while first + PARTS * LANES <= n {
                for (part, lanes) in lanes.iter_mut().enumerate() {
                    // SAFETY: the slices reach to here.
                    add_lanes(lanes, unsafe { load(x, first + part * LANES) }, f);
                }
                first += PARTS * LANES;
            }
            self.lanes = lanes;
        }
        while first + LANES <= n {
            // SAFETY: the slices reach to here.
            add_lanes(&mut self.lanes[0], unsafe { load(x, first) }, f);
            first += LANES;
        }
        if first < n {
            self.add_rest(x.map(|x| &x[first..]), f);
        }
        // Through memory: the compiler would cut the lanes into narrow vectors, as the sum over them wants it.
        black_box(&mut self.lanes);
        self.taken += n;
        if self.taken >= MANY {
            self.fold();
        }
    }

    /// Adds less than the lanes of a part.
    #[inline(always)]
    fn add_rest<const N: usize>(&mut self, x: [&[f32]; N], f: impl Fn([f32; N]) -> [f32; M]) {
        let (mut rest, mut last) = ([[0.0; LANES]; N], [[0.0; LANES]; M]);
        rest.iter_mut().zip(x).for_each(|(rest, x)| rest[..x.len()].copy_from_slice(x));
        add_lanes(&mut last, rest, f);
        let n = x.first().map_or(0, |x| x.len());
        for (lanes, last) in self.lanes[1].iter_mut().zip(&last) {
            for (i, (lane, last)) in lanes.iter_mut().zip(last).enumerate() {
                *lane += if i < n { *last } else { 0.0 };
            }
        }
    }

    #[inline(always)]
    fn fold(&mut self) {
        for (m, total) in self.totals.iter_mut().enumerate() {
            let [a, b, c, d] = self.lanes.map(|part| part[m]);
            let sums = std::array::from_fn(|lane| (a[lane] + b[lane]) + (c[lane] + d[lane]));
            *total += f64::from(fold16(&black_box(sums)));
        }
        self.lanes = [[[0.0; LANES]; M]; PARTS];
        self.taken = 0;
    }

    /// The sums.
    #[inline(always)]
    pub(crate) fn totals(mut self) -> [f64; M] {
        self.fold();
        self.totals
    }
}

#[inline(always)]
fn add_lanes<const N: usize, const M: usize>(
    lanes: &mut [[f32; LANES]; M],
    x: [[f32; LANES]; N],
    f: impl Fn([f32; N]) -> [f32; M],
) {
    for i in 0..LANES {
        let values = f(std::array::from_fn(|k| x[k][i]));
        lanes.iter_mut().zip(values).for_each(|(lanes, value)| lanes[i] += value);
    }
}

/// # Safety
/// The slices reach to the end of the lanes that begin at `first`.
#[inline(always)]
unsafe fn load<const N: usize>(x: [&[f32]; N], first: usize) -> [[f32; LANES]; N] {
    // SAFETY: the caller's promise.
    x.map(|x| unsafe { x.as_ptr().add(first).cast::<[f32; LANES]>().read_unaligned() })
}

/// One sum over slices that are not long.
#[inline(always)]
pub(crate) fn sum<const N: usize>(x: [&[f32]; N], f: impl Fn([f32; N]) -> f32 + Copy) -> f32 {
    sums(x, |x| [f(x)])[0]
}

/// As [`sum`], of `M` sums.
#[inline(always)]
pub(crate) fn sums<const N: usize, const M: usize>(
    x: [&[f32]; N],
    f: impl Fn([f32; N]) -> [f32; M] + Copy,
) -> [f32; M] {
    let mut sums = Sums::new();
    sums.add(x, f);
    sums.totals().map(|sum| sum as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_double_precision_at_any_length() {
        for n in [0, 1, 15, 16, 17, 63, 64, 65, 200, 20_000, 40_001] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() + 0.5).collect();
            let y: Vec<f32> = x.iter().rev().copied().collect();
            // The first is not zero of zeros: what fills up the lanes must not count.
            let [a, b] = sums([&x, &y], |[x, y]| [x + 1.0, x * y]);
            let wide = |f: fn(f64, f64) -> f64| {
                x.iter().zip(&y).map(|(x, y)| f(f64::from(*x), f64::from(*y))).sum::<f64>()
            };
            for (found, expected) in [(a, wide(|x, _| x + 1.0)), (b, wide(|x, y| x * y))] {
                assert!((f64::from(found) - expected).abs() <= 1e-6 * n as f64, "{n}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn sums_of_parts_are_those_of_the_whole() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.3).cos()).collect();
        let mut parts = Sums::new();
        x.chunks(49).for_each(|x| parts.add([x], |[x]| [x]));
        assert!((parts.totals()[0] - f64::from(sum([&x], |[x]| x))).abs() < 1e-4);
    }
}

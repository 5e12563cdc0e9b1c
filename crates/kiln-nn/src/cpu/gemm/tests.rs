//! Every loop that this processor has against sums in double precision of inputs rounded beforehand, at odd sizes and in
//! every memory order; and the rounding of every kind of number.

use super::super::simd::{Level, level};
use super::format::{Format, bfloat16, float16};
use super::*;

/// Numbers from a seed, about 1 in size.
fn draw(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn formats() -> Vec<Format> {
    let mut formats: Vec<Format> = Precision::ALL.map(Format::of).to_vec();
    for lower in [Level::Baseline, Level::Avx2].into_iter().filter(|lower| *lower <= level()) {
        formats.extend(Precision::ALL.map(|precision| Format::at(lower, precision)));
    }
    formats
}

fn rounded(precision: Precision, x: f32) -> f64 {
    f64::from(match precision {
        Precision::F32 => x,
        Precision::Bf16 => f32::from_bits(bfloat16(x)),
        Precision::F16 => float16(x),
    })
}

/// A matrix of `rows` by `columns` in memory, by columns where `turned`, with `gap` values between lines.
fn matrix(values: &[f32], [rows, columns]: [usize; 2], turned: bool, gap: usize) -> Matrix<*const f32> {
    match turned {
        true => Matrix { at: values.as_ptr(), row: 1, column: rows + gap },
        false => Matrix { at: values.as_ptr(), row: columns + gap, column: 1 },
    }
}

#[test]
fn products_are_sums_of_rounded_inputs() {
    let mut seed = 1;
    let sizes = [
        [1, 1, 1],
        [12, 32, 256],
        [13, 33, 257],
        [5, 70, 3],
        [100, 10, 515],
        [25, 47, 1030],
        [7, 64, 0],
        [64, 1, 9],
    ];
    for format in formats() {
        for (case, [m, n, k]) in sizes.into_iter().enumerate() {
            let gap = case % 3;
            let mut side = |a: usize, b: usize| -> Vec<f32> {
                (0..(a + gap) * (b + gap)).map(|_| draw(&mut seed)).collect()
            };
            let (left, right, before) = (side(m, k), side(k, n), side(m, n));
            for turns in 0..8 {
                let (a, b) =
                    (matrix(&left, [m, k], turns & 1 > 0, gap), matrix(&right, [k, n], turns & 2 > 0, gap));
                let (accumulate, scale) = (case % 2 == 0, 0.5);
                for threads in [Threads::All, Threads::One] {
                    let mut out = before.clone();
                    let c = matrix(&out, [m, n], turns & 4 > 0, gap);
                    let c = Matrix { at: out.as_mut_ptr(), row: c.row, column: c.column };
                    // SAFETY: the vectors have room for their matrices.
                    unsafe { product_in(format, [m, n, k], c, accumulate, [a, b], scale, threads) };
                    for i in 0..m {
                        for j in 0..n {
                            let at = |x: &Matrix<*const f32>, i: usize, j: usize| i * x.row + j * x.column;
                            let term = |p: usize| {
                                let (x, y) = (left[at(&a, i, p)], right[at(&b, p, j)]);
                                rounded(format.rounding, x) * rounded(format.rounding, y)
                            };
                            let place = i * c.row + j * c.column;
                            let kept = if accumulate { f64::from(before[place]) } else { 0.0 };
                            let want = kept + 0.5 * (0..k).map(term).sum::<f64>();
                            let error = (f64::from(out[place]) - want).abs();
                            assert!(
                                error <= 2e-6 * (1.0 + k as f64).sqrt(),
                                "{format:?} {m} {n} {k} {turns}: {} {want}",
                                out[place]
                            );
                        }
                    }
                    // What lies between the lines is another's.
                    let written =
                        |place: usize| (0..m).any(|i| (0..n).any(|j| i * c.row + j * c.column == place));
                    if m * n <= 400 {
                        let kept = (0..out.len()).filter(|place| !written(*place));
                        kept.for_each(|place| assert_eq!(out[place], before[place]));
                    }
                }
            }
        }
    }
}

#[test]
fn a_product_is_the_same_to_the_bit_on_any_number_of_threads() {
    let (m, n, k) = (150, 130, 700);
    let mut seed = 3;
    let (left, right): (Vec<f32>, Vec<f32>) =
        ((0..m * k).map(|_| draw(&mut seed)).collect(), (0..k * n).map(|_| draw(&mut seed)).collect());
    for (precision, turned) in Precision::ALL.into_iter().flat_map(|p| [(p, false), (p, true)]) {
        let with = |threads: usize| {
            let mut out = vec![0.0f32; m * n];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (a, b, c) = (
                Shared::from(left.as_ptr().cast_mut()),
                Shared::from(right.as_ptr().cast_mut()),
                Shared::new(&mut out),
            );
            pool.install(|| {
                let a = Matrix::rows(a.at(0).cast_const(), k);
                let b = b.at(0).cast_const();
                let b = if turned { Matrix::rows(b, k).transposed() } else { Matrix::rows(b, n) };
                // SAFETY: the vectors are the matrices.
                unsafe {
                    product([m, n, k], Matrix::rows(c.at(0), n), false, a, b, 1.0, Threads::All, precision)
                };
            });
            out
        };
        let one = with(1);
        assert!([2, 3, 8].into_iter().all(|threads| with(threads) == one), "{precision} {turned}");
    }
}

#[test]
fn what_is_no_number_stays_none_in_every_precision() {
    for format in formats() {
        let (left, right, mut out) = ([f32::NAN, 1.0], [1.0, 1.0], [0.0f32]);
        let (a, b) = (Matrix::rows(left.as_ptr(), 2), Matrix::rows(right.as_ptr(), 1));
        // SAFETY: the arrays are the matrices.
        unsafe {
            product_in(format, [1, 1, 2], Matrix::rows(out.as_mut_ptr(), 1), false, [a, b], 1.0, Threads::One)
        };
        assert!(out[0].is_nan(), "{format:?}");
    }
}

#[test]
fn rounding_is_to_the_nearest_and_to_even() {
    for i in 0..1u32 << 16 {
        // Every float16 itself, and what lies halfway to the next and just off it.
        let x = half::f16::from_bits(i as u16).to_f32();
        let next = half::f16::from_bits((i as u16).wrapping_add(1)).to_f32();
        let between = f32::midpoint(x, next);
        for x in [x, between, between.next_up(), between.next_down()] {
            let (half, brain) = (half::f16::from_f32(x).to_f32(), half::bf16::from_f32(x).to_f32());
            assert!(float16(x) == half || x.is_nan() && float16(x).is_nan(), "{x}: {} {half}", float16(x));
            let found = f32::from_bits(bfloat16(x));
            assert!(found == brain || x.is_nan() && found.is_nan(), "{x}: {found} {brain}");
        }
        let x = f32::from_bits(i << 16 | 0x8000);
        let found = f32::from_bits(bfloat16(x));
        assert!(found == half::bf16::from_f32(x).to_f32() || x.is_nan() && found.is_nan(), "{x}");
    }
}

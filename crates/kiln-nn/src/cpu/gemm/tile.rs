//! The innermost loops: a tile of the answer from a panel of rows and a panel of columns, in registers.
//! Own the vector instructions; `Format::of` has asked the processor for them. Nothing else computes products.

/// A tile: `out [rows, columns] = accumulate out + scale left right`.
#[derive(Clone, Copy)]
pub(super) struct Job {
    /// Units of `k`.
    pub(super) units: usize,
    pub(super) left: *const u32,
    pub(super) right: *const u32,
    pub(super) out: *mut f32,
    /// From one row of `out` to the next.
    pub(super) stride: usize,
    /// Rows and columns that `out` has; the panels may have more.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) scale: f32,
    pub(super) accumulate: bool,
}

impl Job {
    /// Writes the tile from `[R][C]` sums.
    ///
    /// # Safety
    /// `out` has the rows and columns.
    #[inline(always)]
    unsafe fn write<const C: usize>(&self, sums: &[[f32; C]]) {
        for (i, sums) in sums.iter().enumerate().take(self.rows) {
            // SAFETY: the caller's promise.
            let out =
                unsafe { std::slice::from_raw_parts_mut(self.out.add(i * self.stride), self.columns.min(C)) };
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if self.accumulate { self.scale.mul_add(*sum, *out) } else { self.scale * sum };
            }
        }
    }
}

/// Any processor: 8 rows and 8 columns.
///
/// # Safety
/// The panels have 8 lanes and the units, and `out` lies as `job` says.
pub(super) unsafe fn floats(job: &Job) {
    let mut sums = [[0.0f32; 8]; 8];
    for unit in 0..job.units {
        // SAFETY: within the panels.
        let (left, right) = unsafe {
            (&*job.left.add(unit * 8).cast::<[f32; 8]>(), &*job.right.add(unit * 8).cast::<[f32; 8]>())
        };
        for (sums, left) in sums.iter_mut().zip(left) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = left.mul_add(*right, *sum);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { job.write(&sums) };
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{floats_256, floats_512, floats_512_of_8, pairs_512, pairs_512_of_8};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Job;

    /// A loop of `R` rows and `V` vectors of columns; `V = 1` where the answer is no wider.
    macro_rules! tile {
        ($(#[$meta:meta])* $name:ident, $features:literal, $rows:literal x $lanes:literal,
         $zero:ident, $load:ident, $spread:ident, $add:ident, $store:ident, $set:ident, $fma:ident, $loadf:ident, $mul:ident) => {
            $(#[$meta])*
            ///
            /// # Safety
            /// The processor has the features, the panels have the lanes and the units, and `out` lies as `job` says.
            #[target_feature(enable = $features)]
            pub(crate) unsafe fn $name(job: &Job) {
                #[target_feature(enable = $features)]
                unsafe fn run<const V: usize>(job: &Job) {
                    const R: usize = $rows;
                    const L: usize = $lanes;
                    let mut sums = [[$zero(); V]; R];
                    let (mut left, mut right) = (job.left, job.right);
                    for _ in 0..job.units {
                        // SAFETY: within the panels.
                        unsafe {
                            let mut columns = [$load(right.cast()); V];
                            for (v, column) in columns.iter_mut().enumerate().skip(1) {
                                *column = $load(right.add(v * L).cast());
                            }
                            for (i, sums) in sums.iter_mut().enumerate() {
                                let row = $spread(*left.add(i) as i32);
                                for (sum, column) in sums.iter_mut().zip(columns) {
                                    *sum = $add(*sum, row, column);
                                }
                            }
                            left = left.add(R);
                            right = right.add(2 * L);
                        }
                    }
                    if job.rows == R && job.columns == V * L {
                        let scale = $set(job.scale);
                        for (i, sums) in sums.iter().enumerate() {
                            for (v, sum) in sums.iter().enumerate() {
                                // SAFETY: the whole tile lies in `out`.
                                unsafe {
                                    let at = job.out.add(i * job.stride + v * L);
                                    let value = match job.accumulate {
                                        true => $fma(scale, *sum, $loadf(at)),
                                        false => $mul(scale, *sum),
                                    };
                                    $store(at, value);
                                }
                            }
                        }
                        return;
                    }
                    let mut rest = [[0.0f32; 2 * $lanes]; R];
                    for (rest, sums) in rest.iter_mut().zip(&sums) {
                        for (v, sum) in sums.iter().enumerate() {
                            // SAFETY: `rest` has room for two vectors.
                            unsafe { $store(rest.as_mut_ptr().add(v * L), *sum) };
                        }
                    }
                    // SAFETY: the caller's promise.
                    unsafe { job.write(&rest) };
                }
                // SAFETY: the caller's promise.
                unsafe {
                    match job.columns <= $lanes {
                        true => run::<1>(job),
                        false => run::<2>(job),
                    }
                }
            }
        };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_256(sum: __m256, row: __m256i, column: __m256i) -> __m256 {
        _mm256_fmadd_ps(_mm256_castsi256_ps(row), _mm256_castsi256_ps(column), sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_512(sum: __m512, row: __m512i, column: __m512i) -> __m512 {
        _mm512_fmadd_ps(_mm512_castsi512_ps(row), _mm512_castsi512_ps(column), sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn add_pairs(sum: __m512, row: __m512i, column: __m512i) -> __m512 {
        // SAFETY: both types are 512 bits of anything.
        let (row, column) = unsafe {
            (std::mem::transmute::<__m512i, __m512bh>(row), std::mem::transmute::<__m512i, __m512bh>(column))
        };
        _mm512_dpbf16_ps(sum, row, column)
    }

    tile! {
        /// AVX2: 6 rows and 16 columns.
        floats_256, "avx2,fma", 6 x 8, _mm256_setzero_ps, _mm256_loadu_si256, _mm256_set1_epi32,
        add_256, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps
    }

    macro_rules! tile_512 {
        ($(#[$meta:meta])* $name:ident, $features:literal, $rows:literal, $add:ident) => {
            tile! {
                $(#[$meta])*
                $name, $features, $rows x 16, _mm512_setzero_ps, _mm512_loadu_si512, _mm512_set1_epi32, $add,
                _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps
            }
        };
    }

    tile_512! {
        /// AVX-512: 12 rows and 32 columns.
        floats_512, "avx512f", 12, add_512
    }

    tile_512! {
        /// AVX-512: 8 rows and 32 columns.
        floats_512_of_8, "avx512f", 8, add_512
    }

    tile_512! {
        /// AVX-512 BF16: 12 rows and 32 columns of pairs.
        pairs_512, "avx512f,avx512bf16", 12, add_pairs
    }

    tile_512! {
        /// AVX-512 BF16: 8 rows and 32 columns of pairs.
        pairs_512_of_8, "avx512f,avx512bf16", 8, add_pairs
    }
}

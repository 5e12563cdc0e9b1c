//! The matrix product of the `gemm` crate, with its arguments named.
//! Owns nothing; kernels call it.

use gemm::Parallelism;

/// A matrix in memory: where it starts, and how far apart its rows and its columns are.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<P> {
    pub(crate) at: P,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<P> Matrix<P> {
    /// Rows of `width` values.
    pub(crate) fn rows(at: P, width: usize) -> Self {
        Self { at, row: width, column: 1 }
    }

    /// The same read the other way: rows are columns.
    pub(crate) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// Whether a product may use all threads or is itself the work of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    All,
    One,
}

/// `out [M, N] = keep * out + scale * left [M, K] right [K, N]`, where `keep` is 0 (whatever `out` held) or 1.
///
/// # Safety
/// The matrices lie within their memory; `out` overlaps neither of the others and no other thread's place.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn product(
    [m, n, k]: [usize; 3],
    out: Matrix<*mut f32>,
    accumulate: bool,
    left: Matrix<*const f32>,
    right: Matrix<*const f32>,
    scale: f32,
    threads: Threads,
) {
    let parallelism = match threads {
        Threads::All => Parallelism::Rayon(0),
        Threads::One => Parallelism::None,
    };
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.at,
            out.column as isize,
            out.row as isize,
            accumulate,
            left.at,
            left.column as isize,
            left.row as isize,
            right.at,
            right.column as isize,
            right.row as isize,
            1.0f32,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

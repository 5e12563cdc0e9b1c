//! Sums over the rows of a matrix, for the gradients of what all rows share.
//! Owns how the rows are taken; the processor's ops have sums of their own (`cpu/`).
//!
//! Shapes: `R` rows, `D` columns.

use burn::tensor::Tensor;

/// Rows from which two steps pay.
const MANY: usize = 1024;

/// `[R, D]` to `[D]`. Summed in two steps, the first over runs of rows: a GPU gives each column one of its units, and a
/// few hundred columns leave most of it idle.
pub(crate) fn sum_rows(x: Tensor<2>) -> Tensor<1> {
    let [rows, columns] = x.dims();
    if rows < MANY {
        return x.sum_dim(0).squeeze_dim(0);
    }
    let run = rows.isqrt();
    let (runs, rest) = (rows / run, rows % run);
    let whole = if rest == 0 { x.clone() } else { x.clone().narrow(0, 0, runs * run) };
    let sums =
        whole.reshape([runs, run, columns]).sum_dim(1).reshape([runs, columns]).sum_dim(0).squeeze_dim(0);
    if rest == 0 { sums } else { sums + x.narrow(0, runs * run, rest).sum_dim(0).squeeze_dim(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewer rows than pay, a square of them, and some left over.
    #[test]
    fn the_sum_in_two_steps_is_the_sum() {
        let device = kiln_core::device::processor().expect("a processor");
        for rows in [7, 1_024, 1_200, 1_223] {
            let numbers = Tensor::<1, burn::tensor::Int>::arange(0..3 * rows, &device).float();
            let found: Vec<f32> = sum_rows(numbers.reshape([rows as usize, 3])).into_data().iter().collect();
            for (column, found) in (0..3).zip(found) {
                let sum: i64 = (0..rows).map(|row| 3 * row + column).sum();
                let off = (f64::from(found) - sum as f64).abs() / sum as f64;
                assert!(off <= 1e-6, "{rows} rows, column {column}: {found} of {sum}");
            }
        }
    }
}

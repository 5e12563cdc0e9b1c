//! A fully connected layer as three matrix products: forward, for the input's gradient and for the weight's.
//! Owns shapes and memory order: the weight's gradient lies as the weight does. `ops/linear.rs` calls it.
//!
//! Shapes: `R` rows, all that stands before the features; `IN` features read, `OUT` features written.

use burn::tensor::Shape;
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

use super::gemm::{Matrix, Threads, product};
use super::simd::simd;
use super::slices::{contiguous, dims, tensor, unwritten, values};
use super::weighted::Weighted;
use crate::precision::Precision;

/// See the module; the weight is `[IN, OUT]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear {
    pub(crate) precision: Precision,
}

/// Columns of a bias gradient that a thread sums at once: a cache line or four of every row.
const COLUMNS: usize = 64;

impl Weighted for Linear {
    type Saved = Kept;

    fn answer(&self, x: FlexTensor, weight: FlexTensor, bias: Option<&FlexTensor>) -> (FlexTensor, Kept) {
        let kept = Kept { x: contiguous(x), weight: dense(weight) };
        let [rows, read, written] = kept.sizes();
        let mut y = unwritten(rows * written);
        if let Some(bias) = bias.map(values) {
            y.par_chunks_mut((written << 6).max(1))
                .for_each(|y| y.chunks_exact_mut(written).for_each(|row| row.copy_from_slice(bias)));
        }
        let left = Matrix::rows(values(&kept.x).as_ptr(), read);
        let out = Matrix::rows(y.as_mut_ptr(), written);
        // SAFETY: `sizes` has compared the shapes with each other, and the matrices are whole tensors.
        unsafe {
            product(
                [rows, written, read],
                out,
                bias.is_some(),
                left,
                kept.weight(),
                1.0,
                Threads::All,
                self.precision,
            )
        };
        let mut shape = dims(&kept.x);
        if let Some(last) = shape.last_mut() {
            *last = written;
        }
        (tensor(y, &shape), kept)
    }

    fn gradients(&self, kept: &Kept, gradient: &FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let [rows, read, written] = kept.sizes();
        let dy = Matrix::rows(values(gradient).as_ptr(), written);
        let dx = wanted[0].then(|| {
            let mut dx = unwritten(rows * read);
            let out = Matrix::rows(dx.as_mut_ptr(), read);
            let weight = kept.weight().transposed();
            // SAFETY: as in `answer`; the gradient has the answer's shape.
            unsafe {
                product([rows, read, written], out, false, dy, weight, 1.0, Threads::All, self.precision)
            };
            tensor(dx, &dims(&kept.x))
        });
        let dweight = wanted[1].then(|| {
            let mut dweight = unwritten(read * written);
            let layout = kept.weight_layout();
            let out =
                Matrix { at: dweight.as_mut_ptr(), row: stride(&layout, 0), column: stride(&layout, 1) };
            let x = Matrix::rows(values(&kept.x).as_ptr(), read).transposed();
            // SAFETY: as in `answer`.
            unsafe { product([read, written, rows], out, false, x, dy, 1.0, Threads::All, self.precision) };
            tensor(dweight, &[read * written]).with_layout(layout)
        });
        [dx, dweight]
    }

    fn of_bias(&self, kept: &Kept, gradient: &FlexTensor) -> FlexTensor {
        column_sums(gradient, kept.sizes()[2])
    }
}

/// Input and weight, shared with the tensors they came from.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    x: FlexTensor,
    weight: FlexTensor,
}

impl Kept {
    /// `R`, `IN` and `OUT`.
    fn sizes(&self) -> [usize; 3] {
        let (x, weight) = (dims(&self.x), dims(&self.weight));
        let read = x.last().copied().unwrap_or(1);
        assert_eq!(read, weight[0], "linear: an input {x:?} and a weight [IN, OUT] of {weight:?}");
        [x.iter().rev().skip(1).product(), read, weight[1]]
    }

    fn weight(&self) -> Matrix<*const f32> {
        let layout = self.weight.layout();
        let at = self.weight.storage::<f32>()[layout.start_offset()..].as_ptr();
        Matrix { at, row: stride(layout, 0), column: stride(layout, 1) }
    }

    /// The weight's memory order without what may lie around it.
    fn weight_layout(&self) -> Layout {
        let shape = dims(&self.weight);
        let strides = match stride(self.weight.layout(), 0) {
            1 if shape[0] > 1 => vec![1, shape[0] as isize],
            _ => vec![shape[1] as isize, 1],
        };
        Layout::new(Shape::from(shape), strides, 0)
    }
}

fn stride(layout: &Layout, dimension: usize) -> usize {
    layout.strides()[dimension] as usize
}

/// A matrix whose rows or whose columns lie in memory one behind the other; any other is copied.
fn dense(weight: FlexTensor) -> FlexTensor {
    let (shape, strides) = (dims(&weight), weight.layout().strides());
    let (rows, columns) = (shape[0] as isize, shape[1] as isize);
    match strides == [columns, 1] || strides == [1, rows] {
        true => weight,
        false => weight.to_contiguous(),
    }
}

/// The gradient of the bias: the sum of the rows, each column from first to last.
fn column_sums(gradient: &FlexTensor, columns: usize) -> FlexTensor {
    let rows = values(gradient);
    let mut sums = unwritten(columns);
    sums.par_chunks_mut(COLUMNS)
        .enumerate()
        .for_each(|(i, sums)| sum_columns(rows, columns, i * COLUMNS, sums));
    tensor(sums, &[columns])
}

simd! {
    fn sum_columns(rows: &[f32], columns: usize, first: usize, sums: &mut [f32]) {
        let mut lanes = [0.0f32; COLUMNS];
        let width = sums.len();
        if width == COLUMNS {
            for row in rows.chunks_exact(columns) {
                let row = &row[first..first + COLUMNS];
                for (lane, x) in lanes.iter_mut().zip(row) {
                    *lane += x;
                }
            }
        } else {
            for row in rows.chunks_exact(columns) {
                for (lane, x) in lanes.iter_mut().zip(&row[first..first + width]) {
                    *lane += x;
                }
            }
        }
        sums.copy_from_slice(&lanes[..width]);
    }
}

//! Work on flat tensors in the memory they have: optimizer steps, and the sum of squares.
//! Owns the cut into pieces, fixed so that no result depends on the number of threads. `ops/optimizer.rs` calls it.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::kernel::{answer, constant};
use super::simd::{simd, sum16};
use super::slices::{CHUNK, Shared, contiguous, tensor, values};

/// Changes the `N` tensors by `f`, which is given the same piece of each and of `read`. A tensor that nobody else holds
/// keeps its memory; another is copied first.
pub(crate) fn change<const N: usize>(
    changed: [Tensor<1>; N],
    read: Tensor<1>,
    f: impl Fn([&mut [f32]; N], &[f32]) + Sync,
) -> [Tensor<1>; N] {
    let read = contiguous(constant(read));
    let read = values(&read);
    let mut changed = changed.map(|x| whole(constant(x)));
    assert!(changed.iter().all(|x| x.layout().num_elements() == read.len()), "tensors of different sizes");
    let places = changed.each_mut().map(|x| Shared::new(x.storage_mut()));
    read.par_chunks(CHUNK).enumerate().for_each(|(i, read)| {
        // SAFETY: each tensor has `read`'s size and is this call's alone, and pieces do not overlap.
        f(places.map(|x| unsafe { x.slice(i * CHUNK, read.len()) }), read);
    });
    changed.map(answer)
}

/// A tensor that is all of its memory.
pub(crate) fn whole(x: FlexTensor) -> FlexTensor {
    let all = x.storage::<f32>().len() == x.layout().num_elements();
    if all && x.is_contiguous() { x } else { x.to_contiguous() }
}

/// The sum of squares.
pub(crate) fn square_sum(x: Tensor<1>) -> Tensor<1> {
    let x = contiguous(constant(x));
    let sums: Vec<f32> = values(&x).par_chunks(CHUNK).map(square_sum_of).collect();
    let sum: f64 = sums.iter().map(|sum| f64::from(*sum)).sum();
    answer(tensor(vec![sum as f32], &[1]))
}

simd! {
    fn square_sum_of(x: &[f32]) -> f32 {
        sum16(x.len(), |i| x[i] * x[i])
    }
}

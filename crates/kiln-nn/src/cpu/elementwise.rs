//! Ops that change each value by itself: in the tensor's own memory where nobody else holds it.
//! Owns the choice between that memory and new, and the cut into pieces; `ops/` owns what happens to a value.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::slices::{CHUNK, contiguous, dims, tensor, unwritten, values};

/// Values copied before they are changed: as many as a core's nearest cache holds.
const PIECE: usize = 1 << 11;

/// The memory of a tensor that is all of it and that nobody else holds.
pub(crate) fn own(x: &mut FlexTensor) -> Option<&mut [f32]> {
    let all = x.storage::<f32>().len() == x.layout().num_elements() && x.is_contiguous();
    if all { x.try_storage_mut::<f32>() } else { None }
}

/// `x` changed by `f`, which is given pieces in row-major order and the place of their first value.
pub(crate) fn change(x: FlexTensor, f: impl Fn(usize, &mut [f32]) + Sync) -> FlexTensor {
    let mut x = contiguous(x);
    if let Some(values) = own(&mut x) {
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(i, y)| f(i * CHUNK, y));
        return x;
    }
    let from = values(&x);
    let mut y = unwritten(from.len());
    y.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).enumerate().for_each(|(i, (y, x))| {
        for (j, (y, x)) in y.chunks_mut(PIECE).zip(x.chunks(PIECE)).enumerate() {
            y.copy_from_slice(x);
            f(i * CHUNK + j * PIECE, y);
        }
    });
    tensor(y, &dims(&x))
}

/// As [`change`]; `f` is also given the same piece of `beside`, which has as many values in row-major order.
pub(crate) fn change_beside(
    x: FlexTensor,
    beside: &FlexTensor,
    f: impl Fn(&mut [f32], &[f32]) + Sync,
) -> FlexTensor {
    let beside = values(beside);
    change(x, |first, x| {
        let beside = &beside[first..first + x.len()];
        f(x, beside);
    })
}

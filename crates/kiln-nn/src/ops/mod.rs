//! Ops with a gradient of their own, each in two forms: the plain Burn expression, which any backend runs and which
//! tests take as the reference, and the processor's (`cpu/`), for float32 on Burn flex.
//! Owns the choice between them; never parameters (layers have those). The layers of this crate call the ops.
//!
//! A new op is one file here with both forms and, for the second, a [`Kernel`](crate::cpu::kernel::Kernel).

use std::cell::Cell;

use burn::tensor::{DType, Device, Tensor};
use kiln_core::device::processor;

mod batch_norm;
mod conv2d;
mod cross_entropy;
mod dropout;
mod embedding;
mod gelu;
mod layer_norm;
mod linear;
mod optimizer;
mod pool;
mod relu;
mod silu;

pub use batch_norm::{Then, batch_norm, batch_norm_train};
pub use conv2d::conv2d;
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use embedding::embedding;
pub use gelu::{gelu, gelu_new};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use optimizer::{AdamW, Sgd, square_sum};
pub use pool::{global_avg_pool2d, max_pool2d};
pub use relu::{relu, relu6};
pub use silu::silu;

thread_local! {
    static PLAIN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with every op in its plain Burn expression, backward passes of what it records included: to compare.
pub fn plainly<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLAIN.set(self.0);
        }
    }
    let _restore = Restore(PLAIN.replace(true));
    f()
}

/// Whether the processor's form of an op may run on `x`: float32 on flex, on a processor whose vectors it knows.
/// Elsewhere, and while a graph is captured, it may not.
pub(crate) fn has_fast_form<const D: usize>(x: &Tensor<D>) -> bool {
    are_fast(&x.device(), x.dtype())
}

/// Whether ops on tensors of this device and type may take the processor's form.
pub(crate) fn are_fast(device: &Device, dtype: DType) -> bool {
    cfg!(feature = "cpu")
        && !PLAIN.get()
        && dtype == DType::F32
        && processor().is_some_and(|processor| processor == *device)
        && vectors_known()
}

/// The processor's form of an op of one tensor; where it may not run, the tensor.
#[cfg(feature = "cpu")]
#[expect(clippy::result_large_err, reason = "the tensor that came goes back")]
fn fast<const D: usize, const E: usize, K: Kernel<1>>(
    x: Tensor<D>,
    kernel: impl FnOnce() -> K,
) -> Result<Tensor<E>, Tensor<D>> {
    if !has_fast_form(&x) {
        return Err(x);
    }
    let Some(value) = Value::of(x.clone()) else { return Err(x) };
    drop(x); // so that its memory may become the answer's
    Ok(run(kernel(), [value]))
}

#[cfg(feature = "cpu")]
use crate::cpu::kernel::{Kernel, Value, run};
#[cfg(feature = "cpu")]
use crate::cpu::simd::is_known as vectors_known;

#[cfg(not(feature = "cpu"))]
fn vectors_known() -> bool {
    false
}

//! Ops with a gradient of their own, in up to three forms: the plain Burn expression, which any backend runs and which
//! tests take as the reference; the processor's (`cpu/`), for float32 on Burn flex; and one whose gradient is written in
//! Burn's tensors (`hand`), for GPUs, where the plain graph would keep and pass over more than the gradient needs.
//! Owns the choice between them; never parameters (layers have those). The layers of this crate call the ops.
//!
//! A new op is one file here with its forms: the second is a [`Kernel`](crate::cpu::kernel::Kernel), the third a
//! [`ByHand`](crate::hand::ByHand).

use std::cell::Cell;

use burn::tensor::{DType, Device, Tensor};
use kiln_core::device::processor;

mod batch_norm;
mod bias;
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
mod sums;

pub use batch_norm::{Then, batch_norm, batch_norm_train};
pub use conv2d::conv2d;
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use embedding::embedding;
pub use gelu::{gelu, gelu_new};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use optimizer::{AdamW, Sgd, lerp, square_sum};
pub use pool::{global_avg_pool2d, max_pool2d};
pub use relu::{relu, relu6};
pub use silu::silu;

/// Which form ops take where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The device's own.
    Fast,
    /// The one with a gradient by hand, where there is one; else the plain one. On the processor too.
    Hand,
    /// The plain Burn expression.
    Plain,
}

thread_local! {
    static FORM: Cell<Form> = const { Cell::new(Form::Fast) };
}

/// The form of this thread's ops now.
pub(crate) fn form() -> Form {
    FORM.get()
}

/// Runs `f` with every op in its plain Burn expression, backward passes of what it records included: to compare.
pub fn plainly<T>(f: impl FnOnce() -> T) -> T {
    taking(Form::Plain, f)
}

/// Runs `f` with every op in the form that GPUs take, on the processor too: to compare.
pub fn by_hand<T>(f: impl FnOnce() -> T) -> T {
    taking(Form::Hand, f)
}

/// Runs `f` with ops in a form.
pub(crate) fn taking<T>(form: Form, f: impl FnOnce() -> T) -> T {
    struct Restore(Form);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORM.set(self.0);
        }
    }
    let _restore = Restore(FORM.replace(form));
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
        && form() == Form::Fast
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

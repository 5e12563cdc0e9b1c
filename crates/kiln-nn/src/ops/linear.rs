//! A fully connected layer's arithmetic. Reference: `torch.nn.functional.linear`.
//! Owns the choice of form; the layers own parameters and their layouts.
//!
//! Shapes: `IN` features read, `OUT` features written.

use burn::tensor::{Tensor, module};

use super::bias::add_bias;
#[cfg(feature = "cpu")]
use super::has_fast_form;
use crate::precision::{half, now};

/// `[.., IN]` to `[.., OUT]` by `weight [IN, OUT]`, which may be a transposed view, plus `bias [OUT]`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    if D > 1
        && has_fast_form(&x)
        && let Some(y) = cpu::apply(cpu::Linear { precision: now() }, &x, &weight, bias.as_ref())
    {
        return y;
    }
    let y = match half(now()) {
        None => module::linear(x, weight, None),
        Some(half) => {
            let dtype = x.dtype();
            module::linear(x.cast(half), weight.cast(half), None).cast(dtype)
        }
    };
    bias.into_iter().fold(y, add_bias)
}

#[cfg(feature = "cpu")]
mod cpu {
    pub(super) use crate::cpu::linear::Linear;
    pub(super) use crate::cpu::weighted::apply;
}

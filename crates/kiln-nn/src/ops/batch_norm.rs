//! Batch normalisation (Ioffe and Szegedy, 2015) with its gradients, and what residual nets do next in the same pass.
//! Owns the choice of form; the layer in `norm.rs` owns parameters and running statistics. Reference:
//! `torch.nn.functional.batch_norm`.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels.

use burn::tensor::{Tensor, module};

#[cfg(feature = "cpu")]
use super::has_fast_form;
use super::{relu, relu6};
#[cfg(feature = "cpu")]
use crate::cpu::{
    batch_norm::{self as cpu, Inputs},
    kernel::Value,
};

/// What follows the normalisation.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub enum Then {
    /// No more.
    Nothing,
    /// ReLU.
    Relu,
    /// ReLU6.
    Relu6,
    /// This `[B, C, H, W]` is added, then ReLU.
    AddRelu(Tensor<4>),
}

impl Then {
    fn plainly(self, y: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Nothing => y,
            Self::Relu => relu(y),
            Self::Relu6 => relu6(y),
            Self::AddRelu(shortcut) => relu(y + shortcut),
        }
    }
}

/// Each channel of `x [B, C, H, W]` with mean 0 and variance 1 (biased, with `eps` added), times `weight [C]`, plus
/// `bias [C]`, and what is `then` done. Mean and variance beside it, without a graph.
pub fn batch_norm_train(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
    then: Then,
) -> (Tensor<4>, [Tensor<1>; 2]) {
    check(&x, [&weight, &bias], &then);
    #[cfg(feature = "cpu")]
    if has_fast_form(&x)
        && let Some(inputs) = Inputs::of(&x, &weight, &bias, &then)
    {
        return cpu::train(inputs, eps);
    }
    let batch = module::batch_norm_train(x, weight, bias, eps);
    (then.plainly(batch.output), [batch.mean, batch.variance])
}

/// As [`batch_norm_train`] with `[mean, variance]` that are given, each `[C]`, and constant.
pub fn batch_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    statistics: [Tensor<1>; 2],
    eps: f64,
    then: Then,
) -> Tensor<4> {
    let [mean, variance] = &statistics;
    check(&x, [&weight, &bias], &then);
    check(&x, [mean, variance], &then);
    #[cfg(feature = "cpu")]
    if has_fast_form(&x)
        && let Some(inputs) = Inputs::of(&x, &weight, &bias, &then)
        && let [Some(mean), Some(variance)] = [mean, variance].map(|x| Value::of(x.clone()))
    {
        drop((x, then)); // so that the input's memory may be the answer's
        return cpu::given(inputs, [mean.contents(), variance.contents()], eps);
    }
    let [mean, variance] = statistics;
    then.plainly(module::batch_norm(x, weight, bias, mean, variance, eps))
}

fn check(x: &Tensor<4>, channels: [&Tensor<1>; 2], then: &Then) {
    let shape = x.dims();
    for found in channels.map(Tensor::dims) {
        assert!(found == [shape[1]], "batch norm: an input [B, C, H, W] of {shape:?} and a [C] of {found:?}");
    }
    if let Then::AddRelu(shortcut) = then {
        assert!(shortcut.dims() == shape, "batch norm: {shape:?} and a shortcut of {:?}", shortcut.dims());
    }
}

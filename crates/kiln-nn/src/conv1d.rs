//! `transformers.pytorch_utils.Conv1D`, a linear layer stored `[in, out]`, and the output layer that shares its
//! weight with an embedding. Owns layout and initial values; never an architecture. kiln-models composes them.
//!
//! Shapes: `IN` features read, `OUT` features written, `V` vocabulary, `D` width.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use crate::lora::Slot;
use crate::{Embedding, meter, ops};

/// y = x W + b, as GPT-2 stores it.
#[derive(Module, Debug)]
pub struct Conv1D {
    /// `[IN, OUT]`
    pub weight: Param<Tensor<2>>,
    /// `[OUT]`
    pub bias: Option<Param<Tensor<1>>>,
    /// A low-rank adapter, in fine-tuning.
    pub lora: Slot,
}

impl Conv1D {
    /// Weight normal with `std`, bias zero.
    pub fn normal(input: usize, output: usize, std: f64, device: &Device) -> Self {
        let weight = Initializer::Normal { mean: 0.0, std }.init([input, output], device);
        Self { weight, bias: Some(Initializer::Zeros.init([output], device)), lora: Slot::default() }
    }

    /// `[.., IN]` to `[.., OUT]`.
    pub fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let (read, kept) = (meter::bytes(&x), self.lora.keep(&x));
        let y = ops::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val));
        let products = || 2 * y.shape().num_elements() * self.weight.dims()[0];
        meter::layer(products, &self.weight, read, &y);
        self.lora.add(y, kept)
    }
}

/// `[.., D]` to `[.., V]`: the product with every row of an embedding, whose weight is used in place.
pub fn tied<const N: usize>(x: Tensor<N>, embedding: &Embedding) -> Tensor<N> {
    let (weight, read) = (&embedding.weight, meter::bytes(&x));
    let y = ops::linear(x, weight.val().transpose(), None);
    meter::layer(|| 2 * y.shape().num_elements() * weight.dims()[1], weight, read, &y);
    y
}

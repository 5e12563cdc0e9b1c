//! `torch.nn.Linear`: weight `[out, in]`, y = x Wᵀ + b.
//! Owns layout and initial values; never a transposed copy of the weight.
//! kiln-models composes it.
//!
//! Shapes: `IN` features read, `OUT` features written.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use crate::lora::Slot;
use crate::{meter, ops};

/// A fully connected layer, as `torch.nn.Linear`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[OUT, IN]`
    pub weight: Param<Tensor<2>>,
    /// `[OUT]`
    pub bias: Option<Param<Tensor<1>>>,
    /// A low-rank adapter, in fine-tuning.
    pub lora: Slot,
}

impl Linear {
    /// PyTorch's default: weight and bias uniform in ±1/sqrt(IN).
    pub fn new(input: usize, output: usize, device: &Device) -> Self {
        let bound = 1.0 / (input.max(1) as f64).sqrt();
        let uniform = Initializer::Uniform { min: -bound, max: bound };
        Self::initialised(input, output, &uniform, &uniform, device)
    }

    /// Weight normal with `std`, bias zero (BERT).
    pub fn normal(input: usize, output: usize, std: f64, device: &Device) -> Self {
        let normal = Initializer::Normal { mean: 0.0, std };
        Self::initialised(input, output, &normal, &Initializer::Zeros, device)
    }

    /// Weight normal with variance 2/IN (He et al., 2015), bias as [`Linear::new`].
    pub fn kaiming_normal(input: usize, output: usize, device: &Device) -> Self {
        let fan = input.max(1) as f64;
        let normal = Initializer::Normal { mean: 0.0, std: (2.0 / fan).sqrt() };
        let uniform = Initializer::Uniform { min: -1.0 / fan.sqrt(), max: 1.0 / fan.sqrt() };
        Self::initialised(input, output, &normal, &uniform, device)
    }

    fn initialised(
        input: usize,
        output: usize,
        weight: &Initializer,
        bias: &Initializer,
        device: &Device,
    ) -> Self {
        Self {
            weight: weight.init([output, input], device),
            bias: Some(bias.init([output], device)),
            lora: Slot::default(),
        }
    }

    /// `[.., IN]` to `[.., OUT]`. The transpose is a view: the matrix product reads the weight in place.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val().transpose(), self.bias.as_ref().map(Param::val));
        let (read, kept) = (meter::bytes(&x), self.lora.keep(&x));
        let y = ops::linear(x, weight, bias);
        let products = || 2 * y.shape().num_elements() * self.weight.dims()[1];
        meter::layer(products, &self.weight, read, &y);
        self.lora.add(y, kept)
    }
}

/// `[.., IN]` to `[.., OUT]` by a weight `[OUT, IN]` that another layer owns: the vocabulary's scores by its embeddings.
pub fn tied<const D: usize>(
    x: Tensor<D>,
    weight: &Param<Tensor<2>>,
    bias: Option<&Param<Tensor<1>>>,
) -> Tensor<D> {
    let read = meter::bytes(&x);
    let y = ops::linear(x, weight.val().transpose(), bias.map(Param::val));
    meter::layer(|| 2 * y.shape().num_elements() * weight.dims()[1], weight, read, &y);
    y
}

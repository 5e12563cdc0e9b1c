//! `torch.nn.Embedding`: weight `[V, D]`, a row an index.
//! Owns layout and initial values. kiln-models composes it.
//!
//! Shapes: `B` batch, `T` tokens, `V` rows, `D` features.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Int, Tensor};

use crate::ops;

/// A table of vectors, as `torch.nn.Embedding`.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[V, D]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// PyTorch's default initial values are normal with deviation 1; most models have their own.
    pub fn new(rows: usize, width: usize, initial: &Initializer, device: &Device) -> Self {
        Self { weight: initial.init([rows, width], device) }
    }

    /// `[B, T]` to `[B, T, D]`.
    pub fn forward(&self, indices: Tensor<2, Int>) -> Tensor<3> {
        ops::embedding(self.weight.val(), indices)
    }
}

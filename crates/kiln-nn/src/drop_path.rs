//! Stochastic depth (Huang et al., 2016): a residual branch is left out for some of the samples of a batch.
//! Owns the probability; never the residual sum. Trains or evaluates by the device, as dropout does.
//! kiln-models composes it.
//!
//! Shapes: `B` batch.

use burn::module::{Flag, Module, Param};
use burn::tensor::{Device, Tensor};

use crate::random;

/// Zeroes whole samples of a branch in training and scales the kept ones by 1/(1-p), as timm's `DropPath`.
#[derive(Module, Debug)]
pub struct DropPath {
    probability: f64,
    /// Off where the layer is frozen: nothing is then left out, also on a training device.
    pub training: Param<Flag>,
}

impl DropPath {
    /// Leaves a sample's branch out with `probability`, from 0 to below 1.
    pub fn new(probability: f64) -> Self {
        Self { probability, training: Param::from_bool(true) }
    }

    /// One probability a block, rising in equal steps from 0 at the first block to `rate` at the last.
    pub fn rising(rate: f64, blocks: usize) -> Vec<f64> {
        (0..blocks).map(|i| rate * i as f64 / blocks.saturating_sub(1).max(1) as f64).collect()
    }

    /// Whether samples on this device may be left out now.
    pub fn is_active(&self, device: &Device) -> bool {
        self.probability > 0.0 && device.is_autodiff() && self.training.is_enabled()
    }

    /// `[B, ..]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let device = x.device();
        if !self.is_active(&device) {
            return x;
        }
        let kept = 1.0 - self.probability;
        let mut one_a_sample = [1; D];
        one_a_sample[0] = x.dims()[0];
        let mask = Tensor::from_inner(random::bernoulli(one_a_sample, kept, &device).float());
        x * mask.div_scalar(kept)
    }
}

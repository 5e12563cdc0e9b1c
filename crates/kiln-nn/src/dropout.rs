//! `torch.nn.Dropout`: values are zeroed in training and the kept ones scaled by 1/(1-p).
//! Owns the probability; the draw is `random`'s. Trains or evaluates by the device.
//! kiln-models composes it; adapters and attention ask it whether they drop.

use burn::module::{Flag, Module, Param};
use burn::tensor::{Device, Tensor};

use crate::ops;

/// Dropout, on while the tensor records a graph and the layer is not frozen.
#[derive(Module, Debug)]
pub struct Dropout {
    /// Of a value to be zeroed, from 0 to below 1.
    probability: f64,
    /// Off where the layer is frozen: nothing is then dropped, also on a training device.
    pub training: Param<Flag>,
}

impl Dropout {
    /// Drops with `probability`, from 0 to below 1.
    pub fn new(probability: f64) -> Self {
        debug_assert!((0.0..1.0).contains(&probability), "dropout of {probability}");
        Self { probability, training: Param::from_bool(true) }
    }

    /// The probability with which values on this device are dropped now; `None` where none is.
    pub fn active(&self, device: &Device) -> Option<f64> {
        let drops = self.probability > 0.0 && device.is_autodiff() && self.training.is_enabled();
        drops.then_some(self.probability)
    }

    /// `[..]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.active(&x.device()) {
            Some(probability) => ops::dropout(x, probability, 1.0 / (1.0 - probability)),
            None => x,
        }
    }
}

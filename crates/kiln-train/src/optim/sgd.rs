//! Stochastic gradient descent with momentum (Sutskever et al., 2013) and L2 penalty.
//! Reference: `torch.optim.SGD`. The arithmetic is kiln-nn's.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;
use kiln_nn::ops;

use super::{Base, Rule, Slot, Slots, Step};
use crate::config::SgdConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct Sgd {
    base: Base,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
}

impl From<&SgdConfig> for Sgd {
    fn from(config: &SgdConfig) -> Self {
        let SgdConfig { learning_rate, momentum, dampening, nesterov, weight_decay, decay_bias_and_norm } =
            *config;
        let base = Base { learning_rate, weight_decay, decay_bias_and_norm };
        Self { base, momentum, dampening, nesterov }
    }
}

impl Rule for Sgd {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        Slot::whole(if self.momentum == 0.0 { &[] } else { &["momentum_buffer"] }, info)
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let step = ops::Sgd {
            momentum: self.momentum,
            dampening: self.dampening,
            nesterov: self.nesterov,
            learning_rate: at.learning_rate,
            weight_decay: at.weight_decay,
        };
        let (value, buffer) = step.update(value, gradient, state.tensors.pop());
        state.tensors.extend(buffer);
        value
    }
}

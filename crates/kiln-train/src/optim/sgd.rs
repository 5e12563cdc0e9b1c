//! Stochastic gradient descent with momentum (Sutskever et al., 2013) and L2 penalty.
//! Reference: `torch.optim.SGD`. The arithmetic is kiln-nn's.

use burn::tensor::Tensor;
use kiln_nn::ops;

use super::{Rule, Slots};
use crate::config::SgdConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct Sgd {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
    decay_bias_and_norm: bool,
}

impl From<&SgdConfig> for Sgd {
    fn from(config: &SgdConfig) -> Self {
        // The learning rate is the schedule's to give.
        let SgdConfig { learning_rate: _, momentum, dampening, nesterov, weight_decay, decay_bias_and_norm } =
            *config;
        Self { momentum, dampening, nesterov, weight_decay, decay_bias_and_norm }
    }
}

impl Rule for Sgd {
    fn update(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        state: &mut Slots,
        lr: f64,
        weight_decay: f64,
    ) -> Tensor<1> {
        state.step += 1;
        let step = ops::Sgd {
            momentum: self.momentum,
            dampening: self.dampening,
            nesterov: self.nesterov,
            learning_rate: lr,
            weight_decay,
        };
        let (value, buffer) = step.update(value, gradient, state.tensors.pop());
        state.tensors.extend(buffer);
        value
    }

    fn slots(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum_buffer"] }
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn decays_bias_and_norm(&self) -> bool {
        self.decay_bias_and_norm
    }
}

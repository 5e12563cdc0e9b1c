//! Stochastic gradient descent with momentum (Sutskever et al., 2013) and L2 penalty.
//! Reference: `torch.optim.SGD` (the first step sets the buffer to the gradient, undampened).

use burn::tensor::Tensor;

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
        let gradient = match weight_decay != 0.0 {
            true => gradient + value.clone().mul_scalar(weight_decay),
            false => gradient,
        };
        if self.momentum == 0.0 {
            return value - gradient.mul_scalar(lr);
        }
        let buffer = match state.tensors.pop() {
            Some(buffer) => {
                buffer.mul_scalar(self.momentum) + gradient.clone().mul_scalar(1.0 - self.dampening)
            }
            None => gradient.clone(),
        };
        let direction = match self.nesterov {
            true => gradient + buffer.clone().mul_scalar(self.momentum),
            false => buffer.clone(),
        };
        state.tensors.push(buffer);
        value - direction.mul_scalar(lr)
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

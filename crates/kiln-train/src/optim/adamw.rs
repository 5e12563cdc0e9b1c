//! AdamW: adaptive moments with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv 1711.05101).
//! Reference: `torch.optim.AdamW`. The arithmetic is kiln-nn's.

use burn::tensor::Tensor;
use kiln_nn::ops;

use super::{Rule, Slots};
use crate::config::AdamwConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    decay_bias_and_norm: bool,
}

impl From<&AdamwConfig> for AdamW {
    fn from(config: &AdamwConfig) -> Self {
        // The learning rate is the schedule's to give.
        let AdamwConfig { learning_rate: _, weight_decay, betas: [beta1, beta2], eps, decay_bias_and_norm } =
            *config;
        Self { beta1, beta2, eps, weight_decay, decay_bias_and_norm }
    }
}

impl Rule for AdamW {
    fn update(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        state: &mut Slots,
        lr: f64,
        weight_decay: f64,
    ) -> Tensor<1> {
        state.step += 1;
        let moments = match <[Tensor<1>; 2]>::try_from(std::mem::take(&mut state.tensors)) {
            Ok(moments) => moments,
            Err(_) => [gradient.zeros_like(), gradient.zeros_like()],
        };
        let step = ops::AdamW {
            betas: [self.beta1, self.beta2],
            eps: self.eps,
            learning_rate: lr,
            weight_decay,
            step: state.step,
        };
        let (value, moments) = step.update(value, gradient, moments);
        state.tensors = moments.into();
        value
    }

    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn decays_bias_and_norm(&self) -> bool {
        self.decay_bias_and_norm
    }
}

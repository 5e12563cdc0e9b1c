//! AdamW: adaptive moments with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv 1711.05101).
//! Reference: `torch.optim.AdamW`. The arithmetic is kiln-nn's.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;
use kiln_nn::ops;

use super::{Base, Rule, Slot, Slots, Step};
use crate::config::AdamwConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct AdamW {
    base: Base,
    betas: [f64; 2],
    eps: f64,
}

impl From<&AdamwConfig> for AdamW {
    fn from(config: &AdamwConfig) -> Self {
        let AdamwConfig { learning_rate, weight_decay, betas, eps, decay_bias_and_norm } = *config;
        Self { base: Base { learning_rate, weight_decay, decay_bias_and_norm }, betas, eps }
    }
}

impl Rule for AdamW {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        Slot::whole(&["exp_avg", "exp_avg_sq"], info)
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let step = ops::AdamW {
            betas: self.betas,
            eps: self.eps,
            learning_rate: at.learning_rate,
            weight_decay: at.weight_decay,
            step: state.step,
        };
        let moments = state.take(&gradient);
        let (value, moments) = step.update(value, gradient, moments);
        state.tensors = moments.into();
        value
    }
}

//! Lion: steps of one size in the direction of signs (Chen et al., 2023, arXiv 2302.06675).
//! Reference: `timm.optim.Lion`, which is the paper's.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;

use super::pieces::average;
use super::{Base, Rule, Slot, Slots, Step};
use crate::config::LionConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct Lion {
    base: Base,
    betas: [f64; 2],
}

impl From<&LionConfig> for Lion {
    fn from(config: &LionConfig) -> Self {
        let LionConfig { learning_rate, weight_decay, betas, decay_bias_and_norm } = *config;
        Self { base: Base { learning_rate, weight_decay, decay_bias_and_norm }, betas }
    }
}

impl Rule for Lion {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        Slot::whole(&["exp_avg"], info)
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let [beta1, beta2] = self.betas;
        let [mean] = state.take(&gradient);
        let direction = average(mean.clone(), gradient.clone(), beta1).sign();
        state.tensors = vec![average(mean, gradient, beta2)];
        let value = value.mul_scalar(1.0 - at.learning_rate * at.weight_decay);
        value - direction.mul_scalar(at.learning_rate)
    }
}

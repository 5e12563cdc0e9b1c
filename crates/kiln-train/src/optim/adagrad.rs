//! Adagrad: steps divided by the root of all squared gradients so far (Duchi et al., 2011).
//! Reference: `torch.optim.Adagrad`.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;

use super::pieces::penalised;
use super::{Base, Rule, Slot, Slots, Step};
use crate::config::AdagradConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct Adagrad {
    base: Base,
    lr_decay: f64,
    start: f64,
    eps: f64,
}

impl From<&AdagradConfig> for Adagrad {
    fn from(config: &AdagradConfig) -> Self {
        let AdagradConfig {
            learning_rate,
            weight_decay,
            lr_decay,
            initial_accumulator_value,
            eps,
            decay_bias_and_norm,
        } = *config;
        let base = Base { learning_rate, weight_decay, decay_bias_and_norm };
        Self { base, lr_decay, start: initial_accumulator_value, eps }
    }
}

impl Rule for Adagrad {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        Slot::whole(&["sum"], info)
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let gradient = penalised(gradient, &value, at.weight_decay);
        let sum = state.tensors.pop().unwrap_or_else(|| gradient.full_like(self.start));
        let sum = sum + gradient.clone().square();
        let step = gradient / sum.clone().sqrt().add_scalar(self.eps);
        state.tensors.push(sum);
        let rate = at.learning_rate / (1.0 + (state.step.saturating_sub(1)) as f64 * self.lr_decay);
        value - step.mul_scalar(rate)
    }
}

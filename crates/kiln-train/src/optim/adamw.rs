//! AdamW: adaptive moments with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv 1711.05101).
//! Reference: `torch.optim.AdamW` (the order of its operations is kept, so that float32 results agree).

use burn::tensor::Tensor;

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
        let value = match weight_decay != 0.0 {
            true => value.mul_scalar(1.0 - lr * weight_decay),
            false => value,
        };
        let (mean, square) = match <[Tensor<1>; 2]>::try_from(std::mem::take(&mut state.tensors)) {
            Ok([mean, square]) => (mean, square),
            Err(_) => (gradient.zeros_like(), gradient.zeros_like()),
        };
        let mean = mean.mul_scalar(self.beta1) + gradient.clone().mul_scalar(1.0 - self.beta1);
        let square = square.mul_scalar(self.beta2) + gradient.square().mul_scalar(1.0 - self.beta2);
        let correction1 = 1.0 - self.beta1.powf(state.step as f64);
        let correction2 = 1.0 - self.beta2.powf(state.step as f64);
        let denominator = square.clone().sqrt().div_scalar(correction2.sqrt()).add_scalar(self.eps);
        let value = value - (mean.clone() / denominator).mul_scalar(lr / correction1);
        state.tensors = vec![mean, square];
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

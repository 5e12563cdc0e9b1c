//! Adam: adaptive moments with an L2 penalty in the gradient (Kingma and Ba, 2014, arXiv 1412.6980), and AMSGrad
//! (Reddi et al., 2018). Reference: `torch.optim.Adam`. Without AMSGrad the arithmetic is kiln-nn's.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;
use kiln_nn::ops;

use super::pieces::{Moments, penalised};
use super::{Base, Rule, Slot, Slots, Step};
use crate::config::AdamConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct Adam {
    base: Base,
    moments: Moments,
    amsgrad: bool,
}

impl From<&AdamConfig> for Adam {
    fn from(config: &AdamConfig) -> Self {
        let AdamConfig { learning_rate, weight_decay, betas, eps, amsgrad, decay_bias_and_norm } = *config;
        let base = Base { learning_rate, weight_decay, decay_bias_and_norm };
        Self { base, moments: Moments { betas, eps }, amsgrad }
    }
}

impl Rule for Adam {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        let names: &[_] = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
        Slot::whole(&names[..if self.amsgrad { 3 } else { 2 }], info)
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let gradient = penalised(gradient, &value, at.weight_decay);
        if !self.amsgrad {
            let Moments { betas, eps } = self.moments;
            let step = state.step;
            let step = ops::AdamW { betas, eps, learning_rate: at.learning_rate, weight_decay: 0.0, step };
            let moments = state.take(&gradient);
            let (value, moments) = step.update(value, gradient, moments);
            state.tensors = moments.into();
            return value;
        }
        let [mean, square, largest] = state.take(&gradient);
        let [mean, square] = self.moments.after(gradient, [mean, square]);
        let largest = largest.max_pair(square.clone());
        let direction = self.moments.direction(mean.clone(), largest.clone(), state.step);
        state.tensors = vec![mean, square, largest];
        value - direction.mul_scalar(at.learning_rate)
    }
}

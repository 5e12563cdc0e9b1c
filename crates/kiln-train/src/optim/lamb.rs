//! LAMB: Adam's step, scaled for each parameter by the ratio of its norm to the step's (You et al., 2019, arXiv
//! 1904.00962). Reference: `timm.optim.Lamb` with its defaults (bias correction, averaged gradients, decay within the
//! trust ratio), but for its clipping of the global gradient norm to 1, which `train.max_grad_norm` does here.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;

use super::pieces::{Moments, norm};
use super::{Base, Rule, Slot, Slots, Step};
use crate::config::LambConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct Lamb {
    base: Base,
    moments: Moments,
    trust_clip: bool,
    always_adapt: bool,
}

impl From<&LambConfig> for Lamb {
    fn from(config: &LambConfig) -> Self {
        let LambConfig {
            learning_rate,
            weight_decay,
            betas,
            eps,
            trust_clip,
            always_adapt,
            decay_bias_and_norm,
        } = *config;
        let base = Base { learning_rate, weight_decay, decay_bias_and_norm };
        Self { base, moments: Moments { betas, eps }, trust_clip, always_adapt }
    }
}

impl Lamb {
    /// The ratio `[1]` of the two norms; 1 where one of them is 0.
    fn trust(&self, value: &Tensor<1>, step: &Tensor<1>) -> Tensor<1> {
        let (own, its) = (norm(value.clone()), norm(step.clone()));
        let defined = own.clone().greater_elem(0.0).bool_and(its.clone().greater_elem(0.0));
        let ratio = (own / its).mask_fill(defined.bool_not(), 1.0);
        if self.trust_clip { ratio.clamp_max(1.0) } else { ratio }
    }
}

impl Rule for Lamb {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        Slot::whole(&["exp_avg", "exp_avg_sq"], info)
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let moments = state.take(&gradient);
        let [mean, square] = self.moments.after(gradient, moments);
        let mut step = self.moments.direction(mean.clone(), square.clone(), state.step);
        state.tensors = vec![mean, square];
        if at.weight_decay != 0.0 {
            step = step + value.clone().mul_scalar(at.weight_decay);
        }
        if at.weight_decay != 0.0 || self.always_adapt {
            let trust = self.trust(&value, &step);
            step = step * trust;
        }
        value - step.mul_scalar(at.learning_rate)
    }
}

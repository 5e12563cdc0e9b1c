//! What several rules share: averages, penalties, norms and Adam's moments, as Burn's tensor ops.
//! Owns no parameter's state and no numbers of a config.
//!
//! Shapes: `N` elements of a parameter.

use burn::tensor::Tensor;
use kiln_nn::ops::square_sum;

/// The running average `[..]` after a new value, of which it takes a share of `1 - kept`.
pub(super) fn average<const D: usize>(old: Tensor<D>, new: Tensor<D>, kept: f64) -> Tensor<D> {
    old.mul_scalar(kept) + new.mul_scalar(1.0 - kept)
}

/// The gradient `[N]` with an L2 penalty's.
pub(super) fn penalised(gradient: Tensor<1>, value: &Tensor<1>, weight_decay: f64) -> Tensor<1> {
    match weight_decay != 0.0 {
        true => gradient + value.clone().mul_scalar(weight_decay),
        false => gradient,
    }
}

/// The L2 norm `[1]`, on the device.
pub(super) fn norm(flat: Tensor<1>) -> Tensor<1> {
    square_sum(flat).sqrt()
}

/// The running first and second moment of a gradient (Kingma and Ba, 2014), corrected for their start at zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
}

impl Moments {
    /// The moments `[N]` after another gradient.
    pub(super) fn after(&self, gradient: Tensor<1>, [mean, square]: [Tensor<1>; 2]) -> [Tensor<1>; 2] {
        let [beta1, beta2] = self.betas;
        [average(mean, gradient.clone(), beta1), average(square, gradient.square(), beta2)]
    }

    /// The mean `[N]` over the root of `square`, after so many steps.
    pub(super) fn direction(&self, mean: Tensor<1>, square: Tensor<1>, step: u64) -> Tensor<1> {
        let [correction1, correction2] = self.betas.map(|beta| 1.0 - beta.powf(step as f64));
        let denominator = square.sqrt().div_scalar(correction2.sqrt()).add_scalar(self.eps);
        mean.div_scalar(correction1) / denominator
    }
}

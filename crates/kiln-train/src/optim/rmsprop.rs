//! RMSprop: steps divided by a running root mean square (Hinton, 2012, lecture 6e), with momentum, centred if asked.
//! Reference: `torch.optim.RMSprop` (epsilon outside the root, the rate outside the momentum).
//!
//! Difference: a centred mean square that rounding makes negative counts as zero; the reference makes it NaN.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;

use super::pieces::{average, penalised};
use super::{Base, Rule, Slot, Slots, Step};
use crate::config::RmspropConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct RmsProp {
    base: Base,
    alpha: f64,
    eps: f64,
    momentum: f64,
    centered: bool,
}

impl From<&RmspropConfig> for RmsProp {
    fn from(config: &RmspropConfig) -> Self {
        let RmspropConfig {
            learning_rate,
            weight_decay,
            alpha,
            eps,
            momentum,
            centered,
            decay_bias_and_norm,
        } = *config;
        let base = Base { learning_rate, weight_decay, decay_bias_and_norm };
        Self { base, alpha, eps, momentum, centered }
    }
}

impl Rule for RmsProp {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        let own =
            [("square_avg", true), ("grad_avg", self.centered), ("momentum_buffer", self.momentum > 0.0)];
        let names: Vec<_> = own.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
        Slot::whole(&names, info)
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let gradient = penalised(gradient, &value, at.weight_decay);
        let mut old = std::mem::take(&mut state.tensors).into_iter();
        let mut next = || old.next().unwrap_or_else(|| gradient.zeros_like());
        let square = average(next(), gradient.clone().square(), self.alpha);
        state.tensors.push(square.clone());
        let variance = match self.centered {
            true => {
                let mean = average(next(), gradient.clone(), self.alpha);
                state.tensors.push(mean.clone());
                (square - mean.square()).clamp_min(0.0)
            }
            false => square,
        };
        let buffer = (self.momentum > 0.0).then(|| next().mul_scalar(self.momentum));
        let step = gradient / variance.sqrt().add_scalar(self.eps);
        let step = match buffer {
            Some(buffer) => {
                let buffer = buffer + step;
                state.tensors.push(buffer.clone());
                buffer
            }
            None => step,
        };
        value - step.mul_scalar(at.learning_rate)
    }
}

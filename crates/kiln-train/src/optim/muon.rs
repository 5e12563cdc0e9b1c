//! Muon: momentum made orthogonal by Newton and Schulz's iteration (Jordan et al., 2024), for matrices.
//! Reference: `torch.optim.Muon`. Differences: the iteration runs in the parameter's precision, the reference's in
//! bfloat16; and what is no hidden matrix has AdamW with a rate of its own, as the reference's users give it.
//! Convolutions are AdamW's too: the reference refuses them, Jordan's own code flattens them.
//!
//! Shapes: `R C` rows and columns, `R <= C` within the iteration.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;
use kiln_models::names::Names;

use super::pieces::{average, norm};
use super::{AdamW, Base, Rule, Slot, Slots, Step};
use crate::config::{AdjustLr, MuonConfig};

/// The polynomial's coefficients, and the smallest norm that is divided by: Jordan's.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
const LEAST_NORM: f64 = 1e-7;

/// See the module.
#[derive(Debug, Clone)]
pub struct Muon {
    base: Base,
    momentum: f64,
    nesterov: bool,
    iterations: usize,
    adjust: AdjustLr,
    aside: Names,
    adamw: AdamW,
}

impl From<&MuonConfig> for Muon {
    /// A pattern that is none matches nothing; `load` has refused it.
    fn from(config: &MuonConfig) -> Self {
        let MuonConfig { learning_rate, weight_decay, momentum, nesterov, ns_steps, adjust_lr_fn, .. } =
            *config;
        let aside = Names::new("optimizer.adamw_parameters", &config.adamw_parameters).unwrap_or_default();
        Self {
            base: Base { learning_rate, weight_decay, decay_bias_and_norm: true },
            momentum,
            nesterov,
            iterations: ns_steps,
            adjust: adjust_lr_fn,
            aside,
            adamw: AdamW::from(&config.adamw),
        }
    }
}

impl Muon {
    /// `[R, C]` of a parameter that is a hidden layer's matrix.
    fn matrix(&self, info: &ParamInfo) -> Option<[usize; 2]> {
        <[usize; 2]>::try_from(info.shape.as_slice()).ok().filter(|_| !self.aside.matches(&info.name))
    }

    fn rate_factor(&self, [rows, columns]: [usize; 2]) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self.adjust {
            AdjustLr::Original => (rows / columns).max(1.0).sqrt(),
            AdjustLr::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
        }
    }

    /// A matrix whose singular values are near 1 and whose singular vectors are the given one's, both flat `[R * C]`.
    fn orthogonal(&self, flat: Tensor<1>, shape: [usize; 2]) -> Tensor<1> {
        let [a, b, c] = COEFFICIENTS;
        let tall = shape[0] > shape[1];
        let length = norm(flat.clone()).clamp_min(LEAST_NORM);
        let matrix: Tensor<2> = (flat / length).reshape(shape);
        let mut x = if tall { matrix.transpose() } else { matrix };
        for _ in 0..self.iterations {
            let gram = x.clone().matmul(x.clone().transpose());
            let polynomial = gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c);
            let next = polynomial.matmul(x.clone());
            x = x.mul_scalar(a) + next;
        }
        let x = if tall { x.transpose() } else { x };
        x.reshape([shape[0] * shape[1]])
    }
}

impl Rule for Muon {
    fn base(&self) -> Base {
        Base { decay_bias_and_norm: self.adamw.base().decay_bias_and_norm, ..self.base }
    }

    fn base_of(&self, info: &ParamInfo) -> Base {
        if self.matrix(info).is_some() { self.base } else { self.adamw.base() }
    }

    fn name_of(&self, info: &ParamInfo) -> Option<&'static str> {
        Some(if self.matrix(info).is_some() { "muon" } else { "adamw" })
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        match self.matrix(info) {
            Some(_) => Slot::whole(&["momentum_buffer"], info),
            None => self.adamw.slots(info),
        }
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let Some(shape) = self.matrix(at.info) else {
            return self.adamw.update(value, gradient, state, at);
        };
        let [buffer] = state.take(&gradient);
        let buffer = average(buffer, gradient.clone(), self.momentum);
        let ahead = match self.nesterov {
            true => average(buffer.clone(), gradient, self.momentum),
            false => buffer.clone(),
        };
        state.tensors = vec![buffer];
        let step = self.orthogonal(ahead, shape).mul_scalar(at.learning_rate * self.rate_factor(shape));
        value.mul_scalar(1.0 - at.learning_rate * at.weight_decay) - step
    }
}

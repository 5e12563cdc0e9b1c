//! Adafactor: second moments kept as one number a row and one a column (Shazeer and Stern, 2018, arXiv 1804.04235).
//! Reference: `torch.optim.Adafactor`, in which the schedule gives the rate as everywhere here; `transformers.Adafactor`
//! may set the rate by itself (`relative_step`, `warmup_init`), against the schedule.
//!
//! Shapes: `N` elements of a parameter; `R C` its last two dimensions, `B` all before them; with fewer, no factors.

use burn::tensor::Tensor;
use kiln_core::net::ParamInfo;

use super::pieces::{average, norm};
use super::{Base, Rule, Slot, Slots, Step};
use crate::config::AdafactorConfig;

/// See the module.
#[derive(Debug, Clone)]
pub struct Adafactor {
    base: Base,
    beta2_decay: f64,
    /// Of a second moment's root, and of a parameter's root mean square.
    least: [f64; 2],
    clip_threshold: f64,
}

impl From<&AdafactorConfig> for Adafactor {
    fn from(config: &AdafactorConfig) -> Self {
        let AdafactorConfig {
            learning_rate,
            weight_decay,
            beta2_decay,
            eps: [eps1, eps2],
            clip_threshold,
            decay_bias_and_norm,
        } = *config;
        let base = Base { learning_rate, weight_decay, decay_bias_and_norm };
        Self { base, beta2_decay, least: [eps1, eps2], clip_threshold }
    }
}

/// `[B, R, C]` of a parameter that has rows and columns.
fn matrices(info: &ParamInfo) -> Option<[usize; 3]> {
    match info.shape.as_slice() {
        [before @ .., rows, columns] => Some([before.iter().product(), *rows, *columns]),
        _ => None,
    }
}

impl Adafactor {
    /// The second moments `[N]` of which a share of `kept` is old.
    fn variance(&self, gradient: Tensor<1>, state: &mut Slots, info: &ParamInfo, kept: f64) -> Tensor<1> {
        let old = std::mem::take(&mut state.tensors);
        let square = gradient.square();
        let Some(shape) = matrices(info) else {
            let square = match old.into_iter().next() {
                Some(old) => average(old, square, kept),
                None => square,
            };
            state.tensors.push(square.clone());
            return square;
        };
        let square = square.reshape(shape);
        let [b, r, c] = shape;
        let [mut rows, mut columns] = [square.clone().mean_dim(2), square.mean_dim(1)];
        if let Ok([old_rows, old_columns]) = <[Tensor<1>; 2]>::try_from(old) {
            rows = average(old_rows.reshape([b, r, 1]), rows, kept);
            columns = average(old_columns.reshape([b, 1, c]), columns, kept);
        }
        state.tensors = vec![rows.clone().reshape([b * r]), columns.clone().reshape([b * c])];
        let mean = rows.clone().mean_dim(1).clamp_min(self.least[0]);
        ((rows / mean) * columns).reshape([b * r * c])
    }
}

impl Rule for Adafactor {
    fn base(&self) -> Base {
        self.base
    }

    fn slots(&self, info: &ParamInfo) -> Vec<Slot> {
        match matrices(info) {
            Some([b, r, c]) => {
                vec![Slot { name: "row_var", elements: b * r }, Slot { name: "col_var", elements: b * c }]
            }
            None => Slot::whole(&["variance"], info),
        }
    }

    fn update(&self, value: Tensor<1>, gradient: Tensor<1>, state: &mut Slots, at: &Step<'_>) -> Tensor<1> {
        let [least_root, least_size] = self.least;
        let steps = state.step as f64;
        let root = (value.dims()[0] as f64).sqrt();
        let size = norm(value.clone()).div_scalar(root).clamp_min(least_size);
        let rate = size.mul_scalar(at.learning_rate.min(1.0 / steps.sqrt()));
        // The first step's share is 1: it takes the place of what a state of zeros would keep.
        let kept = 1.0 - steps.powf(self.beta2_decay);
        let variance = self.variance(gradient.clone(), state, at.info, kept);
        let step = gradient * variance.clamp_min(least_root * least_root).sqrt().recip();
        let excess = norm(step.clone()).div_scalar(root * self.clip_threshold).clamp_min(1.0);
        let value = match at.weight_decay != 0.0 {
            true => value.mul_scalar(1.0 - at.learning_rate * at.weight_decay),
            false => value,
        };
        value - step * (rate / excess)
    }
}

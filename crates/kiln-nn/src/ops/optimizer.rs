//! Optimizer steps of one flat parameter, each in one pass over memory, and the sum of squares that clipping needs.
//! Owns the arithmetic, whose order is PyTorch's and the same in both forms; never a schedule or which parameters decay
//! (kiln-train).
//!
//! References: `torch.optim.AdamW`, `torch.optim.SGD`.
//!
//! Shapes: `N` elements of a parameter.

use burn::tensor::Tensor;

#[cfg(feature = "cpu")]
use super::has_fast_form;

/// One step of AdamW (Loshchilov and Hutter, 2017, arXiv 1711.05101).
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Steps taken, this one included.
    pub step: u64,
}

impl AdamW {
    /// The new value and moments `[N]` from the old ones, whose memory is used again where nobody else holds it.
    pub fn update(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        [mean, square]: [Tensor<1>; 2],
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        #[cfg(feature = "cpu")]
        if has_fast_form(&value) && cpu::is_flex(&value) {
            return cpu::adamw(self, [value, mean, square], gradient);
        }
        let value = value.mul_scalar(self.kept());
        let [beta1, beta2] = self.betas;
        let mean = mean.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
        let square = square.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
        let denominator = square.clone().sqrt().div_scalar(self.root_correction()).add_scalar(self.eps);
        let value = value - (mean.clone() / denominator).mul_scalar(self.rate());
        (value, [mean, square])
    }

    /// What decay leaves of the value.
    fn kept(&self) -> f64 {
        1.0 - self.learning_rate * self.weight_decay
    }

    fn rate(&self) -> f64 {
        self.learning_rate / (1.0 - self.betas[0].powf(self.step as f64))
    }

    fn root_correction(&self) -> f64 {
        (1.0 - self.betas[1].powf(self.step as f64)).sqrt()
    }
}

/// One step of stochastic gradient descent with momentum (Sutskever et al., 2013) and L2 penalty.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    /// Of the buffer that is kept.
    pub momentum: f64,
    /// Of the gradient that does not enter the buffer.
    pub dampening: f64,
    /// Whether the step looks ahead by one momentum.
    pub nesterov: bool,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
}

impl Sgd {
    /// The new value and buffer `[N]` from the old ones, whose memory is used again where nobody else holds it. Without
    /// a buffer it becomes the gradient, undampened; without momentum there is none.
    pub fn update(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        buffer: Option<Tensor<1>>,
    ) -> (Tensor<1>, Option<Tensor<1>>) {
        #[cfg(feature = "cpu")]
        if has_fast_form(&value) && cpu::is_flex(&value) {
            return cpu::sgd(self, value, gradient, buffer);
        }
        let gradient = match self.weight_decay != 0.0 {
            true => gradient + value.clone().mul_scalar(self.weight_decay),
            false => gradient,
        };
        if self.momentum == 0.0 {
            return (value - gradient.mul_scalar(self.learning_rate), None);
        }
        let buffer = match buffer {
            Some(buffer) => {
                buffer.mul_scalar(self.momentum) + gradient.clone().mul_scalar(1.0 - self.dampening)
            }
            None => gradient.clone(),
        };
        let direction = match self.nesterov {
            true => gradient + buffer.clone().mul_scalar(self.momentum),
            false => buffer.clone(),
        };
        (value - direction.mul_scalar(self.learning_rate), Some(buffer))
    }
}

/// A step of `average` towards `value`, both `[N]`: a share `weight` of the way, as `torch.lerp`. The average's memory is
/// used again where nobody else holds it.
pub fn lerp(average: Tensor<1>, value: Tensor<1>, weight: f64) -> Tensor<1> {
    #[cfg(feature = "cpu")]
    if has_fast_form(&average) && cpu::is_flex(&average) {
        return cpu::lerp(average, value, weight as f32);
    }
    let way = value.clone() - average.clone();
    match weight < 0.5 {
        true => average + way.mul_scalar(weight),
        false => value - way.mul_scalar(1.0 - weight),
    }
}

/// Elements that Burn flex still sums on one thread; above 4 Mi its parallel sum depends on scheduling.
const ROW: usize = 1 << 16;

/// `[1]`: the sum of squares of a flat tensor, in an order that does not depend on thread scheduling: rows of a
/// fixed length first, then the rows' sums.
pub fn square_sum(flat: Tensor<1>) -> Tensor<1> {
    #[cfg(feature = "cpu")]
    if has_fast_form(&flat) && cpu::is_flex(&flat) {
        return crate::cpu::in_place::square_sum(flat);
    }
    let [n] = flat.dims();
    let squares = flat.square();
    let rows = n / ROW;
    if rows < 2 {
        return squares.sum();
    }
    let body = squares.clone().narrow(0, 0, rows * ROW).reshape([rows, ROW]).sum_dim(1).reshape([rows]).sum();
    match n - rows * ROW {
        0 => body,
        rest => body + squares.narrow(0, rows * ROW, rest).sum(),
    }
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn::tensor::Tensor;

    use super::{AdamW, Sgd};
    use crate::cpu::in_place::change;
    pub(super) use crate::cpu::kernel::is_flex;
    use crate::cpu::simd::simd;

    pub(super) fn adamw(
        rule: &AdamW,
        changed: [Tensor<1>; 3],
        gradient: Tensor<1>,
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        let [beta1, beta2] = rule.betas;
        let factors = [
            rule.kept(),
            beta1,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            rule.root_correction(),
            rule.eps,
            rule.rate(),
        ];
        let factors = factors.map(|x| x as f32);
        let [value, mean, square] = change(changed, gradient, |[value, mean, square], gradient| {
            adamw_piece(value, mean, square, gradient, &factors);
        });
        (value, [mean, square])
    }

    simd! {
        fn adamw_piece(value: &mut [f32], mean: &mut [f32], square: &mut [f32], gradient: &[f32], by: &[f32; 8]) {
            let [kept, beta1, new1, beta2, new2, correction, eps, rate] = *by;
            for (((p, m), v), g) in value.iter_mut().zip(mean).zip(square).zip(gradient) {
                *m = *m * beta1 + g * new1;
                *v = *v * beta2 + g * g * new2;
                *p = *p * kept - *m / (v.sqrt() / correction + eps) * rate;
            }
        }
    }

    pub(super) fn lerp(average: Tensor<1>, value: Tensor<1>, weight: f32) -> Tensor<1> {
        let [average] = change([average], value, |[average], value| lerp_piece(average, value, weight));
        average
    }

    simd! {
        fn lerp_piece(average: &mut [f32], value: &[f32], weight: f32) {
            if weight < 0.5 {
                average.iter_mut().zip(value).for_each(|(a, v)| *a += (v - *a) * weight);
            } else {
                average.iter_mut().zip(value).for_each(|(a, v)| *a = v - (v - *a) * (1.0 - weight));
            }
        }
    }

    pub(super) fn sgd(
        rule: &Sgd,
        value: Tensor<1>,
        gradient: Tensor<1>,
        buffer: Option<Tensor<1>>,
    ) -> (Tensor<1>, Option<Tensor<1>>) {
        let [rate, decay] = [rule.learning_rate as f32, rule.weight_decay as f32];
        if rule.momentum == 0.0 {
            let [value] = change([value], gradient, |[value], gradient| step(value, gradient, decay, rate));
            return (value, None);
        }
        // A buffer of zeros that keeps nothing and takes all becomes the gradient.
        let (kept, taken, buffer) = match buffer {
            Some(buffer) => (rule.momentum as f32, (1.0 - rule.dampening) as f32, buffer),
            None => (0.0, 1.0, value.zeros_like()),
        };
        let ahead = if rule.nesterov { Some(rule.momentum as f32) } else { None };
        let [value, buffer] = change([value, buffer], gradient, |[value, buffer], gradient| {
            momentum_step(value, buffer, gradient, decay, kept, taken, ahead, rate);
        });
        (value, Some(buffer))
    }

    simd! {
        fn step(value: &mut [f32], gradient: &[f32], decay: f32, rate: f32) {
            for (p, g) in value.iter_mut().zip(gradient) {
                *p -= (g + *p * decay) * rate;
            }
        }
    }

    simd! {
        fn momentum_step(
            value: &mut [f32],
            buffer: &mut [f32],
            gradient: &[f32],
            decay: f32,
            kept: f32,
            taken: f32,
            ahead: Option<f32>,
            rate: f32,
        ) {
            for ((p, b), g) in value.iter_mut().zip(buffer).zip(gradient) {
                let g = g + *p * decay;
                *b = *b * kept + g * taken;
                let direction = match ahead {
                    Some(momentum) => g + *b * momentum,
                    None => *b,
                };
                *p -= direction * rate;
            }
        }
    }
}

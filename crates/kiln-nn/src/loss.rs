//! Losses as `torch.nn.functional` defines them, mean over what is scored.
//! Owns the formulas; never reads a value back from the device.
//! The tasks of kiln-eval call them.
//!
//! Shapes: `B` batch, `T` tokens, `K` classes or numbers.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

use crate::ops;

/// Mean cross entropy of `logits [B, K]` against `classes [B]` as `[1]`; see [`ops::cross_entropy`].
pub fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>, label_smoothing: f64) -> Tensor<1> {
    let rows = logits.dims()[0] as u64;
    ops::cross_entropy(logits, classes, rows, label_smoothing)
}

/// Mean cross entropy of `logits [B, K]` against `shares [B, K]` of the classes, which add up to 1 in each row, as `[1]`:
/// `-sum(shares ln softmax(logits))`, as PyTorch's with class probabilities. `label_smoothing` moves that part of each
/// row to all classes alike.
pub fn soft_cross_entropy(logits: Tensor<2>, shares: Tensor<2>, label_smoothing: f64) -> Tensor<1> {
    let [b, k] = logits.dims();
    let shares = match label_smoothing {
        0.0 => shares,
        smoothing => shares.mul_scalar(1.0 - smoothing).add_scalar(smoothing / k as f64),
    };
    (log_softmax(logits, 1) * shares).sum().div_scalar(-(b as f64))
}

/// As [`cross_entropy`] over the tokens of `logits [B, T, K]` whose `targets [B, T]` are not negative (PyTorch's
/// `ignore_index` is -100); `scored` is their number, which the host knows. Zero where it is 0.
pub fn token_cross_entropy(
    logits: Tensor<3>,
    targets: Tensor<2, Int>,
    scored: u64,
    label_smoothing: f64,
) -> Tensor<1> {
    let [b, t, k] = logits.dims();
    ops::cross_entropy(logits.reshape([b * t, k]), targets.reshape([b * t]), scored, label_smoothing)
}

/// Mean binary cross entropy of `logits [B, K]` against `targets [B, K]` in 0..=1 over all `B K` as `[1]`; stable for
/// logits of any size: `max(x, 0) - x t + ln(1 + exp(-|x|))`.
pub fn binary_cross_entropy_with_logits(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let rest = logits.clone().abs().neg().exp().log1p();
    (ops::relu(logits.clone()) - logits * targets + rest).mean()
}

/// Mean squared error over all `B K` as `[1]`.
pub fn mse(answers: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (answers - targets).square().mean()
}

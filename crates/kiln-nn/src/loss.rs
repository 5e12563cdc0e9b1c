//! Losses as `torch.nn.functional` defines them, mean over what is scored.
//! Owns the formulas; never reads a value back from the device.
//! The tasks of kiln-eval call them.
//!
//! Shapes: `B` batch, `T` tokens, `K` classes or numbers.

use burn::tensor::{Int, Tensor, activation};

/// Mean cross entropy of `logits [B, K]` against `classes [B]` as `[1]`.
///
/// The target distribution is `1 - label_smoothing` on the true class plus `label_smoothing / K` on every class
/// (Szegedy et al., 2015), as PyTorch defines it. Stable for logits of any size: it works on log-softmax.
pub fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>, label_smoothing: f64) -> Tensor<1> {
    let log_p = activation::log_softmax(logits, 1);
    let hard = log_p.clone().gather(1, classes.unsqueeze_dim(1)).mean().neg();
    if label_smoothing == 0.0 {
        return hard;
    }
    // The mean over B and K of -log p is the cross entropy against the uniform distribution.
    hard.mul_scalar(1.0 - label_smoothing) + log_p.mean().neg().mul_scalar(label_smoothing)
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
    let log_p = activation::log_softmax(logits.reshape([b * t, k]), 1);
    let targets = targets.reshape([b * t, 1]);
    let counts = targets.clone().greater_equal_elem(0).float();
    let n = scored.max(1) as f64;
    let of_target = log_p.clone().gather(1, targets.clamp_min(0));
    let hard = (of_target * counts.clone()).sum().neg().div_scalar(n);
    if label_smoothing == 0.0 {
        return hard;
    }
    let uniform = (log_p.mean_dim(1) * counts).sum().neg().div_scalar(n);
    hard.mul_scalar(1.0 - label_smoothing) + uniform.mul_scalar(label_smoothing)
}

/// Mean binary cross entropy of `logits [B, K]` against `targets [B, K]` in 0..=1 over all `B K` as `[1]`; stable for
/// logits of any size: `max(x, 0) - x t + ln(1 + exp(-|x|))`.
pub fn binary_cross_entropy_with_logits(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let rest = logits.clone().abs().neg().exp().log1p();
    (activation::relu(logits.clone()) - logits * targets + rest).mean()
}

/// Mean squared error over all `B K` as `[1]`.
pub fn mse(answers: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (answers - targets).square().mean()
}

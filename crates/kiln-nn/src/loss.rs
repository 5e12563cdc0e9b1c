//! `torch.nn.functional.cross_entropy` with label smoothing, mean over the batch.
//! Owns the formula; never reads a value back from the device.
//! The loop and the evaluator call it.
//!
//! Shapes: `B` batch, `K` classes.

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

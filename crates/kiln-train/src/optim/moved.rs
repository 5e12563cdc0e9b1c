//! How far an optimizer step moved the weights: the norm of its updates over the norm of the weights before it.
//! Owns the sums; the optimizer tells it of each parameter. About 1e-3 is usual; far more forgets, far less learns nothing.

use burn::tensor::Tensor;
use kiln_nn::ops::square_sum;

/// Sums of squares of one step.
#[derive(Default)]
pub(crate) struct Moved {
    updates: Vec<Tensor<1>>,
    weights: Vec<Tensor<1>>,
}

impl Moved {
    /// A parameter `[N]` before its update and after it.
    pub(super) fn add(&mut self, before: Tensor<1>, after: &Tensor<1>) {
        self.updates.push(square_sum(after.clone() - before.clone()));
        self.weights.push(square_sum(before));
    }

    /// The ratio; `None` where nothing moved or there was nothing to move. Reads from the device.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let norm = |sums: &[Tensor<1>]| match sums.is_empty() {
            true => 0.0,
            false => f64::from(Tensor::cat(sums.to_vec(), 0).sum().into_scalar::<f32>()).sqrt(),
        };
        let (updates, weights) = (norm(&self.updates), norm(&self.weights));
        (weights > 0.0 && updates.is_finite()).then(|| updates / weights)
    }
}

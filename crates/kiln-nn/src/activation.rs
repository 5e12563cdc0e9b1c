//! Activations that Burn lacks and that need no gradient of their own.
//! Owns `relu6`; never parameters (GELU is in `ops/`).
//! kiln-models calls them.

use burn::tensor::Tensor;

/// `torch.nn.functional.relu6`: min(max(x, 0), 6).
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp(0.0, 6.0)
}

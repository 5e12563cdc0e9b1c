//! ReLU, and ReLU6 of the mobile nets, with PyTorch's gradients at their bounds (none); what is no number stays so.
//! Owns both forms of each. References: `torch.nn.functional.relu`, `relu6`.

use burn::tensor::{Tensor, activation};

#[cfg(feature = "cpu")]
use super::fast;
#[cfg(feature = "cpu")]
use crate::cpu::clip::Clip;

/// `torch.nn.functional.relu`: max(x, 0).
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    let x = match fast(x, || Clip::RELU) {
        Ok(y) => return y,
        Err(x) => x,
    };
    activation::relu(x)
}

/// `torch.nn.functional.relu6`: min(max(x, 0), 6).
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    let x = match fast(x, || Clip::RELU6) {
        Ok(y) => return y,
        Err(x) => x,
    };
    // Not a clamp, which has a gradient at its bounds.
    let (low, high) = (x.clone().lower_equal_elem(0.0), x.clone().greater_equal_elem(6.0));
    x.mask_fill(low, 0.0).mask_fill(high, 6.0)
}

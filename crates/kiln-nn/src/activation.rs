//! Activations that Burn lacks or differentiates only roughly.
//! Owns `relu6` and the exact `gelu`; never parameters.
//! kiln-models calls them.

use burn::tensor::Tensor;

/// `torch.nn.functional.relu6`: min(max(x, 0), 6).
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp(0.0, 6.0)
}

/// `torch.nn.functional.gelu` (Hendrycks and Gimpel, 2016): x Φ(x) by the error function, gradient included. Burn's own
/// is this forward; backward it is the tanh approximation's on every backend but flex.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let twice_cdf = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0);
    x.mul_scalar(0.5) * twice_cdf
}

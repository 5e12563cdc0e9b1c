//! Activations that Burn lacks or differentiates only roughly.
//! Owns `relu6`, the exact `gelu` and GPT-2's; never parameters.
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

/// `transformers`' `gelu_new`: the tanh approximation, 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))).
pub fn gelu_new<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let cube = x.clone() * x.clone().square();
    let inner = (x.clone() + cube.mul_scalar(0.044_715)).mul_scalar((2.0 / std::f64::consts::PI).sqrt());
    x.mul_scalar(0.5) * inner.tanh().add_scalar(1.0)
}

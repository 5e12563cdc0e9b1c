//! The global norm of gradients, and clipping by it, as `torch.nn.utils.clip_grad_norm_`.
//! Owns neither the gradients nor the limit. The loop calls both.

use burn::tensor::Tensor;
use kiln_core::Gradients;
use kiln_nn::ops::square_sum;

/// The L2 norm over all gradients together. Reads from the device. The same bits on every run: see [`square_sum`].
pub fn global_norm(gradients: &Gradients) -> f32 {
    let sums: Vec<Tensor<1>> = gradients.0.values().map(|g| square_sum(g.clone())).collect();
    if sums.is_empty() {
        return 0.0;
    }
    Tensor::cat(sums, 0).sum().sqrt().into_scalar::<f32>()
}

/// Scales gradients of this global `norm` down to `max_norm`; smaller ones are left alone.
pub fn clip(gradients: Gradients, norm: f32, max_norm: f64) -> Gradients {
    match max_norm / (f64::from(norm) + 1e-6) {
        factor if factor < 1.0 => gradients.scale(factor as f32),
        _ => gradients,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    const ROW: usize = 1 << 16;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i as f32) * 0.37).sin() * 1e-3).collect()
    }

    #[test]
    fn norm_equals_a_sum_in_double_precision() {
        let device = Device::flex();
        let (a, b) = (values(ROW * 3 + 17), values(1000));
        let expected = a.iter().chain(&b).map(|v| (*v as f64).powi(2)).sum::<f64>().sqrt();
        let set = [("a".to_string(), a), ("b".to_string(), b)];
        let gradients = Gradients(
            set.into_iter().map(|(n, v)| (n, Tensor::from_floats(v.as_slice(), &device))).collect(),
        );
        assert!((global_norm(&gradients) as f64 / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn norm_of_a_large_gradient_has_the_same_bits_every_time() {
        let large = Tensor::<1>::from_floats(values(5 << 20).as_slice(), &Device::flex());
        let gradients = Gradients([("embedding".to_string(), large)].into());
        let first = global_norm(&gradients).to_bits();
        for _ in 0..20 {
            assert_eq!(global_norm(&gradients).to_bits(), first);
        }
    }
}

//! The global norm of gradients, and clipping by it, as `torch.nn.utils.clip_grad_norm_`.
//! Owns neither the gradients nor the limit. The loop calls both.

use burn::tensor::Tensor;
use kiln_core::Gradients;
use kiln_nn::ops::square_sum;

/// The L2 norm `[1]` over all gradients together, on the device; `None` of no gradients. The same bits on every run: see
/// [`square_sum`].
pub fn norm(gradients: &Gradients) -> Option<Tensor<1>> {
    let sums: Vec<Tensor<1>> = gradients.0.values().map(|g| square_sum(g.clone())).collect();
    (!sums.is_empty()).then(|| Tensor::cat(sums, 0).sum().sqrt())
}

/// The same, read from the device.
pub fn global_norm(gradients: &Gradients) -> f32 {
    norm(gradients).map_or(0.0, |norm| norm.into_scalar::<f32>())
}

/// Scales gradients of this global `norm` down to `max_norm`; smaller ones are left alone. In single precision, as the
/// reference.
pub fn clip(gradients: Gradients, norm: f32, max_norm: f64) -> Gradients {
    match (norm + EPS).recip() * max_norm as f32 {
        factor if factor < 1.0 => gradients.scale(factor),
        _ => gradients,
    }
}

/// The same by a norm `[1]` that stays on the device: what the gradients are multiplied by has the same bits.
pub fn clip_unread(gradients: Gradients, norm: Tensor<1>, max_norm: f64) -> Gradients {
    let factor = norm.add_scalar(EPS).recip().mul_scalar(max_norm as f32).clamp_max(1.0);
    Gradients(gradients.0.into_iter().map(|(name, g)| (name, g * factor.clone())).collect())
}

const EPS: f32 = 1e-6;

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
    fn clipping_by_a_norm_on_the_device_gives_the_same_bits() {
        let device = Device::flex();
        let make = || Gradients([("a".into(), Tensor::from_floats(values(1000).as_slice(), &device))].into());
        let bits = |g: Gradients| g.0["a"].to_data();
        for max_norm in [1e-3, 0.007, 0.3, 5.0] {
            let unread = norm(&make()).unwrap();
            let known = clip(make(), global_norm(&make()), max_norm);
            assert_eq!(bits(known), bits(clip_unread(make(), unread, max_norm)), "{max_norm}");
        }
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

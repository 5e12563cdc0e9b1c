//! The gradients of one step, by parameter name, flattened.
//! Owns accumulation, scaling and the global norm; never applies them (optimizers do).
//! Made by `Net::gradients`, consumed by an optimizer through `Net::update`.
//!
//! Shapes: `N` elements of one parameter, in PyTorch's memory order.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

/// Flat gradients `[N]` by PyTorch parameter name, in name order, without an autodiff graph.
#[derive(Debug, Clone, Default)]
pub struct Gradients(pub BTreeMap<String, Tensor<1>>);

impl Gradients {
    /// Adds another set, name by name; a name that only one side has is kept.
    pub fn add(&mut self, other: Gradients) {
        for (name, gradient) in other.0 {
            let sum = match self.0.remove(&name) {
                Some(own) => own + gradient,
                None => gradient,
            };
            self.0.insert(name, sum);
        }
    }

    /// Multiplies every gradient by `factor`.
    pub fn scale(self, factor: f32) -> Self {
        Self(self.0.into_iter().map(|(name, g)| (name, g.mul_scalar(factor))).collect())
    }

    /// Scales gradients of this global `norm` down to `max_norm`, as `torch.nn.utils.clip_grad_norm_` does; smaller
    /// ones are left alone.
    pub fn clip(self, norm: f32, max_norm: f64) -> Self {
        match max_norm / (f64::from(norm) + 1e-6) {
            factor if factor < 1.0 => self.scale(factor as f32),
            _ => self,
        }
    }

    /// The L2 norm over all gradients together, as `torch.nn.utils.clip_grad_norm_` measures it. Reads from the
    /// device. The same bits on every run: see [`square_sum`].
    pub fn norm(&self) -> f32 {
        let sums: Vec<Tensor<1>> = self.0.values().map(|g| square_sum(g.clone())).collect();
        if sums.is_empty() {
            return 0.0;
        }
        Tensor::cat(sums, 0).sum().sqrt().into_scalar::<f32>()
    }
}

/// Elements that Burn flex still sums on one thread; above 4 Mi its parallel sum depends on scheduling.
const ROW: usize = 1 << 16;

/// `[1]`: the sum of squares of a flat tensor, in an order that does not depend on thread scheduling: rows of a
/// fixed length first, then the rows' sums.
pub fn square_sum(flat: Tensor<1>) -> Tensor<1> {
    let [n] = flat.dims();
    let squares = flat.square();
    let rows = n / ROW;
    if rows < 2 {
        return squares.sum();
    }
    let body = squares.clone().narrow(0, 0, rows * ROW).reshape([rows, ROW]).sum_dim(1).reshape([rows]).sum();
    match n - rows * ROW {
        0 => body,
        rest => body + squares.narrow(0, rows * ROW, rest).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

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
        assert!((gradients.norm() as f64 / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn norm_of_a_large_gradient_has_the_same_bits_every_time() {
        let large = Tensor::<1>::from_floats(values(5 << 20).as_slice(), &Device::flex());
        let gradients = Gradients([("embedding".to_string(), large)].into());
        let first = gradients.norm().to_bits();
        for _ in 0..20 {
            assert_eq!(gradients.norm().to_bits(), first);
        }
    }

    #[test]
    fn adding_keeps_what_only_one_side_has() {
        let device = Device::flex();
        let one = |v: f32| Tensor::<1>::from_floats([v], &device);
        let mut left = Gradients([("x".into(), one(1.0)), ("y".into(), one(2.0))].into());
        left.add(Gradients([("x".into(), one(10.0)), ("z".into(), one(3.0))].into()));
        let got: Vec<_> = left.scale(2.0).0.into_iter().map(|(n, t)| (n, t.into_scalar::<f32>())).collect();
        assert_eq!(got, [("x".into(), 22.0), ("y".into(), 4.0), ("z".into(), 6.0)]);
    }
}

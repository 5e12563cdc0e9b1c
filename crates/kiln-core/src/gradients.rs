//! The gradients of one step, by parameter name, flattened.
//! Owns accumulation and scaling; never applies them (optimizers do).
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

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

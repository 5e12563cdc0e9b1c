//! Values cut off below and above: ReLU and ReLU6, alone here and at the end of `batch_norm`'s pass.
//! Owns what happens at the bounds and to values that are no numbers; `ops/relu.rs` owns the choice of form.

use burn_flex::FlexTensor;

use super::elementwise::{change, change_beside};
use super::kernel::Kernel;
use super::simd::simd;

/// Bounds; not a number where there is none, since no comparison with that is true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clip {
    floor: f32,
    ceiling: f32,
}

impl Clip {
    /// No bounds.
    pub(crate) const NONE: Self = Self { floor: f32::NAN, ceiling: f32::NAN };
    pub(crate) const RELU: Self = Self { floor: 0.0, ..Self::NONE };
    pub(crate) const RELU6: Self = Self { floor: 0.0, ceiling: 6.0 };

    /// The value within the bounds; one that is no number passes.
    #[inline(always)]
    pub(crate) fn of(self, x: f32) -> f32 {
        let x = if x < self.floor { self.floor } else { x };
        if x > self.ceiling { self.ceiling } else { x }
    }

    /// The gradient before, from the answer and its gradient: none at the bounds, as PyTorch.
    #[inline(always)]
    pub(crate) fn back(self, y: f32, dy: f32) -> f32 {
        if y <= self.floor || y >= self.ceiling { 0.0 } else { dy }
    }
}

simd! {
    fn clip(bounds: Clip, y: &mut [f32]) {
        y.iter_mut().for_each(|y| *y = bounds.of(*y));
    }
}

simd! {
    fn clip_back(bounds: Clip, y: &[f32], dy: &mut [f32]) {
        dy.iter_mut().zip(y).for_each(|(dy, y)| *dy = bounds.back(*y, *dy));
    }
}

impl Kernel<1> for Clip {
    /// The answer.
    type Kept = FlexTensor;

    fn forward(&self, inputs: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
        let y = self.infer(inputs);
        (y.clone(), y)
    }

    fn infer(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        change(x, |_, y| clip(*self, y))
    }

    fn backward(&self, y: FlexTensor, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(change_beside(gradient, &y, |dy, y| clip_back(*self, y, dy)))]
    }
}

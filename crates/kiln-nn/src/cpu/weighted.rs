//! Layers of a weight and perhaps a bias, as one kernel of two tensors and one of three.
//! Owns what both share; never arithmetic. `linear` and `conv` implement [`Weighted`].

use std::fmt::Debug;

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::kernel::{Kernel, Value, run};
use super::slices::contiguous;

/// What a layer computes; gradients and biases come in row-major order.
pub(crate) trait Weighted: Debug + Clone + Send + 'static {
    /// What the backward pass needs of the forward one.
    type Saved: Debug + Clone + Send + 'static;

    /// The answer, and what the backward pass needs.
    fn answer(
        &self,
        x: FlexTensor,
        weight: FlexTensor,
        bias: Option<&FlexTensor>,
    ) -> (FlexTensor, Self::Saved);

    /// The gradients of input and weight that are `wanted`.
    fn gradients(
        &self,
        saved: &Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2];

    /// The gradient of the bias.
    fn of_bias(&self, saved: &Self::Saved, gradient: &FlexTensor) -> FlexTensor;
}

/// Applies a layer; `None` where the tensors are not the processor's.
pub(crate) fn apply<const D: usize, const W: usize>(
    layer: impl Weighted,
    x: &Tensor<D>,
    weight: &Tensor<W>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<D>> {
    let (x, weight) = (Value::of(x.clone())?, Value::of(weight.clone())?);
    Some(match bias {
        Some(bias) => run(layer, [x, weight, Value::of(bias.clone())?]),
        None => run(layer, [x, weight]),
    })
}

impl<L: Weighted> Kernel<2> for L {
    type Kept = L::Saved;

    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> (FlexTensor, L::Saved) {
        self.answer(x, weight, None)
    }

    fn backward(&self, saved: L::Saved, gradient: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        self.gradients(&saved, &contiguous(gradient), wanted)
    }
}

impl<L: Weighted> Kernel<3> for L {
    type Kept = L::Saved;

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, L::Saved) {
        self.answer(x, weight, Some(&contiguous(bias)))
    }

    fn backward(
        &self,
        saved: L::Saved,
        gradient: FlexTensor,
        [of_x, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = contiguous(gradient);
        let [dx, dweight] = self.gradients(&saved, &gradient, [of_x, of_weight]);
        [dx, dweight, of_bias.then(|| self.of_bias(&saved, &gradient))]
    }
}

//! The bias of a layer, added to every row. Reference: the sum in `torch.nn.functional.linear`.
//! Owns its gradient, a sum over rows.

use burn::tensor::Tensor;

use super::sums::sum_rows;
use crate::hand::{self, ByHand, Floats};

/// `[.., D]` plus `bias [D]`.
pub(crate) fn add_bias<const N: usize>(x: Tensor<N>, bias: Tensor<1>) -> Tensor<N> {
    let inputs = || [x.clone().into_dispatch(), bias.clone().into_dispatch()];
    hand::run(&AddBias::<N>, inputs).unwrap_or_else(|| x.clone() + bias.clone().unsqueeze())
}

#[derive(Debug, Clone, Copy)]
struct AddBias<const N: usize>;

impl<const N: usize> ByHand<2> for AddBias<N> {
    type Kept = ();

    fn forward(&self, [x, bias]: [Floats; 2]) -> (Floats, ()) {
        let sum = Tensor::<N>::from_dispatch(x) + Tensor::<1>::from_dispatch(bias).unsqueeze();
        (sum.into_dispatch(), ())
    }

    fn backward(&self, (): (), dy: Floats, wanted: [bool; 2]) -> [Option<Floats>; 2] {
        let rows = || {
            let dy = Tensor::<N>::from_dispatch(dy.clone());
            let columns = dy.dims()[N - 1];
            dy.reshape([-1, columns as i32])
        };
        [wanted[0].then(|| dy.clone()), wanted[1].then(|| sum_rows(rows()).into_dispatch())]
    }
}

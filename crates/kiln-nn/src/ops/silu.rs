//! SiLU, also called Swish (Elfwing et al., 2018): x times its sigmoid, with its exact gradient.
//! Owns its forms. Reference: `torch.nn.functional.silu`.

use burn::tensor::{Tensor, activation};

#[cfg(feature = "cpu")]
use super::fast;
use crate::hand::{self, ByHand, Floats};

/// `torch.nn.functional.silu`: x σ(x).
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    let x = match fast(x, || cpu::Silu) {
        Ok(y) => return y,
        Err(x) => x,
    };
    hand::run(&Silu::<D>, || [x.clone().into_dispatch()]).unwrap_or_else(|| activation::silu(x))
}

#[derive(Debug, Clone, Copy)]
struct Silu<const D: usize>;

impl<const D: usize> ByHand<1> for Silu<D> {
    type Kept = Tensor<D>;

    fn forward(&self, [x]: [Floats; 1]) -> (Floats, Tensor<D>) {
        let x = Tensor::<D>::from_dispatch(x);
        ((x.clone() * activation::sigmoid(x.clone())).into_dispatch(), x)
    }

    fn backward(&self, x: Tensor<D>, dy: Floats, _: [bool; 1]) -> [Option<Floats>; 1] {
        let sigmoid = activation::sigmoid(x.clone());
        let slope = sigmoid.clone() * (x * sigmoid.neg().add_scalar(1.0)).add_scalar(1.0);
        [Some((Tensor::<D>::from_dispatch(dy) * slope).into_dispatch())]
    }
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn_flex::FlexTensor;

    use crate::cpu::elementwise::{change, change_beside};
    use crate::cpu::kernel::Kernel;
    use crate::cpu::math::exp;
    use crate::cpu::simd::simd;
    use crate::cpu::slices::contiguous;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Silu;

    #[inline(always)]
    fn sigmoid(x: f32) -> f32 {
        // Of |x|, because `exp` of a large value is not infinite.
        let e = exp(-x.abs());
        (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
    }

    simd! {
        fn silu(x: &mut [f32]) {
            x.iter_mut().for_each(|x| *x *= sigmoid(*x));
        }
    }

    simd! {
        fn silu_back(x: &[f32], dy: &mut [f32]) {
            for (dy, x) in dy.iter_mut().zip(x) {
                let sigmoid = sigmoid(*x);
                *dy *= sigmoid * x.mul_add(1.0 - sigmoid, 1.0);
            }
        }
    }

    impl Kernel<1> for Silu {
        type Kept = FlexTensor;

        fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
            let x = contiguous(x);
            (self.infer([x.clone()]), x)
        }

        fn infer(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
            change(x, |_, x| silu(x))
        }

        fn backward(&self, x: FlexTensor, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
            [Some(change_beside(gradient, &x, |dy, x| silu_back(x, dy)))]
        }
    }
}

//! Dropout (Srivastava et al., 2014) without a mask in memory: the backward pass draws it again.
//! Owns both forms; the layers that drop own probability and scale.

use burn::tensor::Tensor;

#[cfg(feature = "cpu")]
use super::fast;
use crate::random;

/// Zero with `probability`, else `scale x`; which, this thread's random stream says.
pub fn dropout<const D: usize>(x: Tensor<D>, probability: f64, scale: f64) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    let x = match fast(x, || cpu::Dropout::new(probability, scale)) {
        Ok(y) => return y,
        Err(x) => x,
    };
    let dropped = random::bernoulli(x.dims(), probability, &x.device());
    let dropped = if x.is_autodiff() { Tensor::from_inner(dropped) } else { dropped };
    x.mask_fill(dropped, 0.0).mul_scalar(scale)
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn_flex::FlexTensor;

    use crate::cpu::elementwise::change;
    use crate::cpu::kernel::Kernel;
    use crate::cpu::simd::simd;
    use crate::random::{Draw, key, threshold};

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Dropout {
        key: u64,
        below: u32,
        scale: f32,
    }

    impl Dropout {
        pub(super) fn new(probability: f64, scale: f64) -> Self {
            Self { key: key(), below: threshold(probability), scale: scale as f32 }
        }

        fn apply(&self, x: FlexTensor) -> FlexTensor {
            change(x, |first, x| keep(x, Draw::new(self.key, first), self.below, self.scale))
        }
    }

    simd! {
        fn keep(x: &mut [f32], draw: Draw, below: u32, scale: f32) {
            for (i, x) in x.iter_mut().enumerate() {
                *x = if draw.at(i) < below { 0.0 } else { *x * scale };
            }
        }
    }

    impl Kernel<1> for Dropout {
        type Kept = ();

        fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, ()) {
            (self.apply(x), ())
        }

        fn backward(&self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
            [Some(self.apply(gradient))]
        }
    }
}

//! Dropout (Srivastava et al., 2014) without a mask in memory: the backward pass draws it again.
//! Owns both forms; the layers that drop own probability and scale.

use burn::tensor::Tensor;

#[cfg(feature = "cpu")]
use super::has_fast_form;
use crate::random;

/// Zero with `probability`, else `scale x`; which, this thread's random stream says.
pub fn dropout<const D: usize>(x: Tensor<D>, probability: f64, scale: f64) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    if has_fast_form(&x)
        && let Some(value) = cpu::Value::of(x.clone())
    {
        return cpu::run(cpu::Dropout::new(probability, scale), [value]);
    }
    let dropped = random::bernoulli(x.dims(), probability, &x.device());
    let dropped = if x.is_autodiff() { Tensor::from_inner(dropped) } else { dropped };
    x.mask_fill(dropped, 0.0).mul_scalar(scale)
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::cpu::kernel::Kernel;
    pub(super) use crate::cpu::kernel::{Value, run};
    use crate::cpu::simd::simd;
    use crate::cpu::slices::{CHUNK, contiguous, dims, tensor, unwritten, values};
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
            let x = contiguous(x);
            let from = values(&x);
            let mut y = unwritten(from.len());
            y.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).enumerate().for_each(|(i, (y, x))| {
                keep(x, y, Draw::new(self.key, i * CHUNK), self.below, self.scale);
            });
            tensor(y, &dims(&x))
        }
    }

    simd! {
        fn keep(x: &[f32], y: &mut [f32], draw: Draw, below: u32, scale: f32) {
            for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                *y = if draw.at(i) < below { 0.0 } else { x * scale };
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

//! GELU (Hendrycks and Gimpel, 2016) by the error function, and by tanh as GPT-2 has it, with their exact gradients.
//! Owns the forms of each. References: `torch.nn.functional.gelu`; `transformers`' `gelu_new`.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use burn::tensor::Tensor;

#[cfg(feature = "cpu")]
use super::fast;
use crate::hand::{self, ByHand, Floats};

/// `torch.nn.functional.gelu`: x Φ(x). Burn's own is this forward; backward it is the tanh approximation's on every
/// backend but flex.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    let x = match fast(x, || cpu::Gelu::Erf) {
        Ok(y) => return y,
        Err(x) => x,
    };
    hand::run(&Gelu::<D>::Erf, || [x.clone().into_dispatch()]).unwrap_or_else(|| x.clone() * cdf(x))
}

/// `transformers`' `gelu_new`: the tanh approximation, 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))).
pub fn gelu_new<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    let x = match fast(x, || cpu::Gelu::Tanh) {
        Ok(y) => return y,
        Err(x) => x,
    };
    hand::run(&Gelu::<D>::Tanh, || [x.clone().into_dispatch()])
        .unwrap_or_else(|| x.clone() * gate(&x).add_scalar(1.0).mul_scalar(0.5))
}

/// Φ(x).
fn cdf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.mul_scalar(FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5)
}

/// The hyperbolic tangent of the approximation.
fn gate<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    let cube = x.clone() * x.clone().square();
    (x.clone() + cube.mul_scalar(CUBIC)).mul_scalar((2.0 / PI).sqrt()).tanh()
}

const CUBIC: f64 = 0.044_715;

#[derive(Debug, Clone, Copy)]
enum Gelu<const D: usize> {
    Erf,
    Tanh,
}

impl<const D: usize> ByHand<1> for Gelu<D> {
    type Kept = Tensor<D>;

    fn forward(&self, [x]: [Floats; 1]) -> (Floats, Tensor<D>) {
        let x = Tensor::<D>::from_dispatch(x);
        let share = match self {
            Self::Erf => cdf(x.clone()),
            Self::Tanh => gate(&x).add_scalar(1.0).mul_scalar(0.5),
        };
        ((x.clone() * share).into_dispatch(), x)
    }

    fn backward(&self, x: Tensor<D>, dy: Floats, _: [bool; 1]) -> [Option<Floats>; 1] {
        let square = x.clone().square();
        let slope = match self {
            Self::Erf => {
                let density = square.mul_scalar(-0.5).exp().mul_scalar((2.0 * PI).sqrt().recip());
                cdf(x.clone()) + x * density
            }
            Self::Tanh => {
                let gate = gate(&x);
                let of_inner = square.mul_scalar(3.0 * CUBIC).add_scalar(1.0).mul_scalar((2.0 / PI).sqrt());
                let of_gate = gate.clone().square().neg().add_scalar(1.0) * of_inner;
                (gate.add_scalar(1.0) + x * of_gate).mul_scalar(0.5)
            }
        };
        [Some((Tensor::<D>::from_dispatch(dy) * slope).into_dispatch())]
    }
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn_flex::FlexTensor;

    use crate::cpu::elementwise::{change, change_beside};
    use crate::cpu::kernel::Kernel;
    use crate::cpu::math::{erf, normal_density, tanh};
    use crate::cpu::simd::simd;
    use crate::cpu::slices::contiguous;

    #[derive(Debug, Clone, Copy)]
    pub(super) enum Gelu {
        Erf,
        Tanh,
    }

    const SQRT_2_OVER_PI: f32 = 0.797_884_6;

    simd! {
        fn by_erf(x: &mut [f32]) {
            for x in x {
                let half = 0.5 * *x;
                *x = half.mul_add(erf(*x * std::f32::consts::FRAC_1_SQRT_2), half);
            }
        }
    }

    simd! {
        fn by_erf_back(dy: &mut [f32], x: &[f32]) {
            for (dy, x) in dy.iter_mut().zip(x) {
                let cdf = 0.5f32.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), 0.5);
                *dy *= x.mul_add(normal_density(*x), cdf);
            }
        }
    }

    simd! {
        fn by_tanh(x: &mut [f32]) {
            for x in x {
                let inner = SQRT_2_OVER_PI * (0.044_715 * *x * *x).mul_add(*x, *x);
                *x = 0.5 * *x * (1.0 + tanh(inner));
            }
        }
    }

    simd! {
        fn by_tanh_back(dy: &mut [f32], x: &[f32]) {
            for (dy, x) in dy.iter_mut().zip(x) {
                let t = tanh(SQRT_2_OVER_PI * (0.044_715 * x * x).mul_add(*x, *x));
                let slope = SQRT_2_OVER_PI * (3.0 * 0.044_715 * x).mul_add(*x, 1.0);
                *dy *= 0.5 * ((1.0 - t * t) * x).mul_add(slope, 1.0 + t);
            }
        }
    }

    impl Kernel<1> for Gelu {
        type Kept = FlexTensor;

        fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
            let x = contiguous(x);
            (self.infer([x.clone()]), x)
        }

        fn infer(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
            let form = match self {
                Self::Erf => by_erf,
                Self::Tanh => by_tanh,
            };
            change(x, |_, x| form(x))
        }

        fn backward(&self, x: FlexTensor, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
            let form = match self {
                Self::Erf => by_erf_back,
                Self::Tanh => by_tanh_back,
            };
            [Some(change_beside(gradient, &x, form))]
        }
    }
}

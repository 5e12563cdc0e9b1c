//! Layer normalisation (Ba et al., 2016) with its gradients. Reference: `torch.nn.functional.layer_norm`.
//! Owns its forms; the layer in `norm.rs` owns the parameters.
//!
//! Shapes: `D` features; `R` rows, all that stands before.

use burn::tensor::{Tensor, module};

#[cfg(feature = "cpu")]
use super::has_fast_form;
use super::sums::sum_rows;
use crate::hand::{self, ByHand, Floats};

/// `[.., D]` to the same: each row with mean 0 and variance 1 (biased, with `eps` added), times `weight [D]`, plus `bias [D]`.
pub fn layer_norm<const N: usize>(
    x: Tensor<N>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    eps: f64,
) -> Tensor<N> {
    let features = [x.dims()[N - 1]];
    assert!(
        weight.dims() == features && bias.as_ref().is_none_or(|bias| bias.dims() == features),
        "layer norm: an input [.., D] of {:?}, a weight of {:?} and a bias of {:?}",
        x.dims(),
        weight.dims(),
        bias.as_ref().map(Tensor::dims)
    );
    #[cfg(feature = "cpu")]
    if has_fast_form(&x)
        && let Some(values) = cpu::values(&x, &weight, bias.as_ref())
    {
        return cpu::run(cpu::LayerNorm { eps: eps as f32 }, values);
    }
    let shape = x.dims();
    // Without a bias a zero stands for it, whose gradient nobody wants.
    let inputs = || {
        let bias = bias.clone().unwrap_or_else(|| weight.zeros_like());
        [x.clone().into_dispatch(), weight.clone().into_dispatch(), bias.into_dispatch()]
    };
    hand::run(&LayerNorm { eps, shape }, inputs).unwrap_or_else(|| module::layer_norm(x, weight, bias, eps))
}

#[derive(Debug, Clone, Copy)]
struct LayerNorm<const N: usize> {
    eps: f64,
    shape: [usize; N],
}

impl<const N: usize> LayerNorm<N> {
    /// As `[R, D]`.
    fn rows(&self, x: Floats) -> Tensor<2> {
        Tensor::<N>::from_dispatch(x).reshape([-1, self.shape[N - 1] as i32])
    }

    fn whole(&self, rows: Tensor<2>) -> Floats {
        rows.reshape(self.shape).into_dispatch()
    }
}

impl<const N: usize> ByHand<3> for LayerNorm<N> {
    /// Input `[R, D]`, mean and reciprocal deviation `[R, 1]`, weight `[1, D]`.
    type Kept = [Tensor<2>; 4];

    fn forward(&self, [x, weight, bias]: [Floats; 3]) -> (Floats, Self::Kept) {
        let x = self.rows(x);
        let [weight, bias] = [weight, bias].map(|x| Tensor::<1>::from_dispatch(x).unsqueeze::<2>());
        let mean = x.clone().mean_dim(1);
        let inverse = (x.clone() - mean.clone()).square().mean_dim(1).add_scalar(self.eps).sqrt().recip();
        let y = (x.clone() - mean.clone()) * inverse.clone() * weight.clone() + bias;
        (self.whole(y), [x, mean, inverse, weight])
    }

    fn backward(
        &self,
        [x, mean, inverse, weight]: Self::Kept,
        dy: Floats,
        wanted: [bool; 3],
    ) -> [Option<Floats>; 3] {
        let dy = self.rows(dy);
        let normal = (x - mean) * inverse.clone();
        let learned = [wanted[1].then(|| dy.clone() * normal.clone()), wanted[2].then(|| dy.clone())];
        let [dweight, dbias] = learned.map(|x| x.map(|x| sum_rows(x).into_dispatch()));
        let dx = wanted[0].then(|| {
            let g = dy * weight;
            let (a, b) = (g.clone().mean_dim(1), (g.clone() * normal.clone()).mean_dim(1));
            self.whole((g - a - normal * b) * inverse)
        });
        [dx, dweight, dbias]
    }
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn::tensor::Tensor;
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    pub(super) use crate::cpu::kernel::run;
    use crate::cpu::kernel::{Kernel, Value};
    use crate::cpu::simd::simd;
    use crate::cpu::slices::{contiguous, dims, tensor, unwritten, values as read};
    use crate::cpu::sums::{sum, sums};

    /// Rows a thread takes at once; fixed, so that sums over rows do not depend on how many threads there are.
    const ROWS: usize = 32;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct LayerNorm {
        pub(super) eps: f32,
    }

    /// Without a bias a zero stands for it, whose gradient nobody wants.
    pub(super) fn values<const N: usize>(
        x: &Tensor<N>,
        weight: &Tensor<1>,
        bias: Option<&Tensor<1>>,
    ) -> Option<[Value; 3]> {
        let bias = bias.cloned().unwrap_or_else(|| Tensor::zeros(weight.dims(), &weight.device()));
        Some([Value::of(x.clone())?, Value::of(weight.clone())?, Value::of(bias)?])
    }

    simd! {
        /// Also writes each row's mean and reciprocal deviation.
        fn normalise(x: &[f32], y: &mut [f32], stats: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
            let d = weight.len();
            for ((x, y), stats) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(stats.chunks_exact_mut(2)) {
                let mean = sum([x], |[x]| x) / d as f32;
                let variance = sum([x], |[x]| (x - mean) * (x - mean)) / d as f32;
                let inverse = 1.0 / (variance + eps).sqrt();
                stats[0] = mean;
                stats[1] = inverse;
                for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                    *y = ((x - mean) * inverse).mul_add(*weight, *bias);
                }
            }
        }
    }

    simd! {
        /// Adds to the gradients of weight and bias, `[2, D]` in `learned`.
        fn back(x: &[f32], dy: &[f32], stats: &[f32], weight: &[f32], dx: &mut [f32], learned: &mut [f32]) {
            let d = weight.len();
            let (dweight, dbias) = learned.split_at_mut(d);
            let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
            for (((x, dy), dx), stats) in rows.zip(stats.chunks_exact(2)) {
                let (mean, inverse) = (stats[0], stats[1]);
                let [a, b] = sums([x, dy, weight], |[x, dy, weight]| {
                    let g = dy * weight;
                    [g, g * (x - mean)]
                });
                let (a, b) = (a / d as f32, b * inverse / d as f32);
                let row = dx.iter_mut().zip(x).zip(dy).zip(weight).zip(&mut *dweight).zip(&mut *dbias);
                for (((((dx, x), dy), weight), dweight), dbias) in row {
                    let normal = (x - mean) * inverse;
                    *dx = inverse * (dy * weight - a - normal * b);
                    *dweight = dy.mul_add(normal, *dweight);
                    *dbias += dy;
                }
            }
        }
    }

    impl Kernel<3> for LayerNorm {
        /// Input, weight, and `[R, 2]`: mean and reciprocal deviation.
        type Kept = (FlexTensor, FlexTensor, Vec<f32>);

        fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Self::Kept) {
            let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
            let (from, w, b) = (read(&x), read(&weight), read(&bias));
            let d = w.len();
            let mut y = unwritten(from.len());
            let mut stats = unwritten(2 * from.len() / d.max(1));
            y.par_chunks_mut(d * ROWS)
                .zip(from.par_chunks(d * ROWS))
                .zip(stats.par_chunks_mut(2 * ROWS))
                .for_each(|((y, x), stats)| normalise(x, y, stats, w, b, self.eps));
            (tensor(y, &dims(&x)), (x, weight, stats))
        }

        fn backward(
            &self,
            (x, weight, stats): Self::Kept,
            gradient: FlexTensor,
            wanted: [bool; 3],
        ) -> [Option<FlexTensor>; 3] {
            let gradient = contiguous(gradient);
            let (from, w, dy) = (read(&x), read(&weight), read(&gradient));
            let d = w.len();
            let mut dx = unwritten(from.len());
            let chunks = from.len().div_ceil(d * ROWS);
            let mut sums = vec![0.0; chunks * 2 * d];
            dx.par_chunks_mut(d * ROWS)
                .zip(from.par_chunks(d * ROWS))
                .zip(dy.par_chunks(d * ROWS))
                .zip(stats.par_chunks(2 * ROWS))
                .zip(sums.par_chunks_mut(2 * d))
                .for_each(|((((dx, x), dy), stats), sums)| back(x, dy, stats, w, dx, sums));
            let mut total = vec![0.0; 2 * d];
            for part in sums.chunks_exact(2 * d) {
                total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
            }
            let dbias = total.split_off(d);
            [
                Some(tensor(dx, &dims(&x))),
                wanted[1].then(|| tensor(total, &[d])),
                wanted[2].then(|| tensor(dbias, &[d])),
            ]
        }
    }
}

//! A convolution as matrix products over patches, packed or where they lie, and as sums over taps where a channel sees one
//! channel.
//! Owns which of these; `ops/conv2d.rs` has checked the shapes and calls it.
//!
//! Shapes: `B` batch, `IN OUT` channels of a group, `H W` pixels read, `OH OW` written, `KH KW` kernel, `K` is
//! `IN KH KW`.

mod depthwise;
#[cfg(target_arch = "x86_64")]
mod direct;
mod patches;
mod products;
mod sizes;
mod unfold;

use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use self::sizes::Sizes;
use super::simd::{simd, sum16};
use super::slices::{contiguous, dims, tensor, unwritten, values};
use super::weighted::{self, Weighted};
use crate::precision;

/// As `ops::conv2d`; `None` where the tensors are not the processor's.
pub(crate) fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<2>,
) -> Option<Tensor<4>> {
    let sizes = Sizes::new(x.dims(), weight.dims(), options, precision::now());
    let layer = Conv { sizes };
    weighted::apply(layer, x, weight, bias)
}

#[derive(Debug, Clone, Copy)]
struct Conv {
    sizes: Sizes,
}

/// Input and weight, shared with the tensors they came from.
type Kept = (FlexTensor, FlexTensor);

impl Weighted for Conv {
    type Saved = Kept;

    fn answer(&self, x: FlexTensor, weight: FlexTensor, bias: Option<&FlexTensor>) -> (FlexTensor, Kept) {
        let (x, weight) = (contiguous(x), contiguous(weight));
        let y = self.sizes.convolve(values(&x), values(&weight), bias.map(values));
        (tensor(y, &self.sizes.written_shape()), (x, weight))
    }

    fn gradients(
        &self,
        (x, weight): &Kept,
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (sizes, dy) = (&self.sizes, values(gradient));
        let dx = wanted[0].then(|| tensor(sizes.of_input(values(weight), dy), &dims(x)));
        let dweight = wanted[1].then(|| tensor(sizes.of_weight(values(x), dy), &dims(weight)));
        [dx, dweight]
    }

    fn of_bias(&self, _: &Kept, gradient: &FlexTensor) -> FlexTensor {
        let dy = values(gradient);
        let (pixels, channels) = (self.sizes.pixels(), self.sizes.groups * self.sizes.written);
        let mut sums = unwritten(channels);
        sums.par_iter_mut().enumerate().for_each(|(channel, sum)| {
            let image = |b: usize| &dy[(b * channels + channel) * pixels..][..pixels];
            *sum = (0..self.sizes.batch).map(|b| sum_of(image(b))).sum();
        });
        tensor(sums, &[channels])
    }
}

simd! {
    fn sum_of(x: &[f32]) -> f32 {
        sum16(x.len(), |i| x[i])
    }
}

impl Sizes {
    fn convolve(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        match self.read {
            1 => depthwise::convolve(self, x, weight, bias),
            #[cfg(target_arch = "x86_64")]
            _ if direct::suits(self) => direct::convolve(self, x, weight, bias),
            _ => products::convolve(self, x, weight, bias),
        }
    }

    fn of_input(&self, weight: &[f32], dy: &[f32]) -> Vec<f32> {
        if let Some(back) = self.reversed() {
            return back.convolve(dy, &self.turned(weight), None);
        }
        match self.read {
            1 => depthwise::of_input(self, weight, dy),
            _ => products::of_input(self, weight, dy),
        }
    }

    fn of_weight(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        match self.read {
            1 => depthwise::of_weight(self, x, dy),
            _ => products::of_weight(self, x, dy),
        }
    }
}

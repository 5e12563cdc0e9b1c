//! A convolution of images with its gradients. Reference: `torch.nn.functional.conv2d`.
//! Owns the choice of form and the check of shapes; the layer in `conv.rs` owns the parameters.
//!
//! Shapes: `B` batch, `IN OUT` channels, `H W` pixels, `KH KW` kernel.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

#[cfg(feature = "cpu")]
use super::has_fast_form;
use crate::precision::{half, now};

/// `[B, IN, H, W]` to `[B, OUT, H', W']` by `weight [OUT, IN / groups, KH, KW]`, plus `bias [OUT]`.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    check(x.dims(), weight.dims(), bias.as_ref().map(Tensor::dims), &options);
    #[cfg(feature = "cpu")]
    if has_fast_form(&x)
        && let Some(y) = crate::cpu::conv::conv2d(&x, &weight, bias.as_ref(), &options)
    {
        return y;
    }
    match half(now()) {
        None => module::conv2d(x, weight, bias, options),
        Some(half) => {
            let dtype = x.dtype();
            let y = module::conv2d(x.cast(half), weight.cast(half), None, options).cast(dtype);
            bias.into_iter().fold(y, |y, bias| y + bias.reshape([1, -1, 1, 1]))
        }
    }
}

fn check(x: [usize; 4], weight: [usize; 4], bias: Option<[usize; 1]>, options: &ConvOptions<2>) {
    let [out, per_group, kernel @ ..] = weight;
    let groups = options.groups;
    assert!(
        groups > 0 && x[2] > 0 && x[3] > 0 && !options.stride.contains(&0),
        "conv2d: {groups} groups, stride {:?} and an image of {:?}: each must be above zero",
        options.stride,
        [x[2], x[3]]
    );
    assert!(
        x[1] == per_group * groups && out % groups == 0,
        "conv2d: an input [B, IN, H, W] of {x:?} and a weight [OUT, IN / groups, KH, KW] of {weight:?} in {groups} groups"
    );
    assert!(bias.is_none_or(|[n]| n == out), "conv2d: a bias of {bias:?} for {out} channels");
    for i in 0..2 {
        let (before, after) = options.padding[i];
        let (size, reach) =
            (x[2 + i] + before + after, options.dilation[i] * kernel[i].saturating_sub(1) + 1);
        assert!(
            kernel[i] > 0 && reach <= size,
            "conv2d: a kernel {kernel:?} with dilation {:?} on an image of {:?} with padding {:?}",
            options.dilation,
            [x[2], x[3]],
            options.padding
        );
    }
}

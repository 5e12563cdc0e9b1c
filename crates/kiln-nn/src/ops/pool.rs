//! Pooling of images with its gradients: the largest pixel of each window, and the mean of all.
//! Owns both forms' choice and the check of shapes. References: `torch.nn.functional.max_pool2d`,
//! `adaptive_avg_pool2d`.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels.

use burn::tensor::{Tensor, module, ops::MaxPoolOptions};

#[cfg(feature = "cpu")]
use super::fast;
#[cfg(feature = "cpu")]
use crate::cpu::{
    plane::Window,
    pool::{Average, MaxPool},
};

/// `[B, C, H, W]` to `[B, C, H', W']`: the largest of each window of `kernel` pixels, `stride` apart, with `padding` that
/// is never the largest on every side. The gradient goes to the first of the largest; a value that is no number is
/// larger than any.
pub fn max_pool2d(x: Tensor<4>, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    check([height, width], kernel, stride, padding);
    // The processor's form counts the pixels of a window in a byte.
    #[cfg(feature = "cpu")]
    let x = match kernel[0] * kernel[1] {
        ..=256 => match fast(x, || MaxPool(window([height, width], kernel, stride, padding))) {
            Ok(y) => return y,
            Err(x) => x,
        },
        _ => x,
    };
    module::max_pool2d(x, MaxPoolOptions::new(kernel).with_stride(stride).with_padding(padding))
}

/// `[B, C, H, W]` to `[B, C]`: the mean over pixels.
pub fn global_avg_pool2d(x: Tensor<4>) -> Tensor<2> {
    let [_, _, height, width] = x.dims();
    assert!(height > 0 && width > 0, "global average pool: an image of {height} x {width} pixels");
    #[cfg(feature = "cpu")]
    let x = match fast(x, || Average { image: [height, width] }) {
        Ok(y) => return y,
        Err(x) => x,
    };
    x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
}

#[cfg(feature = "cpu")]
fn window(image: [usize; 2], kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Window {
    let out = [0, 1].map(|i| (image[i] + 2 * padding[i] - kernel[i]) / stride[i] + 1);
    Window { image, out, kernel, stride, dilation: [1, 1], before: padding.map(usize::cast_signed) }
}

fn check(image: [usize; 2], kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) {
    assert!(
        image.iter().chain(&kernel).chain(&stride).all(|n| *n > 0),
        "max pool: an image of {image:?}, a kernel {kernel:?} and a stride {stride:?}: each must be above zero"
    );
    for i in 0..2 {
        assert!(
            kernel[i] <= image[i] + 2 * padding[i] && padding[i] <= kernel[i] / 2,
            "max pool: a kernel {kernel:?} on an image of {image:?} with padding {padding:?}, which may be at most \
             half the kernel"
        );
    }
}

//! Gaussian blur: torchvision's `gaussian_blur`, which turns a Pillow image into a tensor for it.
//! Owns the kernel and the reflected border; never draws a sigma. Hands images back to the transforms.

use super::pad;
use crate::config::PaddingMode;
use crate::decode::DecodedImage;

/// Blurs with a window of `size` pixels (odd) and `sigma` along both sides; levels are rounded half to even.
pub(crate) fn gaussian_blur(image: &DecodedImage, size: usize, sigma: f64) -> DecodedImage {
    let (kernel, reach) = (kernel(size, sigma), size / 2);
    let padded = pad(image, [reach; 4], PaddingMode::Reflect, &[0; 3]);
    let (h, w, c) = (image.height, image.width, image.channels);
    let row = w * c;
    // Along rows first; the numbers stay unrounded between the two passes.
    let mut wide = vec![0.0_f32; padded.height * row];
    for (from, to) in padded.pixels.chunks_exact(padded.width * c).zip(wide.chunks_exact_mut(row)) {
        for (k, weight) in kernel.iter().enumerate() {
            to.iter_mut().zip(&from[k * c..]).for_each(|(sum, &v)| *sum += weight * f32::from(v));
        }
    }
    let mut sums = vec![0.0_f32; h * row];
    for (y, to) in sums.chunks_exact_mut(row).enumerate() {
        for (k, weight) in kernel.iter().enumerate() {
            to.iter_mut().zip(&wide[(y + k) * row..]).for_each(|(sum, v)| *sum += weight * v);
        }
    }
    let pixels = sums.iter().map(|v| v.round_ties_even() as u8).collect();
    DecodedImage { height: h, width: w, channels: c, pixels }
}

/// `softmax(-(x / sigma)^2)` of evenly spaced `x`, as torchvision's `_get_gaussian_kernel1d`.
fn kernel(size: usize, sigma: f64) -> Vec<f32> {
    let limit = (size - 1) as f64 / (2.0 * std::f64::consts::SQRT_2);
    let step = if size > 1 { 2.0 * limit / (size - 1) as f64 } else { 0.0 };
    let weights: Vec<f64> = (0..size).map(|i| (-((i as f64 * step - limit) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| (w / sum) as f32).collect()
}

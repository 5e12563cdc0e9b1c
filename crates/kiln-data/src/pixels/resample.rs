//! Pillow's own resampling, to the last bit: fixed-point weights of 22 fractional bits.
//! Owns the weights and the two passes for images of any channels; `resize` chooses between this and the vector form.

use crate::decode::DecodedImage;

/// Fractional bits of a weight: 32, less 8 of a level and 2 of overshoot.
const BITS: u32 = 22;

/// A filter and how far it reaches, in pixels of the smaller scale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    pub(super) reach: f64,
    pub(super) weight: fn(f64) -> f64,
}

pub(super) const BILINEAR: Filter = Filter { reach: 1.0, weight: |x| (1.0 - x.abs()).max(0.0) };
pub(super) const BICUBIC: Filter = Filter { reach: 2.0, weight: cubic };
pub(super) const LANCZOS: Filter = Filter { reach: 3.0, weight: lanczos };

/// Keys' cubic with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match x {
        _ if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn lanczos(x: f64) -> f64 {
    let sinc =
        |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// For each pixel of one side, the first that it reads and the weights from there on.
fn weights(from: usize, to: usize, filter: Filter) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    let wide = scale.max(1.0);
    let (reach, narrow) = (filter.reach * wide, 1.0 / wide);
    let one = |i: usize| {
        let center = (i as f64 + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).min(from);
        let own: Vec<f64> =
            (first..end).map(|k| (filter.weight)((k as f64 - center + 0.5) * narrow)).collect();
        let sum: f64 = own.iter().sum();
        let fixed = |w: &f64| {
            let w = if sum == 0.0 { *w } else { w / sum } * f64::from(1 << BITS);
            (w + if w < 0.0 { -0.5 } else { 0.5 }) as i32
        };
        (first, own.iter().map(fixed).collect())
    };
    (0..to).map(one).collect()
}

fn level(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// Along rows.
pub(super) fn across(image: &DecodedImage, width: usize, filter: Filter) -> DecodedImage {
    let (c, weights) = (image.channels, weights(image.width, width, filter));
    let mut pixels = Vec::with_capacity(image.height * width * c);
    for row in image.pixels.chunks_exact(image.width * c) {
        for (first, own) in &weights {
            for k in 0..c {
                let read = row[first * c + k..].iter().step_by(c);
                let sum = own.iter().zip(read).fold(1 << (BITS - 1), |s, (w, &v)| s + w * i32::from(v));
                pixels.push(level(sum));
            }
        }
    }
    DecodedImage { height: image.height, width, channels: c, pixels }
}

/// Along columns.
pub(super) fn down(image: &DecodedImage, height: usize, filter: Filter) -> DecodedImage {
    let row = image.width * image.channels;
    let mut pixels = Vec::with_capacity(height * row);
    let mut sums = vec![0; row];
    for (first, own) in weights(image.height, height, filter) {
        sums.fill(1 << (BITS - 1));
        for (k, w) in own.iter().enumerate() {
            let read = &image.pixels[(first + k) * row..][..row];
            sums.iter_mut().zip(read).for_each(|(sum, &v)| *sum += w * i32::from(v));
        }
        pixels.extend(sums.iter().map(|&sum| level(sum)));
    }
    DecodedImage { height, width: image.width, channels: image.channels, pixels }
}

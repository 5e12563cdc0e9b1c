//! Batch normalisation a channel at a time, whose values over the batch a core's cache holds: statistics and answer read
//! memory once, and so do the two passes of the gradient.
//! Owns the processor's form; `ops/batch_norm.rs` has the plain one and the choice.
//!
//! Shapes: `B` batch, `C` channels, `P` pixels of an image.

use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::kernel::{Kernel, Value, answer, run};
use super::simd::{simd, sum16};
use super::slices::{Shared, contiguous, dims, tensor, unwritten, values};
use crate::ops::Then;

/// As `ops::batch_norm_train`; `None` where the tensors are not the processor's.
pub(crate) fn train(
    x: &Tensor<4>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    eps: f64,
    then: &Then,
) -> Option<(Tensor<4>, [Tensor<1>; 2])> {
    let op = BatchNorm::new(eps, then);
    let y = op.clone().apply(x, weight, bias, then)?;
    let channels = op.statistics.get()?;
    let column = |f: fn(&Channel) -> f32| {
        let column = answer(tensor(channels.iter().map(f).collect(), &[channels.len()]));
        if x.is_autodiff() { Tensor::from_inner(column) } else { column }
    };
    Some((y, [column(|c| c.mean), column(|c| c.variance)]))
}

/// As `ops::batch_norm`; `None` where the tensors are not the processor's.
pub(crate) fn given(
    x: &Tensor<4>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    statistics: [&Tensor<1>; 2],
    eps: f64,
    then: &Then,
) -> Option<Tensor<4>> {
    let [mean, variance] = statistics.map(|x| Value::of(x.clone()).map(|x| contiguous(x.contents())));
    let (mean, variance) = (mean?, variance?);
    let op = BatchNorm { given: true, ..BatchNorm::new(eps, then) };
    let channels = values(&mean).iter().zip(values(&variance));
    let channels = channels.map(|(mean, variance)| Channel::new(*mean, *variance, op.eps)).collect();
    op.statistics.set(channels).ok()?;
    op.apply(x, weight, bias, then)
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    mean: f32,
    variance: f32,
    /// The reciprocal deviation.
    inverse: f32,
}

impl Channel {
    fn new(mean: f32, variance: f32, eps: f32) -> Self {
        Self { mean, variance, inverse: 1.0 / (variance + eps).sqrt() }
    }

    fn of(x: &[f32], planes: Planes, eps: f32) -> Self {
        let mean = sum(x, planes, 0.0).0 / planes.values();
        // Of what is left of the mean, too: in float32 it is not the mean to the last digit.
        let (rest, squares) = sum(x, planes, mean as f32);
        let rest = rest / planes.values();
        // Of equal values both are all rounding, and their difference may fall below zero.
        Self::new(mean as f32, (squares / planes.values() - rest * rest).max(0.0) as f32, eps)
    }
}

#[derive(Debug, Clone)]
struct BatchNorm {
    eps: f32,
    relu: bool,
    /// The statistics are constants, not the batch's.
    given: bool,
    /// The batch's are here once the forward pass has run.
    statistics: Arc<OnceLock<Vec<Channel>>>,
}

/// Where one channel's values lie.
#[derive(Debug, Clone, Copy)]
struct Planes {
    first: usize,
    step: usize,
    count: usize,
    pixels: usize,
}

impl Planes {
    /// Of each channel.
    fn of(x: &FlexTensor) -> impl Fn(usize) -> Self + use<> {
        let shape = dims(x);
        let pixels = shape[2] * shape[3];
        move |channel| Self { first: channel * pixels, step: shape[1] * pixels, count: shape[0], pixels }
    }

    fn values(self) -> f64 {
        (self.count * self.pixels).max(1) as f64
    }

    fn starts(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |b| self.first + b * self.step)
    }
}

simd! {
    /// Sums of x - c and of its square.
    fn sum(x: &[f32], planes: Planes, c: f32) -> (f64, f64) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for start in planes.starts() {
            let x = &x[start..start + planes.pixels];
            sum += f64::from(sum16(x.len(), |i| x[i] - c));
            squares += f64::from(sum16(x.len(), |i| (x[i] - c) * (x[i] - c)));
        }
        (sum, squares)
    }
}

simd! {
    fn normalise(x: &[f32], shortcut: Option<&[f32]>, planes: Planes, scale: f32, shift: f32, relu: bool, y: Shared) {
        for start in planes.starts() {
            let place = start..start + planes.pixels;
            let x = &x[place.clone()];
            // SAFETY: a channel's planes are its thread's own, and lie within the answer.
            let y = unsafe { y.slice(start, planes.pixels) };
            match shortcut {
                Some(shortcut) => {
                    for ((y, x), shortcut) in y.iter_mut().zip(x).zip(&shortcut[place]) {
                        *y = x.mul_add(scale, shift) + shortcut;
                    }
                }
                None => y.iter_mut().zip(x).for_each(|(y, x)| *y = x.mul_add(scale, shift)),
            }
            if relu {
                y.iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
            }
        }
    }
}

/// The gradient of a value before ReLU, from the answer.
#[inline(always)]
fn through(y: f32, dy: f32) -> f32 {
    if y <= 0.0 { 0.0 } else { dy }
}

simd! {
    /// Sums of the gradient, and of it times x - mean. `y` where there was a ReLU.
    fn sums_back(x: &[f32], y: Option<&[f32]>, dy: &[f32], planes: Planes, mean: f32) -> (f64, f64) {
        let (mut sum, mut product) = (0.0, 0.0);
        for start in planes.starts() {
            let place = start..start + planes.pixels;
            let (x, dy) = (&x[place.clone()], &dy[place.clone()]);
            let n = x.len();
            let (a, b) = match y {
                Some(y) => {
                    let y = &y[place];
                    let product = sum16(n, |i| through(y[i], dy[i]) * (x[i] - mean));
                    (sum16(n, |i| through(y[i], dy[i])), product)
                }
                None => (sum16(n, |i| dy[i]), sum16(n, |i| dy[i] * (x[i] - mean))),
            };
            sum += f64::from(a);
            product += f64::from(b);
        }
        (sum, product)
    }
}

simd! {
    /// dx = scale (g - a - b (x - mean)), and the shortcut's gradient g.
    fn back(
        x: &[f32],
        y: Option<&[f32]>,
        dy: &[f32],
        planes: Planes,
        mean: f32,
        scale: f32,
        a: f32,
        b: f32,
        dx: Shared,
        dshortcut: Option<Shared>,
    ) {
        for start in planes.starts() {
            let place = start..start + planes.pixels;
            // SAFETY: as in `normalise`.
            let dx = unsafe { dx.slice(start, planes.pixels) };
            let (x, dy) = (&x[place.clone()], &dy[place.clone()]);
            let slope = |x: f32, g: f32| scale * (x - mean).mul_add(-b, g - a);
            match y {
                Some(y) => {
                    for (((dx, x), y), dy) in dx.iter_mut().zip(x).zip(&y[place.clone()]).zip(dy) {
                        *dx = slope(*x, through(*y, *dy));
                    }
                }
                None => dx.iter_mut().zip(x).zip(dy).for_each(|((dx, x), dy)| *dx = slope(*x, *dy)),
            }
            if let (Some(to), Some(y)) = (dshortcut, y) {
                // SAFETY: as in `normalise`.
                let to = unsafe { to.slice(start, planes.pixels) };
                to.iter_mut().zip(&y[place]).zip(dy).for_each(|((to, y), dy)| *to = through(*y, *dy));
            }
        }
    }
}

/// Input and weight, and the answer where ReLU made it.
type Kept = (FlexTensor, FlexTensor, Option<FlexTensor>);

impl BatchNorm {
    fn new(eps: f64, then: &Then) -> Self {
        let relu = !matches!(then, Then::Nothing);
        Self { eps: eps as f32, relu, given: false, statistics: Arc::default() }
    }

    fn apply(self, x: &Tensor<4>, weight: &Tensor<1>, bias: &Tensor<1>, then: &Then) -> Option<Tensor<4>> {
        let inputs = [Value::of(x.clone())?, Value::of(weight.clone())?, Value::of(bias.clone())?];
        Some(match then {
            Then::AddRelu(shortcut) => {
                let [x, weight, bias] = inputs;
                run(self, [x, weight, bias, Value::of(shortcut.clone())?])
            }
            Then::Nothing | Then::Relu => run(self, inputs),
        })
    }

    fn forward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        shortcut: Option<FlexTensor>,
    ) -> (FlexTensor, Kept) {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let shortcut = shortcut.map(contiguous);
        let (from, w, b) = (values(&x), values(&weight), values(&bias));
        let planes = Planes::of(&x);
        let mut y = unwritten(from.len());
        let out = Shared::new(&mut y);
        let channel = |c: usize| {
            let known = self.statistics.get().map(|channels| channels[c]);
            let channel = known.unwrap_or_else(|| Channel::of(from, planes(c), self.eps));
            let scale = w[c] * channel.inverse;
            let shift = channel.mean.mul_add(-scale, b[c]);
            normalise(from, shortcut.as_ref().map(values), planes(c), scale, shift, self.relu, out);
            channel
        };
        let channels = (0..w.len()).into_par_iter().map(channel).collect();
        self.statistics.get_or_init(|| channels);
        let y = tensor(y, &dims(&x));
        (y.clone(), (x, weight, self.relu.then_some(y)))
    }

    /// Gradients of input, weight and bias, and of the shortcut.
    fn backward(
        &self,
        (x, weight, y): &Kept,
        gradient: FlexTensor,
        shortcut: bool,
    ) -> ([FlexTensor; 3], Option<FlexTensor>) {
        let gradient = contiguous(gradient);
        let (from, w, dy) = (values(x), values(weight), values(&gradient));
        let y = y.as_ref().map(values);
        let planes = Planes::of(x);
        let mut dx = unwritten(from.len());
        let mut dshortcut = shortcut.then(|| unwritten(from.len()));
        let (to_x, to_shortcut) = (Shared::new(&mut dx), dshortcut.as_mut().map(|x| Shared::new(x)));
        let channels = self.statistics.get().map(Vec::as_slice).unwrap_or_default();
        let channel = |(c, channel): (usize, &Channel)| {
            let (planes, Channel { mean, inverse, .. }) = (planes(c), *channel);
            let (sum, product) = sums_back(from, y, dy, planes, mean);
            let product = product as f32 * inverse;
            let n = planes.values() as f32;
            let (a, b) = if self.given { (0.0, 0.0) } else { (sum as f32 / n, product * inverse / n) };
            back(from, y, dy, planes, mean, w[c] * inverse, a, b, to_x, to_shortcut);
            (product, sum as f32)
        };
        let (dweight, dbias): (Vec<_>, Vec<_>) = channels.par_iter().enumerate().map(channel).unzip();
        let column = |column: Vec<f32>| tensor(column, &[w.len()]);
        let shape = dims(x);
        let dshortcut = dshortcut.map(|dshortcut| tensor(dshortcut, &shape));
        ([tensor(dx, &shape), column(dweight), column(dbias)], dshortcut)
    }
}

impl Kernel<3> for BatchNorm {
    type Kept = Kept;

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Kept) {
        BatchNorm::forward(self, inputs, None)
    }

    fn backward(&self, kept: Kept, gradient: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        BatchNorm::backward(self, &kept, gradient, false).0.map(Some)
    }
}

impl Kernel<4> for BatchNorm {
    type Kept = Kept;

    fn forward(&self, [x, weight, bias, shortcut]: [FlexTensor; 4]) -> (FlexTensor, Kept) {
        BatchNorm::forward(self, [x, weight, bias], Some(shortcut))
    }

    fn backward(&self, kept: Kept, gradient: FlexTensor, wanted: [bool; 4]) -> [Option<FlexTensor>; 4] {
        let ([dx, dweight, dbias], dshortcut) = BatchNorm::backward(self, &kept, gradient, wanted[3]);
        [Some(dx), Some(dweight), Some(dbias), dshortcut]
    }
}

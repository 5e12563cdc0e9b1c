//! Batch normalisation a channel at a time, whose values over the batch a core's cache holds: statistics and answer read
//! memory once, and so do the two passes of the gradient.
//! Owns the processor's form; `ops/batch_norm.rs` has the plain one and the choice.
//!
//! Shapes: `B` batch, `C` channels, `P` pixels of an image.

use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::clip::Clip;
use super::elementwise::own;
use super::in_place::whole;
use super::kernel::{Kernel, Value, answer, run};
use super::simd::simd;
use super::slices::{Shared, contiguous, dims, tensor, unwritten, values};
use super::sums::Sums;
use crate::ops::Then;

/// What the op is applied to.
pub(crate) struct Inputs {
    /// Input, weight and bias.
    values: [Value; 3],
    shortcut: Option<Value>,
    clip: Option<Clip>,
}

impl Inputs {
    /// `None` where the tensors are not the processor's.
    pub(crate) fn of(x: &Tensor<4>, weight: &Tensor<1>, bias: &Tensor<1>, then: &Then) -> Option<Self> {
        let values = [Value::of(x.clone())?, Value::of(weight.clone())?, Value::of(bias.clone())?];
        let (clip, shortcut) = match then {
            Then::Nothing => (None, None),
            Then::Relu => (Some(Clip::RELU), None),
            Then::Relu6 => (Some(Clip::RELU6), None),
            Then::AddRelu(shortcut) => (Some(Clip::RELU), Some(Value::of(shortcut.clone())?)),
        };
        Some(Self { values, shortcut, clip })
    }

    fn apply(self, op: BatchNorm) -> Tensor<4> {
        match (self.values, self.shortcut) {
            ([x, weight, bias], Some(shortcut)) => run(op, [x, weight, bias, shortcut]),
            (values, None) => run(op, values),
        }
    }
}

/// As `ops::batch_norm_train`.
pub(crate) fn train(inputs: Inputs, eps: f64) -> (Tensor<4>, [Tensor<1>; 2]) {
    let op = BatchNorm { eps: eps as f32, clip: inputs.clip, given: false, statistics: Arc::default() };
    let y = inputs.apply(op.clone());
    let channels = op.statistics.get().map(Vec::as_slice).unwrap_or_default();
    let column = |f: fn(&Channel) -> f32| {
        let column = answer(tensor(channels.iter().map(f).collect(), &[channels.len()]));
        if y.is_autodiff() { Tensor::from_inner(column) } else { column }
    };
    let statistics = [column(|c| c.mean), column(|c| c.variance)];
    (y, statistics)
}

/// As `ops::batch_norm`, of the mean and variance of every channel.
pub(crate) fn given(inputs: Inputs, statistics: [FlexTensor; 2], eps: f64) -> Tensor<4> {
    let [mean, variance] = statistics.map(contiguous);
    let channels = values(&mean).iter().zip(values(&variance));
    let channels = channels.map(|(mean, variance)| Channel::new(*mean, *variance, eps as f32));
    let statistics = Arc::new(OnceLock::from(channels.collect::<Vec<_>>()));
    let op = BatchNorm { eps: eps as f32, clip: inputs.clip, given: true, statistics };
    inputs.apply(op)
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

    /// The channel's values times the first plus the second are normalised, times its weight, plus its bias.
    fn affine(self, [weight, bias]: [f32; 2]) -> (f32, f32) {
        let scale = weight * self.inverse;
        (scale, self.mean.mul_add(-scale, bias))
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
    /// What follows.
    clip: Option<Clip>,
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
        let mut sums = Sums::new();
        for start in planes.starts() {
            sums.add([&x[start..start + planes.pixels]], |[x]| [x - c, (x - c) * (x - c)]);
        }
        sums.totals().into()
    }
}

simd! {
    /// `x` is absent where `y` holds it.
    fn normalise(x: Option<&[f32]>, shortcut: Option<&[f32]>, planes: Planes, scale: f32, shift: f32, clip: Clip, y: Shared) {
        for start in planes.starts() {
            let place = start..start + planes.pixels;
            // SAFETY: a channel's planes are its thread's own, and lie within the answer.
            let y = unsafe { y.slice(start, planes.pixels) };
            if let Some(x) = x {
                y.copy_from_slice(&x[place.clone()]);
            }
            match shortcut {
                Some(shortcut) => {
                    for (y, shortcut) in y.iter_mut().zip(&shortcut[place]) {
                        *y = clip.of(y.mul_add(scale, shift) + shortcut);
                    }
                }
                None => y.iter_mut().for_each(|y| *y = clip.of(y.mul_add(scale, shift))),
            }
        }
    }
}

simd! {
    /// Sums of the gradient g before what follows, and of it times x - mean. `y` where something did follow.
    fn sums_back(x: &[f32], y: Option<&[f32]>, dy: Shared, planes: Planes, mean: f32, clip: Clip) -> (f64, f64) {
        let mut sums = Sums::new();
        for start in planes.starts() {
            let place = start..start + planes.pixels;
            // SAFETY: as in `normalise`.
            let dy: &[f32] = unsafe { dy.slice(start, planes.pixels) };
            let x = &x[place.clone()];
            match y {
                Some(y) => sums.add([x, &y[place], dy], |[x, y, dy]| {
                    let g = clip.back(y, dy);
                    [g, g * (x - mean)]
                }),
                None => sums.add([x, dy], |[x, dy]| [dy, dy * (x - mean)]),
            }
        }
        sums.totals().into()
    }
}

/// dx = scale (g - a - b (x - mean))
#[derive(Clone, Copy)]
struct Slope {
    mean: f32,
    scale: f32,
    a: f32,
    b: f32,
}

impl Slope {
    #[inline(always)]
    fn at(self, x: f32, g: f32) -> f32 {
        self.scale * (x - self.mean).mul_add(-self.b, g - self.a)
    }
}

simd! {
    /// The input's gradient in the place of the answer's, and the shortcut's, g.
    fn back(
        x: &[f32],
        y: Option<&[f32]>,
        dy: Shared,
        planes: Planes,
        slope: Slope,
        clip: Clip,
        dshortcut: Option<Shared>,
    ) {
        for start in planes.starts() {
            let place = start..start + planes.pixels;
            // SAFETY: as in `normalise`.
            let slice = |shared: Shared| unsafe { shared.slice(start, planes.pixels) };
            let dy = slice(dy).iter_mut().zip(&x[place.clone()]);
            match (y.map(|y| &y[place]), dshortcut.map(slice)) {
                (None, _) => dy.for_each(|(dy, x)| *dy = slope.at(*x, *dy)),
                (Some(y), None) => {
                    dy.zip(y).for_each(|((dy, x), y)| *dy = slope.at(*x, clip.back(*y, *dy)));
                }
                (Some(y), Some(dshortcut)) => {
                    for (((dy, x), y), dshortcut) in dy.zip(y).zip(dshortcut) {
                        *dshortcut = clip.back(*y, *dy);
                        *dy = slope.at(*x, *dshortcut);
                    }
                }
            }
        }
    }
}

/// Input and weight, and the answer where ReLU made it.
type Kept = (FlexTensor, FlexTensor, Option<FlexTensor>);

impl BatchNorm {
    fn forward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        shortcut: Option<FlexTensor>,
    ) -> (FlexTensor, Kept) {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let shortcut = shortcut.map(contiguous);
        let (from, affine) = (values(&x), [values(&weight), values(&bias)]);
        let planes = Planes::of(&x);
        let mut y = unwritten(from.len());
        let out = Shared::new(&mut y);
        let channel = |c: usize| {
            let known = self.statistics.get().map(|channels| channels[c]);
            let channel = known.unwrap_or_else(|| Channel::of(from, planes(c), self.eps));
            let (scale, shift) = channel.affine(affine.map(|x| x[c]));
            normalise(Some(from), shortcut.as_ref().map(values), planes(c), scale, shift, self.bounds(), out);
            channel
        };
        let channels = (0..affine[0].len()).into_par_iter().map(channel).collect();
        self.statistics.get_or_init(|| channels);
        let y = tensor(y, &dims(&x));
        (y.clone(), (x, weight, self.clip.map(|_| y)))
    }

    /// The answer in the input's memory, where nobody else holds it and the statistics are known.
    fn infer(&self, [x, weight, bias]: [FlexTensor; 3], shortcut: Option<FlexTensor>) -> FlexTensor {
        let mut x = contiguous(x);
        let planes = Planes::of(&x);
        if let (Some(channels), Some(y)) = (self.statistics.get(), own(&mut x)) {
            let (weight, bias, shortcut) = (contiguous(weight), contiguous(bias), shortcut.map(contiguous));
            let (affine, out) = ([values(&weight), values(&bias)], Shared::new(y));
            channels.par_iter().enumerate().for_each(|(c, channel)| {
                let (scale, shift) = channel.affine(affine.map(|x| x[c]));
                normalise(None, shortcut.as_ref().map(values), planes(c), scale, shift, self.bounds(), out);
            });
            return x;
        }
        self.forward([x, weight, bias], shortcut).0
    }

    /// Gradients of input, weight and bias, and of the shortcut.
    fn backward(
        &self,
        (x, weight, y): &Kept,
        gradient: FlexTensor,
        shortcut: bool,
    ) -> ([FlexTensor; 3], Option<FlexTensor>) {
        // The input's takes the place of the answer's.
        let mut gradient = whole(gradient);
        let (from, w, y) = (values(x), values(weight), y.as_ref().map(values));
        let planes = Planes::of(x);
        let dy = Shared::new(gradient.storage_mut());
        let mut dshortcut = shortcut.then(|| unwritten(from.len()));
        let to_shortcut = dshortcut.as_mut().map(|x| Shared::new(x));
        let channels = self.statistics.get().map(Vec::as_slice).unwrap_or_default();
        let channel = |(c, channel): (usize, &Channel)| {
            let (planes, Channel { mean, inverse, .. }) = (planes(c), *channel);
            let (sum, product) = sums_back(from, y, dy, planes, mean, self.bounds());
            let product = product as f32 * inverse;
            let n = planes.values() as f32;
            let (a, b) = if self.given { (0.0, 0.0) } else { (sum as f32 / n, product * inverse / n) };
            let slope = Slope { mean, scale: w[c] * inverse, a, b };
            back(from, y, dy, planes, slope, self.bounds(), to_shortcut);
            (product, sum as f32)
        };
        let (dweight, dbias): (Vec<_>, Vec<_>) = channels.par_iter().enumerate().map(channel).unzip();
        let column = |column: Vec<f32>| tensor(column, &[w.len()]);
        let dshortcut = dshortcut.map(|dshortcut| tensor(dshortcut, &dims(x)));
        ([gradient, column(dweight), column(dbias)], dshortcut)
    }

    fn bounds(&self) -> Clip {
        self.clip.unwrap_or(Clip::NONE)
    }
}

impl Kernel<3> for BatchNorm {
    type Kept = Kept;

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Kept) {
        BatchNorm::forward(self, inputs, None)
    }

    fn infer(&self, inputs: [FlexTensor; 3]) -> FlexTensor {
        BatchNorm::infer(self, inputs, None)
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

    fn infer(&self, [x, weight, bias, shortcut]: [FlexTensor; 4]) -> FlexTensor {
        BatchNorm::infer(self, [x, weight, bias], Some(shortcut))
    }

    fn backward(&self, kept: Kept, gradient: FlexTensor, wanted: [bool; 4]) -> [Option<FlexTensor>; 4] {
        let ([dx, dweight, dbias], dshortcut) = BatchNorm::backward(self, &kept, gradient, wanted[3]);
        [Some(dx), Some(dweight), Some(dbias), dshortcut]
    }
}

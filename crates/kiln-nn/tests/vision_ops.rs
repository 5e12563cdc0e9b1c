//! The ops of nets for images: the processor's form against the plain Burn expression, answers and gradients, at odd
//! shapes too.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};
use kiln_nn::ops::{self, Then};

use support::{Draw, Named, agree, named, train, unary};

mod support;

/// A convolution's sizes: `[B, IN, H, W]`, OUT, kernel, stride, padding before and after, dilation, groups.
#[derive(Debug, Clone)]
struct Conv {
    x: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    options: ConvOptions<2>,
}

impl Conv {
    fn new(x: [usize; 4], out: usize, kernel: usize, [stride, pad, dilation, groups]: [usize; 4]) -> Self {
        let options = ConvOptions::new([stride; 2], [pad; 2], [dilation; 2], groups);
        Self { x, out, kernel: [kernel; 2], options }
    }

    fn fits(&self) -> bool {
        let fits = |i: usize| {
            let (before, after) = self.options.padding[i];
            self.options.dilation[i] * (self.kernel[i] - 1) < self.x[2 + i] + before + after
        };
        fits(0) && fits(1)
    }

    /// `turned`: image and weight lie with their axes swapped.
    fn run(&self, seed: u64, with_bias: bool, turned: bool, recorded: [bool; 2]) -> Vec<Named> {
        let mut draw = Draw(seed);
        let mut make = |shape: [usize; 4], recorded: bool| {
            let [a, b, c, d] = shape;
            let x = match turned {
                true => draw.tensor([b, a, d, c], &train()).swap_dims(0, 1).swap_dims(2, 3),
                false => draw.tensor(shape, &train()),
            };
            if recorded { x.require_grad() } else { x }
        };
        let x = make(self.x, recorded[0]);
        let weight =
            make([self.out, self.x[1] / self.options.groups, self.kernel[0], self.kernel[1]], recorded[1]);
        let bias = draw.tensor([self.out], &train()).require_grad();
        let y = ops::conv2d(x.clone(), weight.clone(), with_bias.then(|| bias.clone()), self.options.clone());
        let mut found = vec![named("y", y.clone())];
        if with_bias || recorded.contains(&true) {
            let slopes = draw.tensor(y.dims(), &train());
            let tape = (y * slopes).sum().backward();
            found.extend(x.grad(&tape).map(|dx| named("dx", dx)));
            found.extend(weight.grad(&tape).map(|dweight| named("dweight", dweight)));
            found.extend(bias.grad(&tape).map(|dbias| named("dbias", dbias)));
            let expected = usize::from(recorded[0]) + usize::from(recorded[1]) + usize::from(with_bias);
            assert_eq!(found.len(), 1 + expected, "{self:?}");
        }
        found
    }

    fn agrees(&self, seed: u64) {
        for (with_bias, turned) in [(false, false), (true, true)] {
            agree(&format!("{self:?}"), 3e-5, || self.run(seed, with_bias, turned, [true; 2]));
        }
    }
}

#[test]
fn conv2d_of_nets() {
    let sizes = [
        // ResNet's, several images a tile and several tiles an image.
        Conv::new([5, 3, 32, 32], 64, 3, [1, 1, 1, 1]),
        Conv::new([2, 3, 64, 64], 16, 7, [2, 3, 1, 1]),
        Conv::new([9, 130, 4, 4], 140, 3, [1, 1, 1, 1]),
        Conv::new([9, 64, 8, 8], 128, 3, [2, 1, 1, 1]),
        Conv::new([9, 64, 8, 8], 128, 1, [2, 0, 1, 1]),
        Conv::new([3, 256, 14, 14], 300, 1, [1, 0, 1, 1]),
        Conv::new([17, 256, 3, 3], 200, 1, [1, 0, 1, 1]),
        Conv::new([2, 40, 60, 60], 24, 3, [1, 1, 1, 1]),
        Conv::new([4, 3, 64, 64], 64, 7, [2, 3, 1, 1]),
        Conv::new([4, 64, 16, 16], 64, 3, [1, 1, 1, 1]),
        Conv::new([4, 64, 16, 16], 128, 3, [2, 1, 1, 1]),
        Conv::new([4, 512, 2, 2], 512, 3, [1, 1, 1, 1]),
        // Patches, and taps of a channel's own.
        Conv::new([2, 3, 32, 32], 48, 8, [8, 0, 1, 1]),
        Conv::new([2, 24, 14, 14], 24, 7, [1, 3, 1, 24]),
        Conv::new([2, 24, 15, 15], 24, 3, [2, 1, 1, 24]),
        Conv::new([2, 12, 9, 33], 36, 3, [2, 1, 1, 12]),
        Conv::new([2, 12, 9, 33], 36, 3, [1, 1, 1, 12]),
        Conv::new([2, 32, 9, 9], 64, 3, [1, 1, 1, 8]),
    ];
    for (seed, conv) in sizes.iter().enumerate() {
        conv.agrees(seed as u64);
    }
}

#[test]
fn conv2d_at_the_edge() {
    let sizes = [
        Conv::new([1, 1, 1, 1], 1, 1, [1, 0, 1, 1]),
        Conv::new([1, 2, 1, 1], 3, 3, [1, 1, 1, 1]),
        Conv::new([1, 2, 1, 1], 3, 1, [1, 2, 1, 1]),
        Conv::new([1, 2, 1, 1], 2, 1, [2, 2, 1, 2]),
        Conv::new([2, 2, 2, 2], 3, 5, [1, 2, 1, 1]),
        Conv::new([2, 2, 2, 2], 2, 5, [2, 2, 1, 2]),
        Conv::new([2, 3, 4, 4], 3, 3, [3, 4, 2, 1]),
        Conv::new([1, 3, 7, 7], 3, 2, [4, 0, 3, 3]),
    ];
    for (seed, conv) in sizes.iter().enumerate() {
        conv.agrees(seed as u64);
    }
}

#[test]
fn conv2d_of_any_sizes() {
    let mut draw = Draw(77);
    let mut seen = 0;
    while seen < 90 {
        let groups = [1, 1, 2, 3, 6][draw.below(5)];
        let (read, written) = match draw.below(6) {
            0 | 1 => (1, 1),
            2 | 3 => (1 + draw.below(9), 1 + draw.below(9)),
            // Enough for a vector of channels and for patches that are worth reading in place.
            _ => (8 + draw.below(20), 26 + draw.below(40)),
        };
        let mut pair = |n| [draw.below(n), draw.below(n)];
        let (kernel, stride, dilation) = (pair(5), pair(3), pair(3));
        let (before, after, image) = (pair(4), pair(4), pair(20));
        let padding = [(before[0], after[0]), (before[1], after[1])];
        let plus_one = |a: [usize; 2]| a.map(|a| a + 1);
        let conv = Conv {
            x: [1 + draw.below(4), read * groups, image[0] + 1, image[1] + 1],
            out: written * groups,
            kernel: plus_one(kernel),
            options: ConvOptions::new_with_padding(plus_one(stride), padding, plus_one(dilation), groups),
        };
        if conv.fits() {
            conv.agrees(seen);
            seen += 1;
        }
    }
}

#[test]
fn conv2d_gives_the_gradients_that_are_wanted() {
    for groups in [1, 4] {
        let conv = Conv::new([2, 4, 9, 9], 8, 3, [2, 1, 1, groups]);
        for recorded in [[true, false], [false, true], [false, false]] {
            for with_bias in [false, true] {
                agree("conv2d", 3e-5, || conv.run(3, with_bias, false, recorded));
            }
        }
    }
}

#[test]
fn conv2d_of_values_that_are_no_numbers_is_not_a_number() {
    for groups in [1, 2] {
        let x = Tensor::<4>::full([1, 2, 5, 5], f32::NAN, &train()).require_grad();
        let weight = Tensor::<4>::ones([2, 2 / groups, 3, 3], &train()).require_grad();
        let y =
            ops::conv2d(x.clone(), weight.clone(), None, ConvOptions::new([1, 1], [1, 1], [1, 1], groups));
        let tape = y.clone().sum().backward();
        assert!(y.into_data().iter::<f32>().all(f32::is_nan));
        assert!(x.grad(&tape).unwrap().into_data().iter::<f32>().all(f32::is_finite));
        assert!(weight.grad(&tape).unwrap().into_data().iter::<f32>().all(f32::is_nan));
    }
}

#[test]
#[should_panic(expected = "conv2d: an input [B, IN, H, W] of [1, 3, 4, 4] and a weight")]
fn conv2d_names_channels_that_do_not_fit() {
    let (x, weight) =
        (Tensor::zeros([1, 3, 4, 4], &Device::flex()), Tensor::zeros([2, 2, 3, 3], &Device::flex()));
    drop(ops::conv2d(x, weight, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1)));
}

#[test]
#[should_panic(expected = "conv2d: a kernel [3, 3] with dilation [2, 2] on an image of [4, 4]")]
fn conv2d_names_a_kernel_that_does_not_fit() {
    let (x, weight) =
        (Tensor::zeros([1, 2, 4, 4], &Device::flex()), Tensor::zeros([2, 2, 3, 3], &Device::flex()));
    drop(ops::conv2d(x, weight, None, ConvOptions::new([1, 1], [0, 0], [2, 2], 1)));
}

/// Answer, statistics and gradients of batch norm with everything recorded that `recorded` says: input and shortcut.
fn batch_norm(seed: u64, shape: [usize; 4], then: usize, given: bool, recorded: [bool; 2]) -> Vec<Named> {
    let mut draw = Draw(seed);
    let mut images = |recorded: bool| {
        let [b, c, h, w] = shape;
        // Lies with its axes swapped.
        let x = draw.tensor([b, h, w, c], &train()).add_scalar(3.0).permute([0, 3, 1, 2]);
        if recorded { x.require_grad() } else { x }
    };
    let (x, shortcut) = (images(recorded[0]), images(recorded[1]));
    let what = match then {
        0 => Then::Nothing,
        1 => Then::Relu,
        3 => Then::Relu6,
        _ => Then::AddRelu(shortcut.clone()),
    };
    let mut channels = || draw.tensor([shape[1]], &train());
    // ReLU6 sees values above its bound.
    let (weight, bias) = (channels().mul_scalar(3.0).require_grad(), channels().require_grad());
    let (mean, variance) = (channels(), channels().square());
    let (y, statistics) = match given {
        true => {
            let statistics = [mean.clone(), variance.clone()];
            (
                ops::batch_norm(x.clone(), weight.clone(), bias.clone(), statistics, 1e-3, what),
                [mean, variance],
            )
        }
        false => ops::batch_norm_train(x.clone(), weight.clone(), bias.clone(), 1e-3, what),
    };
    let [mean, variance] = statistics;
    let tape = (y.clone() * draw.tensor(shape, &train())).sum().backward();
    let mut found = vec![
        named("y", y),
        named("mean", mean),
        named("variance", variance),
        named("dweight", weight.grad(&tape).unwrap()),
        named("dbias", bias.grad(&tape).unwrap()),
    ];
    found.extend(x.grad(&tape).map(|dx| named("dx", dx)));
    found.extend(shortcut.grad(&tape).map(|dx| named("dshortcut", dx)));
    let expected = usize::from(recorded[0]) + usize::from(recorded[1] && then == 2);
    assert_eq!(found.len(), 5 + expected);
    found
}

#[test]
fn batch_norm_and_what_follows() {
    let shapes = [[1, 1, 2, 3], [6, 3, 1, 1], [5, 7, 3, 5], [1, 2, 40, 41], [33, 18, 4, 4], [3, 64, 32, 32]];
    for (seed, shape) in shapes.into_iter().enumerate() {
        for then in 0..4 {
            for given in [false, true] {
                for recorded in [[true, true], [true, false], [false, true], [false, false]] {
                    let what = format!("batch norm {shape:?}, then {then}, given {given}, {recorded:?}");
                    agree(&what, 5e-5, || batch_norm(seed as u64, shape, then, given, recorded));
                }
            }
        }
    }
}

#[test]
fn batch_norm_without_a_graph() {
    for then in 0..4 {
        agree("batch norm", 1e-5, || {
            let mut draw = Draw(then);
            let mut images = || draw.tensor([3, 5, 4, 7], &Device::flex());
            let (x, shortcut) = (images(), images());
            let mut channels = || draw.tensor([5], &Device::flex());
            let (weight, bias, statistics) = (channels(), channels(), [channels(), channels().square()]);
            let then =
                [Then::Nothing, Then::Relu, Then::Relu6, Then::AddRelu(shortcut)][then as usize].clone();
            // Of a tensor that is shared, and in its memory.
            let norm =
                |x, then| ops::batch_norm(x, weight.clone(), bias.clone(), statistics.clone(), 1e-5, then);
            let shared = norm(x.clone(), then.clone());
            let untouched = x.clone().into_data().iter::<f32>().collect();
            vec![named("y", shared), ("x", untouched), named("y in place", norm(x, then))]
        });
    }
}

#[test]
fn batch_norm_of_values_far_from_zero() {
    let device = train();
    let x = Draw(1).tensor([8, 2, 9, 9], &device).add_scalar(10_000.0);
    let (weight, bias) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
    let (y, [mean, variance]) = ops::batch_norm_train(x, weight, bias, 1e-5, Then::Nothing);
    assert!(mean.into_data().iter::<f32>().all(|mean| (mean - 10_000.0).abs() < 0.2));
    // Four uniform draws from -1 to 1 have 4/3.
    assert!(variance.into_data().iter::<f32>().all(|variance| (variance - 4.0 / 3.0).abs() < 0.2));
    assert!(y.into_data().iter::<f32>().all(|y| y.abs() < 4.0));
}

#[test]
fn batch_norm_of_values_that_are_no_numbers_is_not_a_number() {
    let x = Tensor::<4>::full([2, 1, 3, 3], f32::NAN, &train()).require_grad();
    let (weight, bias) = (Tensor::ones([1], &train()), Tensor::zeros([1], &train()));
    let (y, _) = ops::batch_norm_train(x.clone(), weight, bias, 1e-5, Then::Relu);
    drop(x.grad(&y.clone().sum().backward()).unwrap());
    assert!(y.into_data().iter::<f32>().all(f32::is_nan));
}

#[test]
#[should_panic(expected = "batch norm: an input [B, C, H, W] of [1, 3, 2, 2] and a [C] of [2]")]
fn batch_norm_names_channels_that_do_not_fit() {
    let device = Device::flex();
    let x = Tensor::zeros([1, 3, 2, 2], &device);
    drop(ops::batch_norm_train(
        x,
        Tensor::zeros([2], &device),
        Tensor::zeros([3], &device),
        1e-5,
        Then::Nothing,
    ));
}

#[test]
fn batch_norm_of_one_large_value_everywhere_is_a_number() {
    let device = Device::flex();
    let x = Tensor::<4>::full([8, 1, 112, 112], 16_066_062.0, &device);
    let (y, [_, variance]) = ops::batch_norm_train(
        x,
        Tensor::ones([1], &device),
        Tensor::zeros([1], &device),
        1e-5,
        Then::Nothing,
    );
    assert!(variance.into_scalar::<f32>() >= 0.0);
    assert!(y.into_data().iter::<f32>().all(f32::is_finite));
}

#[test]
#[should_panic(expected = "conv2d: 2 groups, stride [1, 1] and an image of [0, 5]: each must be above zero")]
fn conv2d_names_an_image_of_nothing() {
    let (x, weight) =
        (Tensor::zeros([1, 2, 0, 5], &Device::flex()), Tensor::zeros([2, 1, 3, 3], &Device::flex()));
    drop(ops::conv2d(x, weight, None, ConvOptions::new([1, 1], [2, 2], [1, 1], 2)));
}

/// A window's sizes: kernel, stride, padding.
type Window = [[usize; 2]; 3];

fn pool(shape: [usize; 4], seed: u64, [kernel, stride, padding]: Window, ties: bool) -> Vec<Named> {
    // Every third of the values is zero after ReLU, as before the pool of a ResNet.
    let x = |x: Tensor<4>| if ties { ops::relu(x) } else { x };
    unary(shape, seed, |found| ops::max_pool2d(x(found), kernel, stride, padding))
}

#[test]
fn max_pool2d() {
    let sizes: [([usize; 4], Window); 9] = [
        ([2, 3, 112, 112], [[3; 2], [2; 2], [1; 2]]),
        ([5, 2, 28, 28], [[2; 2], [2; 2], [0; 2]]),
        ([1, 1, 1, 1], [[1; 2], [1; 2], [0; 2]]),
        ([1, 2, 1, 1], [[3; 2], [2; 2], [1; 2]]),
        ([3, 2, 9, 14], [[3, 2], [1, 3], [1, 0]]),
        ([2, 3, 17, 33], [[5; 2], [1; 2], [2; 2]]),
        ([2, 3, 20, 19], [[2; 2], [5; 2], [1; 2]]),
        // A byte counts the pixels of the first of these, not of the second.
        ([1, 2, 20, 40], [[16; 2], [3; 2], [8; 2]]),
        ([1, 2, 20, 40], [[16, 17], [3; 2], [8; 2]]),
    ];
    for (seed, (shape, window)) in sizes.into_iter().enumerate() {
        for ties in [false, true] {
            let what = format!("max pool of {shape:?} by {window:?}");
            agree(&what, 1e-6, || pool(shape, seed as u64, window, ties));
        }
        agree("max pool without a graph", 1e-7, || {
            let x = Draw(seed as u64).tensor(shape, &Device::flex());
            vec![named("y", ops::max_pool2d(x, window[0], window[1], window[2]))]
        });
    }
}

#[test]
fn max_pool2d_of_any_sizes() {
    let mut draw = Draw(5);
    for seed in 0..60 {
        let mut pair = |n| [1 + draw.below(n), 1 + draw.below(n)];
        let (kernel, stride, image) = (pair(5), pair(4), pair(40));
        let kernel = [kernel[0].min(image[0]), kernel[1].min(image[1])];
        let padding = kernel.map(|k| draw.below(k / 2 + 1));
        let shape = [1 + draw.below(3), 1 + draw.below(3), image[0], image[1]];
        let window = [kernel, stride, padding];
        agree(&format!("max pool of {shape:?} by {window:?}"), 1e-6, || pool(shape, seed, window, true));
    }
}

#[test]
fn max_pool2d_of_a_value_that_is_no_number_is_not_a_number() {
    let x = Tensor::<4>::from_data([[[[1.0, f32::NAN, 3.0], [4.0, 5.0, 2.0]]]], &train()).require_grad();
    let y = ops::max_pool2d(x.clone(), [2, 2], [1, 1], [0, 0]);
    let dx: Vec<f32> = x.grad(&y.clone().sum().backward()).unwrap().into_data().try_to_vec().unwrap();
    assert!(y.into_data().iter::<f32>().all(f32::is_nan));
    assert_eq!(dx, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn max_pool2d_of_minus_infinity_gives_its_gradient_to_the_first_pixel() {
    let x = Tensor::<4>::full([1, 1, 4, 4], f32::NEG_INFINITY, &train()).require_grad();
    let y = ops::max_pool2d(x.clone(), [3, 3], [2, 2], [1, 1]);
    let dx: Vec<f32> = x.grad(&y.sum().backward()).unwrap().into_data().try_to_vec().unwrap();
    assert_eq!(dx, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
#[should_panic(expected = "max pool: a kernel [2, 2] on an image of [5, 5] with padding [0, 2]")]
fn max_pool2d_names_padding_that_is_too_wide() {
    drop(ops::max_pool2d(Tensor::zeros([1, 1, 5, 5], &Device::flex()), [2, 2], [1, 1], [0, 2]));
}

#[test]
#[should_panic(expected = "max pool: an image of [5, 5], a kernel [2, 2] and a stride [1, 0]")]
fn max_pool2d_names_a_stride_of_nothing() {
    drop(ops::max_pool2d(Tensor::zeros([1, 1, 5, 5], &Device::flex()), [2, 2], [1, 0], [0, 0]));
}

#[test]
fn global_avg_pool2d() {
    for (seed, shape) in [[1, 1, 1, 1], [3, 5, 7, 9], [2, 70, 4, 4], [1, 3, 100, 50]].into_iter().enumerate()
    {
        agree("mean of pixels", 1e-6, || unary(shape, seed as u64, ops::global_avg_pool2d));
        let turned = |x: Tensor<4>| ops::global_avg_pool2d(x.permute([0, 3, 1, 2]));
        agree("mean of pixels that lie channels last", 1e-6, || unary(shape, seed as u64, turned));
    }
}

#[test]
#[should_panic(expected = "global average pool: an image of 0 x 5 pixels")]
fn global_avg_pool2d_names_an_image_of_nothing() {
    drop(ops::global_avg_pool2d(Tensor::zeros([1, 1, 0, 5], &Device::flex())));
}

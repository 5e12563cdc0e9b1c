//! The ops of nets for images, at sizes of ResNet-18 (32x32), ResNet-50, MobileNetV2, ConvNeXt and ViT-S (224x224).
//! Owns the cases; `main` times them.

use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;
use kiln_nn::{BatchNorm2d, LayerNorm, ops};

use crate::{Case, case, device, random};

/// Batch, channels read and written, size, kernel, stride, groups.
const CONVS: [[usize; 7]; 21] = [
    // ResNet-18 on 32x32.
    [32, 3, 64, 32, 3, 1, 1],
    [32, 64, 64, 32, 3, 1, 1],
    [32, 64, 128, 32, 3, 2, 1],
    [32, 64, 128, 32, 1, 2, 1],
    [32, 128, 128, 16, 3, 1, 1],
    [32, 256, 256, 8, 3, 1, 1],
    [32, 512, 512, 4, 3, 1, 1],
    // ResNet-50 on 224x224.
    [8, 3, 64, 224, 7, 2, 1],
    [8, 64, 256, 56, 1, 1, 1],
    [8, 256, 64, 56, 1, 1, 1],
    [8, 64, 64, 56, 3, 1, 1],
    [8, 128, 128, 56, 3, 2, 1],
    [8, 256, 1024, 14, 1, 1, 1],
    [8, 512, 2048, 7, 1, 1, 1],
    [8, 2048, 512, 7, 1, 1, 1],
    [8, 512, 512, 7, 3, 1, 1],
    // MobileNet and ConvNeXt.
    [8, 96, 96, 112, 3, 2, 96],
    [8, 144, 144, 56, 3, 1, 144],
    [8, 96, 96, 56, 7, 1, 96],
    [8, 768, 768, 7, 7, 1, 768],
    // A net for grey digits.
    [64, 1, 32, 28, 3, 1, 1],
];

fn conv([b, from, to, size, kernel, stride, groups]: [usize; 7]) -> Case {
    let options = ConvOptions::new([stride; 2], [(kernel - 1) / 2; 2], [1, 1], groups);
    let name = format!("conv {b}x{from}x{size}x{size} to {to}, {kernel}x{kernel}/{stride}, {groups} groups");
    case(name, move || {
        let (x, weight) = (random([b, from, size, size]), random([to, from / groups, kernel, kernel]));
        let options = options.clone();
        move || ops::conv2d(x.clone(), weight.clone(), None, options.clone())
    })
}

/// Batch norm of images of a shape, and what follows.
fn batch_norm(
    what: &str,
    shape: [usize; 4],
    op: fn(&BatchNorm2d, Tensor<4>, Tensor<4>) -> Tensor<4>,
) -> Case {
    case(named(what, &shape), move || {
        let (x, shortcut, layer) = (random(shape), random(shape), BatchNorm2d::new(shape[1], &device()));
        move || op(&layer, x.clone(), shortcut.clone())
    })
}

/// An op of one tensor.
fn unary<const D: usize, const E: usize>(
    what: &str,
    shape: [usize; D],
    op: impl Fn(Tensor<D>) -> Tensor<E> + Copy + 'static,
) -> Case {
    case(named(what, &shape), move || {
        let x = random(shape);
        move || op(x.clone())
    })
}

fn named(what: &str, shape: &[usize]) -> String {
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{what} {}", shape.join("x"))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = CONVS.into_iter().map(conv).collect();
    for shape in [[32, 64, 32, 32], [32, 512, 4, 4], [8, 256, 56, 56]] {
        cases.push(batch_norm("batch norm", shape, |layer, x, _| layer.forward(x)));
        cases.push(batch_norm("batch norm, relu", shape, |layer, x, _| layer.forward_relu(x)));
        cases.push(batch_norm("batch norm, add, relu", shape, BatchNorm2d::forward_add_relu));
    }
    cases.push(batch_norm("batch norm, relu6", [8, 144, 56, 56], |layer, x, _| layer.forward_relu6(x)));
    cases.push(unary("relu", [32, 64, 32, 32], ops::relu));
    cases.push(unary("relu6", [8, 144, 56, 56], ops::relu6));
    cases.push(unary("gelu", [8, 197, 1536], ops::gelu));
    cases.push(unary("silu", [8, 197, 1536], ops::silu));
    cases.push(unary("max pool 3x3/2", [8, 64, 112, 112], |x| ops::max_pool2d(x, [3; 2], [2; 2], [1; 2])));
    cases.push(unary("max pool 2x2/2", [64, 32, 28, 28], |x| ops::max_pool2d(x, [2; 2], [2; 2], [0; 2])));
    cases.push(unary("mean of pixels", [8, 2048, 7, 7], ops::global_avg_pool2d));
    cases.push(unary("mean of pixels", [32, 512, 4, 4], ops::global_avg_pool2d));
    let shape = [8, 96, 56, 56];
    cases.push(case(named("layer norm over channels", &shape), move || {
        let (x, layer) = (random(shape), LayerNorm::new(shape[1], 1e-6, &device()));
        move || layer.channels_first(x.clone())
    }));
    cases
}

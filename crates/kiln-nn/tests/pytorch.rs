//! Every op in both forms against PyTorch: answers and gradients within 1e-4 of the largest value of each.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_nn::Dropout;
use kiln_nn::attention::{Mask, attention};
use kiln_nn::ops::{self, Then};
use serde_json::Value;

use support::{Named, named, train};

mod support;

/// As `fill` in make_ops.py.
fn fill<const D: usize>(n: usize, shape: [usize; D], scale: f64) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> =
        (0..count).map(|i| ((0.7 * i as f64 + 1.3 * n as f64).sin() * scale) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &train())
}

fn leaf<const D: usize>(n: usize, shape: [usize; D]) -> Tensor<D> {
    fill(n, shape, 1.0).require_grad()
}

/// Takes one gradient from all.
type Read<'a> = dyn Fn(&burn::tensor::Gradients) -> Vec<f32> + 'a;

/// An input whose gradient is compared: its name and how to ask for it.
struct Leaf<'a> {
    name: &'static str,
    gradient: Box<Read<'a>>,
}

fn of<'a, const D: usize>(name: &'static str, x: &'a Tensor<D>) -> Leaf<'a> {
    Leaf { name, gradient: Box::new(move |tape| named(name, x.grad(tape).expect("a gradient")).1) }
}

/// The answer and the gradients of `leaves`.
fn found<const D: usize>(y: Tensor<D>, leaves: &[Leaf<'_>]) -> Vec<Named> {
    let tape = (y.clone() * fill(9, y.dims(), 1.0)).sum().backward();
    let gradients = leaves.iter().map(|leaf| (leaf.name, (leaf.gradient)(&tape)));
    std::iter::once(named("y", y)).chain(gradients).collect()
}

/// What `f` gives in both forms is what PyTorch gave.
fn is_pytorchs(op: &str, f: impl Fn() -> Vec<Named>) {
    let all: Value = serde_json::from_str(include_str!("fixtures/ops.json")).unwrap();
    let expected = all[op].as_object().unwrap_or_else(|| panic!("make_ops.py has no {op}"));
    for found in [f(), ops::plainly(&f), ops::by_hand(&f)] {
        assert_eq!(found.len(), expected.len(), "{op}");
        for (name, values) in found {
            let expected: Vec<f64> = serde_json::from_value(expected[name].clone()).unwrap();
            assert_eq!(values.len(), expected.len(), "{op}: {name}");
            let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            for (i, (a, b)) in values.iter().zip(&expected).enumerate() {
                let apart = (f64::from(*a) - b).abs();
                assert!(apart <= 1e-4 * largest, "{op}: {name}[{i}] is {a}, PyTorch has {b} of {largest}");
            }
        }
    }
}

fn unary<const D: usize, const E: usize>(
    op: &str,
    shape: [usize; D],
    scale: f64,
    f: impl Fn(Tensor<D>) -> Tensor<E>,
) {
    is_pytorchs(op, || {
        let x = fill(1, shape, scale).require_grad();
        found(f(x.clone()), &[of("dx", &x)])
    });
}

#[test]
fn activations() {
    unary("relu", [53], 1.0, ops::relu);
    unary("relu6", [53], 9.0, ops::relu6);
    unary("silu", [53], 6.0, ops::silu);
    unary("gelu", [53], 4.0, ops::gelu);
    unary("gelu_new", [53], 4.0, ops::gelu_new);
}

#[test]
fn pools() {
    let relu = ops::relu::<4>;
    unary("max_pool_3", [2, 2, 9, 11], 1.0, |x| ops::max_pool2d(relu(x), [3; 2], [2; 2], [1; 2]));
    unary("max_pool_2", [1, 3, 6, 7], 1.0, |x| ops::max_pool2d(relu(x), [2, 3], [1, 2], [0; 2]));
    unary("global_avg_pool", [2, 5, 3, 7], 1.0, ops::global_avg_pool2d);
}

fn conv(op: &str, x: [usize; 4], [out, kh, kw]: [usize; 3], options: ConvOptions<2>) {
    is_pytorchs(op, || {
        let (x, weight) = (leaf(1, x), leaf(2, [out, x[1] / options.groups, kh, kw]));
        let bias = leaf(3, [out]);
        let y = ops::conv2d(x.clone(), weight.clone(), Some(bias.clone()), options.clone());
        found(y, &[of("dx", &x), of("dweight", &weight), of("dbias", &bias)])
    });
}

#[test]
fn depthwise_convolutions() {
    let plain = |pad, stride, groups| ConvOptions::new([stride; 2], [pad; 2], [1; 2], groups);
    conv("depthwise", [2, 3, 9, 19], [3, 3, 3], plain(1, 1, 3));
    conv("depthwise_stride", [2, 3, 9, 10], [3, 3, 3], plain(1, 2, 3));
    conv("depthwise_dilation", [1, 3, 13, 9], [6, 3, 2], ConvOptions::new([1, 2], [2, 1], [2, 3], 3));
    conv("depthwise_7", [1, 2, 7, 8], [2, 7, 7], plain(3, 1, 2));
}

#[test]
fn batch_norms() {
    for then in ["nothing", "relu", "relu6", "add_relu"] {
        for training in [false, true] {
            is_pytorchs(&format!("batch_norm_{then}_{training}"), || batch_norm(then, training));
        }
    }
}

fn batch_norm(then: &str, training: bool) -> Vec<Named> {
    let (x, shortcut) = (leaf(1, [3, 4, 5, 3]), leaf(2, [3, 4, 5, 3]));
    let (weight, bias) = (fill(3, [4], 4.0).require_grad(), leaf(4, [4]));
    let what = match then {
        "nothing" => Then::Nothing,
        "relu" => Then::Relu,
        "relu6" => Then::Relu6,
        _ => Then::AddRelu(shortcut.clone()),
    };
    let y = match training {
        true => ops::batch_norm_train(x.clone(), weight.clone(), bias.clone(), 1e-3, what).0,
        false => {
            let statistics = [fill(5, [4], 1.0), fill(6, [4], 1.0).square().add_scalar(0.1)];
            ops::batch_norm(x.clone(), weight.clone(), bias.clone(), statistics, 1e-3, what)
        }
    };
    let mut leaves = vec![of("dx", &x), of("dweight", &weight), of("dbias", &bias)];
    leaves.extend((then == "add_relu").then(|| of("dshortcut", &shortcut)));
    found(y, &leaves)
}

#[test]
fn linears() {
    for (op, with_bias) in [("linear", false), ("linear_bias", true)] {
        is_pytorchs(op, || {
            let (x, weight, bias) = (leaf(1, [2, 7, 19]), leaf(2, [23, 19]), leaf(3, [23]));
            let shift = with_bias.then(|| bias.clone());
            let y = ops::linear(x.clone(), weight.clone().transpose(), shift);
            let mut leaves = vec![of("dx", &x), of("dweight", &weight)];
            leaves.extend(with_bias.then(|| of("dbias", &bias)));
            found(y, &leaves)
        });
    }
}

#[test]
fn attentions() {
    type MakeMask = fn(&Tensor<2, Bool>) -> Mask;
    let cases: [(&str, [usize; 4], Option<MakeMask>); 4] = [
        ("attention", [1, 2, 9, 5], None),
        ("attention_padding", [2, 2, 11, 5], Some(Mask::padding)),
        ("attention_causal", [2, 1, 13, 4], Some(Mask::causal)),
        ("attention_long", [2, 1, 70, 3], Some(Mask::causal)),
    ];
    for (op, shape, mask) in cases {
        is_pytorchs(op, || {
            let [b, _, t, _] = shape;
            let seen = (0..b * t).map(|i| i % t < t - 3 * (i / t)).collect::<Vec<_>>();
            let seen = Tensor::<2, Bool>::from_data(TensorData::new(seen, [b, t]), &train());
            let mask = mask.map(|mask| mask(&seen));
            let [q, k, v] = [1, 2, 3].map(|n| fill(n, shape, 2.0).require_grad());
            let y = attention(q.clone(), k.clone(), v.clone(), mask.as_ref(), &Dropout::new(0.0));
            found(y, &[of("dq", &q), of("dk", &k), of("dv", &v)])
        });
    }
}

#[test]
fn cross_entropies() {
    for smoothing in ["0.0", "0.1"] {
        for ignored in [false, true] {
            is_pytorchs(&format!("cross_entropy_{smoothing}_{ignored}"), || {
                let x = fill(1, [9, 21], 8.0).require_grad();
                let class = |i: i64| if ignored && i % 2 == 0 { -100 } else { i * 5 % 21 };
                let classes = TensorData::new((0..9).map(class).collect::<Vec<_>>(), [9]);
                let classes = Tensor::<1, Int>::from_data(classes, &train());
                let scored = if ignored { 4 } else { 9 };
                let loss = ops::cross_entropy(x.clone(), classes, scored, smoothing.parse().unwrap());
                found(loss, &[of("dx", &x)])
            });
        }
    }
}

#[test]
fn layer_norm() {
    is_pytorchs("layer_norm", || {
        let (x, weight, bias) = (leaf(1, [5, 3, 37]), leaf(2, [37]), leaf(3, [37]));
        let y = ops::layer_norm(x.clone(), weight.clone(), Some(bias.clone()), 1e-5);
        found(y, &[of("dx", &x), of("dweight", &weight), of("dbias", &bias)])
    });
}

#[test]
fn embedding() {
    is_pytorchs("embedding", || {
        let weight = leaf(1, [6, 17]);
        let places = Tensor::<2, Int>::from_data([[0, 5, 5], [2, 0, 5]], &train());
        found(ops::embedding(weight.clone(), places), &[of("dweight", &weight)])
    });
}

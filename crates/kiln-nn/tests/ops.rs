//! Every op's processor form against its plain Burn expression: answers and gradients, at odd shapes too.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use kiln_nn::ops;

use support::{Draw, Named, agree, agree_by_hand, agree_here, named, train, unary};

mod support;

#[test]
fn gelu() {
    for (seed, shape) in [(1, [1, 1, 1]), (2, [3, 5, 7]), (3, [2, 129, 65]), (4, [1, 40_000, 1])] {
        agree("gelu", 1e-6, || unary(shape, seed, ops::gelu));
        agree("gelu_new", 1e-6, || unary(shape, seed, ops::gelu_new));
        // A view that does not lie in memory as it reads.
        agree("gelu of a transpose", 1e-6, || unary(shape, seed, |x| ops::gelu(x.swap_dims(0, 2))));
    }
}

#[test]
fn relu_relu6_and_silu() {
    for (seed, shape) in [(1, [1, 1, 1]), (2, [3, 5, 7]), (3, [2, 129, 65]), (4, [1, 40_000, 1])] {
        let wide = |x: Tensor<3>| x.mul_scalar(2.0);
        agree("relu", 1e-7, || unary(shape, seed, ops::relu));
        agree("relu6", 1e-7, || unary(shape, seed, |x| ops::relu6(wide(x))));
        agree("silu", 1e-6, || unary(shape, seed, |x| ops::silu(wide(x))));
        // Views that do not lie in memory as they read, and one that is a part of it.
        agree("relu of a transpose", 1e-7, || unary(shape, seed, |x| ops::relu(x.swap_dims(0, 2))));
        agree("relu6 of a row", 1e-7, || unary(shape, seed, |x| ops::relu6(x.narrow(0, 0, 1))));
        agree("silu of a transpose", 1e-6, || unary(shape, seed, |x| ops::silu(x.swap_dims(0, 2))));
    }
}

/// Both forms of a function of numbers: answers, and its gradients.
fn at<const N: usize>(x: [f32; N], f: impl Fn(Tensor<1>) -> Tensor<1>) -> [[Vec<f32>; 2]; 2] {
    let form = || {
        let x = Tensor::<1>::from_floats(x, &train()).require_grad();
        let y = f(x.clone());
        let dx = x.grad(&y.clone().sum().backward()).unwrap();
        [y, dx].map(|x| x.into_data().iter::<f32>().collect())
    };
    [form(), ops::plainly(form)]
}

#[test]
fn relu_and_relu6_have_pytorchs_gradients_at_their_bounds() {
    for [y, dx] in at([-1.0, 0.0, 1e-30, 5.0, 6.0, 7.0], ops::relu) {
        assert_eq!((y, dx), (vec![0.0, 0.0, 1e-30, 5.0, 6.0, 7.0], vec![0.0, 0.0, 1.0, 1.0, 1.0, 1.0]));
    }
    for [y, dx] in at([-1.0, 0.0, 1e-30, 5.0, 6.0, 7.0], ops::relu6) {
        assert_eq!((y, dx), (vec![0.0, 0.0, 1e-30, 5.0, 6.0, 6.0], vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0]));
    }
}

#[test]
fn activations_of_no_number_are_no_number_and_extremes_are_harmless() {
    let functions: [fn(Tensor<1>) -> Tensor<1>; 5] =
        [ops::relu, ops::relu6, ops::silu, ops::gelu, ops::gelu_new];
    for f in functions {
        for [y, _] in at([f32::NAN, 1e30, -1e30], f) {
            assert!(y[0].is_nan() && y[1] >= 6.0 && y[2] == 0.0, "{y:?}");
        }
    }
}

#[test]
fn an_activation_leaves_a_shared_tensor_alone() {
    let values = |x: &Tensor<1>| x.to_data().iter::<f32>().collect::<Vec<_>>();
    for device in [Device::flex(), train()] {
        let x = Tensor::<1>::from_floats([-1.0, 7.0, -3.0, 4.0], &device);
        let part = x.clone().narrow(0, 1, 2);
        assert_eq!(values(&ops::relu6(part)), [6.0, 0.0]);
        assert_eq!(values(&ops::relu(x.clone())), [0.0, 7.0, 0.0, 4.0]);
        assert_eq!(values(&x), [-1.0, 7.0, -3.0, 4.0]);
    }
}

/// Answer and gradients of a layer.
fn learned<const D: usize, const W: usize>(
    draw: &mut Draw,
    y: Tensor<D>,
    x: Tensor<D>,
    weight: Tensor<W>,
    bias: Option<Tensor<1>>,
) -> Vec<Named> {
    let tape = (y.clone() * draw.tensor(y.dims(), &train())).sum().backward();
    let mut found = vec![
        named("y", y),
        named("dx", x.grad(&tape).unwrap()),
        named("dweight", weight.grad(&tape).unwrap()),
    ];
    found.extend(bias.map(|bias| named("dbias", bias.grad(&tape).unwrap())));
    found
}

#[test]
fn layer_norm() {
    let mut shapes = Draw(9);
    for seed in 0..12 {
        let (rows, d) = (1 + shapes.below(150), 1 + shapes.below(200));
        for with_bias in [false, true] {
            agree(&format!("layer norm {rows} x {d}"), 2e-5, || {
                let mut draw = Draw(seed);
                let x = draw.tensor([rows, d], &train()).require_grad();
                let weight = draw.tensor([d], &train()).require_grad();
                let bias = draw.tensor([d], &train()).require_grad();
                let y = ops::layer_norm(x.clone(), weight.clone(), with_bias.then(|| bias.clone()), 1e-5);
                learned(&mut draw, y, x, weight, with_bias.then_some(bias))
            });
        }
    }
}

#[test]
#[should_panic(expected = "layer norm: an input [.., D] of [2, 6], a weight of [3] and a bias of Some([6])")]
fn layer_norm_names_shapes_that_do_not_fit() {
    let device = Device::flex();
    let bias = Some(Tensor::zeros([6], &device));
    drop(ops::layer_norm(Tensor::<2>::zeros([2, 6], &device), Tensor::ones([3], &device), bias, 1e-5));
}

#[test]
fn dropout() {
    for (seed, shape) in [(1, [1, 1, 1]), (2, [3, 5, 7]), (4, [3, 20_000, 1])] {
        for p in [0.1, 0.9] {
            agree("dropout", 1e-7, || {
                kiln_nn::random::seed(seed, &train());
                unary(shape, seed, move |x| kiln_nn::Dropout::new(p).forward(x))
            });
        }
    }
}

#[test]
fn dropout_zeroes_its_share_scales_the_rest_and_keeps_what_the_gradient_keeps() {
    let (p, n) = (0.3, 1 << 18);
    kiln_nn::random::seed(11, &train());
    let layer = kiln_nn::Dropout::new(p);
    let x = Tensor::<1>::ones([n], &train()).require_grad();
    let y = layer.forward(x.clone());
    let dx: Vec<f32> = x.grad(&y.clone().sum().backward()).unwrap().into_data().try_to_vec().unwrap();
    let y: Vec<f32> = y.into_data().try_to_vec().unwrap();
    assert_eq!(y, dx);
    let zeros = y.iter().filter(|y| **y == 0.0).count() as f64 / n as f64;
    assert!((zeros - p).abs() < 0.005, "{zeros}");
    assert!(y.iter().all(|y| *y == 0.0 || (*y - 1.0 / 0.7).abs() < 1e-6));
    let again: Vec<f32> = layer.forward(x.clone()).into_data().try_to_vec().unwrap();
    assert_ne!(y, again, "the next draw is another");
    let inference = layer.forward(x.inner()).into_data();
    assert!(inference.iter::<f32>().all(|y| y == 1.0));
}

#[test]
fn attention() {
    use kiln_nn::{Dropout, attention, attention::Mask, attention_packed};
    let mut shapes = Draw(5);
    for seed in 0..36 {
        let kind = seed % 6;
        let (b, n) = (1 + shapes.below(3), 1 + shapes.below(3));
        // Where each text is one token, gradients are nothing but rounding.
        let (t, w) = (if kind == 4 { 4 } else { 2 } + shapes.below(150), 1 + shapes.below(40));
        let lengths: Vec<usize> = (0..t).map(|i| 1 + i % 3).collect();
        let long = match seed {
            0 => 1100,
            _ if kind == 5 => lengths.iter().sum(),
            _ => t,
        };
        // Which keys are hidden: none, padding behind, causal with padding before, a row that sees nothing,
        // other texts, where all their tokens ask and where one of each does.
        let mask = |train: bool| match kind {
            0 => None,
            1 | 2 => {
                let real = Tensor::<2, Int>::from_data(
                    TensorData::new(
                        (0..b * t).map(|i| i64::from(i % t <= t / (1 + i / t))).collect(),
                        [b, t],
                    ),
                    &train_or_not(train),
                )
                .equal_elem(1);
                Some(if kind == 1 { Mask::padding(&real) } else { Mask::causal(&real) })
            }
            5 => Some(Mask::one_of_each_text(&lengths, &train_or_not(train))),
            4 => Some(Mask::texts(&[t / 2, t - t / 2 - 1, 1], &train_or_not(train))),
            _ => {
                let hidden = Tensor::<4, Bool>::from_data(
                    TensorData::new((0..t * t).map(|i| i / t == 0 || i % 3 == 1).collect(), [1, 1, t, t]),
                    &train_or_not(train),
                );
                Some(Mask::new(hidden))
            }
        };
        for p in [0.0, 0.3] {
            let what = format!("attention {b} x {n} x {t} x {w}, {kind}");
            // `first`: the first query that counts.
            let run = |first: usize| {
                kiln_nn::random::seed(seed, &train());
                let mut draw = Draw(seed);
                // Heads lie between tokens, as projections leave them.
                let mut heads = |t| draw.tensor([b, t, n, w], &train()).swap_dims(1, 2).require_grad();
                let (q, k, v) = (heads(t), heads(long), heads(long));
                let y = attention(q.clone(), k.clone(), v.clone(), mask(true).as_ref(), &Dropout::new(p));
                let y = y.narrow(2, first, t - first);
                let tape = (y.clone() * draw.tensor(y.dims(), &train())).sum().backward();
                let [dq, dk, dv] = [q, k, v].map(|x| x.grad(&tape).unwrap());
                vec![named("y", y), named("dq", dq), named("dk", dk), named("dv", dv)]
            };
            agree_here(&what, 2e-5, || run(0));
            agree_by_hand(&what, 2e-5, || run(usize::from(kind == 3)));
        }
        let packed = format!("packed attention {b} x {n} x {t} x {w}, {kind}");
        agree(&packed, 2e-5, || {
            let mut draw = Draw(seed);
            let all = draw.tensor([b, t, 3 * n * w], &train()).require_grad();
            let mask = if long == t { mask(true) } else { None };
            let y = attention_packed(all.clone(), n, mask.as_ref(), &Dropout::new(0.0));
            // The first query sees nothing under some masks: see below.
            let y = y.narrow(2, 1, t - 1);
            let tape = (y.clone() * draw.tensor(y.dims(), &train())).sum().backward();
            vec![named("y", y), named("dall", all.grad(&tape).unwrap())]
        });
        agree("attention without a graph", 2e-5, || {
            let mut draw = Draw(seed);
            let [q, k, v] = [t, long, long].map(|t| draw.tensor([b, n, t, w], &Device::flex()));
            let y = attention(q, k, v, mask(false).as_ref(), &Dropout::new(0.3));
            // Where a query sees nothing, Burn's fused form answers zero; the others, the mean of all.
            vec![named("y", if kind == 3 { y.narrow(2, 1, t - 1) } else { y })]
        });
    }
}

fn train_or_not(train: bool) -> Device {
    if train { Device::flex().autodiff() } else { Device::flex() }
}

#[test]
#[should_panic(expected = "keys [B, N, S, W] of [2, 3, 4, 6] and values of [2, 3, 4, 5]")]
fn attention_names_keys_that_do_not_fit() {
    let zeros = |shape: [usize; 4]| Tensor::zeros(shape, &Device::flex());
    let none = kiln_nn::Dropout::new(0.0);
    drop(kiln_nn::attention(zeros([2, 3, 4, 5]), zeros([2, 3, 4, 6]), zeros([2, 3, 4, 5]), None, &none));
}

#[test]
#[should_panic(expected = "attention: a mask [B or 1, 1, T or 1, S] of Some([2, 1, 1, 5])")]
fn attention_names_a_mask_that_does_not_fit() {
    let [q, k, v] = [(); 3].map(|()| Tensor::zeros([2, 3, 4, 5], &Device::flex()));
    let seen = Tensor::<2, Int>::ones([2, 5], &Device::flex()).equal_elem(1);
    let mask = kiln_nn::attention::Mask::padding(&seen);
    drop(kiln_nn::attention(q, k, v, Some(&mask), &kiln_nn::Dropout::new(0.0)));
}

#[test]
fn linear() {
    let mut shapes = Draw(21);
    for seed in 0..16 {
        let (b, t) = (1 + shapes.below(4), 1 + shapes.below(60));
        let (read, written) = (1 + shapes.below(200), 1 + shapes.below(200));
        for (with_bias, transposed) in [(false, false), (true, false), (false, true), (true, true)] {
            agree(&format!("linear {b} x {t}, {read} to {written}"), 2e-5, || {
                let mut draw = Draw(seed);
                let x = draw.tensor([b, t, read], &train()).require_grad();
                let shape = if transposed { [written, read] } else { [read, written] };
                let weight = draw.tensor(shape, &train()).require_grad();
                let bias = draw.tensor([written], &train()).require_grad();
                let used = if transposed { weight.clone().transpose() } else { weight.clone() };
                let y = ops::linear(x.clone(), used, with_bias.then(|| bias.clone()));
                learned(&mut draw, y, x, weight, with_bias.then_some(bias))
            });
        }
    }
}

#[test]
#[should_panic(expected = "linear: an input [2, 3] and a weight [IN, OUT] of [4, 5]")]
fn linear_names_shapes_that_do_not_fit() {
    let mut draw = Draw(1);
    let (x, weight) = (draw.tensor([2, 3], &Device::flex()), draw.tensor([4, 5], &Device::flex()));
    drop(ops::linear(x, weight, None));
}

#[test]
fn embedding() {
    for (seed, [rows, d, b, t]) in [(1, [1, 1, 1, 1]), (2, [7, 130, 3, 50]), (3, [300, 64, 2, 33])] {
        agree(&format!("embedding {rows} x {d}"), 1e-6, || {
            let mut draw = Draw(seed);
            let weight = draw.tensor([rows, d], &train()).require_grad();
            let places: Vec<i64> = (0..b * t).map(|_| draw.below(rows) as i64).collect();
            let places = Tensor::<2, Int>::from_data(TensorData::new(places, [b, t]), &train());
            let y = ops::embedding(weight.clone(), places);
            let tape = (y.clone() * draw.tensor([b, t, d], &train())).sum().backward();
            vec![named("y", y), named("dweight", weight.grad(&tape).unwrap())]
        });
    }
}

#[test]
#[should_panic(expected = "embedding: index 4 of 4 rows")]
fn embedding_names_an_index_that_is_not_there() {
    let weight = Draw(1).tensor([4, 5], &Device::flex());
    drop(ops::embedding(weight, Tensor::from_data([[0, 4]], &Device::flex())));
}

#[test]
fn cross_entropy() {
    for (seed, [rows, k]) in [(1, [1, 1]), (2, [3, 2]), (3, [70, 33]), (4, [5, 5000])] {
        for smoothing in [0.0, 0.1] {
            for ignored in [false, true] {
                agree(&format!("cross entropy {rows} x {k}, {smoothing}"), 1e-5, || {
                    let mut draw = Draw(seed);
                    let x = draw.tensor([rows, k], &train()).mul_scalar(5.0).require_grad();
                    let class =
                        |i: usize, c: usize| if ignored && i.is_multiple_of(2) { -100 } else { c as i64 };
                    let classes: Vec<i64> = (0..rows).map(|i| class(i, draw.below(k))).collect();
                    let scored = classes.iter().filter(|c| **c >= 0).count() as u64;
                    let classes = Tensor::<1, Int>::from_data(TensorData::new(classes, [rows]), &train());
                    let loss = ops::cross_entropy(x.clone(), classes, scored, smoothing);
                    let tape = loss.clone().mul_scalar(3.0).backward();
                    vec![named("loss", loss), named("dx", x.grad(&tape).unwrap())]
                });
            }
        }
    }
}

#[test]
#[should_panic(expected = "cross entropy: logits [R, K] of [3, 2] and 2 classes")]
fn cross_entropy_names_shapes_that_do_not_fit() {
    let logits = Tensor::<2>::zeros([3, 2], &Device::flex());
    drop(ops::cross_entropy(logits, Tensor::from_ints([0, 1], &Device::flex()), 2, 0.0));
}

#[test]
fn cross_entropy_of_huge_logits_is_a_number() {
    let x = Tensor::<2>::from_data([[1e30, -1e30, 0.0], [-3e38, 3e38, 1.0]], &train()).require_grad();
    let loss = ops::cross_entropy(x.clone(), Tensor::from_data([0, 1], &train()), 2, 0.0);
    let dx = x.grad(&loss.backward()).unwrap().into_data();
    assert_eq!(loss.into_scalar::<f32>(), 0.0);
    assert!(dx.iter::<f32>().all(f32::is_finite));
}

/// Ten steps on one parameter that a rule changes.
fn steps(n: usize, mut step: impl FnMut(u64, Tensor<1>, Tensor<1>) -> Tensor<1>) -> Named {
    let mut draw = Draw(n as u64);
    let device = Device::flex();
    let value = draw.tensor([n], &device);
    let walk = |value, t| step(t, value, draw.tensor([n], &device).mul_scalar(0.1));
    named("value", (1..=10).fold(value, walk))
}

#[test]
fn adamw() {
    for n in [1, 17, 40_000] {
        for weight_decay in [0.0, 0.1] {
            agree("adamw", 1e-6, || {
                let mut moments =
                    Some([Tensor::zeros([n], &Device::flex()), Tensor::zeros([n], &Device::flex())]);
                let value = steps(n, |step, value, gradient| {
                    let rule = ops::AdamW {
                        betas: [0.9, 0.999],
                        eps: 1e-8,
                        learning_rate: 1e-2,
                        weight_decay,
                        step,
                    };
                    let (value, new) = rule.update(value, gradient, moments.take().unwrap());
                    moments = Some(new);
                    value
                });
                let [mean, square] = moments.unwrap();
                vec![value, named("mean", mean), named("square", square)]
            });
        }
    }
}

#[test]
fn sgd() {
    for n in [1, 17, 40_000] {
        for (momentum, dampening, nesterov) in [(0.0, 0.0, false), (0.9, 0.0, true), (0.9, 0.5, false)] {
            agree("sgd", 1e-6, || {
                let rule = ops::Sgd { momentum, dampening, nesterov, learning_rate: 0.1, weight_decay: 0.01 };
                let mut buffer = None;
                let value = steps(n, |_, value, gradient| {
                    let (value, new) = rule.update(value, gradient, buffer.take());
                    buffer = new;
                    value
                });
                std::iter::once(value).chain(buffer.map(|b| named("buffer", b))).collect()
            });
        }
    }
}

#[test]
fn lerp() {
    for n in [1, 17, 40_000] {
        for weight in [0.0, 1e-4, 0.3, 0.7, 1.0] {
            agree("lerp", 1e-6, || {
                let mut draw = Draw(n as u64);
                let [average, value] = [0, 1].map(|_| draw.tensor([n], &Device::flex()));
                vec![named("lerp", ops::lerp(average, value, weight))]
            });
        }
    }
    let [from, to] = [[1.0, -3.0], [0.1, 7.0]].map(|x| Tensor::<1>::from_floats(x, &Device::flex()));
    for (weight, expected) in [(0.0, &from), (1.0, &to)] {
        let got = ops::lerp(from.clone(), to.clone(), weight);
        assert_eq!(got.into_data(), expected.clone().into_data(), "at the ends to the bit");
    }
}

#[test]
fn an_update_leaves_a_shared_tensor_alone() {
    let device = Device::flex();
    let rule =
        ops::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false, learning_rate: 1.0, weight_decay: 0.0 };
    let value = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &device);
    let part = value.clone().narrow(0, 1, 2);
    let (changed, _) = rule.update(part, Tensor::ones([2], &device), None);
    assert_eq!(changed.into_data().iter::<f32>().collect::<Vec<_>>(), [1.0, 2.0]);
    assert_eq!(value.into_data().iter::<f32>().collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
}

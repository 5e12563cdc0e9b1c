//! Ops in half precision: inputs rounded once, sums in float32, scopes that end.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::{Device, FloatDType, Tensor};
use kiln_nn::precision::within;
use kiln_nn::{Precision, ops};

use support::{Draw, named, train};

mod support;

/// As the nearest numbers of 16 bits.
fn rounded<const D: usize>(x: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    x.cast(dtype).cast(FloatDType::F32)
}

/// What an op of `N` tensors gives in half precision, and its plain form in float32 of inputs and slopes that were
/// rounded beforehand: the same sums in another order.
fn rounds_its_inputs<const N: usize, const D: usize>(
    what: &str,
    shapes: [[usize; D]; N],
    op: impl Fn(&[Tensor<D>]) -> Tensor<D>,
) {
    for (precision, dtype) in [(Precision::Bf16, FloatDType::BF16), (Precision::F16, FloatDType::F16)] {
        let run = |precision: Precision, round: bool| -> Vec<Vec<f32>> {
            let mut draw = Draw(17);
            let inputs = shapes.map(|shape| {
                let x = draw.tensor(shape, &Device::flex());
                let x = if round { rounded(x, dtype) } else { x };
                Tensor::from_inner(x).require_grad()
            });
            let y = within(precision, || op(&inputs));
            let slopes = rounded(draw.tensor(y.dims(), &Device::flex()), dtype);
            let tape = (y.clone() * Tensor::from_inner(slopes)).sum().backward();
            let mut found = vec![y.into_data().try_to_vec().unwrap()];
            found.extend(inputs.iter().map(|x| x.grad(&tape).unwrap().into_data().try_to_vec().unwrap()));
            found
        };
        let (half, full) = (run(precision, false), ops::plainly(|| run(Precision::F32, true)));
        let unrounded = run(Precision::F32, false);
        assert_ne!(half[0], unrounded[0], "{what} in {precision} is float32's");
        for (i, (half, full)) in half.iter().zip(&full).enumerate() {
            let largest = full.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let worst = half.iter().zip(full).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
            assert!(worst <= 1e-5 * largest, "{what} in {precision}: {i}: {worst} of {largest}");
        }
    }
}

#[test]
fn products_in_half_precision_round_their_inputs_once_and_sum_in_float32() {
    for (rows, read, written) in [(1, 1, 1), (3, 700, 5), (64, 33, 130), (150, 8, 16)] {
        let shapes = [[rows, read], [read, written]];
        rounds_its_inputs("linear", shapes, |x| ops::linear(x[0].clone(), x[1].clone(), None));
        let turned = [[rows, read], [written, read]];
        rounds_its_inputs("linear", turned, |x| ops::linear(x[0].clone(), x[1].clone().transpose(), None));
    }
    use burn::tensor::ops::ConvOptions;
    for (x, weight, stride, groups) in [
        ([2, 3, 9, 11], [5, 3, 3, 3], 1, 1),
        ([3, 8, 16, 16], [70, 8, 3, 3], 1, 1),
        ([2, 6, 12, 12], [8, 3, 3, 3], 2, 2),
        ([5, 40, 7, 7], [24, 40, 1, 1], 1, 1),
        ([9, 130, 4, 4], [140, 130, 3, 3], 1, 1),
        ([2, 9, 10, 11], [60, 9, 3, 3], 1, 1),
        ([2, 26, 13, 12], [64, 13, 3, 3], 2, 2),
    ] {
        let options = ConvOptions::new([stride; 2], [weight[2] / 2; 2], [1, 1], groups);
        rounds_its_inputs("conv2d", [x, weight], |x| {
            ops::conv2d(x[0].clone(), x[1].clone(), None, options.clone())
        });
    }
}

#[test]
fn attention_in_half_precision_is_near_float32s_and_its_plain_form() {
    for (precision, tolerance) in [(Precision::Bf16, 3e-2), (Precision::F16, 4e-3)] {
        let run = |precision: Precision| {
            let mut draw = Draw(5);
            let [q, k, v] = [(); 3].map(|()| draw.tensor([2, 3, 70, 20], &train()).require_grad());
            let none = kiln_nn::Dropout::new(0.0);
            let y = within(precision, || kiln_nn::attention(q.clone(), k.clone(), v.clone(), None, &none));
            let tape = (y.clone() * draw.tensor(y.dims(), &train())).sum().backward();
            let [dq, dk, dv] = [q, k, v].map(|x| x.grad(&tape).unwrap());
            vec![named("y", y), named("dq", dq), named("dk", dk), named("dv", dv)]
        };
        let (own, hand) = (run(precision), ops::by_hand(|| run(precision)));
        let (plain, full) = (ops::plainly(|| run(precision)), run(Precision::F32));
        let others = plain.iter().zip(&full);
        for ((name, half), ((_, plain), (_, full))) in
            own.iter().chain(&hand).zip(others.clone().chain(others))
        {
            let largest = full.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let apart = |other: &[f32]| {
                half.iter().zip(other).fold(0.0f32, |a, (x, y)| a.max((x - y).abs())) / largest
            };
            assert!(
                apart(plain) <= tolerance && apart(full) <= tolerance,
                "{precision} {name}: {} {}",
                apart(plain),
                apart(full)
            );
            assert!(apart(full) > 0.0, "{precision} {name} is float32's");
        }
    }
}

#[test]
fn a_scope_of_precision_ends_with_it_and_backward_passes_keep_theirs() {
    use kiln_nn::precision::now;
    assert_eq!(now(), Precision::F32);
    within(Precision::Bf16, || {
        assert_eq!(now(), Precision::Bf16);
        within(Precision::F16, || assert_eq!(now(), Precision::F16));
        let _ = std::panic::catch_unwind(|| within(Precision::F16, || panic!("on the way")));
        assert_eq!(now(), Precision::Bf16);
    });
    assert_eq!(now(), Precision::F32);
}

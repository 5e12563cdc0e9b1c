//! What the tests of the ops share: numbers from a seed, and the comparison of an op's two forms.

#![allow(dead_code)] // no test uses all of it

use burn::tensor::{Device, Tensor, TensorData};
use kiln_nn::ops;

/// Numbers from a seed, the same everywhere: roughly normal, largest about 3.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(crate) fn tensor<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| (0..4).map(|_| 2.0 * self.unit() - 1.0).sum()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

pub(crate) fn train() -> Device {
    Device::flex().autodiff()
}

pub(crate) type Named = (&'static str, Vec<f32>);

pub(crate) fn named<const D: usize>(name: &'static str, x: Tensor<D>) -> Named {
    (name, x.into_data().try_to_vec().unwrap())
}

/// What `f` gives in every form is within `tolerance` of the largest value of each tensor.
pub(crate) fn agree(what: &str, tolerance: f32, f: impl Fn() -> Vec<Named>) {
    agree_here(what, tolerance, &f);
    agree_by_hand(what, tolerance, f);
}

/// As [`agree`] of the processor's form and the plain one.
pub(crate) fn agree_here(what: &str, tolerance: f32, f: impl Fn() -> Vec<Named>) {
    compare(what, tolerance, &f(), &ops::plainly(&f));
}

/// As [`agree`] of the form with a gradient by hand and the plain one.
pub(crate) fn agree_by_hand(what: &str, tolerance: f32, f: impl Fn() -> Vec<Named>) {
    compare(&format!("by hand: {what}"), tolerance, &ops::by_hand(&f), &ops::plainly(&f));
}

fn compare(what: &str, tolerance: f32, found: &[Named], plain: &[Named]) {
    assert_eq!(found.len(), plain.len(), "{what}");
    for ((name, fast), (_, plain)) in found.iter().zip(plain) {
        assert_eq!(fast.len(), plain.len(), "{what}: {name}");
        let largest = plain.iter().fold(0.0f32, |a, b| a.max(b.abs())).max(1e-6);
        for (i, (a, b)) in fast.iter().zip(plain).enumerate() {
            assert!(
                (a - b).abs() <= tolerance * largest,
                "{what}: {name}[{i}]: {a}, plain {b} (of {largest})"
            );
        }
    }
}

/// Answer and gradient of an op of one tensor; `seed` fixes the input.
pub(crate) fn unary<const D: usize, const E: usize>(
    shape: [usize; D],
    seed: u64,
    op: impl Fn(Tensor<D>) -> Tensor<E>,
) -> Vec<Named> {
    let mut draw = Draw(seed);
    let x = draw.tensor(shape, &train()).mul_scalar(2.0).require_grad();
    let y = op(x.clone());
    let tape = (y.clone() * draw.tensor(y.dims(), &train())).sum().backward();
    vec![named("y", y), named("dx", x.grad(&tape).unwrap())]
}

//! Every op's processor form against its plain Burn expression: answers and gradients, at odd shapes too.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use burn::tensor::{Device, Tensor, TensorData};
use kiln_nn::ops;

/// Numbers from a seed, the same everywhere: roughly normal, largest about 3.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    fn tensor<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| (0..4).map(|_| 2.0 * self.unit() - 1.0).sum()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

fn train() -> Device {
    Device::flex().autodiff()
}

type Named = (&'static str, Vec<f32>);

fn named<const D: usize>(name: &'static str, x: Tensor<D>) -> Named {
    (name, x.into_data().try_to_vec().unwrap())
}

/// What `f` gives in both forms is within `tolerance` of the largest value of each tensor.
fn agree(what: &str, tolerance: f32, f: impl Fn() -> Vec<Named>) {
    let (fast, plain) = (f(), ops::plainly(&f));
    for ((name, fast), (_, plain)) in fast.iter().zip(&plain) {
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
fn unary<const D: usize>(shape: [usize; D], seed: u64, op: fn(Tensor<D>) -> Tensor<D>) -> Vec<Named> {
    let mut draw = Draw(seed);
    let x = draw.tensor(shape, &train()).mul_scalar(2.0).require_grad();
    let y = op(x.clone());
    let tape = (y.clone() * draw.tensor(y.dims(), &train())).sum().backward();
    vec![named("y", y), named("dx", x.grad(&tape).unwrap())]
}

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
                let tape = (y.clone() * draw.tensor([rows, d], &train())).sum().backward();
                let mut found = vec![
                    named("y", y),
                    named("dx", x.grad(&tape).unwrap()),
                    named("dweight", weight.grad(&tape).unwrap()),
                ];
                found.extend(with_bias.then(|| named("dbias", bias.grad(&tape).unwrap())));
                found
            });
        }
    }
}

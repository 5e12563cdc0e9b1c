//! The layers of the nets for images against PyTorch: activations, norms over channels, depthwise convolutions,
//! stochastic depth.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use kiln_nn::{BatchNorm2d, Conv2dConfig, DropPath, LayerNorm, PaddingConfig2d, gelu, relu6};
use serde_json::Value;

/// As `fill` in make_layers.py.
fn fill<const D: usize>(n: usize, shape: [usize; D], scale: f64) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> =
        (0..count).map(|i| ((0.7 * i as f64 + 1.3 * n as f64).sin() * scale) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff())
}

fn fixture(part: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("fixtures/layers.json")).unwrap();
    all[part].clone()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn close<const D: usize>(what: &str, got: Tensor<D>, expected: &Value) {
    let (got, expected): (_, Vec<f64>) = (values(got), serde_json::from_value(expected.clone()).unwrap());
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
        assert!((f64::from(*g) - e).abs() <= 1e-5 * (1.0 + e.abs()), "{what}[{i}]: {g}, PyTorch has {e}");
    }
}

#[test]
fn activations_and_their_gradients_are_pytorchs() {
    type Activation = fn(Tensor<1>) -> Tensor<1>;
    let functions: [(&str, Activation); 2] = [("gelu", gelu), ("relu6", relu6)];
    for (name, function) in functions {
        let expected = fixture(name);
        let x = fill(1, [50], 8.0).require_grad();
        let y = function(x.clone());
        let tape = (y.clone() * fill(2, [50], 1.0)).sum().backward();
        close(name, y, &expected["y"]);
        close(name, x.grad(&tape).unwrap(), &expected["x"]);
    }
}

#[test]
fn a_norm_over_channels_and_its_gradients_are_pytorchs() {
    let expected = fixture("channels_first");
    let mut layer = LayerNorm::new(6, 1e-6, &Device::flex().autodiff());
    layer.weight = Param::from_tensor(fill(2, [6], 1.0));
    layer.bias = Some(Param::from_tensor(fill(3, [6], 1.0)));
    let x = fill(1, [2, 6, 2, 3], 1.0).require_grad();
    let y = layer.channels_first(x.clone());
    let tape = (y.clone() * fill(4, [2, 6, 2, 3], 1.0)).sum().backward();
    close("y", y, &expected["y"]);
    close("x", x.grad(&tape).unwrap(), &expected["x"]);
    close("weight", layer.weight.val().grad(&tape).unwrap(), &expected["weight"]);
    close("bias", layer.bias.as_ref().unwrap().val().grad(&tape).unwrap(), &expected["bias"]);
}

#[test]
fn batch_norm_keeps_to_its_eps_and_momentum() {
    let expected = fixture("batch_norm");
    let layer = BatchNorm2d::with(3, 1e-3, 0.997, &Device::flex().autodiff());
    close("y", layer.forward(fill(1, [4, 3, 2, 2], 0.1)), &expected["y"]);
    close("mean", layer.running_mean.value_sync(), &expected["mean"]);
    close("variance", layer.running_var.value_sync(), &expected["variance"]);
}

#[test]
fn depthwise_convolutions_and_their_gradients_are_pytorchs() {
    for (kernel, stride) in [(7, 1), (3, 2)] {
        let expected = &fixture("depthwise")[kernel.to_string()];
        let pad = kernel / 2;
        let mut layer = Conv2dConfig::new([4, 4], [kernel, kernel])
            .with_groups(4)
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false)
            .init(&Device::flex().autodiff());
        layer.weight = Param::from_tensor(fill(2, [4, 1, kernel, kernel], 1.0));
        let x = fill(1, [2, 4, 9, 8], 1.0).require_grad();
        let y = layer.forward(x.clone());
        let tape = (y.clone() * fill(3, y.dims(), 1.0)).sum().backward();
        close("y", y, &expected["y"]);
        close("x", x.grad(&tape).unwrap(), &expected["x"]);
        close("weight", layer.weight.val().grad(&tape).unwrap(), &expected["weight"]);
    }
}

#[test]
fn stochastic_depth_leaves_whole_samples_out_and_keeps_the_mean() {
    let layer = DropPath::new(0.25);
    let x = Tensor::<3>::ones([4000, 2, 3], &Device::flex().autodiff());
    let rows = values(layer.forward(x));
    let kept = rows.chunks(6).filter(|row| row[0] != 0.0).count();
    assert!(rows.chunks(6).all(|row| row.iter().all(|v| *v == row[0])), "a sample was left out in part");
    assert!(rows.iter().all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
    // Of 4000 draws with probability 0.75, 27 are one standard deviation.
    assert!((kept as f64 - 3000.0).abs() < 6.0 * 27.4, "{kept} of 4000 kept");
    let answering = Tensor::<3>::ones([40, 2, 3], &Device::flex());
    assert!(values(layer.forward(answering)).iter().all(|v| *v == 1.0));
    let all = Tensor::<3>::ones([40, 2, 3], &Device::flex().autodiff());
    assert!(values(DropPath::new(0.0).forward(all)).iter().all(|v| *v == 1.0));
}

#[test]
fn rates_of_stochastic_depth_rise_from_zero_to_the_last() {
    assert_eq!(DropPath::rising(0.3, 4), [0.0, 0.3 / 3.0, 0.3 * 2.0 / 3.0, 0.3]);
    assert_eq!(DropPath::rising(0.3, 1), [0.0]);
    assert!(DropPath::rising(0.3, 0).is_empty());
}

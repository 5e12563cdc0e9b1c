//! The layers against PyTorch: outputs, gradients, and 20 training steps with batch norm.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use kiln_core::{Forward, Net};
use kiln_nn::{
    BatchNorm2d, Conv2d, Conv2dConfig, LayerNorm, Linear, PaddingConfig2d, cross_entropy, soft_cross_entropy,
};
use serde_json::Value;

/// As `fill` in make_layers.py.
fn fill<const D: usize>(n: usize, shape: [usize; D], scale: f64, device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> =
        (0..count).map(|i| ((0.7 * i as f64 + 1.3 * n as f64).sin() * scale) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn fixture(part: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("fixtures/layers.json")).unwrap();
    all[part].clone()
}

fn close<const D: usize>(what: &str, got: Tensor<D>, expected: &Value, tolerance: f64) {
    let got: Vec<f32> = got.into_data().try_to_vec().unwrap();
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
        assert!((*g as f64 - e).abs() <= tolerance * (1.0 + e.abs()), "{what}[{i}]: {g}, PyTorch has {e}");
    }
}

fn train() -> Device {
    Device::flex().autodiff()
}

fn leaf<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(value)
}

#[test]
fn cross_entropy_and_its_gradient_are_pytorchs() {
    for (part, smoothing) in [("cross_entropy", 0.0), ("cross_entropy_smooth", 0.1)] {
        let expected = fixture(part);
        let logits = fill(1, [5, 4], 30.0, &train()).require_grad();
        let classes = Tensor::<1, Int>::from_ints([3, 0, 1, 1, 2], &train());
        let loss = cross_entropy(logits.clone(), classes, smoothing);
        let gradient = logits.grad(&loss.backward()).unwrap();
        close(part, loss, &Value::from(vec![expected["loss"].clone()]), 1e-6);
        close(part, gradient, &expected["gradient"], 1e-6);
    }
}

#[test]
fn cross_entropy_with_shares_of_classes_and_its_gradient_are_pytorchs() {
    for (part, smoothing) in [("soft_cross_entropy", 0.0), ("soft_cross_entropy_smooth", 0.1)] {
        let expected = fixture(part);
        let shares: Vec<f32> = serde_json::from_value(expected["shares"].clone()).unwrap();
        let shares = Tensor::<2>::from_data(TensorData::new(shares, [5, 4]), &train());
        let logits = fill(1, [5, 4], 30.0, &train()).require_grad();
        let loss = soft_cross_entropy(logits.clone(), shares, smoothing);
        let gradient = logits.grad(&loss.backward()).unwrap();
        close(part, loss, &Value::from(vec![expected["loss"].clone()]), 1e-6);
        close(part, gradient, &expected["gradient"], 1e-6);
    }
    // One whole class is the cross entropy of that class.
    let logits = fill(1, [2, 3], 3.0, &Device::flex());
    let hot = Tensor::<2>::from_floats([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], &Device::flex());
    let soft = soft_cross_entropy(logits.clone(), hot, 0.1).into_scalar::<f32>();
    let hard = cross_entropy(logits, Tensor::from_ints([2, 0], &Device::flex()), 0.1).into_scalar::<f32>();
    assert!((soft - hard).abs() < 1e-6, "{soft} and {hard}");
}

#[test]
fn cross_entropy_of_huge_logits_is_finite() {
    let logits = Tensor::<2>::from_floats([[1e30, -1e30], [-3e4, 3e4]], &Device::flex());
    let loss = cross_entropy(logits, Tensor::from_ints([0, 1], &Device::flex()), 0.0);
    assert_eq!(loss.into_scalar::<f32>(), 0.0);
}

#[test]
fn linear_and_its_gradients_are_pytorchs() {
    let (device, expected) = (train(), fixture("linear"));
    let layer = Linear {
        weight: leaf(fill(2, [5, 4], 1.0, &device)),
        bias: Some(leaf(fill(3, [5], 1.0, &device))),
        lora: Default::default(),
    };
    let x = fill(1, [2, 3, 4], 1.0, &device).require_grad();
    let y = layer.forward(x.clone());
    let tape = (y.clone() * fill(4, [2, 3, 5], 1.0, &device)).sum().backward();
    close("y", y, &expected["y"], 1e-6);
    close("x", x.grad(&tape).unwrap(), &expected["x"], 1e-6);
    close("weight", layer.weight.val().grad(&tape).unwrap(), &expected["weight"], 1e-6);
    close("bias", layer.bias.unwrap().val().grad(&tape).unwrap(), &expected["bias"], 1e-6);
}

#[test]
fn layer_norm_and_its_gradients_are_pytorchs() {
    let (device, expected) = (train(), fixture("layer_norm"));
    let mut layer = LayerNorm::new(6, 1e-12, &device);
    (layer.weight, layer.bias) = (leaf(fill(2, [6], 1.0, &device)), Some(leaf(fill(3, [6], 1.0, &device))));
    let x = fill(1, [3, 6], 1.0, &device).require_grad();
    let y = layer.forward(x.clone());
    let tape = (y.clone() * fill(4, [3, 6], 1.0, &device)).sum().backward();
    close("y", y, &expected["y"], 1e-5);
    close("x", x.grad(&tape).unwrap(), &expected["x"], 1e-5);
    close("weight", layer.weight.val().grad(&tape).unwrap(), &expected["weight"], 1e-5);
    close("bias", layer.bias.as_ref().unwrap().val().grad(&tape).unwrap(), &expected["bias"], 1e-5);
}

#[derive(Module, Debug)]
struct ConvBn {
    conv: Conv2d,
    bn: BatchNorm2d,
}

impl Forward for ConvBn {
    type In = Tensor<4>;
    type Out = Tensor<2>;

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.bn.forward(self.conv.forward(x)));
        x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
    }
}

fn conv_bn(device: &Device) -> ConvBn {
    let same = PaddingConfig2d::Explicit(1, 1, 1, 1);
    let conv = Conv2dConfig::new([2, 3], [3, 3]).with_padding(same).with_bias(false);
    let mut net = ConvBn { conv: conv.init(device), bn: BatchNorm2d::new(3, device) };
    net.conv.weight = leaf(fill(1, [3, 2, 3, 3], 0.5, device));
    net
}

#[test]
fn twenty_steps_with_batch_norm_follow_pytorch() {
    let (device, expected) = (train(), fixture("conv_bn"));
    let mut net: Box<dyn Net> = Box::new(conv_bn(&device));
    let mut losses = Vec::new();
    for step in 0..20 {
        let kiln_core::Output::Logits(logits) =
            net.apply(kiln_core::Input::Image(fill(10 + step, [4, 2, 5, 5], 1.0, &device))).unwrap()
        else {
            panic!("one answer a token")
        };
        let loss = cross_entropy(logits, Tensor::from_ints([step as i32 % 3, 1, 2, 0], &device), 0.0);
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = net.gradients(loss);
        net = net.update(&mut |p, value| value - gradients.0[&p.name].clone().mul_scalar(0.5));
    }
    close("losses", Tensor::<1>::from_floats(losses.as_slice(), &device), &expected["losses"], 1e-5);
    let state = net.state();
    assert_eq!(
        state.keys().collect::<Vec<_>>(),
        expected["state"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    for (name, data) in state {
        let flat = Tensor::<1>::from_floats(data.try_to_vec::<f32>().unwrap().as_slice(), &device);
        close(&name, flat, &expected["state"][&name], 1e-5);
    }
    let flex = Device::flex();
    let kiln_core::Output::Logits(y) =
        net.valid().apply(kiln_core::Input::Image(fill(99, [4, 2, 5, 5], 1.0, &flex))).unwrap()
    else {
        panic!("one answer a token")
    };
    close("eval", y, &expected["eval"], 1e-4);
}

#[test]
fn a_frozen_batch_norm_keeps_and_uses_its_statistics() {
    let net = conv_bn(&train()).freeze();
    let x = fill(1, [4, 2, 5, 5], 1.0, &train());
    let frozen = Forward::forward(&net, x.clone());
    assert_eq!(Net::state(&net)["bn.running_mean"].try_to_vec::<f32>().unwrap(), [0.0; 3]);
    let trained = Forward::forward(&conv_bn(&train()), x);
    assert_ne!(frozen.into_data(), trained.into_data());
}

#[test]
fn initial_weights_have_pytorchs_range() {
    let device = Device::flex();
    device.seed(1);
    let data = |t: Tensor<2>| t.into_data().try_to_vec::<f32>().unwrap();
    let uniform = data(Linear::new(100, 500, &device).weight.val());
    assert!(uniform.iter().all(|w| w.abs() <= 0.1) && uniform.iter().any(|w| w.abs() > 0.099));
    let variance = |w: &[f32]| w.iter().map(|w| (*w as f64).powi(2)).sum::<f64>() / w.len() as f64;
    let normal = data(Linear::normal(100, 500, 0.02, &device).weight.val());
    assert!((variance(&normal).sqrt() / 0.02 - 1.0).abs() < 0.02);
    let kaiming = data(Linear::kaiming_normal(100, 500, &device).weight.val());
    assert!((variance(&kaiming) / 0.02 - 1.0).abs() < 0.04);
}

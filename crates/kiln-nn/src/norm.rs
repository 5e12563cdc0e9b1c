//! `torch.nn.LayerNorm` and `torch.nn.BatchNorm2d`.
//! Own their parameters, and batch norm its running statistics; never decide whether a net trains: the device does.
//! kiln-models composes them.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `D` features.

use burn::module::{Flag, Initializer, Module, Param, RunningState};
use burn::tensor::{Device, Tensor};

use crate::meter;
use crate::ops::{self, Then};

/// Normalises the last dimension (Ba et al., 2016), as `torch.nn.LayerNorm`.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[D]`, starts at one.
    pub weight: Param<Tensor<1>>,
    /// `[D]`, starts at zero.
    pub bias: Option<Param<Tensor<1>>>,
    eps: f64,
}

impl LayerNorm {
    /// For `features` wide inputs; `eps` is added to the variance.
    pub fn new(features: usize, eps: f64, device: &Device) -> Self {
        let weight = Initializer::Ones.init([features], device);
        let bias = Some(Initializer::Zeros.init([features], device));
        Self { weight, bias, eps }
    }

    /// `[.., D]` to `[.., D]`.
    pub fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let read = meter::bytes(&x);
        let y = ops::layer_norm(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.eps);
        meter::layer(|| 0, &self.weight, read, &y);
        y
    }

    /// `[B, C, H, W]` to the same: normalises the channels of each pixel, as timm's `LayerNorm2d`.
    pub fn channels_first(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
    }
}

/// Normalises each channel over batch and pixels (Ioffe and Szegedy, 2015), as `torch.nn.BatchNorm2d`, by
/// default with its eps 1e-5 and momentum 0.1; running variance unbiased (Burn's own layer keeps the biased one).
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    /// `[C]`, starts at one.
    pub weight: Param<Tensor<1>>,
    /// `[C]`, starts at zero.
    pub bias: Param<Tensor<1>>,
    /// Off where the layer is frozen: running statistics are then used and kept, also on a training device.
    pub training: Param<Flag>,
    /// `[C]`
    pub running_mean: RunningState<Tensor<1>>,
    /// `[C]`, of n/(n-1) times the batch variance.
    pub running_var: RunningState<Tensor<1>>,
    eps: f64,
    momentum: f64,
}

impl BatchNorm2d {
    /// For `channels` channels.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self::with(channels, 1e-5, 0.1, device)
    }

    /// As [`BatchNorm2d::new`], with another `eps` and share of the newest batch in the running statistics.
    pub fn with(channels: usize, eps: f64, momentum: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
            eps,
            momentum,
        }
    }

    /// `[B, C, H, W]` to the same. Uses the batch's statistics, and updates the running ones, on an autodiff device;
    /// elsewhere, and frozen, uses the running ones.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_then(x, Then::Nothing)
    }

    /// ReLU of [`BatchNorm2d::forward`], in one pass.
    pub fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_then(x, Then::Relu)
    }

    /// ReLU6 of [`BatchNorm2d::forward`], in one pass.
    pub fn forward_relu6(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_then(x, Then::Relu6)
    }

    /// ReLU of the sum of [`BatchNorm2d::forward`] and `shortcut`, in one pass.
    pub fn forward_add_relu(&self, x: Tensor<4>, shortcut: Tensor<4>) -> Tensor<4> {
        self.forward_then(x, Then::AddRelu(shortcut))
    }

    fn forward_then(&self, x: Tensor<4>, then: Then) -> Tensor<4> {
        let read = meter::bytes(&x);
        let y = if x.device().is_autodiff() && self.training.is_enabled() {
            self.train_step(x, then)
        } else {
            let statistics = [self.running_mean.value_sync(), self.running_var.value_sync()];
            ops::batch_norm(x, self.weight.val(), self.bias.val(), statistics, self.eps, then)
        };
        meter::layer(|| 0, &self.weight, read, &y);
        y
    }

    fn train_step(&self, x: Tensor<4>, then: Then) -> Tensor<4> {
        let [b, _, h, w] = x.dims();
        let n = (b * h * w) as f64;
        let (y, [mean, variance]) =
            ops::batch_norm_train(x, self.weight.val(), self.bias.val(), self.eps, then);
        // One value a channel has no unbiased variance: PyTorch refuses such a batch, here it counts as it is, so
        // that a last batch of one image does not stop a run.
        let unbiased = n / (n - 1.0).max(1.0);
        self.blend(&self.running_mean, mean, 1.0);
        self.blend(&self.running_var, variance, unbiased);
        y
    }

    /// running = (1 - momentum) running + momentum factor batch
    fn blend(&self, running: &RunningState<Tensor<1>>, batch: Tensor<1>, factor: f64) {
        let old = running.value_sync().mul_scalar(1.0 - self.momentum);
        running.update((old + batch.detach().mul_scalar(self.momentum * factor)).detach());
    }
}

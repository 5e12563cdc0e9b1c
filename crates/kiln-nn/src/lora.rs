//! Low-rank adapters (Hu et al., 2021, arXiv 2106.09685): y += scale * B A dropout(x), beside a layer's own answer.
//! Owns the slot in which a layer carries one; never which layers do or how it is saved (kiln-models).
//! `Linear` and `Conv1D` have a slot; `Net::adapt` fills it.
//!
//! Reference: `peft.tuners.lora`. Difference: the scale is applied between A and B, on `R` values a sample and not on
//! `OUT`. The dense product B A is never formed.
//!
//! Shapes: `R` rank, `IN` features read, `OUT` features written.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param,
};
use burn::tensor::{Device, Tensor};
use kiln_core::adapter::{self, Delivery};

use crate::{Dropout, meter, ops};

/// One of the two factors.
#[derive(Module, Debug)]
pub struct Factor {
    /// `[R, IN]` or `[OUT, R]`
    pub weight: Param<Tensor<2>>,
}

impl Factor {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let read = meter::bytes(&x);
        let y = ops::linear(x, self.weight.val().transpose(), None);
        let products = || 2 * y.shape().num_elements() * self.weight.dims()[1];
        meter::layer(products, &self.weight, read, &y);
        y
    }
}

/// The adapter of one layer.
#[derive(Module, Debug)]
pub struct Adapter {
    /// A
    pub lora_a: Factor,
    /// B
    pub lora_b: Factor,
    dropout: Dropout,
    scale: f64,
}

impl Adapter {
    fn new(delivery: Delivery) -> Self {
        let Delivery { adapter, device, dtype } = delivery;
        let factor = |data| Factor { weight: Param::from_tensor(Tensor::from_data(data, (&device, dtype))) };
        Self {
            lora_a: factor(adapter.a),
            lora_b: factor(adapter.b),
            dropout: Dropout::new(adapter.dropout),
            scale: adapter.scale,
        }
    }

    /// `[.., IN]` to what is added to the layer's answer, `[.., OUT]`.
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        // Dropout without its factor, which the scale takes over: on `R` values a sample and not on `IN`.
        let (x, scale) = match self.dropout.active(&x.device()) {
            Some(p) => (ops::dropout(x, p, 1.0), self.scale / (1.0 - p)),
            None => (x, self.scale),
        };
        self.lora_b.forward(self.lora_a.forward(x).mul_scalar(scale))
    }
}

/// Where a layer carries its adapter; empty in a new layer, and then without parameters. The field that holds it must
/// be called [`adapter::SLOT`] and stand behind the layer's `weight`.
#[derive(Debug, Clone, Default)]
pub struct Slot(Option<Adapter>);

impl Slot {
    /// The layer's input, where an adapter will want it after the layer has used it up.
    pub fn keep<const D: usize>(&self, x: &Tensor<D>) -> Option<Tensor<D>> {
        self.is_filled().then(|| x.clone())
    }

    /// The layer's answer `y` with the adapter's to the input that was kept.
    pub fn add<const D: usize>(&self, y: Tensor<D>, kept: Option<Tensor<D>>) -> Tensor<D> {
        match self.0.as_ref().zip(kept) {
            Some((adapter, x)) => y + adapter.forward(x),
            None => y,
        }
    }

    /// Whether there is an adapter.
    pub fn is_filled(&self) -> bool {
        self.0.is_some()
    }
}

impl Module for Slot {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    /// A walk that brings a new adapter leaves it here.
    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let adapter = adapter::collect().map(Adapter::new).or(self.0);
        Self(Module::map(adapter, mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn train(self) -> Self {
        Self(self.0.train())
    }

    fn materialize(self) -> Self {
        Self(self.0.materialize())
    }
}

impl ModuleDisplayDefault for Slot {
    fn content(&self, content: Content) -> Option<Content> {
        self.0.content(content)
    }
}

impl ModuleDisplay for Slot {}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_filled() { "adapter" } else { "no adapter" })
    }
}

//! Low-rank adapters as nets and their owners speak of them: which layers can carry one, what a new one starts from.
//! Owns the way by which a new adapter reaches the slot of its layer; never the layer (kiln-nn) or the choice of
//! layers (kiln-models).
//!
//! A layer that can carry an adapter has, after its `weight`, a field called [`SLOT`]. The walk over a net knows a
//! field's path and the weight's shape but not its type, so it leaves the adapter at a counter of this thread just
//! before it enters the slot, and the slot picks it up.
//!
//! Shapes: `R` rank, `IN` features read, `OUT` features written.

use std::cell::RefCell;

use burn::tensor::{DType, Device, TensorData};

/// The field of a layer that holds its adapter; not part of any parameter's name.
pub const SLOT: &str = "lora";

/// A linear layer that can carry an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adaptable {
    /// The layer's PyTorch name.
    pub name: String,
    /// `IN`
    pub input: usize,
    /// `OUT`
    pub output: usize,
    /// The weight is stored `[IN, OUT]` (GPT-2's `Conv1D`), not `[OUT, IN]`.
    pub fan_in_fan_out: bool,
}

/// What an adapter starts from: `y += scale * B A dropout(x)`.
#[derive(Debug, Clone)]
pub struct NewAdapter {
    /// `[R, IN]`
    pub a: TensorData,
    /// `[OUT, R]`
    pub b: TensorData,
    /// Factor of the adapter's answer.
    pub scale: f64,
    /// Probability of zeroing an input in training, below 1.
    pub dropout: f64,
}

/// A new adapter on its way to a slot.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The adapter.
    pub adapter: NewAdapter,
    /// Where the layer's weight is.
    pub device: Device,
    /// The weight's type.
    pub dtype: DType,
}

thread_local! {
    static COUNTER: RefCell<Option<Delivery>> = const { RefCell::new(None) };
}

/// Leaves an adapter for the slot that is entered next, or clears the counter.
pub(crate) fn leave(delivery: Option<Delivery>) {
    COUNTER.with(|counter| *counter.borrow_mut() = delivery);
}

/// What was left for the slot that asks; once.
pub fn collect() -> Option<Delivery> {
    COUNTER.with(|counter| counter.borrow_mut().take())
}

/// How a field is spelled in parameter names; `None` where it does not appear.
pub(crate) fn spelled(field: &str) -> Option<&str> {
    match field {
        SLOT => None,
        "lora_a" => Some("lora_A"),
        "lora_b" => Some("lora_B"),
        other => Some(other),
    }
}

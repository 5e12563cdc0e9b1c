//! What a pass through a net costs: floating-point operations and activation memory, told by the layers as they run; and
//! what they answered, for comparisons.
//! Owns the counts and their definition; never times anything. Off, it costs a look at a thread's own flag a layer.
//! kiln-models runs a net under [`measure`].
//!
//! Operations are counted as `torch.utils.flop_counter.FlopCounterMode` does: two for each multiply-add of a linear
//! layer, a convolution or an attention product, and nothing else. The backward pass has as many for the gradient of a
//! layer's input, where something before it trains, and again as many for the gradient of its weight, where that trains.
//! Activations are the answers of linear layers, convolutions, norms and attention products, in the type they have.

use std::cell::{Cell, RefCell};

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};

/// Counts of one pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Operations of the forward pass.
    pub forward_flops: u64,
    /// Operations of the backward pass.
    pub backward_flops: u64,
    /// Bytes of all activations: about what a forward pass for training keeps.
    pub activation_bytes: u64,
    /// Bytes of the largest input and output of one layer together: about what inference needs at once.
    pub largest_layer_bytes: u64,
    /// Bytes of the activations of the largest block that is run again by the backward pass, which holds them then; 0 where
    /// there is none. Of such blocks `activation_bytes` has the inputs alone.
    pub largest_block_bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Meter {
    cost: Cost,
    /// Something before the current layer trains.
    trains: bool,
}

thread_local! {
    static METER: Cell<Option<Meter>> = const { Cell::new(None) };
    static ANSWERS: RefCell<Option<Vec<Answer>>> = const { RefCell::new(None) };
}

/// What a layer answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The identity of its weight, see `Net::identities`.
    pub weight: u64,
    /// The answer, on the host.
    pub data: TensorData,
}

/// Runs `pass` on this thread and counts. `trains`: parameters that are no layer's here, such as embeddings, train.
pub fn measure<T>(trains: bool, pass: impl FnOnce() -> T) -> (T, Cost) {
    let outer = METER.replace(Some(Meter { cost: Cost::default(), trains }));
    let answer = pass();
    let cost = METER.replace(outer).map(|meter| meter.cost).unwrap_or_default();
    (answer, cost)
}

/// Runs `pass` on this thread and keeps on the host what each linear layer, convolution and norm answers, in the order
/// in which they run.
pub fn answers<T>(pass: impl FnOnce() -> T) -> (T, Vec<Answer>) {
    let outer = ANSWERS.replace(Some(Vec::new()));
    let answer = pass();
    (answer, ANSWERS.replace(outer).unwrap_or_default())
}

/// Whether [`answers`] is at work on this thread.
pub(crate) fn keeps_answers() -> bool {
    ANSWERS.with_borrow(Option::is_some)
}

/// Size of a tensor.
pub(crate) fn bytes<const D: usize>(x: &Tensor<D>) -> u64 {
    (x.shape().num_elements() * x.dtype().size()) as u64
}

/// Tells of a layer: its operations forward, its weight, the bytes it read and what it answers.
pub(crate) fn layer<const D: usize, const W: usize>(
    flops: impl FnOnce() -> usize,
    weight: &Param<Tensor<W>>,
    read: u64,
    output: &Tensor<D>,
) {
    ANSWERS.with_borrow_mut(|kept| {
        kept.iter_mut()
            .for_each(|kept| kept.push(Answer { weight: weight.id.val(), data: output.to_data() }));
    });
    METER.with(|cell| {
        let Some(mut meter) = cell.get() else { return };
        let (flops, weight_trains) = (flops() as u64, weight.val().is_require_grad());
        let cost = &mut meter.cost;
        cost.forward_flops += flops;
        cost.backward_flops += flops * (u64::from(meter.trains) + u64::from(weight_trains));
        cost.activation_bytes += bytes(output);
        cost.largest_layer_bytes = cost.largest_layer_bytes.max(read + bytes(output));
        meter.trains |= weight_trains;
        cell.set(Some(meter));
    });
}

/// Runs a block that keeps `kept` bytes and is run again later, which is when its operations are counted; `trains`:
/// parameters of it do.
pub(crate) fn block<T>(kept: u64, trains: bool, pass: impl FnOnce() -> T) -> T {
    let before = METER.get();
    let answer = pass();
    if let Some((mut meter, after)) = before.zip(METER.get()) {
        let inside = after.cost.activation_bytes - meter.cost.activation_bytes;
        meter.cost.activation_bytes += kept;
        meter.cost.largest_block_bytes = meter.cost.largest_block_bytes.max(inside);
        meter.cost.largest_layer_bytes = after.cost.largest_layer_bytes;
        meter.trains |= trains;
        METER.set(Some(meter));
    }
    answer
}

/// Runs that block again: only its operations are counted. `trains`: something before it does.
pub(crate) fn again<T>(trains: bool, pass: impl FnOnce() -> T) -> T {
    let before = METER.get();
    METER.set(before.map(|meter| Meter { trains, ..meter }));
    let answer = pass();
    if let Some((mut meter, after)) = before.zip(METER.get()) {
        meter.cost.forward_flops = after.cost.forward_flops;
        meter.cost.backward_flops = after.cost.backward_flops;
        METER.set(Some(meter));
    }
    answer
}

/// Tells of attention: `[B, N, T, W]` queries over `[B, N, S, W]` keys. Both factors of its products are activations.
pub(crate) fn attention(query: &Tensor<4>, key: &Tensor<4>) {
    METER.with(|cell| {
        let Some(mut meter) = cell.get() else { return };
        let ([b, heads, t, width], keys) = (query.dims(), key.dims()[2]);
        let flops = (4 * b * heads * t * keys * width) as u64;
        let scores = (b * heads * t * keys * query.dtype().size()) as u64;
        let cost = &mut meter.cost;
        cost.forward_flops += flops;
        cost.backward_flops += 2 * flops * u64::from(meter.trains);
        cost.activation_bytes += scores + bytes(query);
        cost.largest_layer_bytes = cost.largest_layer_bytes.max(bytes(query) + bytes(key) + scores);
        cell.set(Some(meter));
    });
}

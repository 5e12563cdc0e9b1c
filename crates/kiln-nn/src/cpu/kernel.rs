//! How an op with a gradient of its own joins Burn's graph on the processor.
//! Owns the crossing from `Tensor` to flex's tensors and back; never arithmetic. `ops/` implements `Kernel` and calls
//! `run`.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Flex};
use burn::tensor::{Bool, Int, Tensor};
use burn_flex::FlexTensor;

use crate::threads::keep_awake;

type Recorded = FloatTensor<Autodiff<Flex>>;

/// An op of `N` tensors with one answer.
pub(crate) trait Kernel<const N: usize>: Debug + Clone + Send + 'static {
    /// What the backward pass needs of the forward one; a tensor kept is shared, not copied.
    type Kept: Debug + Clone + Send + 'static;

    /// The answer, and what the backward pass needs.
    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Kept);

    /// The answer alone, where nothing is recorded.
    fn infer(&self, inputs: [FlexTensor; N]) -> FlexTensor {
        self.forward(inputs).0
    }

    /// The gradients of the inputs that are `wanted`, from that of the answer.
    fn backward(&self, kept: Self::Kept, gradient: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];
}

/// A tensor on its way into a kernel.
#[derive(Debug)]
pub(crate) enum Value {
    Plain(FlexTensor),
    Recorded(Recorded),
}

impl Value {
    /// `None` where the tensor is not flex's, or its graph recomputes what it does not keep.
    pub(crate) fn of<const D: usize>(x: Tensor<D>) -> Option<Self> {
        match x.is_autodiff() {
            true => x.try_into_primitive::<Autodiff<Flex, NoCheckpointing>>().ok().map(Self::Recorded),
            false => x.try_into_primitive::<Flex>().ok().map(Self::Plain),
        }
    }

    /// The tensor of flex that is recorded or not, shared.
    pub(crate) fn contents(&self) -> FlexTensor {
        match self {
            Self::Plain(x) => x.clone(),
            Self::Recorded(x) => x.primitive().clone(),
        }
    }

    fn recorded(self) -> Recorded {
        match self {
            Self::Plain(x) => Autodiff::<Flex>::from_inner(x),
            Self::Recorded(x) => x,
        }
    }
}

/// Whether [`constant`] may be asked.
pub(crate) fn is_flex<const D: usize>(x: &Tensor<D>) -> bool {
    !x.is_autodiff() && x.clone().try_into_primitive::<Flex>().is_ok()
}

/// The tensor of flex, without a graph.
pub(crate) fn constant<const D: usize>(x: Tensor<D>) -> FlexTensor {
    match x.try_into_primitive::<Flex>() {
        Ok(x) => x,
        Err(error) => unreachable!("`is_flex` was to be asked: {error:?}"),
    }
}

/// Truths of flex in row-major order, bytes that are 0 or 1.
pub(crate) fn truths<const D: usize>(x: Tensor<D, Bool>) -> Option<FlexTensor> {
    let x = if x.is_autodiff() { x.inner() } else { x };
    x.try_into_primitive::<Flex>().ok().map(|x| if x.is_contiguous() { x } else { x.to_contiguous() })
}

/// Indices of flex in row-major order.
pub(crate) fn places<const D: usize>(x: Tensor<D, Int>) -> Option<Vec<i64>> {
    let x = if x.is_autodiff() { x.inner() } else { x };
    Some(x.try_into_primitive::<Flex>().ok()?.into_data().iter::<i64>().collect())
}

/// A tensor of flex as an answer without a graph.
pub(crate) fn answer<const D: usize>(x: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(x)
}

/// Applies a kernel, recording it where any input is recorded.
pub(crate) fn run<const N: usize, const D: usize>(kernel: impl Kernel<N>, inputs: [Value; N]) -> Tensor<D> {
    keep_awake();
    if inputs.iter().any(|x| matches!(x, Value::Recorded(_))) {
        return Tensor::from_primitive::<Autodiff<Flex, NoCheckpointing>>(record(kernel, inputs));
    }
    let plain = inputs.map(|x| match x {
        Value::Plain(x) => x,
        Value::Recorded(x) => x.into_primitive(),
    });
    answer(kernel.infer(plain))
}

fn record<const N: usize, K: Kernel<N>>(kernel: K, inputs: [Value; N]) -> Recorded {
    let parts = inputs.map(|x| x.recorded().into_parts());
    let mut nodes = Vec::with_capacity(N);
    let plain = parts.map(|(x, node)| {
        nodes.push(node);
        x
    });
    let Ok(nodes) = <[_; N]>::try_from(nodes) else { unreachable!("one node an input") };
    match Step(kernel.clone()).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (answer, kept) = kernel.forward(plain);
            prepared.finish(kept, answer)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(kernel.infer(plain)),
    }
}

#[derive(Debug)]
struct Step<K>(K);

impl<const N: usize, K: Kernel<N>> Backward<Flex, N> for Step<K> {
    type State = K::Kept;

    fn backward(self, ops: Ops<K::Kept, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        keep_awake();
        let gradient = gradients.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(ops.state, gradient, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

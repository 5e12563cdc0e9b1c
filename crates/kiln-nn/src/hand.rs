//! Ops whose gradient is written by hand in Burn's own tensors, for GPUs: the graph keeps what the gradient needs and not
//! every step of the answer, and fused kernels do each pass in a few.
//! Owns the crossing from `Tensor` to a backend's graph and back; never arithmetic. `ops/` and `attention` implement
//! `ByHand` and call `run`.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, BackendTensor, DispatchKindConversion, DispatchTensor,
};
use burn::tensor::Tensor;

use crate::ops::{Form, form};

/// A tensor of floats of any rank without a graph; `Tensor::from_dispatch` gives it its rank.
pub(crate) type Floats = DispatchTensor;

/// An op of `N` tensors with one answer. What it computes is not recorded: `run` records the op as a whole.
pub(crate) trait ByHand<const N: usize>: Debug + Clone + Send + 'static {
    /// What the backward pass needs of the forward one.
    type Kept: Debug + Clone + Send + 'static;

    /// The answer, and what the backward pass needs.
    fn forward(&self, inputs: [Floats; N]) -> (Floats, Self::Kept);

    /// The gradients of the inputs that are `wanted`, from that of the answer.
    fn backward(&self, kept: Self::Kept, gradient: Floats, wanted: [bool; N]) -> [Option<Floats>; N];
}

/// Applies an op, recording it where any input is recorded. `None` where the plain expression is to serve: on the
/// processor (unless tests ask for this form there), under graph capture, and where the inputs differ in device.
pub(crate) fn run<const N: usize, const D: usize>(
    op: &impl ByHand<N>,
    inputs: impl FnOnce() -> [Floats; N],
) -> Option<Tensor<D>> {
    let form = form();
    if form == Form::Plain || (form == Form::Fast && !cfg!(feature = "gpu")) {
        return None;
    }
    let inputs = inputs();
    #[cfg(feature = "gpu")]
    if let Some(y) = on::<N, burn::backend::Cube>(op, &inputs) {
        return Some(Tensor::from_dispatch(y));
    }
    #[cfg(feature = "cpu")]
    if form == Form::Hand {
        return on::<N, burn::backend::Flex>(op, &inputs).map(Tensor::from_dispatch);
    }
    let _ = (op, inputs);
    None
}

/// The backend that records what `B` computes.
pub(crate) type Recording<B> = Autodiff<B, NoCheckpointing>;
pub(crate) type Recorded<B> = FloatTensor<Recording<B>>;

/// A backend whose tensors can leave `Tensor` and come back, recorded and not.
pub(crate) trait Crosses: Backend {
    fn plain(x: DispatchTensor) -> Option<FloatTensor<Self>>;
    fn recorded(x: DispatchTensor) -> Option<Recorded<Self>>;
    fn of_plain(x: FloatTensor<Self>) -> DispatchTensor;
    fn of_recorded(x: Recorded<Self>) -> DispatchTensor;
}

impl<B: Backend> Crosses for B
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Recording<B>>,
{
    fn plain(x: DispatchTensor) -> Option<FloatTensor<B>> {
        match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(x) {
            Ok(BackendTensor::Float(x)) => Some(x),
            _ => None,
        }
    }

    fn recorded(x: DispatchTensor) -> Option<Recorded<B>> {
        match <DispatchTensor as DispatchKindConversion<Recording<B>>>::try_into_backend(x) {
            Ok(BackendTensor::Float(x)) => Some(x),
            _ => None,
        }
    }

    fn of_plain(x: FloatTensor<B>) -> DispatchTensor {
        <DispatchTensor as DispatchKindConversion<B>>::from_backend(BackendTensor::Float(x))
    }

    fn of_recorded(x: Recorded<B>) -> DispatchTensor {
        <DispatchTensor as DispatchKindConversion<Recording<B>>>::from_backend(BackendTensor::Float(x))
    }
}

fn on<const N: usize, B: Crosses>(op: &impl ByHand<N>, inputs: &[Floats; N]) -> Option<DispatchTensor> {
    if inputs.iter().all(|x| B::plain(x.clone()).is_some()) {
        return Some(op.forward(inputs.clone()).0);
    }
    let mut plain = Vec::with_capacity(N);
    let mut nodes = Vec::with_capacity(N);
    for x in inputs {
        let x = match B::recorded(x.clone()) {
            Some(x) => x,
            None => Recording::<B>::from_inner(B::plain(x.clone())?),
        };
        let (x, node) = x.into_parts();
        plain.push(B::of_plain(x));
        nodes.push(node);
    }
    let (Ok(plain), Ok(nodes)) = (<[_; N]>::try_from(plain), <[_; N]>::try_from(nodes)) else {
        unreachable!("one of each an input")
    };
    let answer =
        |x| B::plain(x).unwrap_or_else(|| unreachable!("the answer of an op lies where its inputs do"));
    let y = match Step(op.clone()).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (y, kept) = op.forward(plain);
            prepared.finish(kept, answer(y))
        }
        OpsKind::UnTracked(prepared) => prepared.finish(answer(op.forward(plain).0)),
    };
    Some(B::of_recorded(y))
}

#[derive(Debug)]
struct Step<O>(O);

impl<const N: usize, B: Crosses, O: ByHand<N>> Backward<B, N> for Step<O> {
    type State = O::Kept;

    fn backward(self, ops: Ops<O::Kept, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = B::of_plain(gradients.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(ops.state, gradient, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient.and_then(B::plain)) {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

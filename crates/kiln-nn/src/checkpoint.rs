//! Activation checkpointing by block (Chen et al., 2016, arXiv 1604.06174), as `torch.utils.checkpoint` does it: the
//! forward pass keeps a block's input alone; the backward pass runs the block again, with the same random numbers, and
//! forgets it. Owns the scope that asks for it and a block's place in the graph; never what a block computes.
//! The families of kiln-models hand their blocks to [`block`], the loop of kiln-train opens the scope.
//!
//! On the processor losses and gradients are to the bit those without it. GPUs draw from the device's generator, which is
//! seeded anew at every block: other random numbers than without it, and the same in both passes.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients as Tape, Tensor};

use crate::hand::{Crosses, Floats};
use crate::ops::{form, taking};
use crate::{meter, precision, random};

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with blocks that keep their input alone, if `on`.
pub fn within<T>(on: bool, f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
    let _restore = Restore(ON.replace(on));
    f()
}

/// Whether blocks on this device can keep their input alone: on Burn flex and on GPUs.
pub fn is_possible(device: &Device) -> bool {
    backend_of(&Tensor::<1>::zeros([1], &device.clone().autodiff())).is_some()
}

/// `run(block, x)`, of which only `x` is kept within the scope. What `run` captures must not require gradients: masks
/// may be captured, parameters belong into `block`. Not for blocks that change as they run, as batch norms do.
pub fn block<M: Module + 'static, const D: usize, const E: usize>(
    block: &M,
    x: Tensor<D>,
    run: impl Fn(&M, Tensor<D>) -> Tensor<E> + Send + 'static,
) -> Tensor<E> {
    match ON.get().then(|| backend_of(&x)).flatten() {
        #[cfg(feature = "cpu")]
        Some(Known::Flex) => record::<burn::backend::Flex, M, D, E>(block, x, run),
        #[cfg(feature = "gpu")]
        Some(Known::Cube) => record::<burn::backend::Cube, M, D, E>(block, x, run),
        _ => run(block, x),
    }
}

/// The backends whose graphs can be joined.
#[derive(Clone, Copy)]
enum Known {
    #[cfg(feature = "cpu")]
    Flex,
    #[cfg(feature = "gpu")]
    Cube,
}

/// Which of them records `x`, if any.
fn backend_of<const D: usize>(x: &Tensor<D>) -> Option<Known> {
    let x = x.is_autodiff().then(|| x.clone().into_dispatch())?;
    #[cfg(feature = "gpu")]
    if <burn::backend::Cube as Crosses>::recorded(x.clone()).is_some() {
        return Some(Known::Cube);
    }
    #[cfg(feature = "cpu")]
    if <burn::backend::Flex as Crosses>::recorded(x.clone()).is_some() {
        return Some(Known::Flex);
    }
    drop(x);
    None
}

fn record<B: Crosses, M: Module + 'static, const D: usize, const E: usize>(
    block: &M,
    x: Tensor<D>,
    run: impl Fn(&M, Tensor<D>) -> Tensor<E> + Send + 'static,
) -> Tensor<E> {
    let mut parameters = Ids::<B> { found: Vec::new(), anchor: None, backend: PhantomData };
    block.visit(&mut parameters);
    let Ids { found: parameters, anchor, .. } = parameters;
    let input = recorded::<B, D>(&x);
    let tracked = input.is_tracked();
    if !tracked && anchor.is_none() {
        return run(block, x); // no backward pass comes here
    }
    // A block of a frozen stem is in the graph by a parameter of its own.
    let nodes = [input.node(), anchor.as_ref().map_or_else(|| input.node(), |anchor| anchor.node())];
    let plain = x.inner();
    let place = random::place(&plain.device());
    let untracked = block.clone().map(&mut Untracked);
    let answer = meter::block(meter::bytes(&plain), anchor.is_some(), || {
        run(&untracked, Tensor::from_inner(plain.clone())).inner()
    });
    let answer = B::plain(answer.into_dispatch())
        .unwrap_or_else(|| unreachable!("the answer of a block lies where its input does"));
    let y = match Step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::UnTracked(prepared) => prepared.finish(answer),
        OpsKind::Tracked(prepared) => {
            let (snapshot, precision, form) = (block.valid(), precision::now(), form());
            let again = move |slopes: Floats| {
                let block = snapshot.train();
                let x = Tensor::<D>::from_inner(plain).set_require_grad(tracked);
                let pass = || precision::within(precision, || taking(form, || run(&block, x.clone())));
                let y = random::again(&place, || meter::again(tracked, pass));
                let slopes = Tensor::from_inner(Tensor::<E>::from_dispatch(slopes));
                let mut tape = (y * slopes).sum().backward();
                let input = x.grad_remove(&mut tape).map(Tensor::into_dispatch);
                let mut parameters = Found { tape, gradients: Vec::new() };
                block.visit(&mut parameters);
                Slopes { input, parameters: parameters.gradients }
            };
            let again: Again = Box::new(again);
            prepared.finish(Kept { again: Arc::new(Mutex::new(Some(again))), parameters }, answer)
        }
    };
    Tensor::from_dispatch(B::of_recorded(y))
}

/// A tensor of which `backend_of` has said that `B` records it.
fn recorded<B: Crosses, const D: usize>(x: &Tensor<D>) -> crate::hand::Recorded<B> {
    B::recorded(x.clone().into_dispatch()).unwrap_or_else(|| unreachable!("a net lies on one device"))
}

/// Runs a block again and takes the slopes of its answer back through it.
type Again = Box<dyn FnOnce(Floats) -> Slopes + Send>;

/// What a backward pass through a block gives.
struct Slopes {
    input: Option<Floats>,
    /// In module order; `None` for what is frozen.
    parameters: Vec<Option<Floats>>,
}

#[derive(Clone)]
struct Kept {
    again: Arc<Mutex<Option<Again>>>,
    parameters: Vec<Option<NodeId>>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a block of {} parameters", self.parameters.len())
    }
}

#[derive(Debug)]
struct Step;

impl<B: Crosses> Backward<B, 2> for Step {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let slopes = B::of_plain(gradients.consume::<B>(&ops.node));
        let again = ops.state.again.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(again) = again else { unreachable!("a backward pass goes through a block once") };
        let found = again(slopes);
        let input = ops.parents[0].as_ref().map(|parent| parent.id);
        let ids = std::iter::once(input).chain(ops.state.parameters);
        for (id, slopes) in ids.zip(std::iter::once(found.input).chain(found.parameters)) {
            if let (Some(id), Some(slopes)) = (id, slopes.and_then(B::plain)) {
                gradients.register::<B>(id, slopes);
            }
        }
    }
}

/// The nodes of a block's parameters, in module order, and one of those that train.
struct Ids<B: Crosses> {
    found: Vec<Option<NodeId>>,
    anchor: Option<crate::hand::Recorded<B>>,
    backend: PhantomData<B>,
}

impl<B: Crosses> ModuleVisitor for Ids<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tracked = Some(recorded::<B, D>(&param.val())).filter(|value| value.is_tracked());
        self.found.push(tracked.as_ref().map(|value| value.id()));
        self.anchor = self.anchor.take().or(tracked);
    }
}

/// Takes parameters out of the graph; a pass through them still trains, by its device.
struct Untracked;

impl ModuleMapper for Untracked {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        Param::from_mapped_value(id, Tensor::from_inner(value.inner()), mapper)
    }
}

/// The gradients of a block's parameters, in module order.
struct Found {
    tape: Tape,
    gradients: Vec<Option<Floats>>,
}

impl ModuleVisitor for Found {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.gradients.push(param.val().grad_remove(&mut self.tape).map(Tensor::into_dispatch));
    }
}

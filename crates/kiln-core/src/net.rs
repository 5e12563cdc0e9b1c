//! A model behind an object-safe trait. A model's author derives `Module` and writes `Forward`; the loop, the
//! evaluator and the server hold `Box<dyn Net>`. Owns the walk over parameters by their PyTorch names; never an
//! architecture (kiln-models) or an update rule (kiln-train).
//!
//! Names and layouts are PyTorch's by construction: kiln-nn's layers name and lay out their parameters as PyTorch
//! does, so a path through the module tree is a `state_dict` key, up to `Forward::NAMES`.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use crate::adapter::Adaptable;
use crate::{Gradients, Input, LoadReport, Output, StateDict, Table, Tokens, WrongInput};

mod adapt;
mod statistics;
mod walk;

pub use adapt::Adapt;
use walk::{Collect, Flat, List, Load, Path, Update, is_autodiff, walk};

/// What a model's author writes beside `#[derive(Module, Debug)]`.
pub trait Forward: Module {
    /// The input it reads.
    type In: FromInput;
    /// The output it gives.
    type Out: Into<Output>;
    /// Pieces of field paths that Rust cannot spell, and what the reference calls them: `("self_", "self")`.
    const NAMES: &'static [(&'static str, &'static str)] = &[];

    /// One pass. Trains or evaluates by the device its parameters are on.
    fn forward(&self, x: Self::In) -> Self::Out;

    /// See [`Net::next`]. Decoders with a cache have it.
    fn next(&self, _ids: Tensor<2, Int>, _cache: &mut KvCache) -> Option<Tensor<2>> {
        None
    }
}

/// Keys and values of the tokens read so far, one pair a layer, each `[B, heads, T, width]`.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    /// By layer; empty before the first token.
    pub layers: Vec<(Tensor<4>, Tensor<4>)>,
    /// Padding before the first token of each row; empty where no row has any.
    pub padding: Vec<usize>,
}

impl KvCache {
    /// Tokens read so far.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, |(keys, _)| keys.dims()[2])
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

/// A typed view of an [`Input`].
pub trait FromInput: Sized {
    /// Takes the input apart.
    ///
    /// # Errors
    /// The input is of another kind.
    fn from_input(x: Input) -> Result<Self, WrongInput>;
}

impl FromInput for Tensor<4> {
    fn from_input(x: Input) -> Result<Self, WrongInput> {
        match x {
            Input::Image(t) => Ok(t),
            other => Err(WrongInput { expected: "image", got: other.kind() }),
        }
    }
}

/// `[B, F]`: table rows as they are, images flattened.
impl FromInput for Tensor<2> {
    fn from_input(x: Input) -> Result<Self, WrongInput> {
        match x {
            Input::Table(Table { numbers: Some(t), categories: None }) => Ok(t),
            Input::Image(t) => Ok(t.flatten(1, 3)),
            Input::Table(_) => Err(WrongInput { expected: "table of numbers", got: "table with categories" }),
            other => Err(WrongInput { expected: "table or image", got: other.kind() }),
        }
    }
}

impl FromInput for Table {
    fn from_input(x: Input) -> Result<Self, WrongInput> {
        match x {
            Input::Table(t) => Ok(t),
            Input::Image(t) => Ok(Table { numbers: Some(t.flatten(1, 3)), categories: None }),
            other => Err(WrongInput { expected: "table", got: other.kind() }),
        }
    }
}

impl FromInput for Tokens {
    fn from_input(x: Input) -> Result<Self, WrongInput> {
        match x {
            Input::Tokens(t) => Ok(t),
            other => Err(WrongInput { expected: "tokens", got: other.kind() }),
        }
    }
}

/// One parameter as an update rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamInfo {
    /// PyTorch name.
    pub name: String,
    /// Shape in PyTorch's layout.
    pub shape: Vec<usize>,
    /// False for running statistics and frozen parameters.
    pub trainable: bool,
}

/// A model that can be asked, trained, saved and restored, whatever its type.
pub trait Net: Send {
    /// One forward pass.
    ///
    /// # Errors
    /// The input is of a kind that the model does not read.
    fn apply(&self, x: Input) -> Result<Output, WrongInput>;

    /// Reads further tokens `[B, T]` after those in `cache` and answers the scores `[B, V]` of the one that follows;
    /// `None` where the net is not a decoder.
    fn next(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Option<Tensor<2>>;

    /// Creates the lazily initialised parameters now, in module order, so that a later `Device::seed` cannot
    /// change them.
    fn init(&self);

    /// Back-propagates a `[1]` loss and collects the gradient of every trainable parameter.
    fn gradients(&self, loss: Tensor<1>) -> Gradients;

    /// Replaces parameters: `rule` is given each trainable parameter's name and flat value `[N]` (no autodiff)
    /// and answers the new value. The value is handed over, so that its memory can be reused.
    fn update(self: Box<Self>, rule: &mut UpdateRule<'_>) -> Box<dyn Net>;

    /// A copy for inference: no autodiff, no dropout, running statistics up to date.
    fn valid(&self) -> Box<dyn Net>;

    /// Every parameter and running statistic, in module order.
    fn parameters(&self) -> Vec<ParamInfo>;

    /// Every parameter and running statistic, in module order, flat `[N]` where they are, without autodiff. The memory is
    /// the net's own as long as nobody changes either.
    fn values(&self) -> Vec<(ParamInfo, Tensor<1>)>;

    /// The running statistics, flat `[N]`, in module order. The memory is the net's own: a later pass leaves these values
    /// as they are.
    fn statistics(&self) -> Vec<Tensor<1>>;

    /// Puts running statistics of [`Net::statistics`] back.
    fn set_statistics(&mut self, values: &[Tensor<1>]);

    /// The PyTorch name of each parameter by its identity in this process, which `kiln_nn::meter` tells of a layer.
    fn identities(&self) -> BTreeMap<u64, String>;

    /// Every parameter and running statistic by PyTorch name, on the host.
    fn state(&self) -> StateDict;

    /// Loads what fits by name and shape, converts to the parameter's dtype, and reports the rest.
    fn load_state(&mut self, state: &StateDict) -> LoadReport;

    /// Thaws the parameters whose names `trainable` accepts and freezes all others, for good: also through saving,
    /// loading and updates. A batch norm without a trainable parameter keeps its running statistics too.
    fn set_trainable(&mut self, trainable: &dyn Fn(&str) -> bool);

    /// The linear layers that can carry a low-rank adapter, in module order.
    fn adaptable(&self) -> Vec<Adaptable>;

    /// Gives a new adapter to every layer for which `choose` has one; an adapter that was there is replaced. Its
    /// parameters are `NAME.lora_A.weight` and `NAME.lora_B.weight`.
    fn adapt(&mut self, choose: &mut Adapt<'_>);
}

/// See [`Net::update`].
pub type UpdateRule<'a> = dyn FnMut(&ParamInfo, Tensor<1>) -> Tensor<1> + 'a;

impl<M: Forward + 'static> Net for M {
    fn apply(&self, x: Input) -> Result<Output, WrongInput> {
        Ok(Forward::forward(self, M::In::from_input(x)?).into())
    }

    fn next(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Option<Tensor<2>> {
        Forward::next(self, ids, cache)
    }

    fn init(&self) {
        walk(self, |_, _| {});
    }

    fn gradients(&self, loss: Tensor<1>) -> Gradients {
        let mut visitor =
            Collect { path: Path::new(M::NAMES), tape: loss.backward(), found: Gradients::default() };
        Module::visit(self, &mut visitor);
        visitor.found
    }

    fn update(self: Box<Self>, rule: &mut UpdateRule<'_>) -> Box<dyn Net> {
        Box::new(Module::map(*self, &mut Update { path: Path::new(M::NAMES), rule }))
    }

    fn valid(&self) -> Box<dyn Net> {
        Box::new(Module::valid(self))
    }

    fn parameters(&self) -> Vec<ParamInfo> {
        let mut visitor = List { path: Path::new(M::NAMES), found: Vec::new() };
        Module::visit(self, &mut visitor);
        visitor.found
    }

    fn values(&self) -> Vec<(ParamInfo, Tensor<1>)> {
        let mut visitor = Flat { path: Path::new(M::NAMES), found: Vec::new() };
        // valid() for the same reason as in `state`.
        Module::visit(&Module::valid(self), &mut visitor);
        visitor.found
    }

    fn statistics(&self) -> Vec<Tensor<1>> {
        statistics::statistics(self)
    }

    fn set_statistics(&mut self, values: &[Tensor<1>]) {
        *self = statistics::with_statistics(self, values);
    }

    fn identities(&self) -> BTreeMap<u64, String> {
        statistics::identities(self)
    }

    fn state(&self) -> StateDict {
        let mut state = StateDict::new();
        // valid() first: batch norm's last update of the running statistics is pending until something syncs it.
        walk(&Module::valid(self), |info, read| {
            state.insert(info.name, read());
        });
        state
    }

    fn load_state(&mut self, state: &StateDict) -> LoadReport {
        let snapshot = Module::valid(self); // shares no running statistics with `self` and has none pending
        let fresh = if is_autodiff(self) { snapshot.train() } else { snapshot };
        let mut load = Load { path: Path::new(M::NAMES), state, report: LoadReport::default() };
        *self = Module::map(fresh, &mut load);
        let mut report = load.report;
        let known = |name: &String| {
            !report.matched.contains(name) && !report.mismatched.iter().any(|m| m.name == *name)
        };
        report.unexpected = state.keys().filter(|name| known(name)).cloned().collect();
        report
    }

    fn set_trainable(&mut self, trainable: &dyn Fn(&str) -> bool) {
        *self = adapt::set_trainable(self.clone(), trainable);
    }

    fn adaptable(&self) -> Vec<Adaptable> {
        adapt::adaptable(self)
    }

    fn adapt(&mut self, choose: &mut Adapt<'_>) {
        *self = adapt::adapt(self.clone(), choose);
    }
}

//! A model behind an object-safe trait. A model's author derives `Module` and writes `Forward`; the loop, the
//! evaluator and the server hold `Box<dyn Net>`. Owns the walk over parameters by their PyTorch names; never an
//! architecture (kiln-models) or an update rule (kiln-train).
//!
//! Names and layouts are PyTorch's by construction: kiln-nn's layers name and lay out their parameters as PyTorch
//! does, so a path through the module tree is a `state_dict` key, up to `Forward::NAMES`.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients as Tape, Int, Tensor, TensorData};

use crate::adapter::{self, Adaptable};
use crate::{Gradients, Input, LoadReport, Mismatch, Output, StateDict, Table, Tokens, WrongInput};

mod adapt;

pub use adapt::Adapt;

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

/// The field names down to the current parameter.
struct Path {
    fields: Vec<String>,
    names: &'static [(&'static str, &'static str)],
}

impl Path {
    fn new(names: &'static [(&'static str, &'static str)]) -> Self {
        Self { fields: Vec::new(), names }
    }

    /// The PyTorch name of the current parameter.
    fn name(&self) -> String {
        let fields: Vec<&str> = self.fields.iter().filter_map(|field| adapter::spelled(field)).collect();
        self.names.iter().fold(fields.join("."), |name, (from, to)| name.replace(from, to))
    }

    fn info<const D: usize>(&self, value: &Tensor<D>) -> ParamInfo {
        ParamInfo { name: self.name(), shape: value.dims().to_vec(), trainable: value.is_require_grad() }
    }
}

macro_rules! follow_path {
    () => {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.fields.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.fields.pop();
        }
    };
}

struct Walk<F> {
    path: Path,
    see: F,
}

impl<F: FnMut(ParamInfo, &dyn Fn() -> TensorData)> ModuleVisitor for Walk<F> {
    follow_path!();
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        (self.see)(self.path.info(&value), &|| value.to_data());
    }
}

/// Lists parameters without drawing the values of those that are not yet initialised.
struct List {
    path: Path,
    found: Vec<ParamInfo>,
}

impl ModuleVisitor for List {
    follow_path!();
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let info = match param.is_initialized() {
            true => self.path.info(&param.val()),
            false => ParamInfo {
                name: self.path.name(),
                shape: param.lazy_shape().to_vec(),
                trainable: param.lazy_device().is_autodiff(),
            },
        };
        self.found.push(info);
    }
}

/// Calls `see` for every float parameter and running statistic, in module order; the closure it is given reads
/// the value to the host.
fn walk<M: Forward>(module: &M, see: impl FnMut(ParamInfo, &dyn Fn() -> TensorData)) {
    Module::visit(module, &mut Walk { path: Path::new(M::NAMES), see });
}

fn is_autodiff<M: Module>(module: &M) -> bool {
    struct Any(bool);
    impl ModuleVisitor for Any {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.val().is_autodiff();
        }
    }
    let mut any = Any(false);
    module.visit(&mut any);
    any.0
}

struct Collect {
    path: Path,
    tape: Tape,
    found: Gradients,
}

impl ModuleVisitor for Collect {
    follow_path!();
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(&mut self.tape) {
            let n = gradient.shape().num_elements();
            self.found.0.insert(self.path.name(), gradient.reshape([n]));
        }
    }
}

struct Update<'a, 'b> {
    path: Path,
    rule: &'a mut UpdateRule<'b>,
}

impl ModuleMapper for Update<'_, '_> {
    follow_path!();
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        let info = self.path.info(&value);
        if !info.trainable {
            return Param::from_mapped_value(id, value, mapper);
        }
        let (shape, n, device) = (value.dims(), value.shape().num_elements(), value.device());
        let updated = (self.rule)(&info, value.inner().reshape([n])).reshape(shape);
        Param::from_mapped_value(id, on(updated, &device).set_require_grad(true), mapper)
    }
}

/// Gives an inner tensor the autodiff context of `device`.
fn on<const D: usize>(inner: Tensor<D>, device: &Device) -> Tensor<D> {
    if device.is_autodiff() { Tensor::from_inner(inner) } else { inner }
}

struct Load<'a> {
    path: Path,
    state: &'a StateDict,
    report: LoadReport,
}

impl ModuleMapper for Load<'_> {
    follow_path!();
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper): (ParamId, Tensor<D>, _) = param.consume();
        let info = self.path.info(&value);
        let Some(data) = self.state.get(&info.name) else {
            self.report.missing.push(info.name);
            return Param::from_mapped_value(id, value, mapper);
        };
        let got = data.shape().to_vec();
        if got != info.shape {
            self.report.mismatched.push(Mismatch { name: info.name, expected: info.shape, got });
            return Param::from_mapped_value(id, value, mapper);
        }
        self.report.matched.push(info.name);
        let new = Tensor::<D>::from_data(data.clone(), (&value.device(), value.dtype()));
        Param::from_mapped_value(id, new.set_require_grad(info.trainable), mapper)
    }
}

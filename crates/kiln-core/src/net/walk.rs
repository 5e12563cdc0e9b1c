//! The ways over a net's parameters: each a visitor or mapper that knows the PyTorch name of what it sees.
//! Owns the names and the values as they are; what is done with them, `net.rs` and its callers say.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients as Tape, Tensor, TensorData};

use super::{Forward, ParamInfo, UpdateRule};
use crate::{Gradients, LoadReport, Mismatch, StateDict, adapter};

/// The field names down to the current parameter.
pub(super) struct Path {
    pub(super) fields: Vec<String>,
    pub(super) names: &'static [(&'static str, &'static str)],
}

impl Path {
    pub(super) fn new(names: &'static [(&'static str, &'static str)]) -> Self {
        Self { fields: Vec::new(), names }
    }

    /// The PyTorch name of the current parameter.
    pub(super) fn name(&self) -> String {
        let fields: Vec<&str> = self.fields.iter().filter_map(|field| adapter::spelled(field)).collect();
        self.names.iter().fold(fields.join("."), |name, (from, to)| name.replace(from, to))
    }

    pub(super) fn info<const D: usize>(&self, value: &Tensor<D>) -> ParamInfo {
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

pub(super) struct Walk<F> {
    pub(super) path: Path,
    see: F,
}

impl<F: FnMut(ParamInfo, &dyn Fn() -> TensorData)> ModuleVisitor for Walk<F> {
    follow_path!();
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        (self.see)(self.path.info(&value), &|| value.to_data());
    }
}

pub(super) struct Flat {
    pub(super) path: Path,
    pub(super) found: Vec<(ParamInfo, Tensor<1>)>,
}

impl ModuleVisitor for Flat {
    follow_path!();
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let n = value.shape().num_elements();
        self.found.push((self.path.info(&value), value.reshape([n])));
    }
}

/// Lists parameters without drawing the values of those that are not yet initialised.
pub(super) struct List {
    pub(super) path: Path,
    pub(super) found: Vec<ParamInfo>,
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
pub(super) fn walk<M: Forward>(module: &M, see: impl FnMut(ParamInfo, &dyn Fn() -> TensorData)) {
    Module::visit(module, &mut Walk { path: Path::new(M::NAMES), see });
}

pub(super) fn is_autodiff<M: Module>(module: &M) -> bool {
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

pub(super) struct Collect {
    pub(super) path: Path,
    pub(super) tape: Tape,
    pub(super) found: Gradients,
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

pub(super) struct Update<'a, 'b> {
    pub(super) path: Path,
    pub(super) rule: &'a mut UpdateRule<'b>,
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
pub(super) fn on<const D: usize>(inner: Tensor<D>, device: &Device) -> Tensor<D> {
    if device.is_autodiff() { Tensor::from_inner(inner) } else { inner }
}

pub(super) struct Load<'a> {
    pub(super) path: Path,
    pub(super) state: &'a StateDict,
    pub(super) report: LoadReport,
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

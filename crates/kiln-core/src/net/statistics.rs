//! Ways over a net's running statistics, which a forward pass changes and a step that is left out must not, and the
//! identity of its parameters, by which a layer that runs is told apart.
//! Owns these walks; when to use them the loop says.
//!
//! Shapes: `N` elements of one statistic.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::Forward;
use super::walk::{Path, is_autodiff, on};

/// The fields of running statistics: those of `kiln_nn::BatchNorm2d`.
fn is_statistic(path: &Path) -> bool {
    path.fields.last().is_some_and(|field| field.starts_with("running_"))
}

/// The running statistics, flat, in module order, with the newest batch in them. No values are copied.
pub(super) fn statistics<M: Forward>(module: &M) -> Vec<Tensor<1>> {
    let mut read = Read { path: Path::new(M::NAMES), found: Vec::new() };
    module.visit(&mut read);
    if read.found.is_empty() {
        return read.found;
    }
    // A visit alone would miss the newest batch, which is pending until something syncs it; `valid` does.
    let synced = Module::valid(module);
    let mut read = Read { path: Path::new(M::NAMES), found: Vec::new() };
    synced.visit(&mut read);
    read.found
}

struct Read {
    path: Path,
    found: Vec<Tensor<1>>,
}

impl ModuleVisitor for Read {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.fields.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.fields.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if is_statistic(&self.path) {
            let value = param.val();
            let n = value.shape().num_elements();
            self.found.push(value.reshape([n]));
        }
    }
}

/// The module with these running statistics, in module order.
pub(super) fn with_statistics<M: Forward>(module: &M, values: &[Tensor<1>]) -> M {
    if values.is_empty() {
        return module.clone();
    }
    let snapshot = Module::valid(module); // shares no statistics with the module, and has none pending
    let fresh = if is_autodiff(module) { snapshot.train() } else { snapshot };
    fresh.map(&mut Put { path: Path::new(M::NAMES), values: values.iter() })
}

struct Put<'a> {
    path: Path,
    values: std::slice::Iter<'a, Tensor<1>>,
}

impl ModuleMapper for Put<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.fields.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.fields.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !is_statistic(&self.path) {
            return param;
        }
        let Some(new) = self.values.next() else { return param };
        let (id, old, mapper) = param.consume();
        let new = on(new.clone().reshape(old.dims()), &old.device());
        Param::from_mapped_value(id, new, mapper)
    }
}

/// The PyTorch name of every parameter by the identity that its layer knows.
pub(super) fn identities<M: Forward>(module: &M) -> BTreeMap<u64, String> {
    let mut look = Look { path: Path::new(M::NAMES), found: BTreeMap::new() };
    module.visit(&mut look);
    look.found
}

struct Look {
    path: Path,
    found: BTreeMap<u64, String>,
}

impl ModuleVisitor for Look {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.fields.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.fields.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(param.id.val(), self.path.name());
    }
}

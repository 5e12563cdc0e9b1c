//! Walks over a net for fine-tuning: freeze and thaw by name, find the layers that can carry an adapter, fill them.
//! Owns these walks; never the choice of names or ranks (kiln-train and kiln-models choose).

use burn::module::{Flag, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};

use super::{Forward, Path};
use crate::adapter::{self, Adaptable, Delivery, NewAdapter, SLOT};

/// Asked for each layer that can carry an adapter; see [`super::Net::adapt`].
pub type Adapt<'a> = dyn FnMut(&Adaptable) -> Option<NewAdapter> + 'a;

/// The module with exactly the parameters trainable that `trainable` accepts. A batch norm without a trainable
/// parameter keeps its running statistics too.
pub(super) fn set_trainable<M: Forward>(module: M, trainable: &dyn Fn(&str) -> bool) -> M {
    let path = Path::new(M::NAMES);
    module.map(&mut Thaw { path, containers: Vec::new(), trainable })
}

struct Thaw<'a> {
    path: Path,
    containers: Vec<String>,
    trainable: &'a dyn Fn(&str) -> bool,
}

impl Thaw<'_> {
    /// Whether a parameter beside the current one trains.
    fn beside(&mut self, field: &str) -> bool {
        let own = self.path.fields.pop();
        self.path.fields.push(field.to_string());
        let trains = (self.trainable)(&self.path.name());
        self.path.fields.pop();
        self.path.fields.extend(own);
        trains
    }
}

impl ModuleMapper for Thaw<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.fields.push(name.to_string());
        self.containers.push(container.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.fields.pop();
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trains = (self.trainable)(&self.path.name());
        param.set_require_grad(trains)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        match self.containers.last().is_some_and(|c| c.contains("BatchNorm")) {
            true => {
                let trains = self.beside("weight") || self.beside("bias");
                flag.with_value(trains)
            }
            false => flag,
        }
    }
}

/// The newest weight that a walk has seen: a slot stands behind its layer's weight.
#[derive(Default)]
struct Weight {
    name: String,
    shape: Vec<usize>,
}

impl Weight {
    fn see(&mut self, name: String, shape: Vec<usize>) {
        if name.ends_with(".weight") || name == "weight" {
            *self = Self { name, shape };
        }
    }

    /// The layer called `name` whose slot is entered, if this is its weight.
    fn layer(&self, name: String, container: &str) -> Option<Adaptable> {
        let own = self.name.strip_suffix("weight")?.trim_end_matches('.') == name;
        let [first, second] = *self.shape.as_slice() else { return None };
        let fan_in_fan_out = container == "Struct:Conv1D";
        let (input, output) = if fan_in_fan_out { (first, second) } else { (second, first) };
        own.then_some(Adaptable { name, input, output, fan_in_fan_out })
    }
}

/// The layers that can carry an adapter, in module order.
pub(super) fn adaptable<M: Forward>(module: &M) -> Vec<Adaptable> {
    let mut look = Look { path: Path::new(M::NAMES), weight: Weight::default(), found: Vec::new() };
    module.visit(&mut look);
    look.found
}

struct Look {
    path: Path,
    weight: Weight,
    found: Vec<Adaptable>,
}

impl ModuleVisitor for Look {
    fn enter_module(&mut self, name: &str, container: &str) {
        if name == SLOT {
            self.found.extend(self.weight.layer(self.path.name(), container));
        }
        self.path.fields.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.fields.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.weight.see(self.path.name(), param.lazy_shape().to_vec());
    }
}

/// The module with a new adapter in every slot for which `choose` gives one.
pub(super) fn adapt<M: Forward>(module: M, choose: &mut Adapt<'_>) -> M {
    module.map(&mut Fill { path: Path::new(M::NAMES), weight: Weight::default(), place: None, choose })
}

struct Fill<'a, 'b> {
    path: Path,
    weight: Weight,
    place: Option<(Device, DType)>,
    choose: &'a mut Adapt<'b>,
}

impl ModuleMapper for Fill<'_, '_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        if name == SLOT {
            let layer = self.weight.layer(self.path.name(), container);
            let new = layer.and_then(|layer| (self.choose)(&layer)).zip(self.place.clone());
            adapter::leave(new.map(|(adapter, (device, dtype))| Delivery { adapter, device, dtype }));
        }
        self.path.fields.push(name.to_string());
    }

    fn exit_module(&mut self, name: &str, _container: &str) {
        self.path.fields.pop();
        if name == SLOT {
            adapter::leave(None);
        }
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = param.val();
        self.weight.see(self.path.name(), value.dims().to_vec());
        self.place = Some((value.device(), value.dtype()));
        param
    }
}

//! The tensors of a run at one moment, to be written while training goes on.
//! Owns what is shared and what is copied: on the processor a tensor is the run's own memory, which an update leaves alone
//! (it takes new memory) as long as it is held here; a GPU's is copied to the host at once, for there memory is short.
//! Never a file's name: `checkpoint` has those.

use std::collections::BTreeMap;
use std::io::{self, Write};

use burn::tensor::{DType, Tensor, TensorData};
use kiln_core::device::processor;
use kiln_core::{Net, StateDict};
use kiln_models::weights::{self, Outline, WeightsError};

use crate::progress::Progress;

/// Everything a run needs to go on, as it was at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Parameters and running statistics.
    pub model: Tensors,
    /// Moments and step counts.
    pub optimizer: Tensors,
    /// Averaged parameters and running statistics, after the first average.
    pub average: Option<Tensors>,
    /// Where the run is.
    pub progress: Progress,
}

impl Snapshot {
    /// Bytes of its tensors.
    pub fn bytes(&self) -> u64 {
        self.model.bytes() + self.optimizer.bytes() + self.average.as_ref().map_or(0, Tensors::bytes)
    }
}

/// Tensors by name, with the shapes they are saved in.
#[derive(Debug, Default)]
pub struct Tensors(BTreeMap<String, (Vec<usize>, Held)>);

#[derive(Debug)]
enum Held {
    Host(TensorData),
    /// Flat `[N]`, in the run's own memory.
    Shared(Tensor<1>),
}

impl Held {
    fn dtype(&self) -> DType {
        match self {
            Held::Host(data) => data.dtype(),
            Held::Shared(tensor) => tensor.dtype(),
        }
    }

    fn into_data(self) -> TensorData {
        match self {
            Held::Host(data) => data,
            Held::Shared(tensor) => tensor.into_data(),
        }
    }
}

impl From<StateDict> for Tensors {
    fn from(state: StateDict) -> Self {
        let one = |(name, data): (String, TensorData)| (name, (data.shape().to_vec(), Held::Host(data)));
        Self(state.into_iter().map(one).collect())
    }
}

/// Why tensors could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Tensors {
    /// Parameters and running statistics of a net.
    pub fn of(net: &dyn Net) -> Self {
        let mut all = Self::default();
        for (info, value) in net.values() {
            all.insert(info.name, info.shape, value);
        }
        all
    }

    /// Adds a flat tensor `[N]`, to be saved in `shape`.
    pub fn insert(&mut self, name: String, shape: Vec<usize>, flat: Tensor<1>) {
        let held = match processor().is_some_and(|processor| processor == flat.device()) {
            true => Held::Shared(flat),
            false => Held::Host(flat.into_data()),
        };
        self.0.insert(name, (shape, held));
    }

    /// Adds values that are on the host.
    pub fn insert_data(&mut self, name: String, data: TensorData) {
        self.0.insert(name, (data.shape().to_vec(), Held::Host(data)));
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|(shape, held)| bytes(shape, held) as u64).sum()
    }

    /// Writes a safetensors file; each tensor is let go as soon as it is written.
    ///
    /// # Errors
    /// The system refuses, or a tensor has a type that safetensors lacks.
    pub(crate) fn write(self, out: &mut dyn Write) -> Result<(), WriteError> {
        let outline = |(name, (shape, held)): (&String, &(Vec<usize>, Held))| Outline {
            name: name.clone(),
            shape: shape.clone(),
            dtype: held.dtype(),
            bytes: bytes(shape, held),
        };
        let outlines: Vec<Outline> = self.0.iter().map(outline).collect();
        let (head, order) = weights::head(&outlines, &[("format", "pt")])?;
        out.write_all(&head)?;
        let mut all: Vec<Option<Held>> = self.0.into_values().map(|(_, held)| Some(held)).collect();
        for i in order {
            if let Some(held) = all[i].take() {
                out.write_all(held.into_data().bytes())?;
            }
        }
        Ok(())
    }
}

fn bytes(shape: &[usize], held: &Held) -> usize {
    shape.iter().product::<usize>() * held.dtype().size()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use kiln_nn::ops;

    use super::*;

    #[test]
    fn what_is_written_is_as_it_was_when_taken_whatever_the_run_does_since() {
        let device = Device::flex();
        let values: Vec<f32> = (0..100_000).map(|i| i as f32 / 7.0).collect();
        let weight = Tensor::<1>::from_data(TensorData::new(values.clone(), [values.len()]), &device);
        let mut taken = Tensors::default();
        taken.insert("b.weight".into(), vec![250, 400], weight.clone());
        taken.insert_data("a.step".into(), [7_i64].into());
        assert_eq!(taken.bytes(), 400_008);

        // An update in place, as the optimizer's: it must find the memory held, and leave it.
        let rule = ops::Sgd {
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            learning_rate: 1.0,
            weight_decay: 0.0,
        };
        let (updated, _) = rule.update(weight, Tensor::ones([values.len()], &device), None);
        assert_eq!(updated.into_data().as_slice::<f32>().unwrap()[7], 0.0);

        let mut file = Vec::new();
        taken.write(&mut file).unwrap();
        let mut state = StateDict::new();
        state.insert("a.step".into(), [7_i64].into());
        state.insert("b.weight".into(), TensorData::new(values, [250, 400]));
        assert_eq!(file, weights::to_safetensors(&state, &[("format", "pt")]).unwrap());
    }
}

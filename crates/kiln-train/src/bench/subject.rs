//! A config's model with one batch of its own data, on a device: what is measured and compared.
//! Owns one training step on that batch, which is the loop's (`Run::steps`) without the loop. The batch is the first of
//! the first pass, prepared by the config's data pipeline, and stays on the device.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor};
use kiln_core::seed::{Purpose, mix};
use kiln_core::{Batch, Gradients, Input, InputSpec, Net, Output, StateDict, Target};
use kiln_data::{HostBatch, collate};
use kiln_eval::tasks::{Loss, Task};
use kiln_models::Card;
use kiln_nn::precision::within;

use super::{BenchError, Place};
use crate::config::Config;
use crate::distillation::Teacher;
use crate::error::TrainError;
use crate::load;
use crate::optim::{Optimizer, clip, global_norm};
use crate::pass::{self, LossScale};
use crate::run::Session;
use crate::setup::Parts;

/// A net in training and the batch that it trains on.
pub(crate) struct Subject {
    pub(crate) config: Config,
    pub(crate) card: Card,
    pub(crate) input: InputSpec,
    pub(crate) net: Box<dyn Net>,
    pub(crate) device: Device,
    pub(crate) host: HostBatch,
    batch: Batch,
    optimizer: Optimizer,
    task: &'static dyn Task,
    loss: Loss,
    teacher: Option<Teacher>,
    steps: u64,
}

/// What the forward and backward pass of a step gave.
pub(crate) struct Pass {
    pub(crate) loss: f32,
    pub(crate) gradients: Gradients,
}

impl Subject {
    /// Reads config, data and weights as a run does.
    pub(crate) fn open(path: &Path, overrides: &[String], place: &Place) -> Result<Self, BenchError> {
        Self::open_at(path, overrides, place, false)
    }

    /// The same, with the batch that is longest when it is padded instead of the first one.
    pub(crate) fn open_at(
        path: &Path,
        overrides: &[String],
        place: &Place,
        longest: bool,
    ) -> Result<Self, BenchError> {
        let mut config = load::load(path, overrides)?.config;
        config.device = place.device();
        let never = AtomicBool::new(false);
        let mut nobody = Session { callbacks: Vec::new(), interrupt: &never, process_start: Instant::now() };
        let parts = Parts::open(&config, &mut nobody)?;
        let Parts { dataset, train, model, optimizer, task, loss, teacher, device, .. } = parts;
        let mut loader = pass::loader(&config, &dataset, &train, (0, 0))?;
        if longest {
            loader = loader.starting_at_longest()?;
        }
        let host = loader.next().ok_or(TrainError::NoTrainingSamples)??;
        let batch = collate(host.clone(), &device);
        let (net, card, input) = (model.net, model.card, dataset.input);
        Ok(Self { config, card, input, net, device, host, batch, optimizer, task, loss, teacher, steps: 0 })
    }

    /// Samples in the batch.
    pub(crate) fn batch_size(&self) -> usize {
        self.batch.size
    }

    /// Tokens that the longest text of the batch has; 1 where there are no texts.
    pub(crate) fn tokens(&self) -> usize {
        match &self.batch.input {
            Input::Tokens(tokens) => tokens.ids.dims()[1],
            Input::Image(_) | Input::Table(_) => 1,
        }
    }

    /// Forward and backward, as `Run::micro_batch`.
    pub(crate) fn pass(&self) -> Result<Pass, BenchError> {
        kiln_nn::random::seed(self.key(), &self.device);
        let target = self.batch.target.clone().ok_or_else(|| TrainError::Unlabelled("the batch".into()))?;
        let (by, teacher) = ((self.task, &self.loss), self.teacher.as_ref());
        let loss = pass::loss(&self.config, &*self.net, teacher, by, self.batch.clone(), target)?;
        let value = loss.clone().into_scalar::<f32>();
        Ok(Pass {
            loss: value,
            gradients: match LossScale::of(self.config.precision) {
                Some(LossScale { factor, .. }) => {
                    self.net.gradients(loss.mul_scalar(factor)).scale(1.0 / factor)
                }
                None => self.net.gradients(loss),
            },
        })
    }

    /// The key of the random numbers of the current step.
    fn key(&self) -> u64 {
        mix(self.config.seed, Purpose::Device, &[self.steps, 0])
    }

    /// The answer of a training pass, of the same random numbers as [`Subject::pass`].
    pub(crate) fn output(&self) -> Result<Output, BenchError> {
        self.output_from(self.key())
    }

    /// The same with the random numbers of another key.
    pub(crate) fn output_from(&self, key: u64) -> Result<Output, BenchError> {
        kiln_nn::random::seed(key, &self.device);
        Ok(within(self.config.precision, || self.net.apply(self.batch.input.clone()))?)
    }

    /// The net after an optimizer step with these gradients.
    pub(crate) fn updated(mut self, gradients: Gradients) -> Box<dyn Net> {
        self.optimizer.step(self.net, gradients, self.config.optimizer.learning_rate())
    }

    /// One optimizer step at the config's peak learning rate, done when this returns; the loss before it.
    pub(crate) fn step(mut self) -> Result<(Self, f32), BenchError> {
        let Pass { loss, gradients } = self.pass()?;
        if !loss.is_finite() {
            let (step, what, samples) = (self.steps + 1, "loss", "the batch".into());
            let because = String::new();
            return Err(TrainError::NonFinite { step, what, value: loss, because, samples }.into());
        }
        let norm = global_norm(&gradients);
        let gradients = match self.config.train.max_grad_norm {
            Some(max_norm) => clip(gradients, norm, max_norm),
            None => gradients,
        };
        self.net = self.optimizer.step(self.net, gradients, self.config.optimizer.learning_rate());
        self.steps += 1;
        self.sync()?;
        Ok((self, loss))
    }

    /// Waits until the device has done what it was asked.
    pub(crate) fn sync(&self) -> Result<(), BenchError> {
        let name = &self.config.device;
        self.device.sync().map_err(|e| {
            let reason = e.to_string();
            kiln_core::device::DeviceError::Broken { name: name.clone(), reason }.into()
        })
    }

    /// The net for inference, and the input where it reads it.
    pub(crate) fn inference(&self) -> (Box<dyn Net>, Input) {
        let device = self.device.clone().inner();
        (self.net.valid(), collate(self.host.clone(), &device).input)
    }

    /// The batch by name, for other programs: `image`, `numbers`, `categories`, `ids`, `mask`, `types`; `target`.
    pub(crate) fn batch_state(&self) -> StateDict {
        let mut state = StateDict::new();
        let mut keep = |name: &str, data| {
            state.insert(name.to_string(), data);
        };
        let int = |t: &Tensor<2, Int>| t.to_data();
        match &self.batch.input {
            Input::Image(image) => keep("image", image.to_data()),
            Input::Tokens(tokens) => {
                keep("ids", int(&tokens.ids));
                keep("mask", int(&tokens.mask.clone().int()));
                keep("types", int(&tokens.types));
            }
            Input::Table(table) => {
                table.numbers.iter().for_each(|numbers| keep("numbers", numbers.to_data()));
                table.categories.iter().for_each(|categories| keep("categories", int(categories)));
            }
        }
        match &self.batch.target {
            Some(Target::Classes(t)) => keep("target", t.to_data()),
            Some(Target::MultiHot(t) | Target::Soft(t) | Target::Values(t)) => keep("target", t.to_data()),
            Some(Target::Tokens(t)) => keep("target", int(t)),
            None => {}
        }
        state
    }
}

//! How much memory a run takes, counted before it starts: weights, gradients, optimizer, activations, checkpoint.
//! Owns the counts and what they leave out; measures nothing. Part of `load`: `kiln check` says it.

use burn::tensor::Device;
use kiln_core::InputSpec;
use kiln_models::Model;
use kiln_models::cost::cost;
use kiln_models::lora::is_factor;
use kiln_models::weights::SAFETENSORS;
use kiln_nn::checkpoint;
use serde::Serialize;

use crate::config::Config;
use crate::finetune::Finetune;

/// Bytes of a number: weights, gradients, optimizer and what lies between layers are float32.
const NUMBER: u64 = 4;
/// The program itself with its threads and tokenizer, on the processor: 25 to 30 MiB where it was measured.
const PROGRAM: u64 = 28 << 20;
/// Parameters of a net beyond which its activations are not counted: that takes one pass through it on the processor.
const LARGE: u64 = 200_000_000;

/// Bytes that a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Parameters and running statistics.
    pub weights: u64,
    /// One a trained parameter.
    pub gradients: u64,
    /// What the optimizer keeps of them.
    pub optimizer: u64,
    /// The average of the weights.
    pub average: u64,
    /// The teacher's weights.
    pub teacher: u64,
    /// What the forward pass of a whole batch keeps for the backward pass, texts as long as they may be; `None` where it was
    /// not counted: in nets of more than 200 million parameters.
    pub activations: Option<u64>,
    /// Classes that the head was counted for where only the samples say how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed_classes: Option<usize>,
    /// Samples of the batch, or texts of `max_length` tokens that fill it.
    pub batch: u64,
    /// A saved checkpoint.
    pub checkpoint: u64,
}

impl Memory {
    /// Of a config whose net and input are known.
    pub(super) fn of(
        config: &Config,
        model: &Model,
        finetune: &Finetune,
        input: &InputSpec,
        device: &Device,
    ) -> Self {
        let size = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let parameters = model.net.parameters();
        let own: u64 = parameters.iter().map(|info| size(&info.shape)).sum();
        let adapters = finetune.parameters().iter().filter(|info| is_factor(&info.name));
        let outside = adapters.filter(|info| !parameters.iter().any(|own| own.name == info.name));
        let values = own + outside.map(|info| size(&info.shape)).sum::<u64>();
        let trained: Vec<_> =
            finetune.parameters().iter().filter(|info| finetune.trains(&info.name, u64::MAX)).collect();
        let rule = config.optimizer.rule();
        let slots = |info| rule.slots(info).iter().map(|slot| slot.elements as u64).sum::<u64>();
        let optimizer = trained.iter().map(|info| slots(info)).sum::<u64>() * NUMBER;
        let average = if config.average.is_some() { values * NUMBER } else { 0 };
        let length = if let InputSpec::Tokens { max_length, .. } = input { *max_length } else { 1 };
        let loader = config.data.loader();
        let batch = loader.max_tokens.map_or(loader.batch_size, |tokens| tokens.div_ceil(length.max(1)));
        let of_one = || {
            let on = config.train.activation_checkpointing;
            let counted = checkpoint::within(on, || cost(&*model.net, input, 1, length, device)).ok()?;
            Some(counted.training_activation_bytes)
        };
        let activations = if values <= LARGE { of_one() } else { None };
        Self {
            weights: values * NUMBER,
            gradients: trained.iter().map(|info| size(&info.shape)).sum::<u64>() * NUMBER,
            optimizer,
            average,
            teacher: teacher(config),
            assumed_classes: None,
            activations: activations.map(|bytes| bytes * batch as u64),
            batch: batch as u64,
            checkpoint: values * NUMBER + optimizer + average,
        }
    }

    /// What a run holds at once at most, beside its data: the program, weights, optimizer, average and teacher, and with them
    /// either gradients and activations or, on its way to the disk, a checkpoint twice. Within half as much again of what runs
    /// on the processor were measured to take. `None` where activations were not counted.
    pub fn peak(&self) -> Option<u64> {
        let held = PROGRAM + self.weights + self.optimizer + self.average + self.teacher;
        Some(held + (self.gradients + self.activations?).max(2 * self.checkpoint))
    }
}

/// Bytes of the teacher's file of weights; 0 where there is none.
fn teacher(config: &Config) -> u64 {
    let bytes = |own: &crate::config::DistillationConfig| {
        let folder = crate::distillation::model_of(&own.teacher);
        std::fs::metadata(folder.join(SAFETENSORS)).map_or(0, |file| file.len())
    };
    config.distillation.as_ref().map_or(0, bytes)
}

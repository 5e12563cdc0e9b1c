//! The forward pass of a batch in the run's precision, and the scale of its loss in float16.
//! Owns what the loop and `kiln bench` must do alike; never the loop. Both call [`loss`].

use burn::tensor::{DType, Device, Tensor};
use kiln_core::device::Chosen;
use kiln_core::{Batch, Net, Precision, Target};
use kiln_data::{DataError, Dataset, Loader, Mixup, Order, Split};
use kiln_eval::EvalError;
use kiln_eval::tasks::{Loss, Task};
use kiln_nn::checkpoint;
use kiln_nn::precision::within;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::distillation::Teacher;
use crate::error::TrainError;

/// The mean loss of a batch, `[1]`, with a graph behind it, in the config's precision and with its checkpointing. Backward passes keep the precision they were recorded in.
///
/// # Errors
/// The net or the task takes another kind of batch.
pub(crate) fn loss(
    config: &Config,
    net: &dyn Net,
    teacher: Option<&Teacher>,
    (task, by): (&dyn Task, &Loss),
    batch: Batch,
    target: Target,
) -> Result<Tensor<1>, TrainError> {
    within(config.precision, || {
        let heard = teacher.map(|teacher| teacher.answer(&batch.input)).transpose()?;
        let output = checkpoint::within(config.train.activation_checkpointing, || net.apply(batch.input))?;
        let hard =
            |output| Ok(task.loss(output, target.clone(), batch.weight, by).map_err(EvalError::from)?);
        match teacher.zip(heard) {
            None => hard(output),
            Some((teacher, heard)) => teacher.mixed(hard(output.clone())?, output, heard, &target),
        }
    })
}

/// The batches of pass `epoch` over the training samples, or over the first of them that are to be learned by heart;
/// without the first `skipped` samples, which were used in batches of another size.
///
/// # Errors
/// As [`Loader::new`].
pub(crate) fn loader(
    config: &Config,
    dataset: &Dataset,
    train: &Split,
    (epoch, skipped): (u64, usize),
) -> Result<Loader, DataError> {
    let only = config.train.overfit_batches.map(|batches| batches as usize);
    let order = Order::Train { seed: config.seed, epoch: if only.is_some() { 0 } else { epoch } };
    let loader = Loader::new(train, &dataset.preprocessor, config.data.loader(), order)?;
    let words = config.data.mixup();
    let loader = loader.mixed(words.map(|config| Mixup { config, classes: dataset.classes.len() }));
    let loader = match only {
        Some(batches) => loader.only(batches, epoch),
        None => loader,
    };
    Ok(match skipped {
        0 => loader,
        samples => loader.starting_after(samples, config.data.loader()),
    })
}

/// Whether a device can compute in the config's precision, and as repeatably as it wishes.
///
/// # Errors
/// It cannot.
pub(crate) fn supported(config: &Config, chosen: &Chosen) -> Result<(), TrainError> {
    let (precision, device) = (config.precision, chosen.name.clone());
    if let Some(why) = chosen.backend.differs().filter(|_| config.deterministic) {
        return Err(TrainError::Nondeterministic { device, why });
    }
    let dtype = match precision {
        Precision::F32 => return Ok(()),
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
    };
    match chosen.device.supports_dtype(dtype) {
        true => Ok(()),
        false => Err(TrainError::Precision { precision, device }),
    }
}

/// Whether a device's graphs can hold blocks that are run again.
///
/// # Errors
/// They cannot, and the config asks for it.
pub(crate) fn can_checkpoint(config: &Config, device: &Device, name: &str) -> Result<(), TrainError> {
    match !config.train.activation_checkpointing || checkpoint::is_possible(device) {
        true => Ok(()),
        false => Err(TrainError::Checkpointing { device: name.to_string() }),
    }
}

/// The factor of the loss in float16, as `torch.amp.GradScaler` moves it: gradients that would be zero in float16 are
/// not, and a step whose gradients overflow is left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor, a power of two.
    pub factor: f32,
    /// Steps since it last changed.
    pub steps: u32,
}

impl LossScale {
    const START: f32 = 65536.0;
    /// Steps without overflow after which it doubles.
    const PATIENCE: u32 = 2000;
    const MOST: f32 = 16_777_216.0;

    /// The start of a run in `precision`, which only float16 needs.
    pub(crate) fn of(precision: Precision) -> Option<Self> {
        (precision == Precision::F16).then_some(Self { factor: Self::START, steps: 0 })
    }

    /// After a step whose gradients were finite.
    pub(crate) fn held(self) -> Self {
        match self.steps + 1 {
            Self::PATIENCE => Self { factor: (2.0 * self.factor).min(Self::MOST), steps: 0 },
            steps => Self { steps, ..self },
        }
    }

    /// After a step whose gradients overflowed; `None` where a smaller loss would not help.
    pub(crate) fn lowered(self) -> Option<Self> {
        (self.factor > 1.0).then_some(Self { factor: self.factor / 2.0, steps: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_doubles_after_its_patience_and_halves_at_once_but_not_below_one() {
        let mut scale = LossScale::of(Precision::F16).unwrap();
        assert_eq!(LossScale::of(Precision::Bf16), None);
        for _ in 0..1999 {
            scale = scale.held();
        }
        assert_eq!((scale.factor, scale.steps), (65536.0, 1999));
        scale = scale.held();
        assert_eq!((scale.factor, scale.steps), (131_072.0, 0));
        scale = scale.held().lowered().unwrap();
        assert_eq!((scale.factor, scale.steps), (65536.0, 0));
        let most = (0..100_000).fold(scale, |scale, _| scale.held());
        assert_eq!(most.factor, 16_777_216.0);
        let least = std::iter::successors(Some(most), |scale| scale.lowered()).last().unwrap();
        assert_eq!(least.factor, 1.0);
    }
}

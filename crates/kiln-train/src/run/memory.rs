//! What it means that memory ran out: how the run can go on with smaller batches, in a process whose memory is its own.
//! Owns the recognition and the smaller batches; who starts the process is the command. Where the system kills a process for
//! the memory it took, nobody is left to ask: `kiln train --find-batch-size` is for that.

use std::path::PathBuf;

use super::Run;
use crate::bench::ending::is_out_of_memory;
use crate::config::{Config, OnOutOfMemory};
use crate::error::{OutOfMemory, TrainError};

/// What there is to say of a run whose memory runs out, taken before.
pub(crate) struct Memory {
    run: PathBuf,
    /// Overrides under which it takes less, if a batch can be smaller.
    smaller: Option<[String; 2]>,
    restart: bool,
}

impl Memory {
    /// Of a run.
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            run: run.dir.path().to_path_buf(),
            smaller: smaller(&run.config),
            restart: run.config.train.on_out_of_memory == OnOutOfMemory::Halve,
        }
    }

    /// The error as it is, unless memory ran out.
    pub(crate) fn explained(self, error: TrainError) -> TrainError {
        match error {
            TrainError::BrokeOff { reason, checkpoint } if is_out_of_memory(&reason) => {
                let Self { run, smaller, restart } = self;
                let what = OutOfMemory { reason, run, checkpoint, smaller, restart };
                TrainError::OutOfMemory(Box::new(what))
            }
            other => other,
        }
    }
}

/// The same samples a step in smaller batches: divided by the batch's smallest factor, half where it is even.
fn smaller(config: &Config) -> Option<[String; 2]> {
    let (batch, groups) = (config.data.loader().batch_size, config.train.gradient_accumulation_steps);
    let factor = (2..=batch).find(|factor| batch.is_multiple_of(*factor))?;
    Some([
        format!("data.loader.batch_size={}", batch / factor),
        format!("train.gradient_accumulation_steps={}", groups * factor as u64),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;

    fn config(batch: usize, groups: usize) -> Config {
        let text = format!(
            "[data]\nkind = \"idx\"\npath = \"datasets/digits\"\n[data.loader]\nbatch_size = {batch}\n\
             [model]\nkind = \"mlp\"\n[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.1\n\
             [train]\nepochs = 1\ngradient_accumulation_steps = {groups}\n"
        );
        load::from_resolved_toml(&text, "a.toml".as_ref()).unwrap().config
    }

    #[test]
    fn a_batch_is_divided_and_the_step_keeps_its_samples() {
        let words = |batch, groups| smaller(&config(batch, groups)).map(|words| words.join(" "));
        let expected = |batch: usize, groups: usize| {
            Some(format!("data.loader.batch_size={batch} train.gradient_accumulation_steps={groups}"))
        };
        assert_eq!(words(32, 1), expected(16, 2));
        assert_eq!(words(6, 4), expected(3, 8));
        assert_eq!(words(15, 2), expected(5, 6));
        assert_eq!(words(7, 1), expected(1, 7));
        assert_eq!(words(1, 9), None);
    }

    #[test]
    fn only_memory_that_ran_out_is_explained_so() {
        let memory = || Memory { run: "runs/a".into(), smaller: smaller(&config(8, 1)), restart: false };
        let broke = |reason: &str| TrainError::BrokeOff { reason: reason.into(), checkpoint: None };
        let other = memory().explained(broke("a kernel without a shape"));
        assert!(matches!(other, TrainError::BrokeOff { .. }), "{other}");
        let error = memory().explained(broke("DSD-0-0: out of device memory allocating 7 bytes"));
        assert_eq!(error.exit(), kiln_core::Exit::Memory);
        assert_eq!(
            error.hint().unwrap(),
            "kiln train runs/a data.loader.batch_size=4 train.gradient_accumulation_steps=2 goes on with the same steps; \
             train.on_out_of_memory=halve does so by itself"
        );
    }
}

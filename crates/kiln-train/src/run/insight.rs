//! What a line of `metrics.jsonl` tells of a step beside its loss: how far it moved the weights, and the memory in use.
//! Owns when the first is measured; never changes a number of the run.

use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::Run;
use crate::bench::machine;

impl Run {
    /// Whether a step's line has its update ratio: a function of the step alone, so that a resumed run writes the same.
    pub(super) fn measures(&self, step: u64) -> bool {
        let (every, lines) = (self.config.log.update_ratio_every, self.config.train.logging_steps);
        every > 0 && step.is_multiple_of(lines) && step.is_multiple_of(every.next_multiple_of(lines))
    }
}

/// Looks at the memory in use, no more often than every tenth of a second: asking takes longer than the steps of small nets
/// may.
#[derive(Debug, Default)]
pub(super) struct MemoryMeter {
    looked: Option<Instant>,
}

impl MemoryMeter {
    const BETWEEN: Duration = Duration::from_millis(100);

    /// MiB; `None` where it was looked at just now, or is not told.
    pub(super) fn mib(&mut self, device: &Device) -> Option<f64> {
        if self.looked.is_some_and(|at| at.elapsed() < Self::BETWEEN) {
            return None;
        }
        self.looked = Some(Instant::now());
        memory_mib(device)
    }
}

/// Of a GPU what its pool has reserved, of the processor what this process holds; `None` where neither is told.
fn memory_mib(device: &Device) -> Option<f64> {
    let device = device.clone().inner();
    match kiln_core::device::processor().is_some_and(|processor| processor == device) {
        true => machine::resident_mib(),
        false => device.memory_pool_usage().map(|pool| pool.bytes_reserved as f64 / f64::from(1 << 20)),
    }
}

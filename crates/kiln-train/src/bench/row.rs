//! One row: what is asked for, and what came of it.
//! Owns the fields and what makes two rows the same; `results` writes them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ending::is_out_of_memory;
use super::{BenchError, Timing};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowSpec {
    /// The config file.
    pub config: PathBuf,
    /// `key=value` overrides of it.
    pub overrides: Vec<String>,
    /// A device's word, or `cpu-plain`.
    pub device: String,
    /// `f32`
    pub precision: String,
    /// Samples in the batch; by default the config's.
    pub batch_size: Option<usize>,
    /// Whether the batch is that of the longest texts, and not the first one.
    #[serde(default)]
    pub longest: bool,
    /// Steps before the measured ones.
    pub warmup: usize,
    /// Measured steps at least.
    pub steps: usize,
    /// Seconds of measured steps at least.
    pub seconds: f64,
    /// Whether a loss that does not fall fails the row.
    pub check_loss: bool,
    /// Folder for the start weights (`model/`) and the batch (`batch.safetensors`), for other programs.
    pub keep: Option<PathBuf>,
}

impl RowSpec {
    /// The config's name with what was changed of it.
    pub fn label(&self) -> String {
        let stem = self.config.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        self.overrides.iter().fold(stem, |label, change| format!("{label} {change}"))
    }
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has numbers.
    Ok,
    /// It was tried in vain.
    Failed,
    /// It was tried, and the memory of the device or the machine ran out.
    OutOfMemory,
    /// This build or this machine cannot do it.
    Unsupported,
}

/// What makes two rows the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The config's name with what was changed of it.
    pub config: String,
    /// A device's word, or `cpu-plain`.
    pub device: String,
    /// `f32`
    pub precision: String,
    /// Samples in the batch; `None` where the row failed before it was known.
    pub batch_size: Option<usize>,
    /// What the device is.
    pub hardware: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}", self.config, self.device, self.precision)?;
        self.batch_size.map_or(Ok(()), |batch| write!(f, ", batch {batch}"))
    }
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What it is of.
    #[serde(flatten)]
    pub key: Key,
    /// Whether it has numbers.
    pub status: Status,
    /// Why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The backend's word.
    pub backend: String,
    /// Driver of the device, or the system's kernel.
    pub driver: String,
    /// Threads of the processor that kiln uses.
    pub threads: usize,
    /// kiln's version.
    pub kiln: String,
    /// Burn's version.
    pub burn: String,
    /// BLAKE3 of the binary, 16 digits.
    pub binary: String,
    /// The numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

impl Row {
    /// The same without numbers, because of `error`.
    pub fn failed(self, error: &BenchError) -> Self {
        let reason = error.to_string();
        let status = if error.is_unsupported() {
            Status::Unsupported
        } else if is_out_of_memory(&reason) {
            Status::OutOfMemory
        } else {
            Status::Failed
        };
        Self { status, reason: Some(reason), measured: None, ..self }
    }
}

/// Counts of a batch, from the meter of kiln-nn's layers: two operations for a multiply-add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Values of all parameters and running statistics.
    pub values: u64,
    /// Operations of a forward pass.
    pub forward_flops: u64,
    /// Operations of a training step, the optimizer's left out.
    pub training_flops: u64,
}

/// The numbers of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What the model is called where it comes from.
    pub model: String,
    /// What is learned.
    pub task: String,
    /// The optimizer's word.
    pub optimizer: String,
    /// One sample: `3x224x224`, `128 tokens`.
    pub input: String,
    /// Optimizer steps.
    pub train: Timing,
    /// Forward passes without gradients.
    pub infer: Timing,
    /// Counts.
    pub costs: Costs,
    /// From the start of the process: config, data, weights.
    pub load_ms: f64,
    /// The first step of the process.
    pub first_step_ms: f64,
    /// The first step of a second net in the same process, where compiled kernels are there already.
    pub first_step_warm_ms: f64,
    /// Largest resident memory of the process during the training steps, MiB.
    pub train_peak_mib: Option<f64>,
    /// The same during inference, the training state still there.
    pub infer_peak_mib: Option<f64>,
    /// What the device's memory pool holds after training, MiB; `None` where it tells nothing.
    pub device_pool_mib: Option<f64>,
    /// Joules of the processor packages a training step (RAPL).
    pub joules_per_step: Option<f64>,
    /// Joules of the GPU a training step (NVML).
    pub gpu_joules_per_step: Option<f64>,
    /// Share of all processors' time that went to this process in training.
    pub processors_busy: Option<f64>,
    /// Share of the time in training in which the GPU ran a kernel (NVML's samples).
    pub gpu_busy: Option<f64>,
    /// The device's own matrix products, GFLOP/s.
    pub peak_gflops: Option<f64>,
    /// The device's own copies, bytes read and written, GB/s.
    pub peak_copy_gb_per_sec: Option<f64>,
    /// Losses of the first 20 steps.
    pub losses: Vec<f32>,
    /// The loss of the last step.
    pub last_loss: f32,
}

impl Measured {
    /// Operations of a training step in the median time, as a share of the device's own matrix products.
    pub fn train_share_of_peak(&self) -> Option<f64> {
        self.peak_gflops.map(|peak| self.costs.training_flops as f64 / self.train.p50_ms / 1e6 / peak)
    }

    /// The same of a forward pass.
    pub fn infer_share_of_peak(&self) -> Option<f64> {
        self.peak_gflops.map(|peak| self.costs.forward_flops as f64 / self.infer.p50_ms / 1e6 / peak)
    }
}

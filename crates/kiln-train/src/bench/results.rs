//! The rows of one or more runs of `kiln bench`, and the files that they are written to.
//! Owns the columns: one const slice from which CSV, Markdown, HTML and the printed table come. Their names are those of
//! timm's benchmark.py where it has them.

use std::fs;
use std::path::Path;

use kiln_core::files::{self, FileError, write_atomic};
use serde::{Deserialize, Serialize};

use super::row::{Measured, Row, Status};
use super::{BenchError, html};

/// How the numbers were taken; goes with every table.
pub const METHOD: &str = "One process a row. The batch is the first of the config's data pipeline and stays on the \
    device; a training step is forward, loss, backward, global norm and optimizer step at the peak learning rate, the \
    device waited for after each. Times are medians with the 95 % confidence interval of the median (order statistics) \
    and the 95th percentile; no step is left out. Peak memory is the largest resident memory of the process during the \
    steps. FLOPs count two for a multiply-add of linear layers, convolutions and attention. Shares are of the device's \
    own matrix product in f32, measured in the same run. Energy is that of the processor packages (RAPL) and of the GPU \
    (NVML) while the steps ran, other programs' included; empty where it cannot be read.";

/// A column: its name in CSV, what it is in words where tables show it, and its value.
pub struct Column {
    /// In CSV.
    pub name: &'static str,
    /// In tables for people; `None` where only CSV has it.
    pub title: Option<&'static str>,
    /// Of a row, as text; empty where there is none.
    pub value: fn(&Row) -> String,
}

const fn column(name: &'static str, value: fn(&Row) -> String) -> Column {
    Column { name, title: None, value }
}

const fn shown(name: &'static str, title: &'static str, value: fn(&Row) -> String) -> Column {
    Column { name, title: Some(title), value }
}

/// A number of a row that has numbers.
fn of(row: &Row, digits: usize, number: impl Fn(&Measured) -> Option<f64>) -> String {
    row.measured.as_ref().and_then(number).map_or_else(String::new, |n| format!("{n:.digits$}"))
}

fn text<'a>(row: &'a Row, field: impl Fn(&'a Measured) -> &'a str) -> String {
    row.measured.as_ref().map_or_else(String::new, |m| field(m).to_string())
}

fn batch(row: &Row) -> String {
    row.key.batch_size.map_or_else(String::new, |n| n.to_string())
}

/// The side of the images, as timm's benchmark has it.
fn side(row: &Row) -> String {
    row.measured
        .as_ref()
        .and_then(|m| m.input.rsplit_once('x'))
        .map_or_else(String::new, |(_, s)| s.to_string())
}

fn status(row: &Row) -> String {
    let word = match row.status {
        Status::Ok => "ok",
        Status::Failed => "failed",
        Status::OutOfMemory => "out of memory",
        Status::Unsupported => "unsupported",
    };
    row.reason.as_ref().map_or_else(|| word.to_string(), |reason| format!("{word}: {reason}"))
}

/// Every column, in order. `infer_macts` of timm's, the values that convolutions write, is not counted and stays empty.
pub const COLUMNS: &[Column] = &[
    shown("config", "config", |r| r.key.config.clone()),
    column("model", |r| text(r, |m| &m.model)),
    column("task", |r| text(r, |m| &m.task)),
    column("input", |r| text(r, |m| &m.input)),
    column("optimizer", |r| text(r, |m| &m.optimizer)),
    shown("device", "device", |r| r.key.device.clone()),
    column("backend", |r| r.backend.clone()),
    shown("precision", "precision", |r| r.key.precision.clone()),
    shown("batch_size", "batch", batch),
    shown("train_samples_per_sec", "train/s", |r| of(r, 2, |m| Some(m.train.samples_per_sec))),
    shown("train_step_time", "step ms", |r| of(r, 3, |m| Some(m.train.p50_ms))),
    column("train_step_time_low", |r| of(r, 3, |m| Some(m.train.p50_low_ms))),
    column("train_step_time_high", |r| of(r, 3, |m| Some(m.train.p50_high_ms))),
    shown("train_step_time_p95", "p95 ms", |r| of(r, 3, |m| Some(m.train.p95_ms))),
    column("train_steps", |r| of(r, 0, |m| Some(m.train.steps as f64))),
    column("train_batch_size", batch),
    column("train_img_size", side),
    shown("train_share_of_peak", "of peak", |r| of(r, 3, Measured::train_share_of_peak)),
    shown("train_peak_mib", "peak MiB", |r| of(r, 0, |m| m.train_peak_mib)),
    shown("infer_samples_per_sec", "infer/s", |r| of(r, 2, |m| Some(m.infer.samples_per_sec))),
    shown("infer_step_time", "infer ms", |r| of(r, 3, |m| Some(m.infer.p50_ms))),
    column("infer_step_time_low", |r| of(r, 3, |m| Some(m.infer.p50_low_ms))),
    column("infer_step_time_high", |r| of(r, 3, |m| Some(m.infer.p50_high_ms))),
    column("infer_step_time_p95", |r| of(r, 3, |m| Some(m.infer.p95_ms))),
    column("infer_steps", |r| of(r, 0, |m| Some(m.infer.steps as f64))),
    column("infer_batch_size", batch),
    column("infer_img_size", side),
    column("infer_share_of_peak", |r| of(r, 3, Measured::infer_share_of_peak)),
    column("infer_peak_mib", |r| of(r, 0, |m| m.infer_peak_mib)),
    column("infer_gmacs", |r| {
        let batch = r.key.batch_size.unwrap_or(1) as f64;
        of(r, 3, |m| Some(m.costs.forward_flops as f64 / 2e9 / batch))
    }),
    column("infer_macts", |_| String::new()),
    column("param_count", |r| of(r, 2, |m| Some(m.costs.values as f64 / 1e6))),
    shown("train_gflops", "GFLOPs", |r| of(r, 3, |m| Some(m.costs.training_flops as f64 / 1e9))),
    column("peak_gflops_per_sec", |r| of(r, 1, |m| m.peak_gflops)),
    column("peak_copy_gb_per_sec", |r| of(r, 1, |m| m.peak_copy_gb_per_sec)),
    column("device_pool_mib", |r| of(r, 0, |m| m.device_pool_mib)),
    shown("load_ms", "load ms", |r| of(r, 0, |m| Some(m.load_ms))),
    shown("first_step_ms", "first ms", |r| of(r, 1, |m| Some(m.first_step_ms))),
    column("first_step_warm_ms", |r| of(r, 1, |m| Some(m.first_step_warm_ms))),
    column("joules_per_step", |r| of(r, 3, |m| m.joules_per_step)),
    column("gpu_joules_per_step", |r| of(r, 3, |m| m.gpu_joules_per_step)),
    column("processors_busy", |r| of(r, 3, |m| m.processors_busy)),
    column("gpu_busy", |r| of(r, 3, |m| m.gpu_busy)),
    column("first_loss", |r| of(r, 6, |m| m.losses.first().map(|l| f64::from(*l)))),
    column("last_loss", |r| of(r, 6, |m| Some(f64::from(m.last_loss)))),
    column("hardware", |r| r.key.hardware.clone()),
    column("threads", |r| r.threads.to_string()),
    column("driver", |r| r.driver.clone()),
    column("kiln", |r| r.kiln.clone()),
    column("burn", |r| r.burn.clone()),
    column("binary", |r| r.binary.clone()),
    shown("status", "status", status),
];

/// Rows, as `bench.json` has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Of the file's form.
    format: u32,
    /// How the numbers were taken.
    method: String,
    /// The rows.
    pub rows: Vec<Row>,
}

const FORMAT: u32 = 1;

impl Results {
    /// Rows that were measured now.
    pub fn new(rows: Vec<Row>) -> Self {
        Self { format: FORMAT, method: METHOD.into(), rows }
    }

    /// Reads what [`Results::write`] left as `bench.json`.
    ///
    /// # Errors
    /// No such file, or another form.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let fault = |reason: String| BenchError::Results { path: path.into(), reason };
        let results: Self = serde_json::from_slice(&files::read(path)?).map_err(|e| fault(e.to_string()))?;
        match results.format {
            FORMAT => Ok(results),
            other => Err(fault(format!("the file has format {other}, expected {FORMAT}"))),
        }
    }

    /// The rows of many files, in their order; a row that is there twice, in all its numbers, once.
    pub fn merged(parts: Vec<Self>) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for row in parts.into_iter().flat_map(|part| part.rows) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        Self::new(rows)
    }

    /// The table for people: titles, then a line a row.
    pub fn table(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let columns: Vec<&Column> = COLUMNS.iter().filter(|c| c.title.is_some()).collect();
        let line = |row: &Row| columns.iter().map(|c| (c.value)(row)).collect();
        (columns.iter().filter_map(|c| c.title).collect(), self.rows.iter().map(line).collect())
    }

    /// `bench.json`, as one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Every column.
    pub fn csv(&self) -> String {
        let quoted = |field: &str| match field.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field.to_string(),
        };
        let line = |fields: Vec<String>| fields.join(",") + "\n";
        let mut csv = line(COLUMNS.iter().map(|c| c.name.to_string()).collect());
        for row in &self.rows {
            csv += &line(COLUMNS.iter().map(|c| quoted(&(c.value)(row))).collect());
        }
        csv
    }

    /// The table for people as Markdown.
    pub fn markdown(&self) -> String {
        let (titles, lines) = self.table();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("# kiln bench\n\n{METHOD}\n\n");
        text += &line(titles.iter().map(|t| t.to_string()).collect());
        text += &line(titles.iter().map(|_| "---".to_string()).collect());
        for cells in lines {
            text += &line(cells.iter().map(|c| c.replace('|', "\\|").replace('\n', " ")).collect());
        }
        text
    }

    /// Writes `bench.json`, `bench.csv`, `bench.md` and `bench.html` into `folder`, creating it if needed.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn write(&self, folder: &Path) -> Result<(), BenchError> {
        fs::create_dir_all(folder).map_err(FileError::at(folder, "create"))?;
        let files = [
            ("bench.json", self.json()),
            ("bench.csv", self.csv()),
            ("bench.md", self.markdown()),
            ("bench.html", html::page(self)),
        ];
        for (name, text) in files {
            write_atomic(&folder.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

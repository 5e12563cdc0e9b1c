//! The words of `kiln bench` as rows: every config crossed with devices, precisions and batch sizes.
//! Owns their grammar; kiln-train checks what they name.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_train::bench::{BenchError, RowSpec};

use super::Rows;
use crate::hub;
use crate::report::Failure;

impl Rows {
    /// A row for each config, device, precision and batch size.
    pub(super) fn specs(&self) -> Result<Vec<RowSpec>, Failure> {
        let mut configs = Vec::new();
        let (mut devices, mut precisions, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let mut overrides = Vec::new();
        for word in &self.words {
            let list = |value: &str| value.split(',').map(str::to_string).collect::<Vec<_>>();
            match word.split_once('=').filter(|_| !PathBuf::from(word).is_file()) {
                Some(("device", value)) => devices = list(value),
                Some(("precision", value)) => precisions = list(value),
                Some(("batch_size", value)) => {
                    batches = list(value).iter().map(|n| batch_size(n)).collect::<Result<Vec<_>, _>>()?;
                }
                Some(_) => overrides.push(word.clone()),
                None => configs.push(PathBuf::from(word)),
            }
        }
        if configs.is_empty() {
            return Err(Failure::new(Exit::Usage, "no config given")
                .hint("kiln bench CONFIG... device=cpu,... precision=f32 batch_size=8,32"));
        }
        let mut specs = Vec::new();
        for config in &configs {
            let overrides = hub::pulled(config, &overrides)?;
            let loaded = kiln_train::load::load(config, &overrides).map_err(BenchError::from)?;
            let base = RowSpec {
                config: config.clone(),
                overrides,
                device: loaded.config.device,
                precision: loaded.config.precision.to_string(),
                batch_size: None,
                longest: false,
                warmup: self.warmup as usize,
                steps: self.steps as usize,
                seconds: self.seconds,
                check_loss: self.check_loss,
                keep: None,
            };
            let mut rows = vec![base];
            rows = crossed(rows, &devices, |row, device| row.device.clone_from(device));
            rows = crossed(rows, &precisions, |row, precision| row.precision.clone_from(precision));
            rows = crossed(rows, &batches, |row, batch| row.batch_size = Some(*batch));
            specs.extend(rows);
        }
        if let Some(folder) = &self.keep {
            for (i, spec) in specs.iter_mut().enumerate() {
                spec.keep = Some(folder.join(i.to_string()));
            }
        }
        Ok(specs)
    }
}

/// Each row once for each value; the rows themselves where there are no values.
fn crossed<T>(rows: Vec<RowSpec>, values: &[T], set: impl Fn(&mut RowSpec, &T)) -> Vec<RowSpec> {
    if values.is_empty() {
        return rows;
    }
    let with = |row: &RowSpec, value: &T| {
        let mut row = row.clone();
        set(&mut row, value);
        row
    };
    rows.iter().flat_map(|row| values.iter().map(|value| with(row, value)).collect::<Vec<_>>()).collect()
}

fn batch_size(word: &str) -> Result<usize, Failure> {
    word.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("batch_size: `{word}` is not a number of samples"))
            .hint("batch_size=8,32")
    })
}

//! Kernels made ready before they are needed: a GPU's first step of a config tunes and compiles, the next process finds
//! what the first one kept.
//! Owns what is run for it and both times; where kernels are kept is kiln-core's.

use kiln_core::device::keeps_kernels;
use serde::Serialize;

use super::{BenchError, Crew, Place, Row, RowSpec, Status};

/// What came of warming one row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warmed {
    /// The row, in words.
    pub row: String,
    /// How it ended; a row with nothing to warm is `Ok`.
    pub status: Status,
    /// Milliseconds of the first step of a process: before (cold, if nothing was kept yet), and with what that one kept.
    pub first_step_ms: Option<[f64; 2]>,
    /// Why there are no times.
    pub reason: Option<String>,
}

impl Crew {
    /// Trains and asks each row as briefly as can be, in two processes, telling `told` of each row as it is done.
    ///
    /// # Errors
    /// A process cannot be started, or a device's word is none. (A row that fails is told.)
    pub fn warm(&self, specs: &[RowSpec], told: &mut dyn FnMut(&Warmed)) -> Result<Vec<Warmed>, BenchError> {
        let mut all = Vec::new();
        for spec in specs {
            let warmed = self.warmed(spec)?;
            told(&warmed);
            all.push(warmed);
        }
        Ok(all)
    }

    fn warmed(&self, spec: &RowSpec) -> Result<Warmed, BenchError> {
        let place: Place = spec.device.parse()?;
        if !keeps_kernels(place.spec()) {
            let (row, reason) = (super::measure::outline(spec).key.to_string(), nothing(&place));
            return Ok(Warmed { row, status: Status::Ok, first_step_ms: None, reason: Some(reason) });
        }
        let brief =
            RowSpec { warmup: 1, steps: 1, seconds: 0.0, check_loss: false, keep: None, ..spec.clone() };
        let first = self.row(&brief)?;
        let last = if first.measured.is_some() { self.row(&brief)? } else { first.clone() };
        let ms = |row: &Row| row.measured.as_ref().map(|measured| measured.first_step_ms);
        let first_step_ms = ms(&first).zip(ms(&last)).map(|(before, after)| [before, after]);
        Ok(Warmed { row: last.key.to_string(), status: last.status, first_step_ms, reason: last.reason })
    }
}

fn nothing(place: &Place) -> String {
    let why = match place.backend().as_str() {
        "wgpu" => "wgpu compiles its kernels anew in every process",
        _ => "the processor's kernels are part of the binary",
    };
    format!("nothing to warm: {why}")
}

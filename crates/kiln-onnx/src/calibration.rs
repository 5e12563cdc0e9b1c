//! Training samples that int8 activations are calibrated with: evenly over the split, prepared as in evaluation.
//! Owns the choice of samples; `int8` measures.

use kiln_data::{HostBatch, Label, Preprocessor, Split};

use crate::export::Calibration;

/// Samples a batch: extremes are averaged over batches.
const BATCH: usize = 16;

/// Batches of `samples` samples, or of all where there are fewer.
pub fn calibration<'a>(split: &'a Split, preprocessor: &'a Preprocessor, samples: usize) -> Calibration<'a> {
    let count = samples.min(split.len());
    let starts = (0..count).step_by(BATCH);
    Box::new(starts.map(move |start| {
        let one = |k: usize| {
            let i = k * split.len() / count;
            let (features, _) = preprocessor.example(split.raw(i)?, &Label::None, &split.name(i), None, i)?;
            Ok((i, features, Label::None))
        };
        let batch: Result<Vec<_>, _> = (start..count.min(start + BATCH)).map(one).collect();
        batch.map(|samples| HostBatch::gather(samples, preprocessor.input()))
    }))
}

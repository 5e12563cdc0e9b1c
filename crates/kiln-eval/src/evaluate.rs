//! Scores a net on a split: batches through the net, logits to the host, one tally.
//! Owns the pass; never trains, chooses no split. The loop and `kiln eval` call it.

use std::sync::Arc;

use burn::tensor::Device;
use kiln_core::{Input, Net, Output};
use kiln_data::config::LoaderConfig;
use kiln_data::{Loader, Order, Preprocessor, Split, collate};

use crate::EvalError;
use crate::scores::{Scores, Tally};

/// Scores `net` (already `valid()`) on every sample of `split`.
///
/// # Errors
/// A sample cannot be read, has no label or another kind than the net reads; an answer is not finite.
pub fn evaluate(
    net: &dyn Net,
    split: &Split,
    preprocessor: &Arc<Preprocessor>,
    classes: &[String],
    loader: &LoaderConfig,
    device: &Device,
) -> Result<Scores, EvalError> {
    Ok(pass(net, split, preprocessor, classes, loader, device, &mut |_, _| true)?.0.scores())
}

/// As [`evaluate`], telling `progress` the samples done and their total after each batch; when it answers false the
/// pass ends and there are no scores.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with(
    net: &dyn Net,
    split: &Split,
    preprocessor: &Arc<Preprocessor>,
    classes: &[String],
    loader: &LoaderConfig,
    device: &Device,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<Scores>, EvalError> {
    let (tally, whole) = pass(net, split, preprocessor, classes, loader, device, progress)?;
    Ok(whole.then(|| tally.scores()))
}

/// Tallies the samples up to where `progress` ends it; whether that is all of them.
fn pass(
    net: &dyn Net,
    split: &Split,
    preprocessor: &Arc<Preprocessor>,
    classes: &[String],
    loader: &LoaderConfig,
    device: &Device,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<(Tally, bool), EvalError> {
    let mut tally = Tally::new(classes);
    let mut done = 0;
    for host in Loader::new(split, preprocessor, loader, Order::Sequential)? {
        let host = host?;
        let indices = host.indices.clone();
        let logits = ask(net, collate(host, device).input, classes.len())?;
        for (row, index) in logits.chunks_exact(classes.len()).zip(&indices) {
            let name = || split.name(*index);
            let truth = split.label(*index).ok_or_else(|| EvalError::Unlabelled { name: name() })?;
            tally.add(row, truth).map_err(|reason| EvalError::Answer { name: name(), reason })?;
        }
        done += indices.len();
        if !progress(done, split.len()) {
            return Ok((tally, false));
        }
    }
    Ok((tally, true))
}

/// The net's logits `[B, K]` for one batch, flat on the host.
pub(crate) fn ask(net: &dyn Net, input: Input, classes: usize) -> Result<Vec<f32>, EvalError> {
    let Output::Logits(logits) = net.apply(input)?;
    let [_, got] = logits.dims();
    if got != classes || got == 0 {
        return Err(EvalError::Classes { expected: classes, got });
    }
    Ok(logits.into_data().convert::<f32>().try_to_vec::<f32>()?)
}

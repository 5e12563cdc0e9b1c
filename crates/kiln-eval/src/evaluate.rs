//! Scores a net on a split: batches through the net, answers to a tally.
//! Owns the pass; never trains, chooses no split. The loop and `kiln eval` call it.

use std::sync::Arc;

use burn::tensor::Device;
use kiln_core::Net;
use kiln_data::config::LoaderConfig;
use kiln_data::{Label, Loader, Order, Preprocessor, Split, collate};

use crate::EvalError;
use crate::scores::Scores;
use crate::tasks::{Misfit, Task};
use crate::tta::{self, Tta};

/// What is scored, on what, and how.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// The net, already `valid()`.
    pub net: &'a dyn Net,
    /// Its task.
    pub task: &'a dyn Task,
    /// Names of its labels.
    pub labels: &'a [String],
    /// The samples.
    pub split: &'a Split,
    /// From raw samples to the net's input.
    pub preprocessor: &'a Arc<Preprocessor>,
    /// Batches.
    pub loader: &'a LoaderConfig,
    /// Where the net is.
    pub device: &'a Device,
    /// How each sample is shown to the net.
    pub tta: Tta,
}

impl Evaluation<'_> {
    /// The scores of every sample. `progress` is told the samples done and their total after each batch; when it
    /// answers false the pass ends and there are no scores.
    ///
    /// # Errors
    /// A sample cannot be read, has no label or another kind than the net reads; an answer is not finite.
    pub fn run(&self, progress: &mut dyn FnMut(usize, usize) -> bool) -> Result<Option<Scores>, EvalError> {
        let mut tally = self.task.tally(self.labels);
        tally.units(self.preprocessor.targets());
        let (mut done, mut cut) = (0, None);
        for host in Loader::new(self.split, self.preprocessor, self.loader, Order::Sequential)? {
            let host = host?;
            let (indices, target) = (host.indices.clone(), host.target.clone());
            let name = |sample: usize| indices.get(sample).map_or_else(String::new, |i| self.split.name(*i));
            let target = target.ok_or_else(|| EvalError::Unlabelled { name: name(0) })?;
            let output = tta::answer(self.net, collate(host, self.device).input, self.tta)?;
            tally.add(output, &target).map_err(|misfit| match misfit {
                Misfit::Answer { sample, reason } => EvalError::Answer { name: name(sample), reason },
                Misfit::Device(error) => error,
            })?;
            if let Some(words) = words(self.split, &indices) {
                *cut.get_or_insert(0) += words.saturating_sub(target.weight());
            }
            done += indices.len();
            if !progress(done, self.split.len()) {
                return Ok(None);
            }
        }
        let mut scores = tally.scores();
        if let Some(cut) = cut {
            scores.metrics.insert("words_cut".into(), cut.into());
        }
        Ok(Some(scores))
    }
}

/// The words of sentences with tags; fewer are scored where sentences are cut or words have no token.
fn words(split: &Split, indices: &[usize]) -> Option<u64> {
    let words = indices.iter().map(|&i| match split.label(i) {
        Label::Tags(tags) => Some(tags.len() as u64),
        _ => None,
    });
    words.sum()
}

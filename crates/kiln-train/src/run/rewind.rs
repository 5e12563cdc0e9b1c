//! The way back: the newest checkpoint whose weights are finite, and the run as it was then, but for the steps that it
//! leaves out from now on. Owns which checkpoint, and the bound; `nonfinite` decides when.
//!
//! A resume after it needs nothing more than the checkpoint: it meets the same step again, and goes back again.

use std::path::Path;

use kiln_core::StateDict;
use kiln_core::event::Event;

use super::guard::Turn;
use super::nonfinite::MOST_IN_A_ROW;
use super::{Run, Session};
use crate::average;
use crate::checkpoint::{self, Checkpoint, Latest};
use crate::config::OnNonfinite;
use crate::error::TrainError;
use crate::progress::LeftOutStep;
use crate::run_log::RunLog;

impl Run {
    /// Goes back for optimizer step `step`, which is left out from now on; `error` where that cannot be.
    ///
    /// # Errors
    /// No checkpoint before the step has finite weights, the run went back too often, or files fail.
    pub(super) fn rewind(
        &mut self,
        step: u64,
        reason: String,
        error: TrainError,
        session: &mut Session<'_>,
    ) -> Result<Turn, TrainError> {
        self.wait_for_save(session)?;
        let known = self.progress.left_out.iter().any(|left_out| left_out.step == step);
        if known || self.progress.left_out.len() as u64 >= MOST_IN_A_ROW {
            return Err(error);
        }
        let Some(Latest { folder, checkpoint, .. }) = self.good_before(step)? else { return Err(error) };
        let mut left_out = std::mem::take(&mut self.progress.left_out);
        left_out.push(LeftOutStep { step, reason: reason.clone() });
        left_out.sort_by_key(|left_out| left_out.step);
        let seconds = self.progress.seconds;
        self.put(&folder, &checkpoint)?;
        (self.progress.left_out, self.progress.seconds) = (left_out, seconds);
        self.begun = None;
        let (log, note) = RunLog::open(&self.dir, &self.config.log, &self.config_text, &self.progress)?;
        self.log = log;
        let at = self.progress.step;
        let news =
            format!("step {step}: {reason}; back to step {at} ({}), to leave it out", folder.display());
        session.tell(&Event::Note(&news));
        note.iter().for_each(|note| session.tell(&Event::Note(note)));
        Ok(Turn::Rewound)
    }

    /// Everything as a checkpoint has it, but for the files of the log.
    pub(super) fn put(&mut self, folder: &Path, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let path = || folder.to_path_buf();
        let report = self.net.load_state(&checkpoint.model);
        if !report.is_exact() {
            return Err(TrainError::Weights { path: path(), report: report.to_string() });
        }
        self.progress = checkpoint.progress.clone();
        let planned = self.planned();
        self.finetune.set(&mut *self.net, planned);
        self.optimizer
            .load_state(&checkpoint.optimizer, &*self.net, &self.device)
            .map_err(|source| TrainError::State { path: path(), source })?;
        average::restore(&mut self.average, checkpoint, &*self.net, &self.device)
            .map_err(|report| TrainError::Weights { path: path(), report })
    }

    /// The newest checkpoint before a step that loads and is finite.
    fn good_before(&self, step: u64) -> Result<Option<Latest>, TrainError> {
        good_before(&self.dir.checkpoints(), step)
    }
}

fn good_before(checkpoints: &Path, step: u64) -> Result<Option<Latest>, TrainError> {
    for at in checkpoint::steps(checkpoints)?.into_iter().rev().filter(|at| *at < step) {
        let folder = checkpoint::folder(checkpoints, at);
        match checkpoint::load(&folder) {
            Ok(checkpoint) if broken(&checkpoint.model).is_none() => {
                return Ok(Some(Latest { folder, checkpoint, damaged: Vec::new() }));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The checkpoint that a run goes on from.
///
/// # Errors
/// There are some and none loads; or the newest has a weight that is not finite, and the policy is not to go back.
pub(crate) fn newest(
    checkpoints: &Path,
    policy: OnNonfinite,
    session: &mut Session<'_>,
) -> Result<Option<Latest>, TrainError> {
    let Some(latest) = checkpoint::latest(checkpoints)? else { return Ok(None) };
    let Some(name) = broken(&latest.checkpoint.model) else { return Ok(Some(latest)) };
    let step = latest.checkpoint.progress.step;
    let error = TrainError::NonFiniteWeights { step, name: name.clone(), samples: "not known".into() };
    if policy != OnNonfinite::Rewind {
        return Err(error);
    }
    let news = format!("{}: `{name}` is not finite, this checkpoint is left aside", latest.folder.display());
    session.tell(&Event::Note(&news));
    good_before(checkpoints, step)?.map(Some).ok_or(error)
}

/// The first tensor with a value that is not finite.
fn broken(state: &StateDict) -> Option<String> {
    state.iter().find(|(_, data)| !data.iter::<f32>().all(f32::is_finite)).map(|(name, _)| name.clone())
}

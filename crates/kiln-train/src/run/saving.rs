//! Saves of a run: what is in one, which best ones are kept, and what a failed one means.
//! Owns `[checkpoint]` but for when a save is due, which the loop says; never writes a file (`saver` does).

use std::time::Instant;

use kiln_core::event::{Event, StepInfo};

use super::saver::{Answer, Job, Saved};
use super::{Run, Session};
use crate::average::Average;
use crate::checkpoint;
use crate::config::OnError;
use crate::error::TrainError;
use crate::progress::{Progress, Scored};
use crate::snapshot::{Snapshot, Tensors};

/// The newest save that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// What was saved, to see that it need not be saved again.
    progress: Progress,
    /// The best ones that were kept before: still there where it fails.
    kept: Vec<Scored>,
}

impl Run {
    /// That the disk has room for one checkpoint, before the first step.
    pub(super) fn room(&mut self, session: &mut Session<'_>) -> Result<(), TrainError> {
        let elements = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let weights = self.net.parameters().iter().map(|info| 4 * elements(&info.shape)).sum::<u64>();
        let average = self.config.average.as_ref().map_or(0, |_| weights);
        let needed = weights + average + self.optimizer.bytes_after_a_step(&*self.net);
        match checkpoint::room(self.dir.path(), needed) {
            Ok(()) => Ok(()),
            Err(fault) => self.failed(self.progress.step, fault, session),
        }
    }

    /// Begins a save of the run as it is now, after the one before; `is_kept` says that it is one of the best.
    pub(super) fn save(&mut self, is_kept: bool, session: &mut Session<'_>) -> Result<(), TrainError> {
        self.wait_for_save(session)?;
        let began = Instant::now();
        let (before, most) = (self.progress.kept.clone(), self.config.checkpoint.keep_best.most());
        if let Some(newest) = self.progress.newest.clone().filter(|_| is_kept) {
            self.keep(newest);
        }
        let logs = self.log.flushed(&mut self.progress)?;
        let snapshot = Snapshot {
            model: Tensors::of(&*self.net),
            optimizer: self.optimizer.tensors(),
            average: self.average.as_ref().and_then(Average::tensors),
            progress: self.progress.clone(),
        };
        let job = Job {
            snapshot,
            config: self.config_text.clone(),
            logs,
            keep_last: self.config.checkpoint.keep_last,
            keep: self.progress.kept.iter().map(|scored| scored.step).take(most).collect(),
        };
        self.begun = Some(Begun { progress: self.progress.clone(), kept: before });
        let begun = self.saver.begin(job);
        self.progress.blocked.saving += began.elapsed().as_secs_f64();
        begun.map_or_else(|fault| self.answered(Err(fault), session), Ok)
    }

    /// Hears what became of a save, where one is done.
    pub(super) fn saved(&mut self, session: &mut Session<'_>) -> Result<(), TrainError> {
        match self.saver.poll() {
            Some(answer) => self.answered(answer, session),
            None => Ok(()),
        }
    }

    /// Waits for the save that is under way: afterwards what was begun is on the disk.
    pub(crate) fn wait_for_save(&mut self, session: &mut Session<'_>) -> Result<(), TrainError> {
        match self.waited() {
            Some(answer) => self.answered(answer, session),
            None => Ok(()),
        }
    }

    fn waited(&mut self) -> Option<Answer> {
        let began = Instant::now();
        let answer = self.saver.wait();
        self.progress.blocked.saving += began.elapsed().as_secs_f64();
        answer
    }

    /// Saves the run as it is now, unless that was done, and waits for it. Whatever the policy, a failure is an error: there
    /// is no later save to make up for it.
    pub(super) fn save_at_last(&mut self, session: &mut Session<'_>) -> Result<(), TrainError> {
        self.wait_for_save(session)?;
        let same = |begun: &Begun| Progress { blocked: self.progress.blocked, ..begun.progress.clone() };
        if self.begun.as_ref().map(same).as_ref() == Some(&self.progress) {
            return Ok(());
        }
        let (step, policy) = (self.progress.step, self.config.checkpoint.on_error);
        self.config.checkpoint.on_error = OnError::Stop;
        let begun = self.save(false, session);
        self.config.checkpoint.on_error = policy;
        begun?;
        match self.waited() {
            Some(Err(fault)) => Err(self.unsaved(step, fault)),
            Some(answer) => self.answered(answer, session),
            None => Ok(()),
        }
    }

    /// Whether the newest evaluation is one of the best that are kept.
    pub(super) fn is_to_keep(&mut self, session: &mut Session<'_>) -> Result<bool, TrainError> {
        self.wait_for_save(session)?; // a save that failed keeps nothing
        let most = self.config.checkpoint.keep_best.most();
        let newest = self.progress.newest.as_ref().filter(|newest| newest.step == self.progress.step);
        let Some(newest) = newest.filter(|_| most > 0) else { return Ok(false) };
        let kept = &self.progress.kept;
        Ok(kept.len() < most || newest.beats(kept.last(), self.metric))
    }

    /// Takes a result among the best, which are sorted, and lets the worst go where they are too many.
    fn keep(&mut self, newest: Scored) {
        let kept = &mut self.progress.kept;
        kept.retain(|scored| scored.step != newest.step);
        let place = kept.iter().position(|scored| newest.beats(Some(scored), self.metric));
        kept.insert(place.unwrap_or(kept.len()), newest);
        kept.truncate(self.config.checkpoint.keep_best.most());
    }

    fn answered(&mut self, answer: Answer, session: &mut Session<'_>) -> Result<(), TrainError> {
        let step = self.begun.as_ref().map_or(self.progress.step, |begun| begun.progress.step);
        match answer {
            Ok(Saved { path, left }) => {
                session.tell(&Event::Saved { path: &path, step });
                if let Some(left) = left {
                    let note =
                        format!("warning: a checkpoint that is no longer kept could not be removed: {left}");
                    session.tell(&Event::Note(&note));
                }
                Ok(())
            }
            Err(fault) => {
                if let Some(begun) = self.begun.take() {
                    self.progress.kept = begun.kept;
                }
                self.failed(step, fault, session)
            }
        }
    }

    /// A save that failed ends the run, or is said.
    fn failed(
        &self,
        step: u64,
        fault: checkpoint::CheckpointError,
        session: &mut Session<'_>,
    ) -> Result<(), TrainError> {
        let fault = self.unsaved(step, fault);
        match self.config.checkpoint.on_error {
            OnError::Stop => Err(fault),
            OnError::Continue => {
                let hint = fault.hint().unwrap_or_default();
                session.tell(&Event::Note(&format!("warning: {fault}; training goes on ({hint})")));
                Ok(())
            }
        }
    }

    fn unsaved(&self, step: u64, source: checkpoint::CheckpointError) -> TrainError {
        let steps = checkpoint::steps(&self.dir.checkpoints()).unwrap_or_default();
        let newest = steps.last().map(|step| checkpoint::folder(&self.dir.checkpoints(), *step));
        TrainError::Unsaved { run: self.dir.path().to_path_buf(), step, newest, source: Box::new(source) }
    }

    /// Writes one step's line, and tells it.
    pub(super) fn line(&mut self, info: &StepInfo, session: &mut Session<'_>) -> Result<(), TrainError> {
        let began = Instant::now();
        self.log.write(info)?;
        session.tell(&Event::Step(info));
        self.progress.blocked.logging += began.elapsed().as_secs_f64();
        Ok(())
    }
}

//! After the last step: the chosen weights become the model folder, and the test split is scored, once.
//! Owns the choice (best on validation, or last) and `summary.json`; never trains.

use std::path::{Path, PathBuf};

use kiln_core::StateDict;
use kiln_core::event::Event;
use kiln_core::files::{FileError, write_atomic};
use kiln_eval::{Bundle, Scores};
use kiln_models::peft;
use serde::{Deserialize, Serialize};

use crate::average::{Weights, restore};
use crate::checkpoint;
use crate::error::TrainError;
use crate::progress::{Blocked, Scored};
use crate::run::alive::guarded;
use crate::run::memory::Memory;
use crate::run::{End, Run, Session};
use crate::runs::{self, History};

/// What a finished run came to; also written to `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run folder.
    pub run: PathBuf,
    /// The model folder.
    pub model: PathBuf,
    /// Optimizer steps done.
    pub steps: u64,
    /// The step whose weights the model has.
    pub chosen_step: u64,
    /// Why training ended before its last step, if it did.
    pub stopped_early: Option<String>,
    /// Those weights on the validation split.
    pub validation: Option<Scored>,
    /// Those weights on the test split.
    pub test: Option<Scored>,
    /// Seconds in the loop, over all resumes.
    pub seconds: f64,
    /// Of these, how long saves and logging kept it waiting.
    #[serde(default)]
    pub blocked: Blocked,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// There is a model.
    Finished(Box<Summary>),
    /// A signal came; everything is saved.
    Interrupted {
        /// The run folder, for `--resume`.
        run: PathBuf,
        /// Optimizer steps done.
        step: u64,
    },
}

impl Run {
    /// Trains to the end and leaves the model.
    ///
    /// # Errors
    /// As [`Run::steps`], or the model cannot be scored or written.
    pub fn finish(self, session: &mut Session<'_>) -> Result<Outcome, TrainError> {
        let (checkpoints, memory) = (self.dir.checkpoints(), Memory::of(&self));
        let (mut run, end) =
            guarded(&checkpoints, || self.steps(session)).map_err(|error| memory.explained(error))?;
        if let End::Interrupted { step } = end {
            run.leave_curves()?;
            return Ok(Outcome::Interrupted { run: run.dir.path().to_path_buf(), step });
        }
        let validation = run.choose(session)?;
        let chosen_step = validation.as_ref().map_or(run.progress.step, |v| v.step);
        let test = match run.dataset.test.clone() {
            Some(split) => match run.score(&split, "test", session)? {
                Some(scores) => Some(run.tested(&scores, chosen_step, session)?),
                None => {
                    run.heed_stop_file()?;
                    let path = run.dir.path().to_path_buf();
                    return Ok(Outcome::Interrupted { run: path, step: run.progress.step });
                }
            },
            None => None,
        };
        run.log.sync(&mut run.progress)?;
        run.leave_model()?;
        let summary = run.summary(chosen_step, validation, test);
        let path = run.dir.path().join("summary.json");
        let text =
            serde_json::to_vec_pretty(&summary).map_err(|e| FileError::at(&path, "write")(e.into()))?;
        write_atomic(&path, &text)?;
        run.leave_curves()?;
        Ok(Outcome::Finished(Box::new(summary)))
    }

    /// Writes the chart of what was logged; nothing where nothing was.
    fn leave_curves(&self) -> Result<(), TrainError> {
        let history = History::read(&self.dir.metrics())?;
        let path = self.dir.path().join(runs::FILE);
        let title = self.dir.path().file_name().unwrap_or_default().to_string_lossy();
        match runs::draw(&title, &history, self.metric.name) {
            Some(svg) => Ok(write_atomic(&path, svg.as_bytes())?),
            None => Ok(()),
        }
    }

    /// Writes `model/`, with adapters merged into its weights, and beside it `adapter/` with the adapters alone. Where the
    /// run has an average, the weights that were not scored go into `model_raw/` or `model_average/`.
    pub(crate) fn leave_model(&self) -> Result<(), TrainError> {
        let chosen = self.evaluate();
        let state = self.weights(chosen).state();
        if let Some(lora) = &self.finetune.lora {
            let base = self.config.model.pretrained().map(|path| path.display().to_string());
            peft::save(&self.dir.path().join("adapter"), lora, &state, &self.card, base.as_deref())?;
        }
        self.leave(&self.dir.model(), state)?;
        let (name, other) = match chosen {
            Weights::Average => ("model_raw", Weights::Raw),
            Weights::Raw => ("model_average", Weights::Average),
        };
        match self.progress.averaged {
            0 => Ok(()),
            _ => self.leave(&self.dir.path().join(name), self.weights(other).state()),
        }
    }

    fn leave(&self, folder: &Path, state: StateDict) -> Result<(), TrainError> {
        let merged = self.finetune.merged(state)?;
        Bundle::save(folder, &self.card, &merged, &self.dataset.preprocessor, &self.config.export)?;
        Ok(())
    }

    /// Puts the weights that become the model into the net, and answers their validation result: the best of those that are
    /// kept, else the last.
    fn choose(&mut self, session: &mut Session<'_>) -> Result<Option<Scored>, TrainError> {
        let most = self.config.checkpoint.keep_best.most();
        for best in self.progress.kept.clone().into_iter().take(most) {
            if best.step == self.progress.step {
                break;
            }
            let folder = checkpoint::folder(&self.dir.checkpoints(), best.step);
            let checkpoint = match checkpoint::load(&folder) {
                Ok(checkpoint) => checkpoint,
                Err(fault) => {
                    session.tell(&Event::Note(&format!(
                        "warning: one of the best checkpoints is lost: {fault}"
                    )));
                    continue;
                }
            };
            let report = self.net.load_state(&checkpoint.model);
            if !report.is_exact() {
                return Err(TrainError::Weights { path: folder, report: report.to_string() });
            }
            restore(&mut self.average, &checkpoint, &*self.net, &self.device)
                .map_err(|report| TrainError::Weights { path: folder, report })?;
            self.progress.averaged = checkpoint.progress.averaged;
            session.tell(&Event::Note(&format!(
                "the model has the weights of step {}, the best on validation",
                best.step
            )));
            return Ok(Some(best));
        }
        Ok(self.progress.newest.clone().filter(|newest| newest.step == self.progress.step))
    }

    fn tested(
        &mut self,
        scores: &Scores,
        step: u64,
        session: &mut Session<'_>,
    ) -> Result<Scored, TrainError> {
        let scored = Scored { step, loss: scores.loss, metrics: scores.metrics.clone() };
        self.evaluated(&scored, "test", false, session)?;
        Ok(scored)
    }

    fn summary(&self, chosen_step: u64, validation: Option<Scored>, test: Option<Scored>) -> Summary {
        Summary {
            run: self.dir.path().to_path_buf(),
            model: self.dir.model(),
            steps: self.progress.step,
            chosen_step,
            stopped_early: self.progress.stopped_early.clone(),
            validation,
            test,
            seconds: self.progress.seconds,
            blocked: self.progress.blocked,
        }
    }
}

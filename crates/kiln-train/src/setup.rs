//! How a run comes to be: a new folder for a config, or a folder and its newest checkpoint.
//! Owns the order in which parts are opened; never trains. What may change on resume, `resume.rs` says. Hands a `Run` to its
//! loop.

mod words;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use kiln_core::device::{self, DeviceSpec};
use kiln_core::event::Event;
use kiln_core::files::write_atomic;
use kiln_core::run_dir::RunDirError;
use kiln_core::{RunDir, TaskConfig};
use kiln_data::{Dataset, OpenOptions, Split};
use kiln_eval::tasks::{self, Loss, Metric, Task};
use kiln_models::Model;

use crate::average::{self, Average};
use crate::bad_samples::BadSamples;
use crate::checkpoint::Latest;
use crate::config::Config;
use crate::distillation::Teacher;
use crate::error::TrainError;
use crate::finetune::{self, Finetune};
use crate::load::{self, Loaded};
use crate::loss;
use crate::optim::Optimizer;
use crate::pass::{can_checkpoint, supported};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::resume::{latest_run, resume};
use crate::run::{Ledger, Run, Saver, Session};
use crate::run_log::RunLog;
use words::{describe, describe_order};

/// What to train.
#[derive(Debug, Clone)]
pub enum Start {
    /// A new run of a config.
    New {
        /// The config file.
        config: PathBuf,
        /// `key=value` overrides.
        overrides: Vec<String>,
    },
    /// A new run of a config that is in no file.
    Drafted {
        /// The config.
        text: String,
        /// The path shown in faults; its stem names the run, its folder is where relative paths start.
        origin: PathBuf,
        /// `key=value` overrides.
        overrides: Vec<String>,
    },
    /// The newest run of a config.
    ResumeLatest {
        /// The config file.
        config: PathBuf,
        /// `key=value` overrides.
        overrides: Vec<String>,
    },
    /// A run folder; with a config, it must be that run's.
    Resume {
        /// The run folder.
        run: PathBuf,
        /// A config to compare with.
        config: Option<PathBuf>,
        /// `key=value` overrides of what may change.
        overrides: Vec<String>,
    },
}

impl Run {
    /// Makes or finds the run folder, holds it, and brings everything to where training goes on.
    ///
    /// # Errors
    /// Config, device, data, weights, folder or checkpoint have a fault.
    pub fn start(start: &Start, session: &mut Session<'_>) -> Result<Self, TrainError> {
        match start {
            Start::New { config, overrides } => new(load::load(config, overrides)?, config, session),
            Start::Drafted { text, origin, overrides } => {
                new(load::load_text(text, origin, overrides)?, origin, session)
            }
            Start::ResumeLatest { config, overrides } => {
                let loaded = load::load(config, overrides)?;
                let run = latest_run(&loaded, config)?;
                resume(&run, loaded, session)
            }
            Start::Resume { run, config, overrides } => {
                if !RunDir::is_run(run) {
                    return Err(RunDirError::NotARun { path: run.clone() }.into());
                }
                let saved = run.join("config.toml");
                resume(run, load::load(config.as_ref().unwrap_or(&saved), overrides)?, session)
            }
        }
    }
}

fn new(loaded: Loaded, path: &Path, session: &mut Session<'_>) -> Result<Run, TrainError> {
    let config = &loaded.config;
    for note in &loaded.notes {
        session.tell(&Event::Note(note));
    }
    // Said before data and weights are read; `create` below is what makes sure.
    if let Some(path) = RunDir::taken(&config.output_dir, config.run_name.as_deref()) {
        return Err(RunDirError::Exists { path }.into());
    }
    let parts = Parts::open(config, session)?;
    let stem = path.file_stem().map_or_else(|| "run".into(), |s| s.to_string_lossy().into_owned());
    let dir = RunDir::create(&config.output_dir, config.run_name.as_deref(), &stem)?;
    let text = loaded.resolved.to_toml();
    write_atomic(&dir.config(), text.as_bytes())?;
    let progress =
        Progress::new(config.seed, loaded.resolved.hash(), parts.plan.train_samples, config.precision);
    let (log, _) = RunLog::open(&dir, &config.log, &text, &progress)?;
    parts.run(loaded.config, text, dir, log, progress)
}

/// A run without its folder.
pub(crate) struct Parts {
    pub(crate) plan: Plan,
    pub(crate) dataset: Dataset,
    pub(crate) train: Split,
    pub(crate) model: Model,
    pub(crate) finetune: Finetune,
    pub(crate) optimizer: Optimizer,
    pub(crate) average: Option<Average>,
    pub(crate) task: &'static dyn Task,
    pub(crate) loss: Loss,
    pub(crate) teacher: Option<Teacher>,
    metric: Metric,
    pub(crate) device: Device,
}

impl Parts {
    /// Opens data and device and builds the start weights: pretrained where given, else from the seed.
    pub(crate) fn open(config: &Config, session: &mut Session<'_>) -> Result<Self, TrainError> {
        let task = tasks::of(config.task.kind())?;
        let metric = config.metric()?;
        let spec: DeviceSpec = config.device.parse()?;
        let chosen = device::resolve(&spec)?;
        session.tell(&Event::Note(&format!("device: {} ({})", chosen.name, chosen.why)));
        supported(config, &chosen)?;
        can_checkpoint(config, &chosen.device, &chosen.name.to_string())?;
        let tokenizer_folder = config.model.pretrained().map(PathBuf::as_path);
        let known = config.model.pretrained().and_then(|path| kiln_models::brought_classes(path));
        let options = OpenOptions { tokenizer_folder, task: config.task, known_classes: known.as_deref() };
        let dataset = Dataset::open(&config.data, &options)?;
        let train = dataset.train.clone().ok_or(TrainError::NoTrainingSamples)?;
        let plan = Plan::of(config, &train, &dataset.preprocessor)?;
        evaluated_in_budget(config, &dataset)?;
        if plan.batches_per_epoch == 0 {
            return Err(TrainError::NoBatch {
                samples: train.len(),
                batch_size: config.data.loader().batch_size,
            });
        }
        session.tell(&Event::Note(&describe(&dataset)));
        if let Some(order) = describe_order(config, &plan, &train) {
            session.tell(&Event::Note(&order));
        }
        if let Some(groups) = plan.uneven() {
            session.tell(&Event::Note(&groups));
        }
        if let Some(cache) = dataset.cache_plan() {
            session.tell(&Event::Note(&cache));
        }
        let device = chosen.device.autodiff();
        let mut model = kiln_models::build(
            &config.model,
            &dataset.input,
            &dataset.classes,
            config.task.kind(),
            &device,
            config.seed,
        )?;
        let finetune = Finetune::new(config, &mut model, &plan)?;
        let groups = finetune::table(&finetune, &*config.optimizer.rule());
        session.tell(&Event::Note(&groups));
        if let Some(report) = &model.report {
            session.tell(&Event::Note(&format!("pretrained weights: {report}")));
        }
        if matches!(config.task, TaskConfig::Regression(task) if task.standardize) {
            session.tell(&Event::Note(
                "the labels are standardised: kiln answers in their own units, other programs that open the model \
                 folder get (y - mean) / std",
            ));
        }
        for note in &model.notes {
            session.tell(&Event::Note(note));
        }
        let optimizer = Optimizer::new(&config.optimizer).with_settings(finetune.settings());
        let loss = loss::resolve(config, &dataset, &train)?;
        if let Some(weights) = loss::described(&loss, &dataset.classes) {
            session.tell(&Event::Note(&weights));
        }
        let teacher = Teacher::open(config, &dataset, &device)?;
        let average = config.average.as_ref().map(Average::new);
        Ok(Self {
            plan,
            dataset,
            train,
            model,
            finetune,
            optimizer,
            average,
            task,
            loss,
            teacher,
            metric,
            device,
        })
    }

    /// Puts a checkpoint's weights and optimizer state in place.
    pub(crate) fn restore(
        &mut self,
        latest: &Latest,
        run: &Path,
        session: &mut Session<'_>,
    ) -> Result<Progress, TrainError> {
        let Latest { folder, checkpoint, damaged } = latest;
        for fault in damaged {
            session.tell(&Event::Note(&format!("a newer checkpoint is damaged and left aside: {fault}")));
        }
        let progress = checkpoint.progress.clone();
        if progress.train_samples != self.plan.train_samples {
            let (was, is) = (progress.train_samples, self.plan.train_samples);
            let differences = format!("  training samples: the run has {was}, now {is}");
            return Err(TrainError::Changed { run: run.to_path_buf(), what: "data", differences });
        }
        let report = self.model.net.load_state(&checkpoint.model);
        if !report.is_exact() {
            return Err(TrainError::Weights { path: folder.clone(), report: report.to_string() });
        }
        self.finetune.set(&mut *self.model.net, progress.step);
        self.optimizer
            .load_state(&checkpoint.optimizer, &*self.model.net, &self.device)
            .map_err(|source| TrainError::State { path: folder.clone(), source })?;
        average::restore(&mut self.average, checkpoint, &*self.model.net, &self.device)
            .map_err(|report| TrainError::Weights { path: folder.clone(), report })?;
        Ok(progress)
    }

    /// Batches that are left of the pass under way.
    pub(crate) fn left_of_pass(&self, config: &Config, progress: &Progress) -> usize {
        let all = match progress.skipped {
            0 => self.plan.batches_per_epoch,
            used => Plan::rest(config, self.samples_of_pass(config), used),
        };
        all.saturating_sub(progress.batch)
    }

    /// Samples of a whole pass.
    pub(crate) fn samples_of_pass(&self, config: &Config) -> usize {
        let quotas = self.train.quotas(config.data.loader());
        quotas.map_or(self.train.len(), |quotas| quotas.iter().map(|(taken, _)| taken).sum())
    }

    pub(crate) fn run(
        self,
        config: Config,
        config_text: String,
        dir: RunDir,
        log: RunLog,
        progress: Progress,
    ) -> Result<Run, TrainError> {
        let left = self.left_of_pass(&config, &progress);
        let shift = self.plan.shift(&config, &progress, left);
        let policy = config.data.loader().on_bad_sample;
        let splits = [("train", &self.dataset.train), ("validation", &self.dataset.validation)];
        let bad = BadSamples::open(&dir, policy, &[splits[0], splits[1], ("test", &self.dataset.test)])?;
        let Self {
            plan,
            dataset,
            train,
            model,
            finetune,
            optimizer,
            average,
            task,
            loss,
            teacher,
            metric,
            device,
        } = self;
        // On the processor a number is there when it is asked for.
        let late = device::processor().is_none_or(|cpu| cpu != device.clone().inner());
        let ledger = Ledger::new(late, config.train.logging_steps, config.log.peak_tflops);
        Ok(Run {
            config,
            config_text,
            plan,
            shift,
            dataset,
            train,
            card: model.card,
            task,
            loss,
            metric,
            finetune,
            teacher,
            saver: Saver::new(dir.checkpoints()),
            begun: None,
            dir,
            log,
            bad,
            ledger,
            tables_train: kiln_models::cost::tables_train(&*model.net),
            device,
            net: model.net,
            optimizer,
            average,
            progress,
        })
    }
}

/// Finds, before the first step, a text of validation or test that is longer than the budget of a batch.
fn evaluated_in_budget(config: &Config, dataset: &Dataset) -> Result<(), TrainError> {
    let loader = config.data.loader();
    for split in
        [&dataset.validation, &dataset.test].into_iter().flatten().filter(|_| loader.max_tokens.is_some())
    {
        kiln_data::batches(split, &dataset.preprocessor, loader, false)?;
    }
    Ok(())
}

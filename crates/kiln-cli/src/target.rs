//! What TARGET and MODEL mean on the command line: a run folder, a model folder, or a config file.
//! Owns the telling apart, and the config that belongs to each; `eval` and `predict` use it.

use std::path::{Path, PathBuf};

use kiln_core::device::{self, Chosen, DeviceSpec};
use kiln_core::{Exit, InputSpec, RunDir};
use kiln_data::Preprocessor;
use kiln_models::Card;
use kiln_train::config::Config;
use kiln_train::load;

use crate::hub;
use crate::report::Failure;

/// Something that can be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A run with its final model.
    Run { model: PathBuf, config: PathBuf },
    /// A model folder, and the config of the run that holds it.
    Model { model: PathBuf, config: Option<PathBuf> },
    /// A config file.
    Config(PathBuf),
}

impl Target {
    /// Looks at what `path` is.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        if path.is_file() {
            return Ok(Target::Config(path.into()));
        }
        if !path.exists() {
            return Err(missing(path, "there is nothing here"));
        }
        let (config, model) = (path.join("config.toml"), path.join("model"));
        if config.is_file() && is_model(&model) {
            return Ok(Target::Run { model, config });
        }
        if is_model(path) {
            let beside = path.canonicalize().ok().and_then(|p| Some(p.parent()?.join("config.toml")));
            return Ok(Target::Model { model: path.into(), config: beside.filter(|c| c.is_file()) });
        }
        if path.join("adapter_config.json").is_file() {
            let what = "this folder holds an adapter, not a whole model";
            return Err(missing(path, what).hint(
                "give the model/ beside it, which has the adapter merged in; or train from it: lora.pretrained",
            ));
        }
        Err(match RunDir::is_run(path) {
            true => missing(path, "this run has no model yet").hint(format!(
                "a run leaves its model/ when it finishes: kiln train --resume {}",
                path.display()
            )),
            false => missing(path, "this folder holds neither a run nor a model"),
        })
    }

    /// The model folder of a run or model folder.
    pub(crate) fn model(self, path: &Path) -> Result<PathBuf, Failure> {
        match self {
            Target::Run { model, .. } | Target::Model { model, .. } => Ok(model),
            Target::Config(_) => Err(missing(path, "this is a file")),
        }
    }
}

fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

fn missing(path: &Path, what: &str) -> Failure {
    Failure::new(Exit::Data, format!("{}: not a model: {what}", path.display()))
        .hint("give a run folder that `kiln train` finished, or its model/ folder")
}

/// The config of a target with overrides: the run's, or for a model folder outside a run what the overrides say.
pub(crate) fn config(target: &Target, overrides: &[String]) -> Result<Config, Failure> {
    let loaded = match target {
        Target::Config(path)
        | Target::Run { config: path, .. }
        | Target::Model { config: Some(path), .. } => load::load(path, &hub::pulled(path, overrides)?)?,
        Target::Model { model, config: None } => lone(model, overrides)?,
    };
    Ok(loaded.config)
}

/// A model folder outside a run: the data come from the overrides alone. The rest of a config is filled in with what
/// the rules ask for; nothing of it is used.
fn lone(model: &Path, overrides: &[String]) -> Result<load::Loaded, Failure> {
    if !overrides.iter().any(|o| o.starts_with("data.")) {
        let message = format!("{}: no data to score on: the model is not in a run folder", model.display());
        return Err(Failure::new(Exit::Usage, message).hint(
            "say which, for example: data.kind=csv data.test=FILE data.text=COLUMN data.label=COLUMN",
        ));
    }
    let kind = match Preprocessor::load(model)?.input() {
        InputSpec::Tokens { .. } => {
            format!("kind = \"bert\"\npretrained = {:?}", model.display().to_string())
        }
        InputSpec::Image { .. } | InputSpec::Table { .. } => "kind = \"mlp\"".to_string(),
    };
    let task = Card::read(model).and_then(|card| card.task())?;
    let text = format!(
        "[task]\nkind = \"{task}\"\n[model]\n{kind}\n[optimizer]\nkind = \"sgd\"\n[train]\nmax_steps = 1\n"
    );
    Ok(load::load_text(&text, &model.join("config.toml"), &with_training_data(overrides))?)
}

/// A config must say what is trained on. Where only data to score are given, they stand there too: scoring a split
/// never looks at another.
fn with_training_data(overrides: &[String]) -> Vec<String> {
    let value = |key: &str| overrides.iter().find_map(|o| o.strip_prefix(key)?.strip_prefix('='));
    let mut all = overrides.to_vec();
    if value("data.path").is_none() && value("data.train").is_none() {
        let scored = value("data.test").or(value("data.validation"));
        all.extend(scored.map(|path| format!("data.train={path}")));
    }
    all
}

/// The device asked for on the command line, else the config's, else the best there is.
pub(crate) fn device(asked: Option<DeviceSpec>, config: Option<&str>) -> Result<Chosen, Failure> {
    let spec = match (asked, config) {
        (Some(spec), _) => spec,
        (None, Some(text)) => text.parse()?,
        (None, None) => DeviceSpec::Auto,
    };
    Ok(device::resolve(&spec)?)
}

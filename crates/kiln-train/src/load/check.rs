//! `kiln check`: the config's faults, then those of the data it names, then those of model, weights and adapters. No
//! device is touched and no weight is read.
//! Owns the translation of errors into faults with a place; the rooms find them. Part of `load`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use kiln_core::config::{BAD_DATA, Fault, Report};
use kiln_core::{Exit, InputSpec};
use kiln_data::look::leakage;
use kiln_data::{DataError, Dataset, OpenOptions, Outline};

use super::{Loaded, Memory, load};
use crate::distillation;
use crate::error::TrainError;
use crate::finetune::Finetune;

/// Reads a config as `load` does, and looks at the data; then whether model, weights and patterns fit.
///
/// # Errors
/// Every fault of the config; where it has none, every fault of the data; else what a run would stop at before its
/// first step.
pub fn check(path: &Path, overrides: &[String]) -> Result<Loaded, Report> {
    let mut loaded = load(path, overrides)?;
    let known = loaded.config.model.pretrained().and_then(|path| kiln_models::brought_classes(path));
    let options = OpenOptions {
        tokenizer_folder: loaded.config.model.pretrained().map(PathBuf::as_path),
        task: loaded.config.task,
        known_classes: known.as_deref(),
    };
    let outline = Dataset::check(&loaded.config.data, &options)
        .map_err(|errors| Report::new(errors.iter().map(|error| of_data(&loaded, error)).collect()))?;
    budget(&loaded, &options)?;
    loaded.memory = model(&loaded, outline, &options)?;
    let left_out = leaks(&loaded, &options)?;
    loaded.notes.extend(left_out);
    Ok(loaded)
}

/// Whether training inputs are held out too; answers what was not looked at.
fn leaks(loaded: &Loaded, options: &OpenOptions<'_>) -> Result<Option<String>, Report> {
    let leak = leakage(&loaded.config.data, options).map_err(|error| one(of_data(loaded, &error)))?;
    match leak.problem() {
        None => Ok(leak.left_out),
        Some(problem) => {
            let remedy = "remove them from one split (kiln data stats lists all), or set allow_leakage = true in [data]";
            Err(one(loaded.resolved.fault_of(BAD_DATA, "data", problem, remedy)))
        }
    }
}

/// Measures the texts of every split, where one may be longer than the tokens of a batch.
fn budget(loaded: &Loaded, options: &OpenOptions<'_>) -> Result<(), Report> {
    let (data, loader) = (&loaded.config.data, loaded.config.data.loader());
    let longest = data.tokenizer().map(|tokenizer| tokenizer.max_length);
    if loader.max_tokens.is_none_or(|budget| longest.is_none_or(|longest| longest <= budget)) {
        return Ok(());
    }
    let measured = Dataset::open(data, options).and_then(|data| {
        let splits = [(&data.train, true), (&data.validation, false), (&data.test, false)];
        splits.into_iter().try_for_each(|(split, training)| match split {
            Some(split) => kiln_data::batches(split, &data.preprocessor, loader, training).map(drop),
            None => Ok(()),
        })
    });
    measured.map_err(|error| one(of_data(loaded, &error)))
}

/// Lays the net out on the processor, whose weights are not drawn, and holds files and patterns against it.
///
/// Samples are read only where a fault depends on them: an adapter keeps its head, what is learned from samples must
/// fit weights and names, and a fault is said of the model that a run would build.
///
/// Answers the memory that a run takes.
fn model(loaded: &Loaded, outline: Outline, options: &OpenOptions<'_>) -> Result<Option<Memory>, Report> {
    let config = &loaded.config;
    let adapter = config.lora.as_ref().is_some_and(|lora| lora.pretrained.is_some());
    let tuned = config.model.pretrained().is_some() || config.lora.is_some() || config.finetune.is_some();
    let depends = match outline {
        Outline { input: Some(input), classes: Some(classes) } => return fits(loaded, &input, &classes),
        Outline { input: Some(input), classes: None } if !adapter => {
            let stand_ins = || ["0", "1"].map(String::from).to_vec();
            let known = options.known_classes.map_or_else(stand_ins, <[String]>::to_vec);
            match fits(loaded, &input, &known) {
                Ok(memory) => {
                    let assumed_classes = Some(known.len());
                    return Ok(memory.map(|memory| Memory { assumed_classes, ..memory }));
                }
                Err(_) => true,
            }
        }
        Outline { input: None, .. } => tuned || config.distillation.is_some(),
        Outline { classes: None, .. } => true,
    };
    if !depends {
        return Ok(None);
    }
    let data = Dataset::open(&config.data, options).map_err(|error| one(of_data(loaded, &error)))?;
    fits(loaded, &data.input, &data.classes)
}

/// Whether weights, adapters and patterns fit the net of this input and these classes.
fn fits(loaded: &Loaded, input: &InputSpec, classes: &[String]) -> Result<Option<Memory>, Report> {
    let config = &loaded.config;
    let Some(device) = kiln_core::device::processor().map(Device::autodiff) else { return Ok(None) };
    let adapter = config.lora.as_ref().is_some_and(|lora| lora.pretrained.is_some());
    let start = if config.model.pretrained().is_some() { "model.pretrained" } else { "model" };
    let table = if config.lora.is_some() { "lora" } else { "finetune" };
    distillation::check(config, classes)
        .map_err(|error| one(of_model(loaded, "distillation.teacher", &error)))?;
    let mut model = kiln_models::outline(&config.model, input, classes, config.task.kind(), &device)
        .map_err(|error| one(of_model(loaded, start, &error.into())))?;
    let finetune = Finetune::check(config, &mut model)
        .map_err(|error| one(of_model(loaded, if adapter { "lora.pretrained" } else { table }, &error)))?;
    Ok(Some(Memory::of(config, &model, &finetune, input, &device)))
}

fn one(fault: Fault) -> Report {
    Report::new(vec![fault])
}

fn of_data(loaded: &Loaded, error: &DataError) -> Fault {
    let key = match error {
        DataError::Config { field, .. } => format!("data.{field}"),
        _ => "data".into(),
    };
    loaded.resolved.fault_of(code(error.exit()), &key, error.to_string(), error.hint().unwrap_or_default())
}

/// A fault whose message starts with a key stands there.
fn of_model(loaded: &Loaded, key: &str, error: &TrainError) -> Fault {
    let message = error.to_string();
    let own = message.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(own, _)| own);
    let hint = error.hint().unwrap_or_default();
    loaded.resolved.fault_of(code(error.exit()), own.unwrap_or(key), message.clone(), hint)
}

fn code(exit: Exit) -> &'static str {
    if exit == Exit::Usage { "conflict" } else { BAD_DATA }
}

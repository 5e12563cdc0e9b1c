//! The sources of a config, one or several, as the splits of one data set.
//! Owns what several sources must have in common, and their weights; never reads a format. The dataset opens them here.

use std::sync::Arc;

use kiln_core::TaskKind;

use crate::config::{DataConfig, LoaderConfig, Sampling, StoppingStrategy};
use crate::error::DataError;
use crate::interleave::{Parts as Weighing, Weighted};
use crate::layout::{Layout, Place, fractions};
use crate::partition::{Fractions, partition};
use crate::preprocessor::Wanted;
use crate::program::columns;
use crate::source::Source;
use crate::split::Split;

/// The sources of train, validation and test.
type Sources = [Option<Arc<dyn Source>>; 3];

/// Train, validation and test.
pub(crate) type Splits = [Option<Split>; 3];

const SPLITS: [&str; 3] = ["training", "validation", "test"];
const KEYS: [&str; 3] = ["train", "validation", "test"];

/// What a config's samples come from.
#[derive(Debug)]
pub(crate) struct Parts {
    /// One, or as many as `data.sources`; then the validation and test samples that stand beside them.
    parts: Vec<Part>,
    /// Of `data.sources`.
    sources: usize,
    loader: LoaderConfig,
    weights: Option<Vec<f64>>,
}

#[derive(Debug)]
struct Part {
    config: DataConfig,
    layout: Layout,
    /// Of `data.sources`.
    number: Option<usize>,
}

/// The files of [`Parts`], open.
#[derive(Debug)]
pub(crate) struct OpenParts<'a> {
    parts: &'a Parts,
    open: Vec<Sources>,
}

impl Parts {
    /// Finds the files of each source.
    ///
    /// # Errors
    /// All that can be seen without opening a file.
    pub(crate) fn new(config: &DataConfig) -> Result<Self, DataError> {
        let (sources, loader) = (config.sources().len(), config.loader().clone());
        let weights = weights(config)?;
        if sources == 0 {
            let part = Part { config: config.clone(), layout: Layout::new(config)?, number: None };
            return Ok(Self { parts: vec![part], sources, loader, weights });
        }
        let mut parts = Vec::with_capacity(sources + 1);
        for (k, own) in config.parts().into_iter().enumerate() {
            let layout = Layout::new(&own).map_err(|fault| at(config, Some(k), fault))?;
            parts.push(Part { config: own, layout, number: Some(k) });
        }
        for k in 1..sources {
            same_reading(&parts[0].config, &parts[k].config).map_err(|problem| differs(k, &problem))?;
        }
        if let Some(beside) = config.beside_sources() {
            let layout = Layout::new(&beside)?;
            for k in 1..3 {
                let twice = parts
                    .iter()
                    .find(|part| layout.places()[k].is_some() && part.layout.places()[k].is_some());
                if let Some(number) = twice.and_then(|part| part.number) {
                    let problem = format!("data.sources.{number} has {} samples of its own", SPLITS[k]);
                    let remedy = "leave it out, or name only the training samples of the source: train = ...";
                    return Err(DataError::config(KEYS[k], problem, remedy));
                }
            }
            parts.push(Part { config: beside, layout, number: None });
        }
        Ok(Self { parts, sources, loader, weights })
    }

    /// The config by which samples are read and prepared: that of the first source.
    pub(crate) fn reference(&self) -> Option<&DataConfig> {
        self.parts.first().map(|part| &part.config)
    }

    /// Each config with the places of its splits.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = (&DataConfig, &Layout)> {
        self.parts.iter().map(|part| (&part.config, &part.layout))
    }

    /// Where the first samples are.
    pub(crate) fn first_place(&self) -> Option<(&Place, &DataConfig)> {
        let part = self.parts.first()?;
        Some((part.layout.places().iter().flatten().next()?, &part.config))
    }

    /// Each config.
    pub(crate) fn configs(&self) -> impl Iterator<Item = &DataConfig> {
        self.parts.iter().map(|part| &part.config)
    }

    /// What can be seen without reading the samples.
    pub(crate) fn check(&self, config: &DataConfig) -> Vec<DataError> {
        let of_part = |part: &Part| {
            let faults = part.layout.places().iter().flatten().filter_map(|p| p.check(&part.config).err());
            faults.map(|fault| at(config, part.number, fault)).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of_part).collect()
    }

    /// Whether validation samples have a place of their own.
    pub(crate) fn hold_validation(&self) -> bool {
        self.parts.iter().any(|part| part.layout.places()[1].is_some())
    }

    pub(crate) fn open(&self, config: &DataConfig) -> Result<OpenParts<'_>, DataError> {
        let open = |part: &Part| -> Result<Sources, DataError> {
            let open = |place: &Option<Place>| place.as_ref().map(|p| p.open(&part.config)).transpose();
            let [train, validation, test] = part.layout.places();
            let all = || Ok([open(train)?, open(validation)?, open(test)?]);
            all().map_err(|fault| at(config, part.number, fault))
        };
        Ok(OpenParts { parts: self, open: self.parts.iter().map(open).collect::<Result<_, _>>()? })
    }
}

impl OpenParts<'_> {
    /// The samples that fix classes and sizes: training's, else the first there are.
    pub(crate) fn reference(&self) -> Result<&dyn Source, DataError> {
        self.open.iter().flatten().flatten().next().map(|s| &**s).ok_or_else(|| {
            DataError::config("path", "no data", "set data.path, or data.train, data.validation or data.test")
        })
    }

    /// The classes of the samples, which all sources must have.
    pub(crate) fn classes(&self, task: TaskKind) -> Result<Vec<String>, DataError> {
        let classes = self.reference()?.classes(task)?;
        for (k, own) in self.open.iter().take(self.parts.sources).enumerate().skip(1) {
            let Some(source) = own.iter().flatten().next() else { continue };
            let other = source.classes(task)?;
            let alone = |a: &[String], b: &[String]| -> Vec<String> {
                a.iter()
                    .filter(|class| !b.contains(class))
                    .take(8)
                    .map(|class| format!("\"{class}\""))
                    .collect()
            };
            let (new, missing) = (alone(&other, &classes), alone(&classes, &other));
            let named = |list: &[String]| if list.is_empty() { "none".into() } else { list.join(", ") };
            if !new.is_empty() || !missing.is_empty() {
                let problem = format!(
                    "the classes of {} are not those of data.sources.0: only here {}; only there {}",
                    source.place(),
                    named(&new),
                    named(&missing)
                );
                let remedy = "name all classes in data.classes, or correct the labels";
                return Err(DataError::config(&format!("sources.{k}"), problem, remedy));
            }
        }
        Ok(classes)
    }

    /// Train, validation and test, with their labels.
    pub(crate) fn splits(&self, task: TaskKind, classes: &[String]) -> Result<Splits, DataError> {
        let mut all = Vec::with_capacity(self.open.len());
        for (part, sources) in self.parts.parts.iter().zip(&self.open) {
            let shares = fractions(&part.config, &part.layout)?;
            all.push(of_part(sources.clone(), task, classes, shares)?);
        }
        if self.parts.sources == 0 {
            return Ok(all.pop().unwrap_or_default());
        }
        let joined = |k: usize| {
            let own: Vec<Split> = all.iter().filter_map(|splits| splits[k].clone()).collect();
            let place = || format!("the {} samples of {} sources", SPLITS[k], own.len());
            (!own.is_empty()).then(|| Split::joined(&own, place()))
        };
        let sources = match &self.parts.weights {
            Some(weights) => Some(self.weighted(&all, weights)?),
            None => None,
        };
        Ok([joined(0).map(|train| train.with_sources(sources)), joined(1), joined(2)])
    }

    fn weighted(&self, all: &[Splits], weights: &[f64]) -> Result<Weighted, DataError> {
        let size = |(k, splits): (usize, &Splits)| match &splits[0] {
            Some(train) => Ok(train.len()),
            None => {
                let problem = "this source has a weight and no training samples";
                let remedy = "leave it out, or name its samples by path or train";
                Err(DataError::config(&format!("sources.{k}"), problem, remedy))
            }
        };
        let sizes = all.iter().take(weights.len()).enumerate().map(size).collect::<Result<_, _>>()?;
        let weighted = Weighted { sizes, weights: weights.to_vec(), parts: Weighing::Sources };
        weighted.quotas(&self.parts.loader)?;
        Ok(weighted)
    }
}

/// The weights of the sources: of all, or of none.
fn weights(config: &DataConfig) -> Result<Option<Vec<f64>>, DataError> {
    let (sources, loader) = (config.sources(), config.loader());
    let given: Vec<f64> = sources.iter().filter_map(|source| source.weight).collect();
    if given.is_empty() {
        let unused = [
            ("samples_per_epoch", loader.samples_per_epoch.is_some() && loader.sampling == Sampling::Each),
            ("stopping_strategy", loader.stopping_strategy != StoppingStrategy::default()),
        ];
        return match unused.iter().find(|(_, set)| *set) {
            None => Ok(None),
            Some((key, _)) => {
                let problem = "there are no data.sources with weights, so that an epoch is every sample once";
                Err(DataError::config(&format!("loader.{key}"), problem, "leave it out, or give weights"))
            }
        };
    }
    if let Some(k) = sources.iter().position(|source| source.weight.is_none()) {
        let problem = "other sources have a weight, and this one has none";
        let remedy = "give every source a weight, or none";
        return Err(DataError::config(&format!("sources.{k}"), problem, remedy));
    }
    match given.iter().position(|weight| !(*weight > 0.0 && weight.is_finite())) {
        None => Ok(Some(given)),
        Some(k) => {
            let problem = format!("expected a number above 0, got {}", given[k]);
            Err(DataError::config(&format!("sources.{k}.weight"), problem, "leave the source out instead"))
        }
    }
}

/// What the samples of a config are, as far as its keys say: kind, numbers, categories.
type Reading = (String, usize, usize);

fn reading(config: &DataConfig) -> Result<Reading, DataError> {
    let Some(table) = config.table() else {
        let kind = if matches!(config, DataConfig::Conll(_)) { "sentences in words" } else { "images" };
        return Ok((kind.into(), 0, 0));
    };
    let columns = columns(table)?;
    let kind = match (&columns.wanted, &columns.pair) {
        (Wanted::Text(_), None) => "texts",
        (Wanted::Text(_), Some(_)) => "pairs of texts",
        (Wanted::Image(_), _) => "images",
        (Wanted::Words { .. }, _) => "sentences in words",
        (Wanted::Features(_), _) => "rows of numbers",
    };
    Ok((kind.into(), columns.features(), columns.categories.len()))
}

/// What one of two configs reads and the other does not.
fn same_reading(first: &DataConfig, other: &DataConfig) -> Result<(), String> {
    let say = |config| reading(config).map_err(|fault| fault.to_string());
    let ((kind, numbers, categories), own) = (say(first)?, say(other)?);
    if own.0 != kind {
        return Err(format!("this source gives {}, and the first {kind}", own.0));
    }
    if (own.1, own.2) != (numbers, categories) {
        return Err(format!(
            "this source gives {} numbers and {} categories, and the first {numbers} and {categories}",
            own.1, own.2
        ));
    }
    let labels = |config: &DataConfig| config.table().map(|table| table.label_columns().len());
    match (labels(first), labels(other)) {
        (Some(a), Some(b)) if a != b => {
            Err(format!("this source has {b} columns of labels, and the first {a}"))
        }
        _ => Ok(()),
    }
}

fn differs(k: usize, problem: &str) -> DataError {
    let remedy = "all sources must give samples of one form: name the columns of this source";
    DataError::config(&format!("sources.{k}"), problem, remedy)
}

/// A fault of a source's own keys, said with their place.
fn at(config: &DataConfig, number: Option<usize>, fault: DataError) -> DataError {
    let Some(k) = number else { return fault };
    match fault {
        DataError::Config { field, problem, remedy } => {
            let key = field.split(['.', '[']).next().unwrap_or_default();
            let own = serde_json::to_value(&config.sources()[k]).unwrap_or_default();
            let of_source = own.get(key).is_some() || ["path", "train"].contains(&key);
            let field = if of_source { format!("sources.{k}.{field}") } else { field };
            DataError::Config { field, problem, remedy }
        }
        fault => fault,
    }
}

fn of_part(
    sources: Sources,
    task: TaskKind,
    classes: &[String],
    shares: Fractions,
) -> Result<Splits, DataError> {
    let [train, validation, test] = sources;
    let whole = |source: Option<Arc<dyn Source>>| source.map(|s| whole(s, task, classes)).transpose();
    let (mut validation, mut test) = (whole(validation)?, whole(test)?);
    let mut own = None;
    if let Some(source) = train {
        let [first, second, third] = divided(source, task, classes, shares)?;
        own = first;
        validation = validation.or(second);
        test = test.or(third);
    }
    Ok([own, validation, test])
}

fn whole(source: Arc<dyn Source>, task: TaskKind, classes: &[String]) -> Result<Split, DataError> {
    let labels = source.labels(task, classes)?;
    let rows = (0..source.len()).collect();
    Ok(Split::new(source, rows, labels))
}

/// Train, validation and test of one source; a part without a share is `None`.
fn divided(
    source: Arc<dyn Source>,
    task: TaskKind,
    classes: &[String],
    shares: Fractions,
) -> Result<Splits, DataError> {
    let labels = source.labels(task, classes)?;
    let parts = partition(&*source, &labels, classes, shares)?;
    Ok([parts.train, parts.validation, parts.test].map(|rows| {
        let own = rows.iter().map(|&row| labels[row].clone()).collect();
        (!rows.is_empty()).then(|| Split::new(Arc::clone(&source), rows, own))
    }))
}

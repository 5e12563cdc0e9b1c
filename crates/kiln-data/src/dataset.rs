//! `[data]` to splits with classes and a preprocessor.
//! Owns which file is which split and which classes hold; never reads a format itself (the sources do).
//! Hands a `Dataset` to training and evaluation.

use std::path::Path;
use std::sync::Arc;

use kiln_core::{InputSpec, TaskConfig, TaskKind};

use crate::config::{DataConfig, OnBadSample};
use crate::corpus;
use crate::error::DataError;
use crate::layout::{Layout, Place, fractions};
use crate::partition::{Fractions, partition};
use crate::preprocessor::Preprocessor;
use crate::program::{build, fits, value_names};
use crate::source::Source;
use crate::split::Split;
use crate::table_program;

/// Samples by split, with what a model must know of them.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// To train on.
    pub train: Option<Split>,
    /// To choose the best checkpoint by.
    pub validation: Option<Split>,
    /// To touch once, at the end.
    pub test: Option<Split>,
    /// Names of the classes in index order; of the numbers for regression; empty for language modelling.
    pub classes: Vec<String>,
    /// The shape of one prepared sample.
    pub input: InputSpec,
    /// Raw samples to numbers.
    pub preprocessor: Arc<Preprocessor>,
}

/// What the data needs to know of the rest of a config.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions<'a> {
    /// The pretrained folder: holds `tokenizer.json` where `data.tokenizer.path` does not name one.
    pub tokenizer_folder: Option<&'a Path>,
    /// What is learned: which labels the samples need.
    pub task: TaskConfig,
    /// Classes of the pretrained head. Where the samples have just these, they keep its order.
    pub known_classes: Option<&'a [String]>,
}

/// The sources of train, validation and test.
type Sources = [Option<Arc<dyn Source>>; 3];

/// Train, validation and test.
pub(crate) type Splits = [Option<Split>; 3];

impl Dataset {
    /// Opens what a config describes. Classes are the config's, else those of the training samples.
    ///
    /// # Errors
    /// Anything missing, damaged or contradictory; see [`DataError`].
    pub fn open(config: &DataConfig, options: &OpenOptions<'_>) -> Result<Self, DataError> {
        if let DataConfig::Text(c) = config {
            return corpus::open(c, options, None);
        }
        let layout = Layout::new(config)?;
        let sources = open_sources(config, &layout)?;
        let reference = reference(&sources)?;
        let task = options.task.kind();
        let classes = match task {
            TaskKind::Regression => value_names(config)?,
            task if task.has_classes() => classes(config, reference, task, options.known_classes)?,
            _ => Vec::new(),
        };
        distinct(&classes)?;
        let splits = assemble(config, &layout, sources.clone(), task, &classes)?;
        let training = splits.iter().flatten().next();
        let mut preprocessor =
            build(config, options, || first_size(config, reference), training)?.naming(&classes, task)?;
        if let (TaskConfig::Regression(regression), Some(training)) = (options.task, training) {
            let targets = table_program::targets(training, &classes)?;
            preprocessor =
                preprocessor.with_targets(if regression.standardize { targets } else { Vec::new() });
        }
        Ok(Self::new(splits, classes, Arc::new(preprocessor)))
    }

    fn new(splits: Splits, classes: Vec<String>, preprocessor: Arc<Preprocessor>) -> Self {
        let [train, validation, test] = splits;
        Self { train, validation, test, classes, input: preprocessor.input().clone(), preprocessor }
    }

    /// Opens data for an existing model, whose classes and preprocessor hold instead of the config's.
    ///
    /// # Errors
    /// As [`open`](Self::open), a class that the model does not know, and data of another kind than the model reads.
    pub fn open_for(
        config: &DataConfig,
        preprocessor: Arc<Preprocessor>,
        classes: &[String],
        task: TaskKind,
    ) -> Result<Self, DataError> {
        if let DataConfig::Text(c) = config {
            let task = TaskConfig::CausalLanguageModeling;
            return corpus::open(c, &OpenOptions { task, ..OpenOptions::default() }, Some(preprocessor));
        }
        fits(config, &preprocessor)?;
        let layout = Layout::new(config)?;
        let sources = open_sources(config, &layout)?;
        let splits = assemble(config, &layout, sources, task, classes)?;
        Ok(Self::new(splits, classes.to_vec(), preprocessor))
    }

    /// The samples of each split and the classes, without what prepares them.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for tokenizer and transforms.
    pub(crate) fn samples(
        config: &DataConfig,
        options: &OpenOptions<'_>,
    ) -> Result<(Splits, Vec<String>), DataError> {
        let layout = Layout::new(config)?;
        let sources = open_sources(config, &layout)?;
        let task = options.task.kind();
        let classes = match task {
            TaskKind::Regression => value_names(config)?,
            task if task.has_classes() => classes(config, reference(&sources)?, task, options.known_classes)?,
            _ => Vec::new(),
        };
        Ok((assemble(config, &layout, sources, task, &classes)?, classes))
    }

    /// Looks at what can be seen without reading the samples: paths, class folders, headers, columns, the tokenizer.
    ///
    /// # Errors
    /// Every fault found.
    pub fn check(config: &DataConfig, options: &OpenOptions<'_>) -> Result<Outline, Vec<DataError>> {
        if let DataConfig::Text(c) = config {
            return corpus::check(c, options).map_err(|fault| vec![fault]);
        }
        let layout = Layout::new(config).map_err(|fault| vec![fault])?;
        let mut faults: Vec<DataError> =
            layout.places().iter().flatten().filter_map(|place| place.check(config).err()).collect();
        let size = || match faults.is_empty() {
            true => layout.places().iter().flatten().next().map_or(Ok(None), |p| p.first_size(config)),
            false => Ok(Some((1, 1))),
        };
        let task = options.task.kind();
        let classes = outlined(config, task);
        let program = build(config, options, size, None).and_then(|program| match &classes {
            Ok(Some(classes)) => program.naming(classes, task),
            _ => Ok(program),
        });
        let program = program.map_err(|fault| faults.push(fault));
        let classes = classes.map_err(|fault| faults.push(fault));
        match (program, classes) {
            (Ok(program), Ok(classes)) if faults.is_empty() => Ok(Outline {
                input: (!program.learns_input(config)).then(|| program.input().clone()),
                classes,
            }),
            _ => Err(faults),
        }
    }
}

/// What is known of data whose samples nobody has read.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// The shape of one prepared sample; `None` where it is learned from the samples: a vocabulary of their words,
    /// their categories.
    pub input: Option<InputSpec>,
    /// Names as in [`Dataset::classes`]; `None` where only the samples say them.
    pub classes: Option<Vec<String>>,
}

/// The names that the config itself gives.
fn outlined(config: &DataConfig, task: TaskKind) -> Result<Option<Vec<String>>, DataError> {
    let named = named_classes(config)?;
    distinct(named.unwrap_or_default())?;
    match task {
        TaskKind::Regression => value_names(config).map(Some),
        task if task.has_classes() => Ok(named.map(<[String]>::to_vec)),
        _ => Ok(Some(Vec::new())),
    }
}

/// `(H, W)` of the first sample; where bad samples may be left out, of the first that can be read.
fn first_size(config: &DataConfig, source: &dyn Source) -> Result<Option<(usize, usize)>, DataError> {
    let first = source.size(0);
    match first {
        Err(fault) if config.loader().on_bad_sample != OnBadSample::Fail && fault.is_of_one_sample() => {
            (1..source.len()).find_map(|i| source.size(i).ok()).ok_or(fault)
        }
        first => first,
    }
}

fn open_sources(config: &DataConfig, layout: &Layout) -> Result<Sources, DataError> {
    let open = |place: &Option<Place>| place.as_ref().map(|p| p.open(config)).transpose();
    let [train, validation, test] = layout.places();
    Ok([open(train)?, open(validation)?, open(test)?])
}

/// The samples that fix classes and sizes: training's, else the first there are.
fn reference(sources: &Sources) -> Result<&dyn Source, DataError> {
    sources.iter().flatten().next().map(|s| &**s).ok_or_else(|| {
        DataError::config("path", "no data", "set data.path, or data.train, data.validation or data.test")
    })
}

fn classes(
    config: &DataConfig,
    reference: &dyn Source,
    task: TaskKind,
    known: Option<&[String]>,
) -> Result<Vec<String>, DataError> {
    let classes = match named_classes(config)? {
        Some(named) => named.to_vec(),
        None => in_order_of(known.unwrap_or_default(), reference.classes(task)?),
    };
    match classes.len() {
        0 | 1 => Err(DataError::TooFew {
            place: reference.place(),
            of: "classes' worth".into(),
            needed: 2,
            got: classes.len(),
        }),
        _ => Ok(classes),
    }
}

/// The same names as `known` has, in its order; others as they are.
fn in_order_of(known: &[String], found: Vec<String>) -> Vec<String> {
    let same = known.len() == found.len() && found.iter().all(|name| known.contains(name));
    if same { known.to_vec() } else { found }
}

fn named_classes(config: &DataConfig) -> Result<Option<&[String]>, DataError> {
    let named = match config {
        DataConfig::ImageFolder(c) | DataConfig::Idx(c) | DataConfig::Webdataset(c) | DataConfig::Npz(c) => {
            c.classes.as_deref()
        }
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) | DataConfig::Parquet(c) => {
            c.classes.as_deref()
        }
        DataConfig::Conll(c) => c.classes.as_deref(),
        DataConfig::Text(_) => None,
    };
    match named {
        Some(list) if list.len() < 2 => {
            let problem = format!("expected at least 2 classes, got {}", list.len());
            Err(DataError::config("classes", problem, "list every class, or leave the key out"))
        }
        _ => Ok(named),
    }
}

fn distinct(classes: &[String]) -> Result<(), DataError> {
    match classes.iter().enumerate().find(|(i, class)| classes[..*i].contains(class)) {
        Some((_, class)) => {
            Err(DataError::config("classes", format!("\"{class}\" stands twice"), "name each class once"))
        }
        None => Ok(()),
    }
}

fn assemble(
    config: &DataConfig,
    layout: &Layout,
    sources: Sources,
    task: TaskKind,
    classes: &[String],
) -> Result<Splits, DataError> {
    let [train, validation, test] = sources;
    let whole = |source: Option<Arc<dyn Source>>| source.map(|s| whole(s, task, classes)).transpose();
    let (mut validation, mut test) = (whole(validation)?, whole(test)?);
    let shares = fractions(config, layout)?;
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

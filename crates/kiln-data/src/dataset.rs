//! `[data]` to splits with classes and a preprocessor.
//! Owns which file is which split and which classes hold; never reads a format itself (the sources do).
//! Hands a `Dataset` to training and evaluation.

use std::path::Path;
use std::sync::Arc;

use kiln_core::{InputSpec, TaskConfig, TaskKind};

use crate::cache::Cache;
use crate::config::{DataConfig, LoaderConfig, OnBadSample, Sampling};
use crate::corpus;
use crate::error::DataError;
use crate::parts::{OpenParts, Parts, Splits};
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
    pub(crate) cache: Option<Arc<Cache>>,
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

impl Dataset {
    /// Opens what a config describes. Classes are the config's, else those of the training samples.
    ///
    /// # Errors
    /// Anything missing, damaged or contradictory; see [`DataError`].
    pub fn open(config: &DataConfig, options: &OpenOptions<'_>) -> Result<Self, DataError> {
        if let DataConfig::Text(c) = config {
            return corpus::open(c, options, None);
        }
        let parts = Parts::new(config)?;
        let open = parts.open(config)?;
        let (first, reference) = (parts.reference().unwrap_or(config), open.reference()?);
        let task = options.task.kind();
        let classes = match task {
            TaskKind::Regression => value_names(first)?,
            task if task.has_classes() => classes(config, &open, task, options.known_classes)?,
            _ => Vec::new(),
        };
        distinct(&classes)?;
        let mut splits = open.splits(task, &classes)?;
        if config.loader().sampling == Sampling::Balanced {
            splits[0] = splits[0].take().map(Split::balanced).transpose()?;
        }
        let training = splits.iter().flatten().next();
        let mut preprocessor =
            build(first, options, || first_size(config, reference), training)?.naming(&classes, task)?;
        if let (TaskConfig::Regression(regression), Some(training)) = (options.task, training) {
            let targets = table_program::targets(training, &classes)?;
            preprocessor =
                preprocessor.with_targets(if regression.standardize { targets } else { Vec::new() });
        }
        Ok(Self::new(splits, classes, Arc::new(preprocessor), config.loader()))
    }

    fn new(
        splits: Splits,
        classes: Vec<String>,
        preprocessor: Arc<Preprocessor>,
        loader: &LoaderConfig,
    ) -> Self {
        let cache = preprocessor.images().and_then(|program| Cache::new(loader, program)).map(Arc::new);
        let [train, validation, test] =
            splits.map(|split| split.map(|split| split.with_cache(cache.clone())));
        let input = preprocessor.input().clone();
        Self { train, validation, test, classes, input, preprocessor, cache }
    }

    /// Where decoded images are kept and how many at most; `None` where none are.
    pub fn cache_plan(&self) -> Option<String> {
        self.cache.as_ref().map(|cache| cache.plan())
    }

    /// How many decoded images are kept, where that has changed since it was last asked.
    pub fn cache_news(&self) -> Option<String> {
        self.cache.as_ref()?.news()
    }

    /// Images that were found in the cache, and images that were decoded to be kept there, since the data was opened.
    pub fn cache_counts(&self) -> Option<(u64, u64)> {
        self.cache.as_ref().map(|cache| cache.counts())
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
        let parts = Parts::new(config)?;
        parts.configs().try_for_each(|own| fits(own, &preprocessor))?;
        let splits = parts.open(config)?.splits(task, classes)?;
        Ok(Self::new(splits, classes.to_vec(), preprocessor, config.loader()))
    }

    /// The samples of each split and the classes, without what prepares them.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for tokenizer and transforms.
    pub(crate) fn samples(
        config: &DataConfig,
        options: &OpenOptions<'_>,
    ) -> Result<(Splits, Vec<String>), DataError> {
        let parts = Parts::new(config)?;
        let open = parts.open(config)?;
        let task = options.task.kind();
        let classes = match task {
            TaskKind::Regression => value_names(parts.reference().unwrap_or(config))?,
            task if task.has_classes() => classes(config, &open, task, options.known_classes)?,
            _ => Vec::new(),
        };
        Ok((open.splits(task, &classes)?, classes))
    }

    /// Looks at what can be seen without reading the samples: paths, class folders, headers, columns, the tokenizer.
    ///
    /// # Errors
    /// Every fault found.
    pub fn check(config: &DataConfig, options: &OpenOptions<'_>) -> Result<Outline, Vec<DataError>> {
        if let DataConfig::Text(c) = config {
            return corpus::check(c, options).map_err(|fault| vec![fault]);
        }
        let parts = Parts::new(config).map_err(|fault| vec![fault])?;
        let mut faults = parts.check(config);
        let first = parts.reference().unwrap_or(config);
        let size = || match faults.is_empty() {
            true => parts.first_place().map_or(Ok(None), |(place, own)| place.first_size(own)),
            false => Ok(Some((1, 1))),
        };
        let task = options.task.kind();
        let classes = outlined(first, task);
        let program = build(first, options, size, None).and_then(|program| match &classes {
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

fn classes(
    config: &DataConfig,
    open: &OpenParts<'_>,
    task: TaskKind,
    known: Option<&[String]>,
) -> Result<Vec<String>, DataError> {
    let classes = match named_classes(config)? {
        Some(named) => named.to_vec(),
        None => in_order_of(known.unwrap_or_default(), open.classes(task)?),
    };
    match classes.len() {
        0 | 1 => Err(DataError::TooFew {
            place: open.reference()?.place(),
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

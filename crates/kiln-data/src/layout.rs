//! Which path holds which split.
//! Owns the names of split folders and files, and the conflicts between keys; never reads samples.
//! Hands one `Place` a split to the dataset, which opens it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Column, DataConfig, LabelColumns, OnBadSample, TableData};
use crate::decode::size_of;
use crate::error::DataError;
use crate::partition::Fractions;
use crate::parts::Parts;
use crate::pattern::expand;
use crate::program::columns;
use crate::shards;
use crate::source::Source;
use crate::source::conll::ConllSource;
use crate::source::faulty::Faulty;
use crate::source::folder::{FolderSource, check_class, class_folders, images_in};
use crate::source::idx::{IdxSource, Pair};
use crate::source::many::Several;
use crate::source::npz::{Arrays, NpzSource};
use crate::source::rows::Separated;
use crate::source::table::{Format, TableSource};
use crate::source::tar::{self, LabelMember, TarSource};

/// Names of a split's folder, and of its IDX files, in the order of `Layout`.
const FOLDERS: [&[&str]; 3] = [&["train"], &["validation", "val", "valid"], &["test"]];
const IDX: [&[&str]; 3] = [&["train"], &["validation", "val", "valid"], &["t10k", "test"]];
/// Keys of `[data]` in the same order.
const KEYS: [&str; 3] = ["train", "validation", "test"];

/// Where train, validation and test are.
#[derive(Debug)]
pub(crate) struct Layout([Option<Place>; 3]);

/// Where one split is.
#[derive(Debug)]
pub(crate) enum Place {
    Folder(PathBuf),
    Idx(Pair),
    Table(PathBuf, Format),
    /// Arrays of one file.
    Npz(Arrays),
    /// Shards of images.
    Tar(Vec<PathBuf>),
    /// Files of one schema.
    Parquet(Vec<PathBuf>),
    Conll(PathBuf),
}

impl Layout {
    /// Finds the splits: those that the config names, else those that `path` holds.
    pub(crate) fn new(config: &DataConfig) -> Result<Self, DataError> {
        let (path, named) = paths(config);
        let mut places = match path {
            Some(path) => in_path(config, path, named[0].is_some())?,
            None => [None, None, None],
        };
        for (k, path) in named.into_iter().enumerate() {
            if let Some(path) = path {
                places[k] = Some(named_place(config, path, k)?);
            }
        }
        if places.iter().all(Option::is_none) {
            let remedy = "set data.path, or data.train, data.validation or data.test";
            return Err(DataError::config("path", "expected the path of the data, got none", remedy));
        }
        let layout = Self(places);
        fractions(config, &layout)?;
        Ok(layout)
    }

    pub(crate) fn places(&self) -> &[Option<Place>; 3] {
        &self.0
    }
}

/// Whether the paths of a config hold validation samples of their own.
pub fn holds_validation(config: &DataConfig) -> bool {
    Parts::new(config).is_ok_and(|parts| parts.hold_validation())
}

impl Place {
    pub(crate) fn open(&self, config: &DataConfig) -> Result<Arc<dyn Source>, DataError> {
        Ok(match (self, config.table()) {
            (Place::Folder(path), _) => Arc::new(FolderSource::open(path)?),
            (Place::Idx(pair), _) => Arc::new(IdxSource::open(pair)?),
            (Place::Table(path, format), Some(c)) => {
                let table = TableSource::open(path, *format, &columns(c)?, &c.label_columns(), faulty(c))?;
                Arc::new(table.with_several(several(c)))
            }
            (Place::Npz(arrays), _) => Arc::new(NpzSource::open(arrays)?),
            (Place::Tar(shards), _) => Arc::new(TarSource::open(shards, label_member(config)?)?),
            (Place::Conll(path), _) => {
                let (token, tag) = word_columns(config);
                Arc::new(ConllSource::open(path, token, tag)?)
            }
            (Place::Parquet(files), Some(c)) => shards::open(files, c, several(c))?,
            (Place::Table(path, _), None) => return Err(no_table(path)),
            (Place::Parquet(files), None) => return Err(no_table(&files[0])),
        })
    }

    /// The files that are read as a whole; none for a folder of images.
    pub(crate) fn files(&self) -> Vec<&Path> {
        match self {
            Place::Folder(_) => Vec::new(),
            Place::Idx(pair) => pair.files(),
            Place::Table(path, _) | Place::Conll(path) => vec![path],
            Place::Npz(arrays) => vec![arrays.file()],
            Place::Tar(files) | Place::Parquet(files) => files.iter().map(PathBuf::as_path).collect(),
        }
    }

    /// What can be seen without reading the samples.
    pub(crate) fn check(&self, config: &DataConfig) -> Result<(), DataError> {
        match (self, config.table()) {
            (Place::Folder(path), _) => {
                class_folders(path)?.iter().try_for_each(|class| check_class(&path.join(class)))
            }
            (Place::Idx(pair), _) => pair.check(),
            (Place::Table(path, format), Some(c)) => {
                TableSource::check(path, *format, &columns(c)?, &c.label_columns(), &faulty(c))
            }
            (Place::Npz(arrays), _) => arrays.check(),
            (Place::Tar(shards), _) => label_member(config).and_then(|_| tar::check(shards)),
            (Place::Conll(path), _) => {
                let (token, tag) = word_columns(config);
                ConllSource::check(path, token, tag)
            }
            (Place::Parquet(files), Some(c)) => shards::check(files, c),
            (Place::Table(path, _), None) => Err(no_table(path)),
            (Place::Parquet(files), None) => Err(no_table(&files[0])),
        }
    }

    /// `(H, W)` of the first image.
    pub(crate) fn first_size(&self, config: &DataConfig) -> Result<Option<(usize, usize)>, DataError> {
        match self {
            Place::Folder(path) => {
                let Some(class) = class_folders(path)?.into_iter().next() else { return Ok(None) };
                let images = images_in(&path.join(class))?;
                match config.loader().on_bad_sample {
                    OnBadSample::Fail => images.first().map(|image| size_of(image)).transpose(),
                    _ => Ok(images.iter().find_map(|image| size_of(image).ok())),
                }
            }
            Place::Idx(pair) => pair.size().map(Some),
            Place::Conll(_) => Ok(None),
            Place::Npz(arrays) => arrays.size().map(Some),
            Place::Tar(shards) => tar::first_size(&shards[0]),
            Place::Parquet(files) => match config.table() {
                Some(c) if c.image.is_some() => shards::first_size(files, c),
                _ => Ok(None),
            },
            Place::Table(path, format) => match config.table() {
                Some(c) if c.image.is_some() => {
                    TableSource::first_size(path, *format, &columns(c)?, &faulty(c))
                }
                _ => Ok(None),
            },
        }
    }
}

/// The shares to hold out of training, checked against the splits that are given.
pub(crate) fn fractions(config: &DataConfig, layout: &Layout) -> Result<Fractions, DataError> {
    let (validation, test) = match config {
        DataConfig::ImageFolder(c) | DataConfig::Idx(c) | DataConfig::Webdataset(c) | DataConfig::Npz(c) => {
            (c.validation_fraction, c.test_fraction)
        }
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) | DataConfig::Parquet(c) => {
            (c.validation_fraction, c.test_fraction)
        }
        DataConfig::Conll(c) => (c.validation_fraction, c.test_fraction),
        DataConfig::Text(c) => (c.validation_fraction, None),
    };
    let shares = [(1, validation.unwrap_or(0.0)), (2, test.unwrap_or(0.0))];
    for (k, share) in shares {
        let key = format!("{}_fraction", KEYS[k]);
        if !(0.0..=0.9).contains(&share) {
            return Err(DataError::config(
                &key,
                format!("expected 0 to 0.9, got {share}"),
                "write a fraction, as 0.1",
            ));
        }
        if share > 0.0 && layout.0[k].is_some() {
            let problem = format!("the {} split is already given", KEYS[k]);
            return Err(DataError::config(&key, problem, format!("remove {key} (or the given split)")));
        }
        if share > 0.0 && layout.0[0].is_none() {
            return Err(DataError::config(
                &key,
                "there are no training samples to take it from",
                format!("remove {key}"),
            ));
        }
    }
    let [(_, validation), (_, test)] = shares;
    if validation + test >= 1.0 {
        let problem =
            format!("validation_fraction {validation} and test_fraction {test} leave nothing to train on");
        return Err(DataError::config("test_fraction", problem, "lower one of them"));
    }
    Ok(Fractions { validation, test })
}

type Paths<'a> = (Option<&'a Path>, [Option<&'a Path>; 3]);

fn paths(config: &DataConfig) -> Paths<'_> {
    match config {
        DataConfig::ImageFolder(c) | DataConfig::Idx(c) | DataConfig::Webdataset(c) | DataConfig::Npz(c) => {
            (c.path.as_deref(), [c.train.as_deref(), c.validation.as_deref(), c.test.as_deref()])
        }
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) | DataConfig::Parquet(c) => {
            (c.path.as_deref(), [c.train.as_deref(), c.validation.as_deref(), c.test.as_deref()])
        }
        DataConfig::Text(c) => {
            (c.path.as_deref(), [c.train.as_deref(), c.validation.as_deref(), c.test.as_deref()])
        }
        DataConfig::Conll(c) => {
            (c.path.as_deref(), [c.train.as_deref(), c.validation.as_deref(), c.test.as_deref()])
        }
    }
}

/// The splits that one path holds.
fn in_path(config: &DataConfig, path: &Path, train_named: bool) -> Result<[Option<Place>; 3], DataError> {
    match config {
        DataConfig::ImageFolder(_) => {
            split_folders(path)?.map_or_else(|| one(Place::Folder(path.into()), train_named), Ok)
        }
        DataConfig::Idx(_) => {
            exists(path, "a folder of IDX files")?;
            let find = |k: usize| Pair::find(path, IDX[k]).map(|found| found.map(Place::Idx));
            let found = [find(0)?, find(1)?, find(2)?];
            match found.iter().all(Option::is_none) {
                true => Err(DataError::Missing {
                    path: path.join("train-images-idx3-ubyte"),
                    expected: "IDX images, plain or .gz".into(),
                }),
                false => Ok(found),
            }
        }
        DataConfig::Parquet(_) => {
            exists(path, "a Parquet file or a folder of them")?;
            match path.is_dir() {
                true => shards::in_folder(path, train_named),
                false => one(Place::Parquet(vec![path.into()]), train_named),
            }
        }
        DataConfig::Npz(c) => {
            exists(path, "a NumPy .npz file")?;
            let [train, validation, test, whole] =
                Arrays::find(path, c.arrays.as_ref())?.map(|found| found.map(Place::Npz));
            match whole {
                Some(whole) if train.is_none() => one(whole, train_named),
                _ => Ok([train, validation, test]),
            }
        }
        DataConfig::Webdataset(_) => {
            let shards = expand(path)?;
            let splits = shards::by_split(if path.is_dir() { shards.clone() } else { Vec::new() });
            match splits.iter().all(Vec::is_empty) {
                true => one(Place::Tar(shards), train_named),
                false => Ok(splits.map(|shards| (!shards.is_empty()).then_some(Place::Tar(shards)))),
            }
        }
        DataConfig::Conll(_) => {
            exists(path, "a CoNLL file")?;
            one(Place::Conll(path.into()), train_named)
        }
        DataConfig::Csv(_) | DataConfig::Tsv(_) | DataConfig::Jsonl(_) | DataConfig::Text(_) => {
            exists(path, "a table")?;
            one(Place::Table(path.into(), format(config)), train_named)
        }
    }
}

/// All samples at one place, where nothing else is called training.
pub(crate) fn one(place: Place, train_named: bool) -> Result<[Option<Place>; 3], DataError> {
    if train_named {
        let problem = "path is one undivided set of samples, and train is given too";
        return Err(DataError::config("train", problem, "give one of the two"));
    }
    Ok([Some(place), None, None])
}

/// `train/`, `validation/` (`val/`, `valid/`) and `test/`: where `train/` is there, or nothing but these.
fn split_folders(path: &Path) -> Result<Option<[Option<Place>; 3]>, DataError> {
    exists(path, "a folder of images")?;
    let mut found = [None, None, None];
    for (k, names) in FOLDERS.iter().enumerate() {
        let there: Vec<PathBuf> = names.iter().map(|name| path.join(name)).filter(|p| p.is_dir()).collect();
        if let [first, second, ..] = there.as_slice() {
            let problem = format!("both {} and {} are there", first.display(), second.display());
            return Err(DataError::config(
                KEYS[k],
                problem,
                format!("keep one, or name it by data.{}", KEYS[k]),
            ));
        }
        found[k] = there.into_iter().next().map(Place::Folder);
    }
    let splits = found.iter().flatten().count();
    let divided =
        found[0].is_some() || (splits > 0 && class_folders(path).is_ok_and(|all| all.len() == splits));
    Ok(divided.then_some(found))
}

fn named_place(config: &DataConfig, path: &Path, k: usize) -> Result<Place, DataError> {
    if let DataConfig::Webdataset(_) = config {
        return expand(path).map(Place::Tar);
    }
    exists(path, &format!("the {} samples", KEYS[k]))?;
    Ok(match config {
        DataConfig::Npz(c) => {
            let [train, validation, test, whole] = Arrays::find(path, c.arrays.as_ref())?;
            let own = [train, validation, test].into_iter().nth(k).flatten();
            whole.or(own).map(Place::Npz).ok_or_else(|| {
                let problem = format!("{} has no arrays of the {} split", path.display(), KEYS[k]);
                DataError::config(KEYS[k], problem, "call them x and y, or x_test and y_test")
            })?
        }
        DataConfig::ImageFolder(_) | DataConfig::Webdataset(_) => Place::Folder(path.into()),
        DataConfig::Idx(_) if path.is_dir() => {
            Place::Idx(Pair::find(path, IDX[k])?.ok_or_else(|| DataError::Missing {
                path: path.join(format!("{}-images-idx3-ubyte", IDX[k][0])),
                expected: "IDX images, plain or .gz".into(),
            })?)
        }
        DataConfig::Idx(_) => Place::Idx(Pair::beside(path)?),
        DataConfig::Conll(_) => Place::Conll(path.into()),
        DataConfig::Parquet(_) if path.is_dir() => Place::Parquet(shards::files(path)?),
        DataConfig::Parquet(_) => Place::Parquet(vec![path.into()]),
        DataConfig::Csv(_) | DataConfig::Tsv(_) | DataConfig::Jsonl(_) | DataConfig::Text(_) => {
            Place::Table(path.into(), format(config))
        }
    })
}

fn format(config: &DataConfig) -> Format {
    match config {
        DataConfig::Tsv(_) => Format::Separated(Separated::Tab),
        DataConfig::Jsonl(_) => Format::Jsonl,
        _ => Format::Separated(Separated::Comma),
    }
}

/// Whether rows may be left out.
pub(crate) fn faulty(c: &TableData) -> Faulty {
    Faulty::new(c.loader.on_bad_sample != OnBadSample::Fail)
}

/// What a row of several classes looks like.
fn several(c: &TableData) -> Several {
    let name = |column: &Column| match column {
        Column::Name(name) => name.clone(),
        Column::Index(i) => format!("column_{i}"),
    };
    let flags = matches!(c.label, Some(LabelColumns::Several(_)));
    Several {
        separator: c.label_separator.clone().filter(|separator| !separator.is_empty()),
        flags: flags.then(|| c.label_columns().iter().map(name).collect()),
    }
}

/// Where the class of a sample in a tar file is.
fn label_member(config: &DataConfig) -> Result<LabelMember, DataError> {
    match config {
        DataConfig::Webdataset(c) => LabelMember::new(c.label_member.as_deref()),
        _ => LabelMember::new(None),
    }
}

/// The columns of words and tags.
fn word_columns(config: &DataConfig) -> (i64, i64) {
    match config {
        DataConfig::Conll(c) => (c.token_column, c.tag_column),
        _ => (0, -1),
    }
}

fn no_table(path: &Path) -> DataError {
    DataError::Kind { place: path.display().to_string(), expected: "a table", got: "images".into() }
}

fn exists(path: &Path, expected: &str) -> Result<(), DataError> {
    std::fs::metadata(path).map(|_| ()).map_err(DataError::opening(path, expected))
}

//! Parquet files by split: which files are which split, and whether they have one schema.
//! Owns the names that split files have; never reads rows. Hands a source of all files to the layout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::TableData;
use crate::error::DataError;
use crate::layout::{Place, faulty, one};
use crate::preprocessor::Wanted;
use crate::program::columns;
use crate::source::Source;
use crate::source::joined::Joined;
use crate::source::many::Several;
use crate::source::parquet::{Groups, ParquetFile, ParquetRows};
use crate::source::table::TableSource;

/// How the files of train, validation and test begin.
const NAMES: [&[&str]; 3] = [&["train"], &["validation", "val", "valid", "dev"], &["test"]];

/// The files of a folder in the order of their names.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let found = listed(folder, "parquet")?;
    match found.is_empty() {
        true => Err(DataError::Missing { path: folder.join("*.parquet"), expected: "Parquet files".into() }),
        false => Ok(found),
    }
}

/// The visible files of a folder with an ending, by name.
pub(crate) fn listed(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, DataError> {
    let expected = "a folder of files";
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::opening(folder, expected))? {
        let path = entry.map_err(DataError::opening(folder, expected))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|own| own == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Files by the split that their names say, in the order of `Layout`: `train.parquet`, `train-00000-of-00004.parquet`.
pub(crate) fn by_split(files: Vec<PathBuf>) -> [Vec<PathBuf>; 3] {
    let mut splits = [const { Vec::new() }; 3];
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is = |name: &&str| {
            let rest = stem.strip_prefix(*name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
        };
        if let Some(k) = NAMES.iter().position(|names| names.iter().any(is)) {
            splits[k].push(file);
        }
    }
    splits
}

/// The splits that a folder's files, or those of its `data/`, are called by; without such names all are one.
pub(crate) fn in_folder(folder: &Path, train_named: bool) -> Result<[Option<Place>; 3], DataError> {
    let below = folder.join("data");
    let mut found = listed(folder, "parquet")?;
    if found.is_empty() && below.is_dir() {
        found = files(&below)?;
    }
    if found.is_empty() {
        return files(folder).map(|_| [None, None, None]);
    }
    let splits = by_split(found.clone());
    match splits.iter().all(Vec::is_empty) {
        true => one(Place::Parquet(found), train_named),
        false => Ok(splits.map(|files| (!files.is_empty()).then_some(Place::Parquet(files)))),
    }
}

/// All rows of the files, one after the other.
pub(crate) fn open(files: &[PathBuf], c: &TableData, several: Several) -> Result<Arc<dyn Source>, DataError> {
    let (opened, columns, groups) = (same_schema(files, c)?, columns(c)?, Arc::new(Groups::default()));
    let table = |(number, file)| -> Result<Arc<dyn Source>, DataError> {
        let table = TableSource::parquet(file, number, &groups, &columns, &c.label_columns(), faulty(c))?;
        Ok(Arc::new(table.with_several(several.clone())))
    };
    let mut parts: Vec<Arc<dyn Source>> =
        opened.iter().enumerate().map(table).collect::<Result<_, DataError>>()?;
    Ok(match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            Arc::new(Joined::new(parts, place(files)))
        }
    })
}

/// The folder of several files.
fn place(files: &[PathBuf]) -> String {
    let folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    format!("{} ({} files)", folder.display(), files.len())
}

/// Footers, columns and the first row.
pub(crate) fn check(files: &[PathBuf], c: &TableData) -> Result<(), DataError> {
    let opened = same_schema(files, c)?;
    let columns = columns(c)?;
    let Some(first) = opened.first() else { return Ok(()) };
    if let Wanted::Image(column) = &columns.wanted {
        first.image(column)?;
    }
    match ParquetRows::new(Arc::clone(first), &columns, &c.label_columns())?.next() {
        Some(row) => row.map(|_| ()).or_else(|fault| faulty(c).keep(0, fault).map(|_| ())),
        None => Err(first.fault("holds no rows".into(), "give a file with rows")),
    }
}

/// Opens the files and holds the columns that are read against those of the first.
fn same_schema(files: &[PathBuf], c: &TableData) -> Result<Vec<Arc<ParquetFile>>, DataError> {
    let opened: Vec<Arc<ParquetFile>> =
        files.iter().map(|path| ParquetFile::open(path).map(Arc::new)).collect::<Result<_, _>>()?;
    let (columns, labels) = (columns(c)?, c.label_columns());
    let Some((first, rest)) = opened.split_first() else { return Ok(opened) };
    for (file, column) in
        rest.iter().flat_map(|f| columns.inputs().into_iter().chain(&labels).map(move |c| (f, c)))
    {
        let (expected, got) = (first.kind(column), file.kind(column));
        if expected != got && expected != "absent" {
            let problem =
                format!("column {column} is {got} here, and {expected} in {}", first.path().display());
            return Err(file.fault(problem, "write all files of a data set with one schema"));
        }
    }
    Ok(opened)
}

/// `(H, W)` of the first image.
pub(crate) fn first_size(files: &[PathBuf], c: &TableData) -> Result<Option<(usize, usize)>, DataError> {
    let Some(first) = files.first() else { return Ok(None) };
    let source = open(std::slice::from_ref(first), c, Several::default())?;
    source.size(0)
}

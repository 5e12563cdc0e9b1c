//! A whole table in memory: texts or rows of numbers, and the word of each row's class.
//! Owns the rows; never parses (rows.rs and jsonl.rs do). Hands samples to `Split`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::TaskKind;

use super::jsonl::Objects;
use super::many::{self, Place, Several};
use super::parquet::{Groups, ParquetFile, ParquetRows, Pictures};
use super::rows::{Cell, Row, Rows, Separated, labelled, row};
use super::{Source, class_index, file, only_classes};
use crate::config::Column;
use crate::decode::{decode_bytes, decode_file, size_in, size_of};
use crate::error::DataError;
use crate::label::Label;
use crate::preprocessor::{Columns, Wanted};
use crate::split::Raw;

/// What a table's file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Separated(Separated),
    Jsonl,
    Parquet,
}

/// Rows from a file or a stream.
pub(crate) type RowIter = Box<dyn Iterator<Item = Result<Row, DataError>> + Send>;

/// Rows of a stream that errors call `path`.
pub(crate) fn stream(
    input: impl Read + Send + 'static,
    path: &Path,
    format: Format,
    columns: &Columns,
    label: &[Column],
) -> Result<RowIter, DataError> {
    Ok(match format {
        Format::Separated(kind) => Box::new(Rows::new(input, path, kind, columns, label)?),
        Format::Jsonl => Box::new(Objects::new(BufReader::new(input), path, columns, label)?),
        Format::Parquet => Box::new(ParquetRows::open(path, columns, label)?),
    })
}

/// Rows of a file.
pub(crate) fn rows(
    path: &Path,
    format: Format,
    columns: &Columns,
    label: &[Column],
) -> Result<RowIter, DataError> {
    let file = File::open(path).map_err(DataError::opening(path, "a table"))?;
    if path.is_dir() {
        return Err(DataError::Missing { path: path.into(), expected: "a table, not a folder".into() });
    }
    stream(file, path, format, columns, label)
}

/// One file, read whole.
#[derive(Debug)]
pub(crate) struct TableSource {
    path: PathBuf,
    lines: Vec<u64>,
    raws: Vec<Raw>,
    /// Whether texts are paths of images.
    images: bool,
    /// Distinct cells of labels in order of appearance, and the places of each row's, `width` a row.
    cells: Vec<Cell>,
    labels: Vec<usize>,
    width: usize,
    /// How a row says several classes.
    several: Several,
    /// Classes in index order, where the file itself names them.
    named: Option<Vec<String>>,
    /// Images in the table itself.
    pictures: Option<Pictures>,
}

impl TableSource {
    pub(crate) fn open(
        path: &Path,
        format: Format,
        columns: &Columns,
        label: &[Column],
    ) -> Result<Self, DataError> {
        Self::of(path, rows(path, format, columns, label)?, columns, label)
    }

    /// A Parquet file with its own class names and images; `number` says which of its source's files it is.
    pub(crate) fn parquet(
        file: &Arc<ParquetFile>,
        number: usize,
        groups: &Arc<Groups>,
        columns: &Columns,
        label: &[Column],
    ) -> Result<Self, DataError> {
        let pictures = match &columns.wanted {
            Wanted::Image(column) => Pictures::new(file, number, column, groups)?,
            _ => None,
        };
        let rows = ParquetRows::new(Arc::clone(file), columns, label)?;
        let named = rows.class_names();
        let table = Self::of(file.path(), Box::new(rows), columns, label)?;
        Ok(Self { named, pictures, ..table })
    }

    fn of(path: &Path, rows: RowIter, columns: &Columns, label: &[Column]) -> Result<Self, DataError> {
        let mut table = Self {
            path: path.into(),
            lines: vec![],
            raws: vec![],
            images: matches!(columns.wanted, Wanted::Image(_)),
            cells: vec![],
            labels: vec![],
            width: label.len(),
            several: Several::default(),
            named: None,
            pictures: None,
        };
        let mut known = std::collections::HashMap::new();
        for next in rows {
            let Row { line, raw, label } = next?;
            for cell in label {
                let place = *known.entry(cell.clone()).or_insert(table.cells.len());
                if place == table.cells.len() {
                    table.cells.push(cell);
                }
                table.labels.push(place);
            }
            table.lines.push(line);
            table.raws.push(raw);
        }
        match table.raws.is_empty() {
            true => Err(row(path, 1, "at least one row", "none", "give a file with rows")),
            false => Ok(table),
        }
    }

    /// The same, with what a row of several classes looks like.
    pub(crate) fn with_several(self, several: Several) -> Self {
        Self { several, ..self }
    }

    /// Columns and first row only.
    pub(crate) fn check(
        path: &Path,
        format: Format,
        columns: &Columns,
        label: &[Column],
    ) -> Result<(), DataError> {
        match rows(path, format, columns, label)?.next() {
            Some(first) => first.map(|_| ()),
            None => Err(row(path, 1, "at least one row", "none", "give a file with rows")),
        }
    }
}

impl TableSource {
    /// `(H, W)` of the first row's image.
    pub(crate) fn first_size(
        path: &Path,
        format: Format,
        columns: &Columns,
    ) -> Result<Option<(usize, usize)>, DataError> {
        match rows(path, format, columns, &[])?.next().transpose()? {
            Some(Row { raw: Raw::Text(image), .. }) => size_of(&beside(path, &image)).map(Some),
            _ => Ok(None),
        }
    }

    /// The bytes of row `i`'s image, where the table itself holds it.
    fn picture(&self, i: usize) -> Result<Option<Vec<u8>>, DataError> {
        self.pictures.as_ref().map_or(Ok(None), |pictures| pictures.bytes(i))
    }

    /// The path of row `i`'s image; `None` where samples are no images, a refusal where a row has none.
    fn image(&self, i: usize) -> Result<Option<PathBuf>, DataError> {
        match &self.raws[i] {
            Raw::Text(path) if self.images && path.is_empty() => {
                let remedy = "drop the row, or leave it out with data.loader.on_bad_sample";
                Err(row(&self.path, self.lines[i], "an image", "none", remedy))
            }
            Raw::Text(path) if self.images => Ok(Some(beside(&self.path, path))),
            _ => Ok(None),
        }
    }

    /// Refuses the first row without a label, where each row has one cell.
    fn all_labelled(&self) -> Result<(), DataError> {
        let mut rows = self.labels.iter().zip(&self.lines);
        rows.try_for_each(|(&cell, &line)| match &self.cells[cell] {
            Cell::Word(word) => labelled(&self.path, line, word).map(|_| ()),
            Cell::List(_) => Ok(()),
        })
    }

    fn classes_of_rows(&self, classes: &[String]) -> Result<Vec<Label>, DataError> {
        if self.width != 1 {
            let problem = format!("classification needs one column of classes, got {}", self.width);
            return Err(DataError::config("label", problem, "name one column"));
        }
        let first = |word: usize| self.labels.iter().position(|&w| w == word).unwrap_or_default();
        let index = |(k, cell): (usize, &Cell)| match cell {
            Cell::Word(word) => {
                labelled(&self.path, self.lines[first(k)], word)?;
                class_index(word, classes, || self.name(first(k)))
            }
            Cell::List(list) => {
                let remedy = "keep one class, or set [task] kind = \"multi_label_classification\"";
                let got = format!("a list of {}", list.len());
                Err(row(&self.path, self.lines[first(k)], "one class", &got, remedy))
            }
        };
        let map: Vec<usize> = self.cells.iter().enumerate().map(index).collect::<Result<_, _>>()?;
        Ok(self.labels.iter().map(|&word| Label::Class(map[word])).collect())
    }

    /// The label of every row from its cells.
    fn by_row(
        &self,
        label: impl Fn(&[&Cell], &Place<'_>) -> Result<Label, DataError>,
    ) -> Result<Vec<Label>, DataError> {
        if self.width == 0 {
            return Err(DataError::config("label", "expected the label's column, got none", "name it"));
        }
        let rows = self.labels.chunks_exact(self.width).zip(&self.lines);
        rows.map(|(cells, line)| {
            let cells: Vec<&Cell> = cells.iter().map(|&cell| &self.cells[cell]).collect();
            label(&cells, &Place { path: &self.path, line: *line })
        })
        .collect()
    }

    fn values(&self, names: &[String]) -> Result<Vec<Label>, DataError> {
        if self.width != names.len() {
            let problem = format!("expected {} columns of numbers, got {}", names.len(), self.width);
            return Err(DataError::config("label", problem, "name the columns that the model learned"));
        }
        let number = |row_at: usize, k: usize| {
            let word = match &self.cells[self.labels[row_at * self.width + k]] {
                Cell::Word(word) => word.clone(),
                Cell::List(list) => format!("[{}]", list.join(", ")),
            };
            word.trim().parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(|| {
                let expected = format!("a finite number in \"{}\"", names[k]);
                let remedy = "repair the label or drop the row";
                row(&self.path, self.lines[row_at], &expected, &format!("\"{word}\""), remedy)
            })
        };
        let values = |at: usize| (0..self.width).map(|k| number(at, k)).collect::<Result<Vec<f32>, _>>();
        (0..self.raws.len()).map(|at| values(at).map(Label::Values)).collect()
    }
}

/// A path in a table starts at the table's folder.
pub(crate) fn beside(table: &Path, file: &str) -> PathBuf {
    table.parent().unwrap_or(Path::new("")).join(file)
}

impl Source for TableSource {
    fn len(&self) -> usize {
        self.raws.len()
    }

    fn name(&self, i: usize) -> String {
        format!("{}:{}", self.path.display(), self.lines[i])
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        if let Some(bytes) = self.picture(i)? {
            return decode_bytes(&bytes, &self.name(i)).map(Raw::Image);
        }
        match self.image(i)? {
            Some(path) => decode_file(&path).map(Raw::Image),
            None => Ok(self.raws[i].clone()),
        }
    }

    /// Sorted; by number where all are whole numbers. Columns of 0 and 1 keep their order.
    fn classes(&self, task: TaskKind) -> Result<Vec<String>, DataError> {
        if task == TaskKind::Classification && self.width == 1 {
            self.all_labelled()?; // before too few classes are complained of
        }
        if let Some(named) = self.named.clone().filter(|_| self.several.flags.is_none()) {
            return Ok(named);
        }
        let words = match task {
            TaskKind::MultiLabelClassification if self.several.flags.is_some() => {
                return self.several.classes(&self.cells, || self.place());
            }
            TaskKind::MultiLabelClassification => self.several.classes(&self.cells, || self.place())?,
            _ => self.cells.iter().flat_map(many::items).filter(|word| !word.trim().is_empty()).collect(),
        };
        Ok(many::sorted(words))
    }

    fn labels(&self, task: TaskKind, names: &[String]) -> Result<Vec<Label>, DataError> {
        match task {
            TaskKind::Regression => self.values(names),
            TaskKind::MaskedLanguageModeling | TaskKind::CausalLanguageModeling => {
                Ok(vec![Label::None; self.raws.len()])
            }
            TaskKind::TokenClassification if self.width > 1 => {
                let problem = format!("a sentence has one list of tags, got {} columns", self.width);
                Err(DataError::config("label", problem, "name one key"))
            }
            TaskKind::TokenClassification => self.by_row(|row, place| many::tags(row[0], names, place)),
            TaskKind::MultiLabelClassification => {
                self.by_row(|row, place| self.several.label(row, names, place))
            }
            other => only_classes(other, || self.place()).and_then(|()| self.classes_of_rows(names)),
        }
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        if self.pictures.is_some() {
            // Paths of images inside a table are often missing or all the same.
            let file = self.path.file_name().unwrap_or_default().to_string_lossy();
            hasher.update(format!("{file}:{}:", self.lines[i]).as_bytes());
        }
        match &self.raws[i] {
            Raw::Text(text) => hasher.update(text.as_bytes()),
            Raw::Pair(a, b) => hasher.update(a.as_bytes()).update(&[0xFF]).update(b.as_bytes()),
            Raw::Words(words) => {
                words.iter().fold(&mut hasher, |h, w| h.update(w.as_bytes()).update(&[0xFF]))
            }
            Raw::Row { numbers, categories } => {
                let hasher = numbers.iter().fold(&mut hasher, |h, v| h.update(&v.to_le_bytes()));
                categories.iter().fold(hasher, |h, word| h.update(word.as_bytes()).update(&[0xFF]))
            }
            Raw::Tokens(ids) => ids.iter().fold(&mut hasher, |h, id| h.update(&id.to_le_bytes())),
            Raw::Image(image) => hasher.update(&image.pixels),
        };
        *hasher.finalize().as_bytes()
    }

    fn size(&self, i: usize) -> Result<Option<(usize, usize)>, DataError> {
        match self.picture(i)? {
            Some(bytes) => size_in(&bytes, &self.name(i)).map(Some),
            None => self.image(i)?.map(|path| size_of(&path)).transpose(),
        }
    }

    fn encoded(&self, i: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        if let Some(bytes) = self.picture(i)? {
            let file = self.path.file_name().unwrap_or_default().to_string_lossy();
            return Ok(Some((format!("{file}-{}", self.lines[i]), bytes)));
        }
        self.image(i)?.map_or(Ok(None), |path| file(&path))
    }

    fn origin(&self, i: usize) -> Option<(PathBuf, u64)> {
        match &self.pictures {
            Some(_) => Some((self.path.clone(), self.lines[i])),
            None => Some((self.image(i).ok()??, 0)),
        }
    }

    fn is_in_origin(&self, i: usize) -> bool {
        self.pictures.is_none() || self.picture(i).is_ok_and(|bytes| bytes.is_some())
    }

    fn shard(&self, i: usize) -> usize {
        self.pictures.as_ref().map_or(0, |pictures| pictures.group(i))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

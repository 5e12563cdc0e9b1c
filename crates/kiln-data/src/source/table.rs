//! A whole table in memory: texts or rows of numbers, and the word of each row's class.
//! Owns the rows; never parses (rows.rs and jsonl.rs do). Hands samples to `Split`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::TaskKind;

use super::faulty::Faulty;
use super::format::RowIter;
pub(crate) use super::format::{Format, rows, stream};
use super::many::{self, Place, Several};
use super::parquet::{Groups, ParquetFile, ParquetRows, Pictures};
use super::rows::{Cell, Row, labelled, row};
use super::{Source, class_index, file, only_classes};
use crate::config::Column;
use crate::decode::{decode_bytes, decode_file, size_in, size_of};
use crate::error::DataError;
use crate::label::Label;
use crate::preprocessor::{Columns, Wanted};
use crate::split::Raw;

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
    /// Rows that keep their places and have neither a sample nor a label.
    faulty: Faulty,
}

/// Stands for the label's cells of a faulty row.
const NO_CELL: usize = usize::MAX;

impl TableSource {
    pub(crate) fn open(
        path: &Path,
        format: Format,
        columns: &Columns,
        label: &[Column],
        faulty: Faulty,
    ) -> Result<Self, DataError> {
        Self::of(path, rows(path, format, columns, label)?, columns, label, faulty)
    }

    /// A Parquet file with its own class names and images; `number` says which of its source's files it is.
    pub(crate) fn parquet(
        file: &Arc<ParquetFile>,
        number: usize,
        groups: &Arc<Groups>,
        columns: &Columns,
        label: &[Column],
        faulty: Faulty,
    ) -> Result<Self, DataError> {
        let pictures = match &columns.wanted {
            Wanted::Image(column) => Pictures::new(file, number, column, groups)?,
            _ => None,
        };
        let rows = ParquetRows::new(Arc::clone(file), columns, label)?;
        let named = rows.class_names();
        let table = Self::of(file.path(), Box::new(rows), columns, label, faulty)?;
        Ok(Self { named, pictures, ..table })
    }

    fn of(
        path: &Path,
        rows: RowIter,
        columns: &Columns,
        label: &[Column],
        faulty: Faulty,
    ) -> Result<Self, DataError> {
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
            faulty,
        };
        let mut known = std::collections::HashMap::new();
        for next in rows {
            let Row { line, raw, label } = match next {
                Ok(row) => row,
                Err(fault) => {
                    let line = table.faulty.keep(table.raws.len(), fault)?;
                    table.labels.extend(std::iter::repeat_n(NO_CELL, table.width));
                    Row { line, raw: Raw::Text(String::new()), label: Vec::new() }
                }
            };
            for cell in label {
                let place = known.get(&cell).copied().unwrap_or_else(|| {
                    known.insert(cell.clone(), table.cells.len());
                    table.cells.push(cell);
                    table.cells.len() - 1
                });
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
        faulty: &Faulty,
    ) -> Result<(), DataError> {
        match rows(path, format, columns, label)?.next() {
            Some(first) => first.map(|_| ()).or_else(|fault| faulty.keep(0, fault).map(|_| ())),
            None => Err(row(path, 1, "at least one row", "none", "give a file with rows")),
        }
    }
}

impl TableSource {
    /// `(H, W)` of the image of the first row that can be read.
    pub(crate) fn first_size(
        path: &Path,
        format: Format,
        columns: &Columns,
        faulty: &Faulty,
    ) -> Result<Option<(usize, usize)>, DataError> {
        let mut rows = rows(path, format, columns, &[])?;
        let first = match faulty.is_allowed() {
            true => rows.find_map(Result::ok),
            false => rows.next().transpose()?,
        };
        match first {
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
        let mut rows = self.labels.iter().zip(&self.lines).enumerate();
        rows.try_for_each(|(at, (&cell, &line))| match self.cells.get(cell) {
            Some(Cell::Word(word)) => match labelled(&self.path, line, word) {
                Ok(_) => Ok(()),
                Err(fault) => self.faulty.keep(at, fault).map(|_| ()),
            },
            Some(Cell::List(_)) | None => Ok(()),
        })
    }

    fn classes_of_rows(&self, classes: &[String]) -> Result<Vec<Label>, DataError> {
        if self.width != 1 {
            let problem = format!("classification needs one column of classes, got {}", self.width);
            return Err(DataError::config("label", problem, "name one column"));
        }
        let first = |word: usize| self.labels.iter().position(|&w| w == word).unwrap_or_default();
        let index = |(k, cell): (usize, &Cell)| match cell {
            Cell::Word(word) if self.faulty.contains(first(k)) && word.trim().is_empty() => Ok(None),
            Cell::Word(word) => {
                labelled(&self.path, self.lines[first(k)], word)?;
                class_index(word, classes, || self.name(first(k))).map(Some)
            }
            Cell::List(list) => {
                let remedy = "keep one class, or set [task] kind = \"multi_label_classification\"";
                let got = format!("a list of {}", list.len());
                Err(row(&self.path, self.lines[first(k)], "one class", &got, remedy))
            }
        };
        self.all_labelled()?; // which keeps the rows without a label, where they may be left out
        let map: Vec<Option<usize>> =
            self.cells.iter().enumerate().map(index).collect::<Result<_, DataError>>()?;
        let label = |&cell: &usize| map.get(cell).copied().flatten().map_or(Label::None, Label::Class);
        Ok(self.labels.iter().map(label).collect())
    }

    /// The label of every row from its cells.
    fn by_row(
        &self,
        label: impl Fn(&[&Cell], &Place<'_>) -> Result<Label, DataError>,
    ) -> Result<Vec<Label>, DataError> {
        if self.width == 0 {
            return Err(DataError::config("label", "expected the label's column, got none", "name it"));
        }
        let rows = self.labels.chunks_exact(self.width).zip(&self.lines).enumerate();
        rows.map(|(at, (cells, line))| {
            let cells: Vec<&Cell> = cells.iter().filter_map(|&cell| self.cells.get(cell)).collect();
            match cells.len() == self.width {
                true => label(&cells, &Place { path: &self.path, line: *line })
                    .or_else(|fault| self.faulty.keep(at, fault).map(|_| Label::None)),
                false => Ok(Label::None),
            }
        })
        .collect()
    }

    fn values(&self, names: &[String]) -> Result<Vec<Label>, DataError> {
        if self.width != names.len() {
            let problem = format!("expected {} columns of numbers, got {}", names.len(), self.width);
            return Err(DataError::config("label", problem, "name the columns that the model learned"));
        }
        let number = |row_at: usize, k: usize| {
            let word = match self.cells.get(self.labels[row_at * self.width + k]) {
                Some(Cell::Word(word)) => word.clone(),
                Some(Cell::List(list)) => format!("[{}]", list.join(", ")),
                None => String::new(),
            };
            word.trim().parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(|| {
                let expected = format!("a finite number in \"{}\"", names[k]);
                let remedy = "repair the label or drop the row";
                row(&self.path, self.lines[row_at], &expected, &format!("\"{word}\""), remedy)
            })
        };
        let values = |at: usize| (0..self.width).map(|k| number(at, k)).collect::<Result<Vec<f32>, _>>();
        let label = |at: usize| match values(at) {
            Ok(values) => Ok(Label::Values(values)),
            Err(_) if self.faulty.contains(at) => Ok(Label::None),
            Err(fault) => self.faulty.keep(at, fault).map(|_| Label::None),
        };
        (0..self.raws.len()).map(label).collect()
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
        self.faulty.check(i, &self.path)?;
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
        if self.pictures.is_some() || self.faulty.contains(i) {
            // Paths of images inside a table are often missing or all the same, and a faulty row has nothing.
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
        self.faulty.check(i, &self.path)?;
        match self.picture(i)? {
            Some(bytes) => size_in(&bytes, &self.name(i)).map(Some),
            None => self.image(i)?.map(|path| size_of(&path)).transpose(),
        }
    }

    fn encoded(&self, i: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        if self.faulty.contains(i) {
            return Ok(None);
        }
        if let Some(bytes) = self.picture(i)? {
            let file = self.path.file_name().unwrap_or_default().to_string_lossy();
            return Ok(Some((format!("{file}-{}", self.lines[i]), bytes)));
        }
        self.image(i)?.map_or(Ok(None), |path| file(&path))
    }

    fn file_size(&self, i: usize) -> Option<u64> {
        if self.pictures.is_some() {
            return None;
        }
        std::fs::metadata(self.image(i).ok()??).ok().map(|meta| meta.len())
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

//! What `kiln predict` reads: an image, a folder of images, a text, a table, or standard input.
//! Owns the guess-free reading of one argument; never prepares a sample. Hands named raw samples to the predictor, images
//! still undecoded, so that inputs that are left out cost no decoding and those that are not can be decoded beside each other.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::files::FileError;

use crate::config::Column;
use crate::decode::{decode_bytes, decode_file};
use crate::error::DataError;
use crate::preprocessor::{Columns, Preprocessor, Program, Wanted};
use crate::source::Source;
use crate::source::conll::sentences;
use crate::source::faulty::Faulty;
use crate::source::folder::images_in;
use crate::source::parquet::ParquetFile;
use crate::source::rows::{Cell, Separated, row};
use crate::source::table::{Format, TableSource, beside, rows, stream};
use crate::source::{sqlite, tar};
use crate::split::Raw;

/// One input: its name, and how to come by its sample.
pub struct Input {
    /// Path, or file and row, or the text.
    pub name: String,
    /// The cells of the columns that are kept, in their order, as words; all empty where the row cannot be read.
    pub kept: Vec<String>,
    raw: Deferred,
}

type Deferred = Box<dyn FnOnce() -> Result<Raw, DataError> + Send>;

impl Input {
    /// One whose sample is here already, or cannot be read.
    pub fn new(name: String, raw: Result<Raw, DataError>) -> Self {
        Self::later(name, move || raw)
    }

    fn later(name: String, raw: impl FnOnce() -> Result<Raw, DataError> + Send + 'static) -> Self {
        Self { name, kept: Vec::new(), raw: Box::new(raw) }
    }

    /// Its name, and its sample read and decoded.
    pub fn read(self) -> (String, Result<Raw, DataError>) {
        (self.name, (self.raw)())
    }

    /// Its name, and the way to its sample.
    pub fn split(self) -> (String, impl FnOnce() -> Result<Raw, DataError> + Send) {
        (self.name, self.raw)
    }
}

/// Inputs one by one; one that cannot be read is an error under its name, and the rest follow.
pub type Inputs = Box<dyn Iterator<Item = Input> + Send>;

/// The name of standard input in messages.
const STDIN: &str = "standard input";
/// Endings of files with a word a line.
const CONLL: [&str; 4] = ["conll", "bio", "iob", "iob2"];

/// Opens an argument for a model that prepares its samples by `preprocessor`.
///
/// * images: a file, a folder (every image below it, sorted), a `.tar` or `.parquet` file that holds them, `-` (the bytes
///   of one image), or, where the model was
///   trained on a table, a `.csv`, `.tsv`, `.jsonl` or `.parquet` file with its column of image files;
/// * text: a `.txt` (one text a line), `.csv`, `.tsv`, `.jsonl` or `.parquet` file with the columns of training, `-` (one text a
///   line), or else the text itself;
/// * pairs of texts: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file with both columns of training;
/// * sentences in words: as text, and `.conll`, `.bio`, `.iob` or `.iob2` files (a word a line), and `.jsonl` files with
///   lists of words;
/// * rows of numbers: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file with the columns of training, or `-` (CSV);
/// * wherever a `.csv` file is read: a table of an SQLite file, `FILE.db:TABLE` (also `.sqlite`, `.sqlite3`), in the order of
///   its rowids; without `:TABLE` the only one there.
///
/// `keep` names columns of tables to hand on beside each sample.
///
/// # Errors
/// A file or folder that is missing, of another kind than the model reads, or without a single sample; a column that
/// is not there; columns to keep of what has none.
pub fn open(input: &str, preprocessor: &Preprocessor, keep: &[String]) -> Result<Inputs, DataError> {
    let keep: Vec<Column> = keep.iter().cloned().map(Column::Name).collect();
    match &preprocessor.program {
        Program::Image(program) => images(input, program.columns.as_ref(), &keep),
        Program::Text { columns, .. } => texts(input, columns, &keep),
        Program::Corpus(_) => texts(input, &Columns::text(), &keep),
        Program::Table(program) => table(input, &program.columns, &keep),
    }
}

/// Refuses to keep columns of what has none.
fn no_columns(input: &str, keep: &[Column]) -> Result<(), DataError> {
    let Some(first) = keep.first() else { return Ok(()) };
    let name = match first {
        Column::Name(name) => name.clone(),
        Column::Index(i) => i.to_string(),
    };
    Err(DataError::Kind {
        place: input.into(),
        expected: "a table with columns to keep (.csv, .tsv, .jsonl, or a table of an SQLite file)",
        got: format!("no table that column \"{name}\" could be read from"),
    })
}

fn images(input: &str, columns: Option<&Columns>, keep: &[Column]) -> Result<Inputs, DataError> {
    if let Some(columns) = columns.filter(|_| is_rows(input)) {
        let place = sqlite::Place::of(input).map_or_else(|| PathBuf::from(input), |place| place.file);
        let rows = table_file(input, columns, keep, "a table of image files")?;
        let read = move |input: Input| {
            let (place, raw) = (place.clone(), input.raw);
            let decoded = move || match raw()? {
                Raw::Text(file) => decode_file(&beside(&place, &file)).map(Raw::Image),
                other => Ok(other),
            };
            Input { raw: Box::new(decoded), ..input }
        };
        return Ok(Box::new(rows.map(read)));
    }
    no_columns(input, keep)?;
    if input == "-" {
        let mut bytes = Vec::new();
        stdin().lock().read_to_end(&mut bytes).map_err(from_stdin)?;
        let decoded = move || decode_bytes(&bytes, STDIN).map(Raw::Image);
        return Ok(Box::new(std::iter::once(Input::later(STDIN.into(), decoded))));
    }
    let path = PathBuf::from(input);
    if ending(&path) == "tar" {
        let decode = |(name, bytes): (String, Result<Vec<u8>, DataError>)| {
            Input::later(name.clone(), move || decode_bytes(&bytes?, &name).map(Raw::Image))
        };
        return Ok(Box::new(tar::images(&path)?.map(decode)));
    }
    if ending(&path) == "parquet" {
        return stored_images(&path, columns);
    }
    let meta =
        std::fs::metadata(&path).map_err(DataError::opening(&path, "an image or a folder of images"))?;
    let files = if meta.is_dir() { images_in(&path)? } else { vec![path.clone()] };
    if files.is_empty() {
        return Err(DataError::TooFew {
            place: input.into(),
            of: "below this folder".into(),
            needed: 1,
            got: 0,
        });
    }
    let decode = |p: PathBuf| Input::later(p.display().to_string(), move || decode_file(&p).map(Raw::Image));
    Ok(Box::new(files.into_iter().map(decode)))
}

/// The images of a Parquet file: in the column of training, else in one called `image`.
fn stored_images(path: &Path, columns: Option<&Columns>) -> Result<Inputs, DataError> {
    let usual = Columns { wanted: Wanted::Image(Column::Name("image".into())), ..Columns::text() };
    let file = Arc::new(ParquetFile::open(path)?);
    let table =
        TableSource::parquet(&file, 0, &Arc::default(), columns.unwrap_or(&usual), &[], Faulty::default())?;
    let table = Arc::new(table);
    Ok(Box::new((0..table.len()).map(move |i| {
        let own = Arc::clone(&table);
        Input::later(table.name(i), move || own.raw(i))
    })))
}

fn texts(input: &str, columns: &Columns, keep: &[Column]) -> Result<Inputs, DataError> {
    if columns.pair.is_some() {
        return pairs(input, columns, keep);
    }
    let path = Path::new(input);
    if let (Wanted::Words { token_column, .. }, true) = (&columns.wanted, CONLL.contains(&ending(path))) {
        no_columns(input, keep)?;
        let place = input.to_string();
        return Ok(Box::new(sentences(path, *token_column, None)?.enumerate().map(move |(k, sentence)| {
            match sentence {
                Ok(s) => Input::new(format!("{place}:{}", s.line), Ok(Raw::Words(s.words))),
                Err(fault) => Input::new(fault_name(&fault, &place, k), Err(fault)),
            }
        })));
    }
    if input == "-" {
        no_columns(input, keep)?;
        return Ok(lines(BufReader::new(stdin()), PathBuf::from(STDIN)));
    }
    let is_file_name = matches!(ending(path), "txt" | "csv" | "tsv" | "jsonl" | "parquet")
        && !input.contains(char::is_whitespace);
    if !is_file_name && !path.exists() && sqlite::Place::of(input).is_none() {
        no_columns(input, keep)?;
        let text = input.to_string();
        return Ok(Box::new(std::iter::once(Input::new(text.clone(), Ok(Raw::Text(text))))));
    }
    if ending(path) != "txt" {
        return table_file(input, columns, keep, TEXTS);
    }
    no_columns(input, keep)?;
    let file = File::open(path).map_err(DataError::opening(path, "a text file"))?;
    Ok(lines(BufReader::new(file), path.into()))
}

/// Pairs come in tables: nothing in a single text says where the second begins.
fn pairs(input: &str, columns: &Columns, keep: &[Column]) -> Result<Inputs, DataError> {
    if is_rows(input) || ending(Path::new(input)) == "parquet" {
        return table_file(input, columns, keep, ROWS);
    }
    Err(DataError::Kind {
        place: input.into(),
        expected: "pairs of texts: a .csv, .tsv, .jsonl or .parquet file with both columns",
        got: "a single text".into(),
    })
}

fn table(input: &str, columns: &Columns, keep: &[Column]) -> Result<Inputs, DataError> {
    if input == "-" {
        let path = Path::new(STDIN);
        let rows = stream(stdin(), path, Format::Separated(Separated::Comma), columns, keep)?;
        return Ok(named(rows, STDIN.into(), keep.len()));
    }
    table_file(input, columns, keep, ROWS)
}

const ROWS: &str = "a .csv, .tsv, .jsonl or .parquet file, or FILE.db:TABLE";
const TEXTS: &str = "a text, or a .txt, .csv, .tsv, .jsonl or .parquet file, or FILE.db:TABLE";

/// Whether an argument names rows of cells.
fn is_rows(input: &str) -> bool {
    matches!(ending(Path::new(input)), "csv" | "tsv" | "jsonl") || sqlite::Place::of(input).is_some()
}

fn table_file(
    input: &str,
    columns: &Columns,
    keep: &[Column],
    expected: &'static str,
) -> Result<Inputs, DataError> {
    let path = Path::new(input);
    if let Some(place) = sqlite::Place::of(input) {
        let place = place.with_table()?;
        let rows = place.rows(columns, keep)?;
        return Ok(named(rows, place.to_string(), keep.len()));
    }
    let format = match ending(path) {
        "csv" => Format::Separated(Separated::Comma),
        "tsv" => Format::Separated(Separated::Tab),
        "jsonl" => Format::Jsonl,
        "parquet" => Format::Parquet,
        _ if !path.exists() => {
            return Err(DataError::Missing { path: path.into(), expected: expected.into() });
        }
        _ => {
            let got = if path.is_dir() { "a folder" } else { "a file with another ending" };
            return Err(DataError::Kind { place: path.display().to_string(), expected, got: got.into() });
        }
    };
    Ok(named(rows(path, format, columns, keep)?, path.display().to_string(), keep.len()))
}

fn ending(path: &Path) -> &str {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default()
}

/// Rows as inputs; the cells that stand in the label's place are those to keep.
fn named(rows: crate::source::format::RowIter, place: String, kept: usize) -> Inputs {
    Box::new(rows.enumerate().map(move |(k, row)| match row {
        Ok(row) => Input {
            kept: row.label.into_iter().map(word).collect(),
            ..Input::new(format!("{place}:{}", row.line), Ok(row.raw))
        },
        Err(fault) => {
            Input { kept: vec![String::new(); kept], ..Input::new(fault_name(&fault, &place, k), Err(fault)) }
        }
    }))
}

fn word(cell: Cell) -> String {
    match cell {
        Cell::Word(word) => word,
        Cell::List(words) => serde_json::json!(words).to_string(),
    }
}

/// The line of a faulty row, else its number from 1.
fn fault_name(fault: &DataError, place: &str, k: usize) -> String {
    match fault {
        DataError::Row { line, .. } => format!("{place}:{line}"),
        _ => format!("{place}, row {}", k + 1),
    }
}

/// One text a line, an empty line an empty text.
fn lines(mut input: impl BufRead + Send + 'static, path: PathBuf) -> Inputs {
    let mut line = 0;
    let mut failed = false;
    Box::new(std::iter::from_fn(move || {
        let mut bytes = Vec::new();
        if failed {
            return None;
        }
        line += 1;
        let name = format!("{}:{line}", path.display());
        match input.read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(_) => Some(Input::new(name, text_of(bytes, &path, line))),
            Err(source) => {
                failed = true;
                let fault = FileError { path: path.clone(), action: "read", source };
                Some(Input::new(name, Err(fault.into())))
            }
        }
    }))
}

fn text_of(mut bytes: Vec<u8>, path: &Path, line: u64) -> Result<Raw, DataError> {
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    let text = String::from_utf8(bytes);
    text.map(Raw::Text)
        .map_err(|e| row(path, line, "UTF-8 text", &e.to_string(), "convert the file to UTF-8"))
}

fn from_stdin(source: std::io::Error) -> DataError {
    FileError { path: STDIN.into(), action: "read", source }.into()
}

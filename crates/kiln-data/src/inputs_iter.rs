//! What `kiln predict` reads: an image, a folder of images, a text, a table, or standard input.
//! Owns the guess-free reading of one argument; never prepares a sample. Hands named raw samples to the predictor.

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
use crate::source::rows::{Separated, row};
use crate::source::table::{Format, TableSource, beside, rows, stream};
use crate::source::tar;
use crate::split::Raw;

/// Named samples one by one; one that cannot be read is an error under its name, and the rest follow.
pub type Inputs = Box<dyn Iterator<Item = (String, Result<Raw, DataError>)> + Send>;

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
/// * rows of numbers: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file with the columns of training, or `-` (CSV).
///
/// # Errors
/// A file or folder that is missing, of another kind than the model reads, or without a single sample; a column that
/// is not there.
pub fn open(input: &str, preprocessor: &Preprocessor) -> Result<Inputs, DataError> {
    match &preprocessor.program {
        Program::Image(program) => images(input, program.columns.as_ref()),
        Program::Text { columns, .. } => texts(input, columns),
        Program::Corpus(_) => texts(input, &Columns::text()),
        Program::Table(program) => table(input, &program.columns),
    }
}

fn images(input: &str, columns: Option<&Columns>) -> Result<Inputs, DataError> {
    if input == "-" {
        let mut bytes = Vec::new();
        stdin().lock().read_to_end(&mut bytes).map_err(from_stdin)?;
        return Ok(Box::new(std::iter::once((STDIN.into(), decode_bytes(&bytes, STDIN).map(Raw::Image)))));
    }
    let path = PathBuf::from(input);
    if ending(&path) == "tar" {
        let decode = |(name, bytes): (String, Result<Vec<u8>, DataError>)| {
            let raw = bytes.and_then(|bytes| decode_bytes(&bytes, &name)).map(Raw::Image);
            (name, raw)
        };
        return Ok(Box::new(tar::images(&path)?.map(decode)));
    }
    if ending(&path) == "parquet" {
        return stored_images(&path, columns);
    }
    if let Some(columns) = columns.filter(|_| matches!(ending(&path), "csv" | "tsv" | "jsonl")) {
        let rows = table_file(&path, columns, "a table of image files")?;
        let read = move |raw| match raw {
            Raw::Text(file) => decode_file(&beside(&path, &file)).map(Raw::Image),
            other => Ok(other),
        };
        return Ok(Box::new(rows.map(move |(name, raw)| (name, raw.and_then(&read)))));
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
    Ok(Box::new(files.into_iter().map(|p| (p.display().to_string(), decode_file(&p).map(Raw::Image)))))
}

/// The images of a Parquet file: in the column of training, else in one called `image`.
fn stored_images(path: &Path, columns: Option<&Columns>) -> Result<Inputs, DataError> {
    let usual = Columns { wanted: Wanted::Image(Column::Name("image".into())), ..Columns::text() };
    let file = Arc::new(ParquetFile::open(path)?);
    let table =
        TableSource::parquet(&file, 0, &Arc::default(), columns.unwrap_or(&usual), &[], Faulty::default())?;
    Ok(Box::new((0..table.len()).map(move |i| (table.name(i), table.raw(i)))))
}

fn texts(input: &str, columns: &Columns) -> Result<Inputs, DataError> {
    if columns.pair.is_some() {
        return pairs(input, columns);
    }
    let path = Path::new(input);
    if let (Wanted::Words { token_column, .. }, true) = (&columns.wanted, CONLL.contains(&ending(path))) {
        let place = input.to_string();
        return Ok(Box::new(sentences(path, *token_column, None)?.enumerate().map(move |(k, sentence)| {
            match sentence {
                Ok(s) => (format!("{place}:{}", s.line), Ok(Raw::Words(s.words))),
                Err(fault) => (fault_name(&fault, &place, k), Err(fault)),
            }
        })));
    }
    if input == "-" {
        return Ok(lines(BufReader::new(stdin()), PathBuf::from(STDIN)));
    }
    let path = Path::new(input);
    let ending = ending(path);
    let is_file_name =
        matches!(ending, "txt" | "csv" | "tsv" | "jsonl" | "parquet") && !input.contains(char::is_whitespace);
    if !is_file_name && !path.exists() {
        let text = input.to_string();
        return Ok(Box::new(std::iter::once((text.clone(), Ok(Raw::Text(text))))));
    }
    if ending == "txt" {
        let file = File::open(path).map_err(DataError::opening(path, "a text file"))?;
        return Ok(lines(BufReader::new(file), path.into()));
    }
    table_file(path, columns, "a text, or a .txt, .csv, .tsv, .jsonl or .parquet file")
}

/// Pairs come in tables: nothing in a single text says where the second begins.
fn pairs(input: &str, columns: &Columns) -> Result<Inputs, DataError> {
    let path = Path::new(input);
    if matches!(ending(path), "csv" | "tsv" | "jsonl" | "parquet") {
        return table_file(path, columns, "a .csv, .tsv, .jsonl or .parquet file");
    }
    Err(DataError::Kind {
        place: input.into(),
        expected: "pairs of texts: a .csv, .tsv, .jsonl or .parquet file with both columns",
        got: "a single text".into(),
    })
}

fn table(input: &str, columns: &Columns) -> Result<Inputs, DataError> {
    if input == "-" {
        let path = Path::new(STDIN);
        return Ok(named(
            stream(stdin(), path, Format::Separated(Separated::Comma), columns, &[])?,
            STDIN.into(),
        ));
    }
    table_file(Path::new(input), columns, "a .csv, .tsv, .jsonl or .parquet file")
}

fn table_file(path: &Path, columns: &Columns, expected: &'static str) -> Result<Inputs, DataError> {
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
    Ok(named(rows(path, format, columns, &[])?, path.display().to_string()))
}

fn ending(path: &Path) -> &str {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default()
}

fn named(rows: crate::source::format::RowIter, place: String) -> Inputs {
    Box::new(rows.enumerate().map(move |(k, row)| match row {
        Ok(row) => (format!("{place}:{}", row.line), Ok(row.raw)),
        Err(fault) => (fault_name(&fault, &place, k), Err(fault)),
    }))
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
            Ok(_) => Some((name, text_of(bytes, &path, line))),
            Err(source) => {
                failed = true;
                Some((name, Err(FileError { path: path.clone(), action: "read", source }.into())))
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

//! Plain text files to splits: read, divided, tokenized whole.
//! Owns which part of a text is which split and where a character is; never cuts blocks (source/text.rs does).
//! Hands a `Dataset` to training and evaluation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::TaskKind;

use crate::config::{CorpusData, CorpusTokenizerKind};
use crate::dataset::{Dataset, OpenOptions, Outline};
use crate::error::DataError;
use crate::preprocessor::{Preprocessor, Program};
use crate::source::Source;
use crate::source::rows::row;
use crate::source::text::{Ids, TextSource};
use crate::split::Split;
use crate::text_program::{TextProgram, locate};

/// A file's text, or a part of it.
#[derive(Debug, Clone)]
struct Piece {
    path: PathBuf,
    /// Lines of the file before this part.
    before: u64,
    text: String,
}

/// The texts of train, validation and test.
type Texts = [Vec<Piece>; 3];

/// Opens what a config describes, for `program` where a model has one.
pub(crate) fn open(
    c: &CorpusData,
    options: &OpenOptions<'_>,
    program: Option<Arc<Preprocessor>>,
) -> Result<Dataset, DataError> {
    only_next_token(options.task.kind())?;
    let texts = texts(c)?;
    let preprocessor = match program {
        Some(program) => program,
        None => Arc::new(Preprocessor::new(Program::Corpus(tokenizer(c, options, &texts)?))),
    };
    let Program::Corpus(text) = &preprocessor.program else {
        let got = "plain text to continue".into();
        return Err(DataError::Kind { place: "data.kind".into(), expected: preprocessor.kind(), got });
    };
    let open = |pieces: &[Piece], training: bool| {
        (!pieces.is_empty()).then(|| split(c, text, pieces, training)).transpose()
    };
    let [train, validation, test] = &texts;
    let (train, validation, test) = (open(train, true)?, open(validation, false)?, open(test, false)?);
    let input = preprocessor.input().clone();
    Ok(Dataset { train, validation, test, classes: Vec::new(), input, preprocessor, cache: None })
}

/// What can be seen without tokenizing.
pub(crate) fn check(c: &CorpusData, options: &OpenOptions<'_>) -> Result<Outline, DataError> {
    only_next_token(options.task.kind())?;
    let program = Preprocessor::new(Program::Corpus(tokenizer(c, options, &texts(c)?)?));
    Ok(Outline { input: Some(program.input().clone()), classes: Some(Vec::new()) })
}

fn only_next_token(task: TaskKind) -> Result<(), DataError> {
    match task {
        TaskKind::CausalLanguageModeling => Ok(()),
        other => Err(DataError::config(
            "kind",
            format!("plain text teaches causal_language_modeling, and [task] kind is {other}"),
            "set [task] kind = \"causal_language_modeling\", or give a table with labels",
        )),
    }
}

fn split(c: &CorpusData, text: &TextProgram, pieces: &[Piece], training: bool) -> Result<Split, DataError> {
    let mut ids = Vec::new();
    for piece in pieces {
        ids.extend(encode(text, piece)?);
    }
    let place = pieces.first().map(|p| p.path.display().to_string()).unwrap_or_default();
    let ids = Ids::new(ids, text.vocab_size);
    let block = text.max_length;
    let source = match training {
        true => TextSource::training(place, ids, block, c.stride.unwrap_or(block))?,
        false => TextSource::evaluation(place, ids, block)?,
    };
    let rows = (0..source.len()).collect();
    Ok(Split::new(Arc::new(source), rows, Vec::new()))
}

/// Ids of a piece; a character without an id is called by its line.
fn encode(text: &TextProgram, piece: &Piece) -> Result<Vec<u32>, DataError> {
    text.token_ids(&piece.text).map_err(|fault| match text.unknown(&piece.text) {
        Some((offset, character)) => {
            let line = piece.before + 1 + newlines(&piece.text[..offset]);
            row(
                &piece.path,
                line,
                "characters of the vocabulary",
                &format!("{character:?} (U+{:04X})", u32::from(character)),
                "remove it, or train on a text that has it",
            )
        }
        None => fault,
    })
}

fn newlines(text: &str) -> u64 {
    text.bytes().filter(|b| *b == b'\n').count() as u64
}

fn tokenizer(c: &CorpusData, options: &OpenOptions<'_>, texts: &Texts) -> Result<TextProgram, DataError> {
    let path = c.tokenizer.path.as_deref();
    match c.tokenizer.kind {
        CorpusTokenizerKind::File => {
            TextProgram::open_unpadded(&locate(path, options.tokenizer_folder)?, c.block_size)
        }
        CorpusTokenizerKind::Characters if path.is_some() => Err(DataError::config(
            "tokenizer.path",
            "`path` is of kind = \"file\"; this vocabulary is made from the text",
            "leave out `path` or `kind`",
        )),
        CorpusTokenizerKind::Characters => {
            let whole = texts.iter().take(if c.path.is_some() { 2 } else { 1 }).flatten();
            TextProgram::characters(whole.map(|piece| piece.text.as_str()), c.block_size)
        }
    }
}

fn texts(c: &CorpusData) -> Result<Texts, DataError> {
    let read = |path: &Option<PathBuf>| path.as_deref().map_or(Ok(Vec::new()), pieces);
    let (whole, train) = (read(&c.path)?, read(&c.train)?);
    let (mut validation, test) = (read(&c.validation)?, read(&c.test)?);
    let mut train = match (c.path.is_some(), c.train.is_some()) {
        (true, true) => {
            let problem = "path is one undivided text, and train is given too";
            return Err(DataError::config("train", problem, "give one of the two"));
        }
        (true, false) => whole,
        _ => train,
    };
    let fraction = c.validation_fraction.unwrap_or(0.0);
    if fraction > 0.0 && (c.validation.is_some() || train.is_empty()) {
        let problem = "there is no training text to take it from, or the validation text is given";
        return Err(DataError::config("validation_fraction", problem, "remove it"));
    }
    if fraction > 0.0 {
        validation = cut_end(&mut train, fraction);
    }
    if train.is_empty() && validation.is_empty() && test.is_empty() {
        let remedy = "set data.path, or data.train, data.validation or data.test";
        return Err(DataError::config("path", "expected the path of a text, got none", remedy));
    }
    Ok([train, validation, test])
}

/// Takes the last `fraction` of the characters off.
fn cut_end(pieces: &mut Vec<Piece>, fraction: f64) -> Vec<Piece> {
    let lengths: Vec<usize> = pieces.iter().map(|p| p.text.chars().count()).collect();
    let mut keep = (lengths.iter().sum::<usize>() as f64 * (1.0 - fraction)) as usize;
    let mut end = Vec::new();
    for (piece, length) in pieces.iter_mut().zip(lengths) {
        let here = keep.min(length);
        keep -= here;
        let at = piece.text.char_indices().nth(here).map_or(piece.text.len(), |(at, _)| at);
        let rest = piece.text.split_off(at);
        if !rest.is_empty() {
            let before = piece.before + newlines(&piece.text);
            end.push(Piece { path: piece.path.clone(), before, text: rest });
        }
    }
    pieces.retain(|piece| !piece.text.is_empty());
    end
}

/// The text of a file, or of every `.txt` of a folder.
fn pieces(path: &Path) -> Result<Vec<Piece>, DataError> {
    let meta =
        std::fs::metadata(path).map_err(DataError::opening(path, "a text file or a folder of .txt"))?;
    let mut files = vec![path.to_path_buf()];
    if meta.is_dir() {
        let entries = std::fs::read_dir(path).map_err(DataError::opening(path, "a folder of .txt"))?;
        files = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "txt"))
            .collect();
        files.sort();
    }
    let texts: Vec<Piece> = files.into_iter().map(piece).collect::<Result<_, _>>()?;
    if texts.iter().all(|piece| piece.text.is_empty()) {
        let (place, of) = (path.display().to_string(), "(characters of text)".into());
        return Err(DataError::TooFew { place, of, needed: 1, got: 0 });
    }
    Ok(texts)
}

fn piece(path: PathBuf) -> Result<Piece, DataError> {
    let bytes = std::fs::read(&path).map_err(DataError::opening(&path, "a text file"))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Piece { path, before: 0, text }),
        Err(fault) => {
            let offset = fault.utf8_error().valid_up_to();
            let got = fault.as_bytes().get(offset).map_or(String::new(), |b| format!("byte {b:#04x}"));
            Err(DataError::Bytes { path, offset, expected: "UTF-8 text".into(), got })
        }
    }
}

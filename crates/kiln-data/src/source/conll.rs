//! Sentences in words with tags, as the CoNLL shared tasks write them: a word a line, columns between blanks or tabs,
//! a blank line between sentences, `-DOCSTART-` lines between documents.
//! Owns the format and its refusals, each with `file:line`; never tokenizes. Hands sentences to `Split` and to
//! prediction.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use kiln_core::TaskKind;

use super::many::{self, Place};
use super::rows::{Cell, row};
use super::{Source, only_classes};
use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// One sentence.
#[derive(Debug, PartialEq)]
pub(crate) struct Sentence {
    /// The line of its first word, from 1.
    pub(crate) line: u64,
    pub(crate) words: Vec<String>,
    /// One a word; none where tags are not read.
    pub(crate) tags: Vec<String>,
}

/// Sentences of one file.
pub(crate) struct Sentences<R> {
    path: PathBuf,
    input: R,
    token: i64,
    tag: Option<i64>,
    line: u64,
    /// Columns of the first word's line.
    width: Option<usize>,
    failed: bool,
}

impl<R: BufRead> Sentences<R> {
    /// Columns count from 0, or from the line's end where they are negative.
    pub(crate) fn new(input: R, path: &Path, token: i64, tag: Option<i64>) -> Self {
        Self { path: path.into(), input, token, tag, line: 0, width: None, failed: false }
    }

    fn sentence(&mut self) -> Result<Option<Sentence>, DataError> {
        let mut sentence = Sentence { line: 0, words: Vec::new(), tags: Vec::new() };
        while let Some(text) = self.text()? {
            let columns: Vec<&str> = text.split([' ', '\t']).filter(|column| !column.is_empty()).collect();
            match columns.first() {
                None if sentence.words.is_empty() => {}
                None => break,
                Some(first) if first.starts_with("-DOCSTART-") => {}
                Some(_) => self.word(&columns, &mut sentence)?,
            }
        }
        Ok((!sentence.words.is_empty()).then_some(sentence))
    }

    /// The next line without its end; `None` at the end of the file.
    fn text(&mut self) -> Result<Option<String>, DataError> {
        let mut bytes = Vec::new();
        let read = self.input.read_until(b'\n', &mut bytes);
        if read.map_err(DataError::opening(&self.path, "a CoNLL file"))? == 0 {
            return Ok(None);
        }
        self.line += 1;
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            row(&self.path, self.line, "UTF-8 text", &e.utf8_error().to_string(), "convert the file to UTF-8")
        })?;
        let first = self.line == 1;
        Ok(Some(text.strip_prefix('\u{FEFF}').filter(|_| first).map_or(text.clone(), String::from)))
    }

    fn word(&mut self, columns: &[&str], sentence: &mut Sentence) -> Result<(), DataError> {
        let width = *self.width.get_or_insert(columns.len());
        if self.tag.is_some() && width != columns.len() {
            let expected = format!("{width} columns, as in the first line");
            let remedy = "repair the line; a blank line ends a sentence";
            return Err(row(&self.path, self.line, &expected, &columns.len().to_string(), remedy));
        }
        let token = place(self.token, columns.len()).ok_or_else(|| self.absent(self.token, columns))?;
        if let Some(tag) = self.tag {
            let tag = place(tag, columns.len()).ok_or_else(|| self.absent(tag, columns))?;
            if tag == token {
                let expected = "a word and a tag in columns of their own";
                let remedy = "set data.token_column and data.tag_column";
                return Err(row(&self.path, self.line, expected, &format!("{width} column(s)"), remedy));
            }
            sentence.tags.push(columns[tag].to_string());
        }
        if sentence.words.is_empty() {
            sentence.line = self.line;
        }
        sentence.words.push(columns[token].to_string());
        Ok(())
    }

    fn absent(&self, column: i64, columns: &[&str]) -> DataError {
        let got = format!("{} columns", columns.len());
        let remedy = "set data.token_column and data.tag_column to columns of the file";
        row(&self.path, self.line, &format!("a column {column}"), &got, remedy)
    }
}

impl<R: BufRead> Iterator for Sentences<R> {
    type Item = Result<Sentence, DataError>;

    /// Ends after the first fault: what follows could not be told apart from the faulty sentence's rest.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.sentence().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// A column from the start, or from the end where it is negative.
fn place(column: i64, width: usize) -> Option<usize> {
    let place = if column < 0 { column.checked_add_unsigned(width as u64)? } else { column };
    usize::try_from(place).ok().filter(|place| *place < width)
}

/// Sentences of a file; without `tag`, words alone.
pub(crate) fn sentences(
    path: &Path,
    token: i64,
    tag: Option<i64>,
) -> Result<Sentences<BufReader<File>>, DataError> {
    if path.is_dir() {
        return Err(DataError::Missing { path: path.into(), expected: "a CoNLL file, not a folder".into() });
    }
    let file = File::open(path).map_err(DataError::opening(path, "a CoNLL file"))?;
    Ok(Sentences::new(BufReader::new(file), path, token, tag))
}

/// One file, read whole.
#[derive(Debug)]
pub(crate) struct ConllSource {
    path: PathBuf,
    sentences: Vec<Sentence>,
}

impl ConllSource {
    pub(crate) fn open(path: &Path, token: i64, tag: i64) -> Result<Self, DataError> {
        let sentences = sentences(path, token, Some(tag))?.collect::<Result<Vec<_>, _>>()?;
        match sentences.is_empty() {
            true => Err(empty(path)),
            false => Ok(Self { path: path.into(), sentences }),
        }
    }

    /// The first sentence only.
    pub(crate) fn check(path: &Path, token: i64, tag: i64) -> Result<(), DataError> {
        sentences(path, token, Some(tag))?.next().ok_or_else(|| empty(path))?.map(|_| ())
    }
}

fn empty(path: &Path) -> DataError {
    row(path, 1, "at least one sentence", "none", "give a file with a word and its tag a line")
}

impl Source for ConllSource {
    fn len(&self) -> usize {
        self.sentences.len()
    }

    fn name(&self, i: usize) -> String {
        format!("{}:{}", self.path.display(), self.sentences[i].line)
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        Ok(Raw::Words(self.sentences[i].words.clone()))
    }

    /// Sorted.
    fn classes(&self, _: TaskKind) -> Result<Vec<String>, DataError> {
        Ok(many::sorted(self.sentences.iter().flat_map(|sentence| sentence.tags.clone()).collect()))
    }

    fn labels(&self, task: TaskKind, classes: &[String]) -> Result<Vec<Label>, DataError> {
        match task {
            TaskKind::TokenClassification => self
                .sentences
                .iter()
                .map(|s| {
                    let place = Place { path: &self.path, line: s.line };
                    many::tags(&Cell::List(s.tags.clone()), classes, &place)
                })
                .collect(),
            TaskKind::MaskedLanguageModeling => Ok(vec![Label::None; self.sentences.len()]),
            TaskKind::Classification => {
                let got = "one tag a word, which classification cannot learn from".into();
                Err(DataError::Kind {
                    place: self.place(),
                    expected: "samples with labels for the task",
                    got,
                })
            }
            other => only_classes(other, || self.place()).map(|()| Vec::new()),
        }
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for word in &self.sentences[i].words {
            hasher.update(word.as_bytes()).update(&[0xFF]);
        }
        *hasher.finalize().as_bytes()
    }

    fn size(&self, _: usize) -> Result<Option<(usize, usize)>, DataError> {
        Ok(None)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, token: i64, tag: i64) -> Result<Vec<Sentence>, String> {
        let all = Sentences::new(text.as_bytes(), Path::new("a.conll"), token, Some(tag));
        all.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())
    }

    #[test]
    fn sentences_end_at_blank_lines_and_documents_at_docstart() {
        let text = "\u{FEFF}-DOCSTART- -X- O O\r\n\r\nEU NNP B-NP B-ORG\r\nrejects\tVBZ B-VP O\r\n \t\n\n\nPeter NNP B-NP B-PER";
        let all = read(text, 0, -1).unwrap();
        assert_eq!(all.iter().map(|s| s.line).collect::<Vec<_>>(), [3, 8]);
        assert_eq!((all[0].words.join(" "), all[0].tags.join(" ")), ("EU rejects".into(), "B-ORG O".into()));
        assert_eq!(read(text, -4, 1).unwrap()[1].tags, ["NNP"]);
    }

    #[test]
    fn ragged_lines_and_columns_that_are_not_there_are_refused_by_line() {
        for (text, token, tag, message) in [
            ("a O\nb\n", 0, -1, "a.conll:2: expected 2 columns, as in the first line, got 1"),
            ("a O\n", 2, -1, "a.conll:1: expected a column 2, got 2 columns"),
            ("a O\n", 0, -3, "a.conll:1: expected a column -3, got 2 columns"),
            (
                "a\nb\n",
                0,
                -1,
                "a.conll:1: expected a word and a tag in columns of their own, got 1 column(s)",
            ),
        ] {
            assert_eq!(read(text, token, tag).unwrap_err(), message);
        }
        let bytes: &[u8] = b"a O\n\xFF O\n";
        let all = Sentences::new(bytes, Path::new("a.conll"), 0, Some(-1)).collect::<Vec<_>>();
        let [Err(error)] = all.as_slice() else { panic!("{all:?}") };
        assert!(error.to_string().starts_with("a.conll:2: expected UTF-8 text"), "{error}");
    }
}

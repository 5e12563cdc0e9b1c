//! `[data]` to a preprocessor, and the faults between its keys.
//! Owns what a kind of data needs of the config; never reads samples. Hands the program to the dataset.

use std::path::Path;

use kiln_core::{MaskingConfig, TaskConfig};

use crate::build_tokenizer::words;
use crate::config::{
    Column, ConllData, DataConfig, Fill, LoaderConfig, Missing, TableData, TextTransform, TokenizerConfig,
    TokenizerKind, Transform,
};
use crate::dataset::OpenOptions;
use crate::error::DataError;
use crate::image_program::{ImageProgram, validate};
use crate::preprocessor::{Columns, Preprocessor, Program, Wanted};
use crate::split::{Raw, Split};
use crate::table_program::TableProgram;
use crate::text_program::{TextProgram, locate};
use crate::text_transforms::{TextTransforms, Texts};

/// The program of a config. `size` looks at the first image; what is learned from samples is learned from `training`,
/// and left empty without (a check).
pub(crate) fn build(
    config: &DataConfig,
    options: &OpenOptions<'_>,
    size: impl FnOnce() -> Result<Option<(usize, usize)>, DataError>,
    training: Option<&Split>,
) -> Result<Preprocessor, DataError> {
    let program = match config {
        DataConfig::ImageFolder(c) | DataConfig::Webdataset(c) | DataConfig::Npz(c) => {
            image(&c.loader, c.channels.unwrap_or(3), &c.background, &c.transforms, size)?
        }
        DataConfig::Idx(c) => image(&c.loader, c.channels.unwrap_or(1), &c.background, &c.transforms, size)?,
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) | DataConfig::Parquet(c) => {
            table(c, options, size, training)?
        }
        DataConfig::Conll(c) => {
            let of = texts_of(options, true, false);
            let text = tokenizer(&c.tokenizer, &c.text_transforms, &of, options, training)?;
            Program::Text { text, columns: conll(c) }
        }
        DataConfig::Text(_) => return Err(not_here()),
    };
    let masking = masking(&program, options)?;
    Ok(Preprocessor::new(program).with_masking(masking))
}

fn image(
    loader: &LoaderConfig,
    channels: usize,
    background: &Option<Fill>,
    transforms: &[Transform],
    size: impl FnOnce() -> Result<Option<(usize, usize)>, DataError>,
) -> Result<Program, DataError> {
    no_buckets(loader, "images")?;
    validate(channels, background.as_ref(), transforms)?;
    let first = size()?.unwrap_or((1, 1));
    ImageProgram::new(channels, background.clone(), transforms, first).map(Program::Image)
}

fn table(
    c: &TableData,
    options: &OpenOptions<'_>,
    size: impl FnOnce() -> Result<Option<(usize, usize)>, DataError>,
    training: Option<&Split>,
) -> Result<Program, DataError> {
    let columns = columns(c)?;
    if c.tokenizer.path.is_some() && !matches!(columns.wanted, Wanted::Text(_) | Wanted::Words { .. }) {
        let problem = "there is no text to tokenize";
        return Err(DataError::config("tokenizer.path", problem, "remove it, or set data.text"));
    }
    match columns.wanted {
        Wanted::Image(_) => {
            match image(&c.loader, c.channels.unwrap_or(3), &c.background, &c.transforms, size)? {
                Program::Image(program) => {
                    Ok(Program::Image(ImageProgram { columns: Some(columns), ..program }))
                }
                other => Ok(other),
            }
        }
        Wanted::Features(_) => {
            no_buckets(&c.loader, "rows of numbers")?;
            TableProgram::fit(columns, c, training).map(Program::Table)
        }
        Wanted::Text(_) | Wanted::Words { .. } => {
            let words = matches!(columns.wanted, Wanted::Words { .. });
            let of = texts_of(options, words, columns.pair.is_some());
            let mut text = tokenizer(&c.tokenizer, &c.text_transforms, &of, options, training)?;
            if columns.pair.is_some() {
                text = text.for_pairs()?;
            }
            Ok(Program::Text { text, columns })
        }
    }
}

/// What the text transforms are for.
fn texts_of<'a>(options: &OpenOptions<'_>, words: bool, pair: bool) -> Texts<'a> {
    Texts { task: Some(options.task.kind()), words, pair, classes: None }
}

/// A tokenizer's file, or one built from the training texts as the transforms leave them; with the transforms.
fn tokenizer(
    c: &TokenizerConfig,
    transforms: &[TextTransform],
    of: &Texts<'_>,
    options: &OpenOptions<'_>,
    training: Option<&Split>,
) -> Result<TextProgram, DataError> {
    let text = match c.kind {
        TokenizerKind::File => {
            TextProgram::open(&locate(c.path.as_deref(), options.tokenizer_folder)?, c.max_length, of.words)?
        }
        TokenizerKind::Words => {
            let normalizers = TextTransforms::new(transforms, of, true)?;
            let texts = training.map(|split| texts(split, &normalizers)).transpose()?.unwrap_or_default();
            let source = words(texts.iter().map(String::as_str), c.max_vocab, c.min_frequency)?;
            let mut config = serde_json::Map::new();
            config.insert("pad_token".into(), "[PAD]".into());
            config.insert("unk_token".into(), "[UNK]".into());
            TextProgram::new(source, config, Path::new("the tokenizer of the training texts"), c.max_length)?
        }
    };
    text.with_transforms(transforms, of)
}

fn texts(split: &Split, transforms: &TextTransforms) -> Result<Vec<String>, DataError> {
    let text = |raw: Result<Raw, DataError>| {
        Ok(match transforms.normalized(raw?) {
            Raw::Text(text) => text,
            Raw::Pair(a, b) => format!("{a} {b}"),
            Raw::Words(words) => words.join(" "),
            Raw::Image(_) | Raw::Row { .. } | Raw::Tokens(_) => String::new(),
        })
    };
    split.usable().map(text).collect()
}

/// The columns that a table's config asks for.
pub(crate) fn columns(c: &TableData) -> Result<Columns, DataError> {
    let numbers = c.features.clone().unwrap_or_default();
    let categories = c.categories.clone().unwrap_or_default();
    let rows = !numbers.is_empty() || !categories.is_empty();
    let wanted = match (&c.text, &c.image, &c.tokens) {
        (Some(text), None, None) if !rows => Wanted::Text(text.clone()),
        (None, Some(image), None) if !rows => Wanted::Image(image.clone()),
        (None, None, Some(tokens)) if !rows => Wanted::Words { tokens: tokens.clone(), token_column: 0 },
        (None, None, None) if rows => Wanted::Features(numbers),
        (None, None, None) => {
            return Err(DataError::config(
                "text",
                "expected text, tokens, image, features or categories, got none",
                "name the column of text or images, or the columns of numbers and categories",
            ));
        }
        _ => {
            let problem = "only one of text, tokens, image, and features with categories can be read";
            return Err(DataError::config("features", problem, "keep one of text, image and features"));
        }
    };
    if c.text_pair.is_some() && c.text.is_none() {
        let problem = "the second text of a pair, and no first one";
        return Err(DataError::config("text_pair", problem, "set data.text to the column of the first"));
    }
    let pair = c.text_pair.clone();
    let columns = Columns { header: c.header, wanted, categories, pair, missing: c.table.missing };
    let mut inputs = columns.inputs();
    if let Some(label) = c.label_columns().iter().find(|label| inputs.contains(label)) {
        let problem = format!("the label's column {label} is an input too");
        return Err(DataError::config("label", problem, "remove it from what the model reads"));
    }
    while let Some(column) = inputs.pop() {
        if inputs.contains(&column) {
            let problem = format!("column {column} is read twice");
            return Err(DataError::config("features", problem, "name each column once"));
        }
    }
    Ok(columns)
}

/// What a CoNLL file holds; the same words in JSON Lines are under `tokens`.
fn conll(c: &ConllData) -> Columns {
    let wanted = Wanted::Words { tokens: Column::Name("tokens".into()), token_column: c.token_column };
    Columns { header: false, wanted, categories: Vec::new(), pair: None, missing: Missing::default() }
}

/// How tokens are hidden, for a masked language model.
fn masking(program: &Program, options: &OpenOptions<'_>) -> Result<Option<MaskingConfig>, DataError> {
    let TaskConfig::MaskedLanguageModeling(masking) = options.task else { return Ok(None) };
    match program {
        Program::Text { text, .. } if text.mask.is_some() => Ok(Some(masking)),
        Program::Text { .. } => {
            let problem = "a masked language model needs a mask token, and this tokenizer has none";
            let remedy =
                "give a tokenizer with [MASK] or <mask>, or set [task] kind = \"causal_language_modeling\"";
            Err(DataError::config("tokenizer", problem, remedy))
        }
        Program::Image(_) | Program::Table(_) | Program::Corpus(_) => {
            let problem = "a masked language model reads text";
            Err(DataError::config("kind", problem, "name the column of text: data.text"))
        }
    }
}

/// What the numbers of a regression are called: their columns.
pub(crate) fn value_names(config: &DataConfig) -> Result<Vec<String>, DataError> {
    let columns = match config {
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) | DataConfig::Parquet(c) => {
            c.label_columns()
        }
        DataConfig::Text(_) => return Err(not_here()),
        DataConfig::ImageFolder(_)
        | DataConfig::Idx(_)
        | DataConfig::Webdataset(_)
        | DataConfig::Npz(_)
        | DataConfig::Conll(_) => {
            let problem = "folders, IDX, tar and CoNLL files give classes, and a regression learns numbers";
            return Err(DataError::config(
                "kind",
                problem,
                "give a table with a column of numbers: data.label",
            ));
        }
    };
    let name = |column: &Column| match column {
        Column::Name(name) => name.clone(),
        Column::Index(i) => format!("column_{i}"),
    };
    if columns.is_empty() {
        return Err(DataError::config("label", "a regression needs numbers to learn", "name their column"));
    }
    Ok(columns.iter().map(name).collect())
}

/// Plain text has its own door, corpus.rs.
fn not_here() -> DataError {
    DataError::config("kind", "plain text has no samples of its own", "report this as a fault")
}

fn no_buckets(loader: &LoaderConfig, what: &str) -> Result<(), DataError> {
    let (buckets, budget) = (loader.length_bucketing, loader.max_tokens.is_some());
    let keys = [("loader.length_bucketing", buckets), ("loader.max_tokens", budget)];
    match keys.into_iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((key, _)) => {
            let problem = format!("{what} all have one length");
            Err(DataError::config(key, problem, "remove it: it is for text"))
        }
    }
}

/// Whether the samples of a config are of the kind that a model's preprocessor reads.
pub(crate) fn fits(config: &DataConfig, preprocessor: &Preprocessor) -> Result<(), DataError> {
    let (kind, own) = match config {
        DataConfig::ImageFolder(_) | DataConfig::Idx(_) | DataConfig::Webdataset(_) | DataConfig::Npz(_) => {
            ("image", None)
        }
        DataConfig::Conll(c) => ("text", Some(conll(c))),
        DataConfig::Text(_) => return Err(not_here()),
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) | DataConfig::Parquet(c) => {
            let columns = columns(c)?;
            match columns.wanted {
                Wanted::Text(_) | Wanted::Words { .. } => ("text", Some(columns)),
                Wanted::Image(_) => ("image", None),
                Wanted::Features(_) => ("table", Some(columns)),
            }
        }
    };
    if kind != preprocessor.kind() {
        let got = format!("{kind} data");
        return Err(DataError::Kind { place: "data.kind".into(), expected: preprocessor.kind(), got });
    }
    if let (Program::Text { columns, .. }, Some(own)) = (&preprocessor.program, &own)
        && columns.pair.is_some() != own.pair.is_some()
    {
        let (problem, remedy) = match own.pair {
            None => ("the model reads pairs of texts, got one column", "name the second column"),
            Some(_) => ("the model reads single texts, got pairs", "leave text_pair out"),
        };
        return Err(DataError::config("text_pair", problem, remedy));
    }
    let (Program::Table(TableProgram { columns, .. }), Some(own)) = (&preprocessor.program, own) else {
        return Ok(());
    };
    let remedy = "name the columns that the model was trained on";
    for (key, reads, got, what) in [
        ("features", columns.features(), own.features(), "numbers"),
        ("categories", columns.categories.len(), own.categories.len(), "categories"),
    ] {
        if reads != got {
            let problem = format!("the model reads {reads} {what}, got {got} columns");
            return Err(DataError::config(key, problem, remedy));
        }
    }
    Ok(())
}

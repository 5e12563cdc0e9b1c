//! `[data]` to a preprocessor, and the faults between its keys.
//! Owns what a kind of data needs of the config; never reads samples. Hands the program to the dataset.

use crate::config::{DataConfig, LoaderConfig, TableData};
use crate::dataset::OpenOptions;
use crate::error::DataError;
use crate::image_program::{ImageProgram, validate};
use crate::preprocessor::{Columns, Preprocessor, Program, Wanted};
use crate::text_program::{TextProgram, locate};

/// The program of a config. `size` looks at the first image.
pub(crate) fn build(
    config: &DataConfig,
    options: &OpenOptions<'_>,
    size: impl FnOnce() -> Result<Option<(usize, usize)>, DataError>,
) -> Result<Preprocessor, DataError> {
    let image = |c: &crate::config::ImageData, channels: usize| {
        no_buckets(&c.loader, "images")?;
        let channels = c.channels.unwrap_or(channels);
        validate(channels, &c.transforms)?;
        ImageProgram::new(channels, &c.transforms, size()?.unwrap_or((1, 1))).map(Program::Image)
    };
    let program = match config {
        DataConfig::ImageFolder(c) => image(c, 3)?,
        DataConfig::Idx(c) => image(c, 1)?,
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) => table(c, options)?,
    };
    Ok(Preprocessor::new(program))
}

fn table(c: &TableData, options: &OpenOptions<'_>) -> Result<Program, DataError> {
    let columns = columns(c)?;
    match columns.wanted {
        Wanted::Features(_) => {
            no_buckets(&c.loader, "rows of numbers")?;
            if c.tokenizer.path.is_some() {
                let problem = "there is no text to tokenize";
                return Err(DataError::config("tokenizer.path", problem, "remove it, or set data.text"));
            }
            Ok(Program::Table { columns })
        }
        Wanted::Text(_) => {
            let path = locate(c.tokenizer.path.as_deref(), options.tokenizer_folder)?;
            Ok(Program::Text { text: TextProgram::open(&path, c.tokenizer.max_length)?, columns })
        }
    }
}

/// The columns that a table's config asks for.
pub(crate) fn columns(c: &TableData) -> Result<Columns, DataError> {
    let wanted = match (&c.text, &c.features) {
        (Some(text), None) => Wanted::Text(text.clone()),
        (None, Some(features)) if !features.is_empty() => Wanted::Features(features.clone()),
        (Some(_), Some(_)) => {
            return Err(DataError::config("features", "text is given too", "keep one of text and features"));
        }
        (None, _) => {
            return Err(DataError::config(
                "text",
                "expected text or features, got neither",
                "name the column of text, or the columns of numbers",
            ));
        }
    };
    let uses_label = match &wanted {
        Wanted::Text(text) => *text == c.label,
        Wanted::Features(features) => features.contains(&c.label),
    };
    if uses_label {
        return Err(DataError::config(
            "label",
            "the label's column is an input too",
            "remove it from text or features",
        ));
    }
    Ok(Columns { header: c.header, wanted })
}

fn no_buckets(loader: &LoaderConfig, what: &str) -> Result<(), DataError> {
    if loader.length_bucketing {
        let problem = format!("{what} all have one length");
        return Err(DataError::config("loader.length_bucketing", problem, "remove it: it is for text"));
    }
    Ok(())
}

/// Whether the samples of a config are of the kind that a model's preprocessor reads.
pub(crate) fn fits(config: &DataConfig, preprocessor: &Preprocessor) -> Result<(), DataError> {
    let (kind, features) = match config {
        DataConfig::ImageFolder(_) | DataConfig::Idx(_) => ("image", 0),
        DataConfig::Csv(c) | DataConfig::Tsv(c) | DataConfig::Jsonl(c) => match columns(c)? {
            Columns { wanted: Wanted::Text(_), .. } => ("text", 0),
            other => ("table", other.features()),
        },
    };
    if kind != preprocessor.kind() {
        let got = format!("{kind} data");
        return Err(DataError::Kind { place: "data.kind".into(), expected: preprocessor.kind(), got });
    }
    match &preprocessor.program {
        Program::Table { columns } if columns.features() != features => {
            let problem = format!("the model reads {} numbers, got {features} columns", columns.features());
            Err(DataError::config("features", problem, "name the columns that the model was trained on"))
        }
        _ => Ok(()),
    }
}

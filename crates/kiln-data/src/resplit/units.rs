//! Rows of a table, or images of a folder, with their keys and classes.
//! Owns the way from a file to rows as bytes, which are written back as they were. Part of `resplit`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use csv::ByteRecord;
use kiln_core::TaskKind;
use kiln_core::files;
use serde_json::{Map, Value};

use super::{SPLITS, SplitOptions, Unit};
use crate::error::DataError;
use crate::look::{broken, next_record, separated};
use crate::source::Source;
use crate::source::folder::FolderSource;
use crate::source::rows::{Separated, cell, nearest, row};

/// A table to write.
pub(super) struct Table {
    /// Without a dot.
    pub(super) ending: &'static str,
    /// The header, with its line's end.
    pub(super) head: Vec<u8>,
    /// Every row, with its line's end.
    pub(super) rows: Vec<Vec<u8>>,
    header: bool,
    /// Whether rows are paths of images with their classes.
    images: bool,
}

/// What was read.
pub(super) struct Read {
    pub(super) units: Vec<Unit>,
    pub(super) table: Table,
}

impl Table {
    /// A `[data]` table for a config.
    pub(super) fn config(&self, files: &[PathBuf]) -> String {
        let mut text = format!("[data]\nkind = \"{}\"\n", self.ending);
        for file in files {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            if let Some(key) = SPLITS.iter().find(|name| **name == stem) {
                text += &format!("{key} = {}\n", Value::from(file.display().to_string()));
            }
        }
        if !self.header {
            text += "header = false\n";
        }
        text += match self.images {
            true => "image = \"image\"\nlabel = \"label\"\n",
            false => "# and the columns: text = \"...\" or features = [...], label = \"...\"\n",
        };
        text
    }
}

/// Reads everything once.
pub(super) fn read(data: &Path, out: &Path, options: &SplitOptions) -> Result<Read, DataError> {
    if data.is_dir() {
        return images(data, out, options);
    }
    if options.group_until.is_some() {
        let problem = "--group-until is for the names of images";
        return Err(DataError::config("path", problem, "name a column: --group COLUMN"));
    }
    let ending = data.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    let bytes =
        std::fs::read(data).map_err(DataError::opening(data, "a table or a folder of class folders"))?;
    match ending.as_str() {
        "csv" => lines(data, &bytes, Separated::Comma, "csv", options),
        "tsv" => lines(data, &bytes, Separated::Tab, "tsv", options),
        "jsonl" | "ndjson" => objects(data, &bytes, options),
        _ => Err(DataError::Kind {
            place: data.display().to_string(),
            expected: "a .csv, .tsv or .jsonl file, or a folder of class folders",
            got: match ending.as_str() {
                "parquet" => "a Parquet file, which kiln does not write: give its rows as .jsonl".into(),
                other => format!("a file ending in \"{other}\""),
            },
        }),
    }
}

/// Units by their keys, in the order of first rows.
#[derive(Default)]
struct Units {
    of: HashMap<u64, usize>,
    all: Vec<Unit>,
}

impl Units {
    fn add(&mut self, salt: &str, key: &[&[u8]], class: Option<&str>, row: usize) {
        let mut hasher = blake3::Hasher::new();
        std::iter::once(salt.as_bytes()).chain(key.iter().copied()).for_each(|part| {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        });
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        let hash = u64::from_le_bytes(first);
        let place = *self.of.entry(hash).or_insert_with(|| {
            self.all.push(Unit { hash, rows: Vec::new(), classes: Vec::new() });
            self.all.len() - 1
        });
        let unit = &mut self.all[place];
        unit.rows.push(row);
        if let Some(class) = class {
            match unit.classes.iter_mut().find(|(own, _)| own == class) {
                Some((_, n)) => *n += 1,
                None => unit.classes.push((class.into(), 1)),
            }
        }
    }
}

/// Places of the named columns.
struct Columns {
    /// The key; `None`: all but `class`.
    key: Option<usize>,
    class: Option<usize>,
}

impl Columns {
    fn find(path: &Path, names: &[String], options: &SplitOptions) -> Result<Self, DataError> {
        let find = |name: &Option<String>| {
            let place = |name: &String| {
                names.iter().position(|own| own == name).ok_or_else(|| DataError::Column {
                    path: path.into(),
                    column: format!("\"{name}\""),
                    there: names.to_vec(),
                    similar: nearest(name, names),
                })
            };
            name.as_ref().map(place).transpose()
        };
        let key = find(&options.group)?.or(find(&options.key)?);
        Ok(Self { key, class: find(&options.stratify)? })
    }
}

fn lines(
    path: &Path,
    bytes: &[u8],
    kind: Separated,
    ending: &'static str,
    options: &SplitOptions,
) -> Result<Read, DataError> {
    let mut reader = separated(bytes, kind);
    let mut record = ByteRecord::new();
    let mut records: Vec<(usize, ByteRecord)> = Vec::new();
    while next_record(&mut reader, &mut record).map_err(|e| broken(path, &e))? {
        let start = record.position().map_or(0, |p| p.byte() as usize);
        records.push((start, record.clone()));
    }
    let Some((_, first)) = records.first() else {
        return Err(row(path, 1, "a first row", "an empty file", "give a file with rows"));
    };
    let width = first.len();
    let names: Vec<String> = match options.header {
        true => (0..width).map(|i| cell(path, first, i).map(String::from)).collect::<Result<_, _>>()?,
        false => (0..width).map(|i| i.to_string()).collect(),
    };
    let columns = Columns::find(path, &names, options)?;
    let starts: Vec<usize> = records.iter().map(|(start, _)| *start).chain([bytes.len()]).collect();
    let raw = |k: usize| whole(&bytes[starts[k]..starts[k + 1]]);
    let head = if options.header { raw(0) } else { Vec::new() };
    let (mut units, mut rows) = (Units::default(), Vec::new());
    for (k, (_, record)) in records.iter().enumerate().skip(usize::from(options.header)) {
        let line = record.position().map_or(1, csv::Position::line);
        if record.len() != width {
            let expected = format!("{width} columns, as in the first row");
            let remedy = "quote fields that hold the separator, or repair the row";
            return Err(row(path, line, &expected, &record.len().to_string(), remedy));
        }
        let class = columns.class.map(|i| cell(path, record, i)).transpose()?;
        let key: Vec<&[u8]> = match columns.key {
            Some(i) => vec![record.get(i).unwrap_or_default()],
            None => (0..width).filter(|i| Some(*i) != columns.class).filter_map(|i| record.get(i)).collect(),
        };
        units.add(&options.salt, &key, class, rows.len());
        rows.push(raw(k));
    }
    let table = Table { ending, head, rows, header: options.header, images: false };
    Ok(Read { units: units.all, table })
}

/// A row's bytes up to its line's end, which every row gets; blank lines beside it are left out.
fn whole(bytes: &[u8]) -> Vec<u8> {
    let inside = |b: &u8| !matches!(b, b'\n' | b'\r');
    let start = bytes.iter().position(inside).unwrap_or(0);
    let end = bytes.iter().rposition(inside).map_or(start, |last| last + 1);
    [&bytes[start..end], b"\n"].concat()
}

fn objects(path: &Path, bytes: &[u8], options: &SplitOptions) -> Result<Read, DataError> {
    let (mut units, mut rows) = (Units::default(), Vec::new());
    for (k, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| k == 0).unwrap_or(line).trim_ascii();
        if line.is_empty() {
            continue;
        }
        let number = k as u64 + 1;
        let object: Map<String, Value> = serde_json::from_slice(line)
            .map_err(|e| row(path, number, "a JSON object", &e.to_string(), "repair the line"))?;
        let names: Vec<String> = object.keys().cloned().collect();
        let columns = Columns::find(path, &names, options).map_err(|fault| {
            row(path, number, "the key that was named", &fault.to_string(), "every line needs it")
        })?;
        let value = |k: usize| names.get(k).and_then(|name| object.get(name)).map(text).unwrap_or_default();
        let class = columns.class.map(value);
        let key: Vec<String> = match columns.key {
            Some(k) => vec![value(k)],
            None => {
                let mut all: Vec<String> = (0..names.len())
                    .filter(|k| Some(*k) != columns.class)
                    .map(|k| format!("{}={}", names[k], value(k)))
                    .collect();
                all.sort(); // the order of keys in a line means nothing
                all
            }
        };
        let key: Vec<&[u8]> = key.iter().map(String::as_bytes).collect();
        units.add(&options.salt, &key, class.as_deref(), rows.len());
        rows.push([line, b"\n"].concat());
    }
    if rows.is_empty() {
        return Err(row(path, 1, "at least one row", "none", "give a file with rows"));
    }
    Ok(Read {
        units: units.all,
        table: Table { ending: "jsonl", head: Vec::new(), rows, header: true, images: false },
    })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// A folder of class folders becomes tables of paths and classes: no image is copied.
fn images(folder: &Path, out: &Path, options: &SplitOptions) -> Result<Read, DataError> {
    if let Some(column) = options.key.as_ref().or(options.group.as_ref()) {
        let problem = format!("\"{column}\": a folder of images has no columns");
        return Err(DataError::config(
            "path",
            problem,
            "images are told apart by content; to group them by name: --group-until _",
        ));
    }
    if ["train", "val", "valid", "validation", "test"].iter().any(|name| folder.join(name).is_dir()) {
        return Err(DataError::Folder {
            path: folder.into(),
            problem: "is split already: it has a train, validation or test folder".into(),
            remedy: "give the folder of class folders itself".into(),
        });
    }
    let source = FolderSource::open(folder)?;
    let classes = source.classes(TaskKind::Classification)?;
    let labels = source.labels(TaskKind::Classification, &classes)?;
    let (mut units, mut rows) = (Units::default(), Vec::new());
    for (i, label) in labels.iter().enumerate() {
        let path = PathBuf::from(source.name(i));
        let class = label.class().and_then(|k| classes.get(k)).map(String::as_str).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stratum = options.stratify.as_ref().map(|_| class);
        match options.group_until {
            Some(until) => {
                let group = name.split(until).next().unwrap_or(&name).as_bytes().to_vec();
                units.add(&options.salt, &[&group], stratum, i);
            }
            None => units.add(&options.salt, &[&files::read(&path)?], stratum, i),
        }
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        let shown = relative(&path, out).display().to_string();
        writer.write_record([shown.as_str(), class]).map_err(|e| broken(&path, &e))?;
        rows.push(
            writer
                .into_inner()
                .map_err(|e| row(&path, 1, "a row", &e.to_string(), "report this as a fault"))?,
        );
    }
    let head = b"image,label\n".to_vec();
    Ok(Read { units: units.all, table: Table { ending: "csv", head, rows, header: true, images: true } })
}

/// A path as it reads from a folder, where both start at one root.
pub fn relative(path: &Path, from: &Path) -> PathBuf {
    let here = Path::new(".");
    let from = if from.as_os_str().is_empty() { here } else { from };
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let plain = |path: PathBuf| {
        path.components().fold(PathBuf::new(), |mut all, part| {
            match part {
                Component::ParentDir => {
                    all.pop();
                }
                Component::CurDir => {}
                part => all.push(part),
            }
            all
        })
    };
    let (path, from) = (plain(absolute(path)), plain(absolute(from)));
    let same = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    if same <= 1 {
        return path; // nothing but the root in common
    }
    let up = from.components().skip(same).map(|_| Component::ParentDir);
    let down: Vec<Component<'_>> = path.components().skip(same).collect();
    let all: PathBuf = up.chain(down).collect();
    if all.as_os_str().is_empty() { PathBuf::from(".") } else { all }
}

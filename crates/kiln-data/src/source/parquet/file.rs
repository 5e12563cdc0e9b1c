//! One open Parquet file: its columns, their types, and what Hugging Face wrote into its footer.
//! Owns the file's handle and the refusals of columns; reads no rows (values.rs does).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::schema::types::SchemaDescriptor;

use crate::config::Column;
use crate::error::DataError;
use crate::source::rows::nearest;

/// An open file.
pub(crate) struct ParquetFile {
    path: PathBuf,
    reader: SerializedFileReader<Shared>,
    /// The columns that a person sees.
    names: Vec<String>,
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParquetFile({})", self.path.display())
    }
}

/// Where a column's images are: as bytes, in files, or some rows so and some so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageColumn {
    pub(super) bytes: Option<usize>,
    pub(super) path: Option<usize>,
}

impl ParquetFile {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let expected = "a Parquet file";
        let file = DataError::open(path, expected)?;
        let length = file.metadata().map_err(DataError::opening(path, expected))?.len();
        let shared = Shared { file: Arc::new(Handle::new(file)), length };
        let reader = SerializedFileReader::new(shared).map_err(|e| broken(path, e.to_string()))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let names = schema.root_schema().get_fields().iter().map(|field| field.name().to_string()).collect();
        Ok(Self { path: path.into(), reader, names })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn reader(&self) -> &SerializedFileReader<Shared> {
        &self.reader
    }

    pub(super) fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// Rows before each row group, and all rows.
    pub(super) fn starts(&self) -> Vec<usize> {
        let rows = self.reader.metadata().row_groups().iter().map(|group| group.num_rows() as usize);
        std::iter::once(0)
            .chain(rows.scan(0, |sum, rows| {
                *sum += rows;
                Some(*sum)
            }))
            .collect()
    }

    fn schema(&self) -> &SchemaDescriptor {
        self.reader.metadata().file_metadata().schema_descr()
    }

    /// A column's name.
    pub(super) fn name(&self, column: &Column) -> Result<String, DataError> {
        let found = match column {
            Column::Index(i) => self.names.get(*i),
            Column::Name(name) => self.names.iter().find(|own| *own == name),
        };
        found.cloned().ok_or_else(|| DataError::Column {
            path: self.path.clone(),
            column: column.to_string(),
            there: self.names.clone(),
            similar: match column {
                Column::Name(name) => nearest(name, &self.names),
                Column::Index(_) => None,
            },
        })
    }

    /// The leaves of a column: one, or those of a struct.
    fn leaves(&self, column: &Column) -> Result<Vec<usize>, DataError> {
        let name = self.name(column)?;
        let columns = self.schema().columns().iter().enumerate();
        Ok(columns.filter(|(_, c)| c.path().parts().first() == Some(&name)).map(|(i, _)| i).collect())
    }

    /// The leaf of a column of values or of lists of values.
    pub(super) fn leaf(&self, column: &Column) -> Result<usize, DataError> {
        match self.leaves(column)?.as_slice() {
            [leaf] if self.schema().column(*leaf).max_rep_level() <= 1 => Ok(*leaf),
            leaves => {
                let parts: Vec<String> =
                    leaves.iter().map(|&i| self.schema().column(i).path().string()).collect();
                let problem = format!(
                    "column {column} holds no single values or lists of them, but {}",
                    parts.join(", ")
                );
                Err(self.fault(problem, "name a column of strings, numbers, booleans or lists of these"))
            }
        }
    }

    /// Where a column's images are: a struct of `bytes` and `path`, bytes, or strings that are paths.
    pub(crate) fn image(&self, column: &Column) -> Result<ImageColumn, DataError> {
        let leaves = self.leaves(column)?;
        if let [leaf] = leaves.as_slice() {
            let own = self.schema().column(*leaf);
            let text = own.converted_type() == ConvertedType::UTF8
                || matches!(own.logical_type_ref(), Some(LogicalType::String));
            if own.physical_type() == Physical::BYTE_ARRAY && own.max_rep_level() == 0 {
                let (bytes, path) = if text { (None, Some(*leaf)) } else { (Some(*leaf), None) };
                return Ok(ImageColumn { bytes, path });
            }
        }
        let part = |name: &str| {
            let is = |leaf: &&usize| {
                self.schema().column(**leaf).path().parts().get(1..) == Some(&[name.to_string()][..])
            };
            leaves.iter().find(is).copied()
        };
        match (part("bytes"), part("path")) {
            (None, None) => {
                let problem = format!("column {column} holds no images: {}", self.kind(column));
                Err(self.fault(problem, "name a column of bytes, of {bytes, path}, or of paths of images"))
            }
            (bytes, path) => Ok(ImageColumn { bytes, path }),
        }
    }

    /// A column's type in words; "absent" where the file has no such column.
    pub(crate) fn kind(&self, column: &Column) -> String {
        let kind = |&leaf: &usize| {
            let own = self.schema().column(leaf);
            let text = own.converted_type() == ConvertedType::UTF8;
            let word = match own.physical_type() {
                Physical::BYTE_ARRAY if text => "string".into(),
                Physical::BYTE_ARRAY => "bytes".into(),
                Physical::FIXED_LEN_BYTE_ARRAY => "fixed-length bytes".into(),
                other => other.to_string().to_lowercase(),
            };
            if own.max_rep_level() > 0 { format!("list of {word}") } else { word }
        };
        match self.leaves(column) {
            Ok(leaves) => leaves.iter().map(kind).collect::<Vec<_>>().join(" and "),
            Err(_) => "absent".into(),
        }
    }

    /// The names of a column of classes, as Hugging Face's `datasets` writes them into the footer.
    pub(super) fn class_names(&self, column: &str) -> Option<Vec<String>> {
        let metadata = self.reader.metadata().file_metadata().key_value_metadata()?;
        let text = metadata.iter().find(|pair| pair.key == "huggingface")?.value.as_ref()?;
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let feature = &value["info"]["features"][column];
        // Of a list: under `feature`, in older files the first of an array.
        let own = [feature, &feature["feature"], &feature[0]].into_iter().find(|f| f["names"].is_array())?;
        own["names"].as_array()?.iter().map(|name| name.as_str().map(String::from)).collect()
    }

    pub(super) fn broken(&self, problem: String) -> DataError {
        broken(&self.path, problem)
    }

    pub(crate) fn fault(&self, problem: String, remedy: &str) -> DataError {
        DataError::Unreadable { path: self.path.clone(), problem, remedy: remedy.into() }
    }
}

fn broken(path: &Path, problem: String) -> DataError {
    let remedy =
        "the file is damaged, cut short or no Parquet file (snappy, zstd or no compression): fetch it again";
    DataError::Unreadable { path: path.into(), problem, remedy: remedy.into() }
}

/// One handle for all threads: every read says where it begins.
pub(super) struct Shared {
    file: Arc<Handle>,
    length: u64,
}

impl Length for Shared {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Shared {
    type T = BufReader<Onward>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Onward { file: Arc::clone(&self.file), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // A damaged footer may ask for more than there is: no more than the file has is allocated.
        let there = self.length.saturating_sub(start).min(length as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(there).unwrap_or(0));
        let from = Onward { file: Arc::clone(&self.file), at: start };
        from.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            let message =
                format!("the file ends at byte {}, {} were expected", self.length, start + length as u64);
            return Err(parquet::errors::ParquetError::EOF(message));
        }
        Ok(bytes.into())
    }
}

/// The file from one place on.
pub(super) struct Onward {
    file: Arc<Handle>,
    at: u64,
}

impl Read for Onward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A file that is read at places: on Unix by threads beside each other, elsewhere one after the other.
#[cfg(unix)]
struct Handle(File);

#[cfg(unix)]
impl Handle {
    fn new(file: File) -> Self {
        Self(file)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, at)
    }
}

#[cfg(not(unix))]
struct Handle(std::sync::Mutex<File>);

#[cfg(not(unix))]
impl Handle {
    fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        use std::io::{Seek, SeekFrom};
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        file.read(buffer)
    }
}

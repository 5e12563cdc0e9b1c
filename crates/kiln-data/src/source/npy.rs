//! Arrays in NumPy's `.npz` archives: zip files of `.npy` members, stored or deflated.
//! Owns both formats and their refusals, each with file and byte; never interprets numbers. Hands arrays to npz.rs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;

use crate::error::DataError;

/// Longest central directory that is believed.
const DIRECTORY: u64 = 64 << 20;

/// A member of an archive.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    method: u16,
    packed: u64,
    size: u64,
    header: u64,
}

/// An open archive.
pub(crate) struct Npz {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
}

/// One array in C order.
pub(crate) struct Array {
    /// NumPy's word, as `|u1` or `<i8`.
    pub(crate) descr: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Npz {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let expected = "a NumPy .npz file";
        let file = DataError::open(path, expected)?;
        let mut npz = Self { path: path.into(), file, entries: Vec::new() };
        npz.entries = npz.directory()?;
        Ok(npz)
    }

    /// The arrays' names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// Type and shape of an array, without its numbers.
    pub(crate) fn header(&mut self, name: &str) -> Result<Array, DataError> {
        self.array(name, false)
    }

    /// An array, read whole.
    pub(crate) fn read(&mut self, name: &str) -> Result<Array, DataError> {
        self.array(name, true)
    }

    fn array(&mut self, name: &str, whole: bool) -> Result<Array, DataError> {
        let entry = self.entries.iter().find(|entry| entry.name == name).cloned();
        let entry = entry
            .ok_or_else(|| self.fault(&format!("no array \"{name}\"; it has {}", self.names().join(", "))))?;
        let local = self.bytes(entry.header, 30)?;
        let start = entry.header + 30 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
        self.seek(start)?;
        let packed = (&self.file).take(entry.packed);
        let mut reader: Box<dyn Read> = match entry.method {
            0 => Box::new(packed),
            8 => Box::new(DeflateDecoder::new(packed)),
            other => {
                return Err(self.fault(&format!(
                    "array \"{name}\" is packed by method {other}, not stored or deflated"
                )));
            }
        };
        let broken = |e: std::io::Error| self.fault(&format!("array \"{name}\" is cut or damaged: {e}"));
        let mut head = [0; 10];
        reader.read_exact(&mut head).map_err(broken)?;
        let mut length = usize::from(u16_at(&head, 8));
        if head[6] > 1 {
            let mut high = [0; 2];
            reader.read_exact(&mut high).map_err(broken)?;
            length |= usize::from(u16_at(&high, 0)) << 16;
        }
        if &head[..6] != b"\x93NUMPY" || length > 1 << 20 {
            return Err(self.fault(&format!("array \"{name}\" has no NumPy header")));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(broken)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let (descr, shape) =
            described(&text).map_err(|problem| self.fault(&format!("array \"{name}\" {problem}")))?;
        let mut bytes = Vec::new();
        if whole {
            reader.take(entry.size).read_to_end(&mut bytes).map_err(broken)?;
            let width: usize = descr.get(2..).and_then(|width| width.parse().ok()).unwrap_or(0);
            let expected = shape.iter().try_fold(width, |n, side| n.checked_mul(*side));
            if expected != Some(bytes.len()) {
                return Err(self
                    .fault(&format!("array \"{name}\" has {} bytes for {descr} of {shape:?}", bytes.len())));
            }
        }
        Ok(Array { descr, shape, bytes })
    }

    /// The members, from the directory at the file's end.
    fn directory(&mut self) -> Result<Vec<Entry>, DataError> {
        let length =
            self.file.seek(SeekFrom::End(0)).map_err(DataError::opening(&self.path, "a .npz file"))?;
        let tail = length.min(66_000);
        let bytes = self.bytes(length - tail, tail)?;
        let found =
            bytes.windows(4).rposition(|four| four == b"PK\x05\x06").filter(|at| at + 22 <= bytes.len());
        let end =
            found.ok_or_else(|| self.fault("no zip directory at its end: it is cut or no .npz file"))?;
        let (mut size, mut at) = (u64::from(u32_at(&bytes, end + 12)), u64::from(u32_at(&bytes, end + 16)));
        if at == u64::from(u32::MAX) && end >= 20 {
            let place = u64_at(&bytes, end - 20 + 8);
            let record = self.bytes(place, 56)?;
            (size, at) = (u64_at(&record, 40), u64_at(&record, 48));
        }
        if size > DIRECTORY || at.checked_add(size).is_none_or(|end| end > length) {
            return Err(self.fault("its zip directory lies outside the file: it is cut or damaged"));
        }
        let all = self.bytes(at, size)?;
        let (mut entries, mut rest) = (Vec::new(), &all[..]);
        while rest.len() >= 46 && rest.starts_with(b"PK\x01\x02") {
            let (name, extra) = (usize::from(u16_at(rest, 28)), usize::from(u16_at(rest, 30)));
            let next = 46 + name + extra + usize::from(u16_at(rest, 32));
            let Some(fields) = rest.get(46 + name..46 + name + extra) else { break };
            let text = String::from_utf8_lossy(&rest[46..46 + name]).into_owned();
            let [size, packed, header] = wide(fields, [24, 20, 42].map(|at| u32_at(rest, at)));
            let (name, method) = (text.trim_end_matches(".npy").to_string(), u16_at(rest, 10));
            entries.push(Entry { name, method, packed, size, header });
            rest = rest.get(next..).unwrap_or_default();
        }
        Ok(entries)
    }

    fn seek(&mut self, at: u64) -> Result<(), DataError> {
        self.file.seek(SeekFrom::Start(at)).map(|_| ()).map_err(DataError::opening(&self.path, "a .npz file"))
    }

    fn bytes(&mut self, at: u64, size: u64) -> Result<Vec<u8>, DataError> {
        self.seek(at)?;
        let mut bytes = Vec::new();
        let read = (&self.file).take(size).read_to_end(&mut bytes);
        match read.map_err(DataError::opening(&self.path, "a .npz file"))? as u64 {
            read if read < size => Err(self.fault(&format!("ends at byte {}: it is cut", at + read))),
            _ => Ok(bytes),
        }
    }

    pub(crate) fn fault(&self, problem: &str) -> DataError {
        let remedy =
            "write the arrays with numpy.savez or savez_compressed: x = images as uint8, y = classes";
        DataError::Unreadable { path: self.path.clone(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// Sizes and place of a member; those that do not fit into 32 bits stand in the extra field 1, in this order.
fn wide(mut fields: &[u8], short: [u32; 3]) -> [u64; 3] {
    let mut long = Vec::new();
    while fields.len() >= 4 {
        let end = 4 + usize::from(u16_at(fields, 2));
        if u16_at(fields, 0) == 1 {
            let values = fields.get(4..end).unwrap_or_default();
            long = values.chunks_exact(8).map(|eight| u64_at(eight, 0)).collect();
        }
        fields = fields.get(end..).unwrap_or_default();
    }
    let mut long = long.into_iter();
    short.map(|value| if value == u32::MAX { long.next().unwrap_or(u64::MAX) } else { u64::from(value) })
}

/// Type and shape from a header: `{'descr': '|u1', 'fortran_order': False, 'shape': (10, 8, 8), }`.
fn described(text: &str) -> Result<(String, Vec<usize>), String> {
    let after = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let descr =
        after("descr").and_then(|rest| rest.strip_prefix('\'')).and_then(|rest| rest.split_once('\''));
    let (descr, _) = descr.ok_or("holds records, expected one type of number")?;
    if after("fortran_order").is_none_or(|rest| rest.starts_with("True")) {
        return Err("is in Fortran order: write numpy.ascontiguousarray of it".into());
    }
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split_once(')'));
    let (shape, _) = shape.ok_or("has no shape")?;
    let sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
    let shape =
        sides.map(str::parse).collect::<Result<Vec<usize>, _>>().map_err(|e| format!("has no shape: {e}"))?;
    Ok((descr.into(), shape))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

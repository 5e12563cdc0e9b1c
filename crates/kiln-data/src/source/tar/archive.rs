//! The members of a tar file by their places, without their contents.
//! Owns the format (POSIX ustar and pax, GNU long names and sizes) and its refusals, each with file and byte; never keeps
//! a member. Hands members to the index.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::DataError;

const BLOCK: u64 = 512;
/// Longest name or pax header that is believed.
const LONGEST: u64 = 1 << 20;

/// A regular file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The byte of its first header, from which [`Archive::member`] finds it again.
    pub(crate) at: u64,
    data: u64,
    pub(crate) size: u64,
}

/// An open archive.
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    length: u64,
}

/// What one header says.
struct Header {
    name: String,
    size: u64,
    kind: u8,
}

impl Archive {
    /// # Errors
    /// The file is not there, or compressed.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let expected = "a tar file";
        let mut file = File::open(path).map_err(DataError::opening(path, expected))?;
        let length = file.metadata().map_err(DataError::opening(path, expected))?.len();
        let mut magic = [0; 4];
        let read = file.read(&mut magic).map_err(DataError::opening(path, expected))?;
        let packed = [
            ("gzip", &[0x1F, 0x8B][..]),
            ("zstd", &[0x28, 0xB5, 0x2F, 0xFD]),
            ("xz", &[0xFD, b'7', b'z', b'X']),
        ];
        if let Some((name, _)) = packed.iter().find(|(_, magic_of)| magic[..read].starts_with(magic_of)) {
            return Err(DataError::Unreadable {
                path: path.into(),
                problem: format!("a tar file in {name}, which cannot be read from the middle"),
                remedy: format!(
                    "unpack it to a plain .tar ({name} -d): images gain nothing from compression"
                ),
            });
        }
        Ok(Self { path: path.into(), file, length })
    }

    /// Whether it ends as a whole archive does: in blocks of zeros. Reads the last block alone.
    pub(crate) fn has_end(&mut self) -> Result<bool, DataError> {
        if self.length < BLOCK || !self.length.is_multiple_of(BLOCK) {
            return Ok(false);
        }
        Ok(self.read(self.length - BLOCK, BLOCK)?.iter().all(|byte| *byte == 0))
    }

    /// The first regular file at or after byte `at`, and the byte after it; `None` at the archive's end.
    pub(crate) fn member(&mut self, at: u64) -> Result<Option<(Member, u64)>, DataError> {
        let (mut first, mut place) = (at, at);
        let (mut long_name, mut long_size) = (None, None);
        loop {
            let Some(header) = self.header(place)? else { return Ok(None) };
            let data = place + BLOCK;
            let size = long_size.unwrap_or(header.size);
            let next = size.div_ceil(BLOCK).checked_mul(BLOCK).and_then(|size| data.checked_add(size));
            let next = next.filter(|_| data.checked_add(size).is_some_and(|end| end <= self.length));
            let name = long_name.clone().unwrap_or_else(|| header.name.clone());
            let Some(next) = next else {
                let expected = format!("{size} bytes of \"{name}\" from byte {data} on");
                return Err(self.fault(self.length, &expected, "the end of the file"));
            };
            match header.kind {
                b'0' | 0 | b'7' => return Ok(Some((Member { name, at: first, data, size }, next))),
                b'L' => long_name = Some(text(&self.extension(data, size)?)),
                b'x' => {
                    let pax = self.extension(data, size)?;
                    long_name = record(&pax, "path").or(long_name);
                    long_size = record(&pax, "size").and_then(|size| size.parse().ok()).or(long_size);
                }
                _ => {}
            }
            place = next;
            if !matches!(header.kind, b'L' | b'K' | b'x') {
                (first, long_name, long_size) = (next, None, None); // a folder, a link, a header for all
            }
        }
    }

    /// A member's bytes.
    pub(crate) fn content(&mut self, member: &Member) -> Result<Vec<u8>, DataError> {
        self.read(member.data, member.size)
    }

    fn extension(&mut self, at: u64, size: u64) -> Result<Vec<u8>, DataError> {
        if size > LONGEST {
            return Err(self.fault(at, &format!("a name of at most {LONGEST} bytes"), &size.to_string()));
        }
        self.read(at, size)
    }

    /// `None` at the end marker.
    fn header(&mut self, at: u64) -> Result<Option<Header>, DataError> {
        if at + BLOCK > self.length {
            let expected = "a tar header or the end marker (blocks of zeros)";
            return Err(self.fault(self.length, expected, "the end of the file"));
        }
        let block = self.read(at, BLOCK)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) })
            .sum();
        let (said, size) = (number(&block[148..156]), number(&block[124..136]));
        let (Some(size), true) = (size, said == Some(sum)) else {
            return Err(self.fault(at, "a tar header", "a block with another checksum"));
        };
        let (name, prefix) = (text(&block[..100]), text(&block[345..500]));
        let ustar = &block[257..263] == b"ustar\0" && !prefix.is_empty();
        let name = if ustar { format!("{prefix}/{name}") } else { name };
        Ok(Some(Header { name, size, kind: block[156] }))
    }

    fn read(&mut self, at: u64, size: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let read =
            self.file.seek(SeekFrom::Start(at)).and_then(|_| (&self.file).take(size).read_to_end(&mut bytes));
        let read = read.map_err(DataError::opening(&self.path, "a tar file"))?;
        if (read as u64) < size {
            return Err(self.fault(
                at + read as u64,
                &format!("{size} bytes from byte {at} on"),
                "the end of the file",
            ));
        }
        Ok(bytes)
    }

    fn fault(&self, offset: u64, expected: &str, got: &str) -> DataError {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        DataError::Bytes { path: self.path.clone(), offset, expected: expected.into(), got: got.into() }
    }
}

/// Up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Octal digits between blanks and zeros, or GNU's big-endian binary after a byte 0x80.
fn number(field: &[u8]) -> Option<u64> {
    if field.first() == Some(&0x80) {
        let (high, low) = field[1..].split_at(field.len() - 9);
        return high.iter().all(|b| *b == 0).then(|| low.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
    }
    let digits = text(field);
    match digits.trim() {
        "" => Some(0),
        digits => u64::from_str_radix(digits, 8).ok(),
    }
}

/// A value of a pax header: lines of `length key=value`.
fn record(pax: &[u8], key: &str) -> Option<String> {
    let mut rest = pax;
    while let Some(blank) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..blank]).ok()?.parse().ok()?;
        let line = rest.get(blank + 1..length.checked_sub(1)?)?;
        if let Some(value) = line.strip_prefix(key.as_bytes()).and_then(|line| line.strip_prefix(b"=")) {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        rest = &rest[length..];
    }
    None
}

//! Whether bytes are those that the Hub means: a file's tag is its git hash, or its SHA-256 where it is a large file.
//! Owns both sums; never opens the network.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kiln_core::files::FileError;
use sha1::Sha1;
use sha2::{Digest, Sha256};

const CHUNK: usize = 1 << 20;

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, FileError> {
    sum(Sha256::new(), path).map_err(FileError::at(path, "read"))
}

/// The sum of a file in the tag's own form; `None` where a tag is no sum that is known.
pub(crate) fn like(tag: &str, path: &Path) -> Result<Option<String>, FileError> {
    let hexadecimal = tag.bytes().all(|b| b.is_ascii_hexdigit());
    match (hexadecimal, tag.len()) {
        (true, 64) => sha256(path).map(Some),
        (true, 40) => git(path).map(Some).map_err(FileError::at(path, "read")),
        _ => Ok(None),
    }
}

/// Git's name for a file: SHA-1 of `blob SIZE\0` and its bytes.
fn git(path: &Path) -> io::Result<String> {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", path.metadata()?.len()));
    sum(hash, path)
}

fn sum<D: Digest>(mut hash: D, path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hash.update(chunk.get(..n).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_git_and_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        // printf 'hello\n' | git hash-object --stdin; printf 'hello\n' | sha256sum
        let (short, long) = (
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        );
        assert_eq!(like(short, &path).unwrap().as_deref(), Some(short));
        assert_eq!(like(long, &path).unwrap().as_deref(), Some(long));
        assert_eq!(like("abc-2", &path).unwrap(), None);
    }
}

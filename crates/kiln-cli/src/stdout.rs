//! Writing data to stdout: whole, and without a panic when the reader has gone.
//! Owns nothing else; talk goes to stderr through `report::talk`.

use std::io::{self, ErrorKind, Write};

use kiln_core::Exit;

use crate::report::Failure;

/// Writes a line of data to stdout. A reader that closed the pipe has what it wanted: no failure.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let result =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written(result).map(|_| ())
}

/// Whether somebody still reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    Gone,
}

/// What a write's result means.
pub(crate) fn written(result: io::Result<()>) -> Result<Reader, Failure> {
    match result {
        Ok(()) => Ok(Reader::There),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(e) => Err(Failure::new(Exit::Io, format!("cannot write the output: {e}"))),
    }
}

//! A process that is given so long: what it said, and how it ended.
//! Owns the waiting and the reading of both pipes; what an ending means is `ending`'s.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::machine;

/// A process that is no more.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// It was ended because it took longer than the seconds it had.
    pub(super) overran: Option<Duration>,
    /// Whether the system killed a process for its memory meanwhile; `None` where it does not tell.
    pub(super) memory_kill: Option<bool>,
}

/// Runs to the end, or for `limit`.
pub(super) fn run(mut command: Command, limit: Duration) -> io::Result<Ended> {
    let kills = machine::memory_kills();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (open, closed) = channel();
    let stdout = read(child.stdout.take(), &open);
    let stderr = read(child.stderr.take(), &open);
    drop(open);
    let overran = closed.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
    if overran {
        child.kill()?;
    }
    let (status, stdout, stderr) = (Child::wait(&mut child)?, joined(stdout), joined(stderr));
    let memory_kill = kills.zip(machine::memory_kills()).map(|(then, now)| now > then);
    Ok(Ended { status, stdout, stderr, overran: overran.then_some(limit), memory_kill })
}

/// Reads to the end in a thread, which holds `open` until then.
fn read(pipe: Option<impl Read + Send + 'static>, open: &Sender<()>) -> JoinHandle<Vec<u8>> {
    let open = open.clone();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        drop(open);
        bytes
    })
}

fn joined(reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

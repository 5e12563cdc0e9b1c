//! What it means that the process of a row ended without an answer.
//! Owns the words; `child` ran it, `crew` makes a row of it.

use std::process::ExitStatus;

use super::Status;
use super::child::Ended;

/// What allocators, drivers and Burn say where memory runs out.
const OUT_OF_MEMORY: &[&str] = &[
    "memory allocation of",
    "out of memory",
    "out of device memory",
    "OutOfMemory",
    "OUT_OF_MEMORY",
    "can't allocate buffer",
    "Cannot allocate memory",
];

/// Whether a message is about memory that ran out.
pub(crate) fn is_out_of_memory(message: &str) -> bool {
    OUT_OF_MEMORY.iter().any(|words| message.contains(words))
}

/// Why a process ended without an answer: its time, signal or exit code, and the most telling thing it said.
pub(super) fn ending(ended: &Ended) -> (Status, String) {
    if let Some(limit) = ended.overran {
        return (Status::Failed, format!("ended after {} seconds, its limit", limit.as_secs_f64()));
    }
    let said = telling(&String::from_utf8_lossy(&ended.stderr));
    let killed = signal(&ended.status) == Some(9) && ended.memory_kill != Some(false);
    let status = if killed || is_out_of_memory(&said) { Status::OutOfMemory } else { Status::Failed };
    let how = how(ended);
    (status, if said.is_empty() { how } else { format!("{how}: {said}") })
}

/// The line about memory, else the panic's, else the last.
fn telling(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let about_memory = lines.iter().find(|line| is_out_of_memory(line));
    let panic = || {
        let at = lines.iter().position(|line| line.contains("panicked at"))?;
        Some(lines[at..].iter().take(2).copied().collect::<Vec<_>>().join(" "))
    };
    let note = |line: &&&str| line.starts_with("note:") || line.starts_with("stack backtrace");
    let last = || lines.iter().rev().find(|line| !note(line)).map(ToString::to_string);
    about_memory.map(ToString::to_string).or_else(panic).or_else(last).unwrap_or_default()
}

fn how(ended: &Ended) -> String {
    match (signal(&ended.status), ended.memory_kill) {
        (Some(9), Some(true)) => "killed by the system, whose memory ran out".into(),
        (Some(9), Some(false)) => "killed (signal 9) by another program".into(),
        (Some(9), None) => "killed (signal 9), as the system does when memory runs out".into(),
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, _) => format!("ended with {}", ended.status),
    }
}

#[cfg(unix)]
fn signal(status: &ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(status)
}

#[cfg(not(unix))]
fn signal(_: &ExitStatus) -> Option<i32> {
    None
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;

    use super::*;

    fn ended(raw: i32, stderr: &str) -> Ended {
        Ended {
            status: ExitStatus::from_raw(raw),
            stdout: Vec::new(),
            stderr: stderr.into(),
            overran: None,
            memory_kill: Some(false),
        }
    }

    #[test]
    fn endings_are_told_apart() {
        let panic = "thread 'main' panicked at a.rs:1:\nno shape\nnote: run with\nstack backtrace:\n";
        let gpu = "thread 'main' panicked at b.rs:2:\nout of device memory allocating 7 bytes\nnote: x";
        let abort = "memory allocation of 7 bytes failed\nstack backtrace:\nskipping it";
        for (raw, stderr, status, reason) in [
            (6, abort, Status::OutOfMemory, "ended by signal 6: memory allocation of 7 bytes failed"),
            (
                101 << 8,
                panic,
                Status::Failed,
                "ended with exit status: 101: thread 'main' panicked at a.rs:1: no shape",
            ),
            (101 << 8, gpu, Status::OutOfMemory, "exit status: 101: out of device memory allocating 7 bytes"),
            (3 << 8, "hello\nnote: x", Status::Failed, "ended with exit status: 3: hello"),
            (9, "", Status::Failed, "killed (signal 9) by another program"),
        ] {
            let (got, said) = ending(&ended(raw, stderr));
            assert!(said.contains(reason), "{said}");
            assert_eq!(got, status, "{said}");
        }
    }

    #[test]
    fn a_kill_is_for_memory_where_the_system_says_so_or_nothing() {
        for (memory_kill, status, reason) in [
            (Some(true), Status::OutOfMemory, "killed by the system, whose memory ran out"),
            (None, Status::OutOfMemory, "killed (signal 9), as the system does when memory runs out"),
            (Some(false), Status::Failed, "killed (signal 9) by another program"),
        ] {
            assert_eq!(ending(&Ended { memory_kill, ..ended(9, "") }), (status, reason.into()));
        }
        let overran = Ended { overran: Some(Duration::from_secs(3)), ..ended(9, "") };
        assert_eq!(ending(&overran), (Status::Failed, "ended after 3 seconds, its limit".into()));
    }
}

//! Exit codes of the `kiln` command, as scripts and schedulers read them.

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// A fault in the config or on the command line; nothing was started.
    Usage = 2,
    /// The device asked for is not there.
    Device = 3,
    /// A fault in the data or in weights that were given.
    Data = 4,
    /// Memory ran out, on the device or beside it.
    Memory = 71,
    /// Another process holds the run.
    Locked = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Stopped on request; `--resume` continues.
    Resumable = 75,
}

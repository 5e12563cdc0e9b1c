//! Files that promise more pixels than they hold: refused from the header, in bounded memory. Alone in its process, whose
//! peak memory it measures.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use kiln_data::decode_bytes;

/// The process's peak memory in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn bombs_are_refused_in_bounded_memory() {
    for (side, allowed) in [(60_000, 16), (13_000, 256)] {
        for (kind, bytes) in support::bombs(side) {
            let before = peak();
            let error = decode_bytes(&bytes, &format!("bomb.{kind}")).expect_err(kind).to_string();
            let grown = (peak() - before) >> 20;
            println!("{kind} {side}: {grown} MiB; {error}");
            assert!(error.starts_with(&format!("bomb.{kind}: expected ")), "{error}");
            // Those of 60,000 are beyond the limit; those of 13,000 below it, and their files end at once.
            assert!(grown < allowed, "{kind} {side}: grew by {grown} MiB");
        }
    }
}

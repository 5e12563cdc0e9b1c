//! What the system tells about this process and machine, from Linux's files; `None` and "unknown" elsewhere.
//! Owns the reading; never a device's tensor.

use std::fs;

use super::nvml;

const KIB_PER_MIB: f64 = 1024.0;

/// Forgets the largest resident memory so far; where the system refuses, peaks are those since the start.
pub(crate) fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident memory of this process since [`reset_peak`], MiB.
pub(crate) fn peak_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / KIB_PER_MIB)
}

/// The resident memory of this process now, MiB.
pub(crate) fn resident_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / KIB_PER_MIB)
}

/// How many processes the system has killed because memory ran out, in the whole machine or in a group's limit.
pub(super) fn memory_kills() -> Option<u64> {
    let counters = fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

/// The processor's name.
pub(super) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

/// NVIDIA's driver for a GPU where it is loaded, else the kernel.
pub(super) fn driver(is_gpu: bool) -> String {
    match is_gpu.then(|| nvml::driver().or_else(nvidia)).flatten() {
        Some(version) => format!("NVIDIA {version}"),
        None => fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| std::env::consts::OS.to_string(), |release| format!("Linux {}", release.trim())),
    }
}

/// The version of NVIDIA's kernel module.
fn nvidia() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    Some(text.lines().next()?.split_whitespace().find(version)?.to_string())
}

/// The first 16 digits of this binary's BLAKE3.
pub(super) fn binary() -> String {
    let bytes = std::env::current_exe().and_then(fs::read);
    bytes.map_or_else(|_| "unknown".into(), |bytes| blake3::hash(&bytes).to_hex()[..16].to_string())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_follows_what_is_held() {
        reset_peak();
        let before = peak_mib().unwrap();
        let block = std::hint::black_box(vec![1u8; 256 << 20]); // other tests free theirs meanwhile
        let after = peak_mib().unwrap();
        assert!(after >= before + 128.0, "{before} to {after} MiB with {} more bytes", block.len());
    }
}

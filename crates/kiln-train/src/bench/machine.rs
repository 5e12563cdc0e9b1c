//! What the system tells about this process and machine, from Linux's files; `None` and "unknown" elsewhere.
//! Owns the reading; never a device's tensor.

use std::fs;
use std::path::PathBuf;

const KIB_PER_MIB: f64 = 1024.0;

/// Forgets the largest resident memory so far; where the system refuses, peaks are those since the start.
pub(super) fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident memory of this process since [`reset_peak`], MiB.
pub(super) fn peak_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / KIB_PER_MIB)
}

/// The processor's name.
pub(super) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

/// NVIDIA's driver for a GPU where it is loaded, else the kernel.
pub(super) fn driver(is_gpu: bool) -> String {
    let nvidia = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let version = nvidia.lines().next().and_then(|line| {
        line.split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
    });
    match version {
        Some(version) if is_gpu => format!("NVIDIA {version}"),
        _ => fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| std::env::consts::OS.to_string(), |release| format!("Linux {}", release.trim())),
    }
}

/// The first 16 digits of this binary's BLAKE3.
pub(super) fn binary() -> String {
    let bytes = std::env::current_exe().and_then(fs::read);
    bytes.map_or_else(|_| "unknown".into(), |bytes| blake3::hash(&bytes).to_hex()[..16].to_string())
}

/// Energy counters of the processor's packages.
pub(super) struct Energy(Vec<(PathBuf, u64)>);

impl Energy {
    /// Reads them now; empty where there are none or they may not be read.
    pub(super) fn now() -> Self {
        let zones = fs::read_dir("/sys/class/powercap").into_iter().flatten().flatten();
        let package = |path: &PathBuf| {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("intel-rapl:") && name.matches(':').count() == 1
        };
        let counters = zones.map(|zone| zone.path()).filter(package);
        Self(counters.filter_map(|path| Some((path.clone(), number(path.join("energy_uj"))?))).collect())
    }

    /// Joules since then, a counter that began anew included.
    pub(super) fn joules(&self) -> Option<f64> {
        let since = |(path, then): &(PathBuf, u64)| {
            let now = number(path.join("energy_uj"))?;
            let range = number(path.join("max_energy_range_uj"))?;
            Some(if now >= *then { now - then } else { now + range - then })
        };
        let sum: Option<u64> = self.0.iter().map(since).sum();
        sum.filter(|_| !self.0.is_empty()).map(|microjoules| microjoules as f64 / 1e6)
    }
}

fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
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

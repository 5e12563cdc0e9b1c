//! What a stretch of work takes of the machine: energy, and how busy it keeps processors and GPU.
//! Owns the processors' counters, from Linux's files; a GPU's are `nvml`'s. What cannot be read is `None`, never an error.

use std::fs;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Instant;

use burn::tensor::Device;
use kiln_core::device;

use super::nvml::Gpu;

/// Ticks a second of the times in `/proc/self/stat`, the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Counters at the beginning.
pub(super) struct Usage {
    began: Instant,
    processor_seconds: Option<f64>,
    packages: Packages,
    gpu: Option<Gpu>,
}

/// What was taken since.
pub(super) struct Used {
    /// Of the processor packages (RAPL).
    pub(super) joules: Option<f64>,
    /// Of the GPU that did the work (NVML).
    pub(super) gpu_joules: Option<f64>,
    /// Share of the processors' time that went to this process.
    pub(super) processors_busy: Option<f64>,
    /// Share of the time in which the GPU ran a kernel, of whichever process.
    pub(super) gpu_busy: Option<f64>,
}

impl Usage {
    /// Begins now; `device` is where the work will be done.
    pub(super) fn begin(device: &Device) -> Self {
        Self {
            gpu: device::pci_address(device).and_then(|address| Gpu::at(&address)),
            packages: Packages::now(),
            processor_seconds: processor_seconds(),
            began: Instant::now(),
        }
    }

    /// What was taken from then to now.
    pub(super) fn end(&self) -> Used {
        let wall = self.began.elapsed().as_secs_f64();
        let processors = available_parallelism().map_or(1.0, |n| n.get() as f64);
        let seconds = processor_seconds().zip(self.processor_seconds).map(|(now, then)| now - then);
        Used {
            joules: self.packages.joules(),
            gpu_joules: self.gpu.as_ref().and_then(Gpu::joules),
            processors_busy: seconds.map(|seconds| seconds / wall / processors),
            gpu_busy: self.gpu.as_ref().and_then(Gpu::busy),
        }
    }
}

/// Seconds that the processors have spent on this process, in its own code and in the system's.
fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything; user and system time are 14 and 15.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<f64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) / TICKS)
}

/// Energy counters of the processor's packages (RAPL).
struct Packages(Vec<(PathBuf, u64)>);

impl Packages {
    /// Reads them now; empty where there are none or they may not be read.
    fn now() -> Self {
        let zones = fs::read_dir("/sys/class/powercap").into_iter().flatten().flatten();
        let package = |path: &PathBuf| {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("intel-rapl:") && name.matches(':').count() == 1
        };
        let counters = zones.map(|zone| zone.path()).filter(package);
        Self(counters.filter_map(|path| Some((path.clone(), number(path.join("energy_uj"))?))).collect())
    }

    /// Joules since then, a counter that began anew included.
    fn joules(&self) -> Option<f64> {
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
    fn work_of_this_process_keeps_a_processor_busy() {
        let usage = Usage::begin(&Device::flex());
        while usage.began.elapsed().as_millis() < 300 {
            std::hint::black_box(1 + 1);
        }
        let used = usage.end();
        let busy = used.processors_busy.unwrap();
        assert!(busy > 0.0 && busy < 1.1, "{busy}"); // a tick may fall to either side
        assert_eq!((used.gpu_joules, used.gpu_busy), (None, None), "a processor is no GPU");
    }
}

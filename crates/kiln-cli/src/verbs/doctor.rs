//! `kiln doctor`: what this build and this machine have, and whether each device computes right.
//! Owns the page; devices and their probe are kiln-core's. Exits 3 when a device fails its probe.

use std::path::{Path, PathBuf};
use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};
use kiln_core::Exit;
use kiln_core::device::{self, Found, PROBE_TOLERANCE};
use serde::Serialize;
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

use crate::report::{Failure, Outcome};
use crate::stdout;

/// List devices, features, threads, memory and disk, and test each device
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Folder of runs whose disk is looked at
    #[arg(long, value_name = "DIR", default_value = "runs")]
    output_dir: PathBuf,
}

#[derive(Debug, Serialize)]
struct Page {
    version: &'static str,
    features: Vec<&'static str>,
    devices: Vec<Line>,
    cpu: Option<String>,
    threads: usize,
    simd: &'static str,
    memory_total: Option<u64>,
    memory_available: Option<u64>,
    output_dir: PathBuf,
    disk_available: Option<u64>,
    /// Where GPUs keep tuned and compiled kernels; none in a build without such a backend.
    kernels: Option<Kernels>,
}

#[derive(Debug, Serialize)]
struct Kernels {
    folder: PathBuf,
    bytes: u64,
}

/// A device and how its probe went.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    description: String,
    software: bool,
    ok: bool,
    max_abs_difference: Option<f32>,
    error: Option<String>,
    milliseconds: f64,
}

pub(crate) fn run(args: Args) -> Outcome {
    let page = page(args.output_dir);
    let text = if args.json { json(&page)? } else { table(&page) };
    stdout::line(&text)?;
    Ok(if page.devices.iter().all(|d| d.ok) { Exit::Done } else { Exit::Device })
}

fn page(output_dir: PathBuf) -> Page {
    let kinds = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kinds).ok();
    Page {
        version: env!("CARGO_PKG_VERSION"),
        features: device::built_in(),
        devices: device::found().iter().map(tested).collect(),
        cpu: system.as_ref().and_then(|s| s.cpus().first()).map(|c| c.brand().trim().to_string()),
        threads: rayon::current_num_threads(),
        simd: simd(),
        memory_total: system.as_ref().map(System::total_memory),
        memory_available: system.as_ref().map(System::available_memory),
        disk_available: disk_available(&output_dir),
        output_dir,
        kernels: device::kernel_folder()
            .map(|folder| Kernels { bytes: device::kernel_bytes(&folder), folder }),
    }
}

fn tested(found: &Found) -> Line {
    let start = Instant::now();
    let result = device::probe(found);
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let (ok, difference, error) = match result {
        Ok(d) if d <= PROBE_TOLERANCE => (true, Some(d), None),
        Ok(d) => (false, Some(d), Some(format!("a product is off by {d}, more than {PROBE_TOLERANCE}"))),
        Err(e) => (false, None, Some(e.to_string())),
    };
    Line {
        name: found.name.clone(),
        description: found.description.clone(),
        software: found.software,
        ok,
        max_abs_difference: difference,
        error,
        milliseconds,
    }
}

/// The widest vector instructions the processor offers; Burn's CPU backend chooses among them at run time.
#[cfg(target_arch = "x86_64")]
fn simd() -> &'static str {
    if is_x86_feature_detected!("avx512f") {
        "AVX-512"
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "AVX2 + FMA"
    } else {
        "SSE2"
    }
}

#[cfg(target_arch = "aarch64")]
fn simd() -> &'static str {
    "NEON"
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> &'static str {
    "unknown"
}

/// Bytes free on the disk that holds `folder`, or would.
fn disk_available(folder: &Path) -> Option<u64> {
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute.ancestors().find_map(|a| a.canonicalize().ok())?;
    let disks = Disks::new_with_refreshed_list().ok()?;
    let holds = disks.iter().filter(|d| there.starts_with(d.mount_point()));
    Some(holds.max_by_key(|d| d.mount_point().components().count())?.available_space())
}

fn json(page: &Page) -> Result<String, Failure> {
    serde_json::to_string(page).map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))
}

fn table(page: &Page) -> String {
    let facts = [
        ("kiln", page.version.to_string()),
        ("features", page.features.join(", ")),
        ("cpu", page.cpu.clone().unwrap_or_else(|| "unknown".into())),
        ("threads", page.threads.to_string()),
        ("simd", page.simd.to_string()),
        ("memory", format!("{} available of {}", size(page.memory_available), size(page.memory_total))),
        ("disk", format!("{} free at {}", size(page.disk_available), page.output_dir.display())),
        ("kernels", kernels(page.kernels.as_ref())),
    ];
    let mut text: String = facts.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect();
    let mut devices = Table::new();
    devices.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    devices.set_header(["device", "what", "test", "difference", "ms"]);
    for d in &page.devices {
        let test =
            if d.ok { "ok".into() } else { format!("FAILED: {}", d.error.clone().unwrap_or_default()) };
        let difference = d.max_abs_difference.map_or_else(String::new, |x| format!("{x:.1e}"));
        devices.add_row([
            d.name.clone(),
            d.description.clone(),
            test,
            difference,
            format!("{:.1}", d.milliseconds),
        ]);
    }
    text.push('\n');
    text + &devices.trim_fmt()
}

fn kernels(kept: Option<&Kernels>) -> String {
    match kept {
        Some(Kernels { folder, bytes }) => format!("{bytes} bytes kept in {}", folder.display()),
        None => "part of this binary, none kept".into(),
    }
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".into(), |b| format!("{:.1} GiB", b as f64 / (1u64 << 30) as f64))
}

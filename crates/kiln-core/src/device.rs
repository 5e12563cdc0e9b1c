//! Devices: what this build and this machine have, and which one a run uses.
//! Owns the choice and a check that a device computes right; never a model's tensor, never a message on screen.
//! Verbs and the loop resolve a `DeviceSpec` here and hand the `Device` on.

mod kernels;
mod name;
mod probe;

use burn::tensor::Device;

pub use kernels::{CACHE_VARIABLE, cache_folder, keep_kernels, keeps_kernels, kernel_bytes, kernel_folder};
pub use name::{Backend, DeviceError, DeviceSpec};
use probe::quietly;
pub use probe::{PROBE_TOLERANCE, probe};

/// The device of a run.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The device, without autodiff.
    pub device: Device,
    /// What computes.
    pub backend: Backend,
    /// Its name, such as `cuda:0`.
    pub name: String,
    /// Why it was chosen, in one line.
    pub why: String,
}

/// One device of this machine that this binary can use.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name, such as `cuda:0`.
    pub name: String,
    /// What it is, as its driver calls it, or why it cannot be opened.
    pub description: String,
    /// It is a program on the processor that poses as a GPU, such as Mesa's lavapipe.
    pub software: bool,
    /// The device, without autodiff.
    pub device: Device,
}

/// Every device of this machine that this binary can use, in `auto`'s order. Opens them.
pub fn found() -> Vec<Found> {
    Backend::ALL
        .into_iter()
        .flat_map(|backend| {
            backend.devices().into_iter().enumerate().map(move |(i, d)| describe(backend, i, d))
        })
        .collect()
}

/// The processor through Burn `flex`; `None` where it is not built in.
pub fn processor() -> Option<Device> {
    #[cfg(feature = "cpu")]
    return Some(Device::flex());
    #[cfg(not(feature = "cpu"))]
    None
}

/// The Cargo features of the backends in this binary, in `auto`'s order.
pub fn built_in() -> Vec<&'static str> {
    Backend::ALL.into_iter().filter(|b| b.is_built_in()).map(Backend::word).collect()
}

/// Finds the device asked for.
///
/// # Errors
/// The backend is not built in, or there is no such device; the error says what there is.
pub fn resolve(spec: &DeviceSpec) -> Result<Chosen, DeviceError> {
    match *spec {
        DeviceSpec::Auto => choose(),
        DeviceSpec::On { backend, index } => named(backend, index),
    }
}

fn named(backend: Backend, index: usize) -> Result<Chosen, DeviceError> {
    let name = backend.name(index);
    if !backend.is_built_in() {
        let built_in = built_in().join(", ");
        return Err(DeviceError::NotBuiltIn { asked: name, feature: backend.word(), built_in });
    }
    match backend.devices().into_iter().nth(index) {
        Some(device) => Ok(Chosen { device, backend, name, why: "asked for".into() }),
        None => Err(DeviceError::Absent { asked: name, there: there() }),
    }
}

/// `auto`: the first real GPU that opens, else the processor.
fn choose() -> Result<Chosen, DeviceError> {
    let mut passed = Vec::new();
    for backend in Backend::ALL.into_iter().filter(|b| b.is_built_in()) {
        for (index, device) in backend.devices().into_iter().enumerate() {
            let found = describe(backend, index, device);
            if backend.is_processor() {
                let (device, name) = (found.device, found.name);
                return Ok(Chosen { device, backend, name, why: no_gpu(&passed) });
            }
            match is_real(&found) {
                true => {
                    let (device, name) = (found.device, found.name);
                    return Ok(Chosen { device, backend, name, why: found.description });
                }
                false => passed.push(format!("{} is {}", found.name, found.description)),
            }
        }
    }
    Err(DeviceError::Absent { asked: "auto".into(), there: there() })
}

fn is_real(found: &Found) -> bool {
    !found.software && !found.description.starts_with(UNOPENED)
}

fn no_gpu(passed: &[String]) -> String {
    let gpus: Vec<_> = Backend::ALL
        .into_iter()
        .filter(|b| b.is_built_in() && !b.is_processor())
        .map(Backend::word)
        .collect();
    if gpus.is_empty() {
        "no GPU backend is built in".into()
    } else if passed.is_empty() {
        format!("no GPU found through {}", gpus.join(", "))
    } else {
        format!("no GPU that counts: {}", passed.join("; "))
    }
}

fn there() -> String {
    let all: Vec<_> = found().into_iter().map(|f| format!("{} ({})", f.name, f.description)).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

const UNOPENED: &str = "cannot be opened: ";

fn describe(backend: Backend, index: usize, device: Device) -> Found {
    let name = backend.name(index);
    let (description, software) = match backend {
        Backend::Cpu => ("the processor, through Burn flex".to_string(), false),
        Backend::Ndarray => ("the processor, through Burn ndarray".to_string(), false),
        _ => match quietly(|| identity(&device)) {
            Ok(identity) => (identity.name, identity.software),
            Err(reason) => (format!("{UNOPENED}{reason}"), false),
        },
    };
    Found { name, description, software, device }
}

/// The PCI address of the card behind a device, `0000:65:00.0`, by which drivers know it; `None` where there is no card.
/// Opens the device.
pub fn pci_address(device: &Device) -> Option<String> {
    quietly(|| identity(device)).ok()?.pci_address
}

/// What a device says of itself.
struct Identity {
    name: String,
    /// There is no card behind it.
    software: bool,
    pci_address: Option<String>,
}

impl Identity {
    fn unnamed() -> Self {
        Self { name: "a device that does not name itself".into(), software: false, pci_address: None }
    }
}

/// Opens the device.
#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan", feature = "wgpu"))]
fn identity(device: &Device) -> Identity {
    let Some(identity) = device.identity() else { return Identity::unnamed() };
    match identity.physical {
        Some(card) => {
            let pci_address = card.pci_address.map(|address| address.to_string());
            Identity { name: identity.name, software: false, pci_address }
        }
        // A software rasterizer reports no physical card.
        None => Identity { name: format!("{} (software)", identity.name), software: true, pci_address: None },
    }
}

#[cfg(not(any(
    feature = "cuda",
    feature = "metal",
    feature = "rocm",
    feature = "vulkan",
    feature = "wgpu"
)))]
fn identity(_: &Device) -> Identity {
    Identity::unnamed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_printed() {
        for (text, printed) in [
            ("auto", "auto"),
            ("cpu", "cpu"),
            ("cuda", "cuda:0"),
            ("cuda:3", "cuda:3"),
            (" vulkan:1 ", "vulkan:1"),
            ("wgpu:0", "wgpu:0"),
            ("metal", "metal:0"),
            ("rocm:2", "rocm:2"),
            ("ndarray", "ndarray"),
        ] {
            assert_eq!(text.parse::<DeviceSpec>().map(|s| s.to_string()), Ok(printed.to_string()), "{text}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "ndarray:1", "CUDA:0", "cuda:0:1"] {
            assert!(text.parse::<DeviceSpec>().is_err(), "{text}");
        }
        for text in ["cuda:0,cuda:1", "cuda:0 cuda:1", "[0, 1]", "cuda:0+1"] {
            let error = text.parse::<DeviceSpec>().expect_err(text).to_string();
            assert!(error.contains("one device a run for now"), "{error}");
        }
    }

    #[test]
    fn a_backend_that_is_not_built_in_says_what_is() {
        let Some(absent) = Backend::ALL.into_iter().find(|b| !b.is_built_in()) else { return };
        let error = resolve(&DeviceSpec::On { backend: absent, index: 0 }).expect_err("not built in");
        assert!(matches!(error, DeviceError::NotBuiltIn { .. }), "{error}");
        assert!(error.hint().contains(absent.word()));
    }

    #[test]
    #[cfg(feature = "cpu")]
    fn the_processor_is_found_and_computes() {
        assert_eq!(resolve(&DeviceSpec::Auto).map(|c| c.name.is_empty()), Ok(false));
        let chosen = resolve(&"cpu".parse().expect("cpu")).expect("cpu is built in");
        assert_eq!(chosen.name, "cpu");
        let cpu = found().into_iter().find(|f| f.name == "cpu").expect("listed");
        assert!(probe(&cpu).expect("computes") < 1e-4);
    }

    #[test]
    fn panics_are_caught_with_their_message() {
        assert_eq!(quietly(|| 3), Ok(3));
        assert_eq!(quietly(|| -> u8 { panic!("no {}", "driver") }), Err("no driver".into()));
        assert_eq!(quietly(|| -> u8 { panic!("plain") }), Err("plain".into()));
    }
}

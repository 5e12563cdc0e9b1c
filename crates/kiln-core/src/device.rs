//! Devices: the words that name them, what this build and this machine have, and which one a run uses.
//! Owns the choice and a check that a device computes right; never a model's tensor, never a message on screen.
//! Verbs and the loop resolve a `DeviceSpec` here and hand the `Device` on.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};

/// What computes. The order is `auto`'s order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// NVIDIA GPUs.
    Cuda,
    /// Apple GPUs.
    Metal,
    /// AMD GPUs through ROCm.
    Rocm,
    /// Vulkan GPUs through SPIR-V.
    Vulkan,
    /// Any GPU through WebGPU's shading language.
    Wgpu,
    /// The processor, through Burn's `flex`.
    Cpu,
    /// The processor, through Burn's older backend.
    Ndarray,
}

impl Backend {
    /// Every backend kiln knows, built in or not.
    pub const ALL: [Backend; 7] = [
        Backend::Cuda,
        Backend::Metal,
        Backend::Rocm,
        Backend::Vulkan,
        Backend::Wgpu,
        Backend::Cpu,
        Backend::Ndarray,
    ];

    /// The word in configs, which is also the Cargo feature's name.
    pub fn word(self) -> &'static str {
        match self {
            Backend::Cuda => "cuda",
            Backend::Metal => "metal",
            Backend::Rocm => "rocm",
            Backend::Vulkan => "vulkan",
            Backend::Wgpu => "wgpu",
            Backend::Cpu => "cpu",
            Backend::Ndarray => "ndarray",
        }
    }

    /// Whether this binary was built with it.
    pub fn is_built_in(self) -> bool {
        match self {
            Backend::Cuda => cfg!(feature = "cuda"),
            Backend::Metal => cfg!(feature = "metal"),
            Backend::Rocm => cfg!(feature = "rocm"),
            Backend::Vulkan => cfg!(feature = "vulkan"),
            Backend::Wgpu => cfg!(feature = "wgpu"),
            Backend::Cpu => cfg!(feature = "cpu"),
            Backend::Ndarray => cfg!(feature = "ndarray"),
        }
    }

    /// Whether there is one of it at most, so that it takes no index.
    fn is_processor(self) -> bool {
        matches!(self, Backend::Cpu | Backend::Ndarray)
    }

    fn name(self, index: usize) -> String {
        if self.is_processor() { self.word().into() } else { format!("{}:{index}", self.word()) }
    }

    /// Its devices on this machine, in the order of their indices; none where no driver is installed.
    fn devices(self) -> Vec<Device> {
        // Drivers that are half installed make some backends panic; a machine without the device is no fault.
        quietly(|| self.enumerate()).unwrap_or_default()
    }

    fn enumerate(self) -> Vec<Device> {
        match self {
            #[cfg(feature = "cuda")]
            Backend::Cuda => Device::enumerate(burn::tensor::DeviceType::Cuda).to_vec(),
            #[cfg(feature = "metal")]
            Backend::Metal => Device::enumerate(burn::tensor::DeviceType::Metal).to_vec(),
            #[cfg(feature = "rocm")]
            Backend::Rocm => Device::enumerate(burn::tensor::DeviceType::Rocm).to_vec(),
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => Device::enumerate(burn::tensor::DeviceType::Vulkan).to_vec(),
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => Device::enumerate(burn::tensor::DeviceType::Wgpu).to_vec(),
            #[cfg(feature = "cpu")]
            Backend::Cpu => vec![Device::flex()],
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "offered for comparison as long as Burn has it")]
            Backend::Ndarray => vec![Device::ndarray()],
            #[allow(unreachable_patterns, reason = "a build with every backend has no rest")]
            _ => Vec::new(),
        }
    }
}

/// A device as a config or a command line asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The first real GPU, else the processor.
    Auto,
    /// This one.
    On {
        /// What computes.
        backend: Backend,
        /// Its place from 0; 0 for the processor.
        index: usize,
    },
}

const FORMS: &str = "auto, cpu, cuda:N, vulkan:N, wgpu:N, metal:N, rocm:N or ndarray (N from 0)";

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let text = text.trim();
        if text.contains([',', '+', '[']) || text.split_whitespace().count() > 1 {
            return Err(DeviceError::List { text: text.into() });
        }
        if text == "auto" {
            return Ok(DeviceSpec::Auto);
        }
        let wrong = || DeviceError::Word { text: text.into() };
        let (word, index) = match text.split_once(':') {
            Some((word, index)) => (word, Some(index)),
            None => (text, None),
        };
        let backend = Backend::ALL.into_iter().find(|b| b.word() == word).ok_or_else(wrong)?;
        let index = match index {
            None => 0,
            Some(_) if backend.is_processor() => return Err(wrong()),
            Some(n) if n.bytes().all(|b| b.is_ascii_digit()) => n.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        Ok(DeviceSpec::On { backend, index })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::Auto => f.write_str("auto"),
            DeviceSpec::On { backend, index } => f.write_str(&backend.name(*index)),
        }
    }
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not a device's name.
    #[error("`{text}` is not a device: expected {FORMS}")]
    Word {
        /// What was asked for.
        text: String,
    },
    /// Several devices.
    #[error("device `{text}` is a list: one device a run for now")]
    List {
        /// What was asked for.
        text: String,
    },
    /// The binary was built without the backend.
    #[error(
        "device `{asked}` was asked for, but this kiln is built without `{feature}`; built in: {built_in}"
    )]
    NotBuiltIn {
        /// What was asked for.
        asked: String,
        /// The Cargo feature that is off.
        feature: &'static str,
        /// The features that are on.
        built_in: String,
    },
    /// The machine has no such device, or no such index.
    #[error("device `{asked}` is not on this machine; there is: {there}")]
    Absent {
        /// What was asked for.
        asked: String,
        /// What there is instead.
        there: String,
    },
    /// The device is listed but does not work.
    #[error("device `{name}` does not work: {reason}")]
    Broken {
        /// The device.
        name: String,
        /// What it said.
        reason: String,
    },
}

impl DeviceError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            DeviceError::Word { .. } => "device = \"auto\" takes the first GPU, else the CPU".into(),
            DeviceError::List { .. } => "name one device, such as \"cuda:0\"".into(),
            DeviceError::NotBuiltIn { feature, .. } => {
                format!("build with `--features {feature}`, or take device = \"auto\"")
            }
            DeviceError::Absent { .. } | DeviceError::Broken { .. } => {
                "`kiln doctor` lists and tests every device; device = \"auto\" takes what there is".into()
            }
        }
    }
}

/// The device of a run.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The device, without autodiff.
    pub device: Device,
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
        Some(device) => Ok(Chosen { device, name, why: "asked for".into() }),
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
                return Ok(Chosen { device: found.device, name: found.name, why: no_gpu(&passed) });
            }
            match is_real(&found) {
                true => return Ok(Chosen { device: found.device, name: found.name, why: found.description }),
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
            Ok((card, software)) => (card, software),
            Err(reason) => (format!("{UNOPENED}{reason}"), false),
        },
    };
    Found { name, description, software, device }
}

/// The card's name, and whether there is no card behind it. Opens the device.
#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan", feature = "wgpu"))]
fn identity(device: &Device) -> (String, bool) {
    match device.identity() {
        // A software rasterizer reports no physical card.
        Some(identity) if identity.physical.is_none() => (format!("{} (software)", identity.name), true),
        Some(identity) => (identity.name, false),
        None => ("a device that does not name itself".into(), false),
    }
}

#[cfg(not(any(
    feature = "cuda",
    feature = "metal",
    feature = "rocm",
    feature = "vulkan",
    feature = "wgpu"
)))]
fn identity(_: &Device) -> (String, bool) {
    ("a device that does not name itself".into(), false)
}

/// The largest difference of [`probe`] that a working device may show: TF32 products stay below it.
pub const PROBE_TOLERANCE: f32 = 1e-2;

/// Multiplies two small matrices of numbers in `[-1, 1]` on the device and compares with the host in f64: the
/// largest absolute difference. A working device stays below [`PROBE_TOLERANCE`].
///
/// # Errors
/// The device cannot be opened or does not answer.
pub fn probe(found: &Found) -> Result<f32, DeviceError> {
    const M: usize = 33;
    const K: usize = 65;
    const N: usize = 17;
    let a: Vec<f32> = (0..M * K).map(|i| (i as f32 * 0.37).sin()).collect();
    let b: Vec<f32> = (0..K * N).map(|i| (i as f32 * 0.73).cos()).collect();
    let product = quietly(|| {
        let left = Tensor::<2>::from_data(TensorData::new(a.clone(), [M, K]), &found.device);
        let right = Tensor::<2>::from_data(TensorData::new(b.clone(), [K, N]), &found.device);
        left.matmul(right).into_data().convert::<f32>().try_to_vec::<f32>()
    });
    let broken = |reason: String| DeviceError::Broken { name: found.name.clone(), reason };
    let product = product.map_err(broken)?.map_err(|e| broken(format!("{e:?}")))?;
    let exact =
        |i: usize, j: usize| (0..K).map(|k| f64::from(a[i * K + k]) * f64::from(b[k * N + j])).sum::<f64>();
    let difference = |at: usize| (f64::from(product[at]) - exact(at / N, at % N)).abs() as f32;
    // Not f32::max, which would pass over a NaN.
    Ok((0..M * N).map(difference).fold(0.0, |worst, d| if d <= worst { worst } else { d }))
}

/// Runs `work` with panics caught and not printed; the panic's message is the error.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // The hook is one for the whole process: one caller at a time may replace it.
    static HOOK: Mutex<()> = Mutex::new(());
    let _one = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    result.map_err(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            payload.downcast::<&str>().map_or_else(|_| "it panicked".into(), |text| text.to_string())
        }
    })
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
        for text in
            ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cpu:0", "ndarray:1", "CUDA:0", "cuda:0:1"]
        {
            assert!(
                matches!(text.parse::<DeviceSpec>(), Err(DeviceError::Word { .. })) || text == "cuda:+1",
                "{text}"
            );
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

//! The words that name devices: `auto`, `cpu`, `cuda:0`, ..., and the errors about them.
//! Owns their grammar and which backends are built in; never picks one.
//! `resolve` beside it turns a `DeviceSpec` into a device.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use super::probe::quietly;
use crate::Exit;

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
    pub fn is_processor(self) -> bool {
        matches!(self, Backend::Cpu | Backend::Ndarray)
    }

    /// Whether the same program gives the same bits each time on the same machine; `None`, or why not.
    pub fn differs(self) -> Option<&'static str> {
        match self {
            Backend::Cpu | Backend::Wgpu => None,
            Backend::Cuda | Backend::Metal | Backend::Rocm | Backend::Vulkan => {
                Some("it chooses kernels by measuring them, so that two runs may compute with different ones")
            }
            Backend::Ndarray => Some("nobody has tested that it gives the same bits each time"),
        }
    }

    pub(super) fn name(self, index: usize) -> String {
        if self.is_processor() { self.word().into() } else { format!("{}:{index}", self.word()) }
    }

    /// Its devices on this machine, in the order of their indices; none where no driver is installed.
    pub(super) fn devices(self) -> Vec<Device> {
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
    /// What the process ends with: a word that names no device is a fault of the config.
    pub fn exit(&self) -> Exit {
        match self {
            DeviceError::Word { .. } | DeviceError::List { .. } => Exit::Usage,
            DeviceError::NotBuiltIn { .. } | DeviceError::Absent { .. } | DeviceError::Broken { .. } => {
                Exit::Device
            }
        }
    }

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

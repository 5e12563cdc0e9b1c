//! Where GPU backends keep the kernels that they tuned and compiled, so that the next process starts warm.
//! Owns the folder and telling Burn of it, once, before a device is opened; the files in it are Burn's.
//! `main` calls `keep_kernels`; `kiln doctor` and `kiln bench --warm` say the place.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Backend, DeviceSpec};

/// The environment's word for another place.
pub const CACHE_VARIABLE: &str = "KILN_CACHE_DIR";

/// The folder of kept kernels: `kernels` in `$KILN_CACHE_DIR`, else in `$XDG_CACHE_HOME/kiln`, else in `~/.cache/kiln`.
/// `None` where this build has no backend that keeps any, or the user no home.
pub fn kernel_folder() -> Option<PathBuf> {
    let keeps = Backend::ALL.into_iter().any(|b| b.is_built_in() && b.keeps_kernels());
    keeps.then(|| folder(|name| std::env::var_os(name).map(PathBuf::from))).flatten()
}

/// The folder of everything that may be made again: `$KILN_CACHE_DIR`, else `$XDG_CACHE_HOME/kiln`, else `~/.cache/kiln`.
/// `None` where the user has no home.
pub fn cache_folder() -> Option<PathBuf> {
    root(|name| std::env::var_os(name).map(PathBuf::from))
}

fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    Some(root(variable)?.join("kernels"))
}

fn root(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let named = variable(CACHE_VARIABLE).filter(|path| !path.as_os_str().is_empty());
    // Relative paths there are to be ignored (XDG Base Directory Specification).
    let cache = || variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = || Some(variable("HOME").filter(|path| path.is_absolute())?.join(".cache"));
    named.or_else(|| Some(cache().or_else(home)?.join("kiln")))
}

/// Bytes in `folder`, which Burn fills with files only.
pub fn kernel_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Whether a device finds its kernels again in the next process.
pub fn keeps_kernels(spec: &DeviceSpec) -> bool {
    match spec {
        DeviceSpec::On { backend, .. } => backend.keeps_kernels(),
        DeviceSpec::Auto => kernel_folder().is_some(),
    }
}

impl Backend {
    /// Whether its kernels outlive a process. The processor's are part of the binary; those of `wgpu` are compiled anew.
    fn keeps_kernels(self) -> bool {
        matches!(self, Backend::Cuda | Backend::Metal | Backend::Rocm | Backend::Vulkan)
    }
}

/// Tells Burn the folder. To be called before a device is opened; later it does nothing.
#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"))]
pub fn keep_kernels() {
    use burn::cubecl::config::cache::CacheConfig;
    use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

    let Some(folder) = kernel_folder() else { return };
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.environment.path = CacheConfig::Directory(folder);
    // Burn tells compiled kernels of one build from another's by the build id; without one they would be mixed up.
    config.compilation.cache = buildid::build_id().is_some();
    CubeClRuntimeConfig::try_set(config);
}

/// Nothing: no backend of this build keeps kernels.
#[cfg(not(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan")))]
pub fn keep_kernels() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_follows_the_environment() {
        let with = |set: &[(&str, &str)]| {
            folder(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| PathBuf::from(value)))
        };
        let home = ("HOME", "/home/a");
        type Set<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Set<'_>, Option<&str>); 6] = [
            (&[home], Some("/home/a/.cache/kiln/kernels")),
            (&[home, ("XDG_CACHE_HOME", "/c")], Some("/c/kiln/kernels")),
            (&[home, ("XDG_CACHE_HOME", "c")], Some("/home/a/.cache/kiln/kernels")),
            (&[home, ("XDG_CACHE_HOME", "/c"), ("KILN_CACHE_DIR", "k")], Some("k/kernels")),
            (&[home, ("KILN_CACHE_DIR", "")], Some("/home/a/.cache/kiln/kernels")),
            (&[], None),
        ];
        for (set, expected) in cases {
            assert_eq!(with(set), expected.map(PathBuf::from), "{set:?}");
        }
    }

    #[test]
    fn the_processor_keeps_none() {
        for (word, keeps) in
            [("cpu", false), ("ndarray", false), ("wgpu:0", false), ("cuda:0", true), ("vulkan:1", true)]
        {
            assert_eq!(keeps_kernels(&word.parse().expect(word)), keeps, "{word}");
        }
    }

    #[test]
    fn bytes_of_a_folder_are_those_of_its_files() {
        let kept = tempfile::tempdir().expect("a folder");
        assert_eq!(kernel_bytes(&kept.path().join("absent")), 0);
        fs::write(kept.path().join("a.db"), [0; 100]).expect("written");
        fs::write(kept.path().join("a.db-wal"), [0; 11]).expect("written");
        assert_eq!(kernel_bytes(kept.path()), 111);
    }
}

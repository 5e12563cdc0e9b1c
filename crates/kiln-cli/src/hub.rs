//! Names where paths may stand: `pretrained = "org/name"` becomes the folder that the Hub's cache holds.
//! Owns when a text is such a name: there is no such path, and it is written as one; kiln-hub pulls.

use std::path::{Path, PathBuf};

use kiln_hub::{HubError, Name, Settings};
use kiln_train::load::{self, Resolved};

use crate::report::{self, Failure};

/// Keys that name weights.
const KEYS: &[&str] = &["model.pretrained", "lora.pretrained"];

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit: error.exit() }
    }
}

/// The overrides, with the folder of every model that the config takes from the Hub. A config with faults is left to
/// the verb that reads it, and so is every name in a build without the Hub: there is no such path.
pub(crate) fn pulled(config: &Path, overrides: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = overrides.to_vec();
    if !kiln_hub::BUILT {
        return Ok(all);
    }
    let Ok(loaded) = load::resolve(config, overrides) else { return Ok(all) };
    for key in KEYS {
        if let Some((path, name)) = named(&loaded.resolved, key) {
            let folder = pull(key, &path, &name)?;
            all.retain(|o| o.split_once('=').is_none_or(|(set, _)| set != *key));
            all.push(format!("{key}={}", folder.display()));
        }
    }
    Ok(all)
}

/// The path that a key means, and the name that its text is.
fn named(resolved: &Resolved, key: &str) -> Option<(PathBuf, Name)> {
    let path = PathBuf::from(resolved.text(key)?);
    if path.exists() {
        return None;
    }
    let name: Name = resolved.path_as_written(key)?.parse().ok()?;
    name.has_owner().then_some((path, name))
}

fn pull(key: &str, path: &Path, name: &Name) -> Result<PathBuf, Failure> {
    let pulled = kiln_hub::pull(name, &Settings::from_env()).map_err(|error| {
        let failure = Failure::from(error);
        let message = format!("`{key}`: there is no {}, and on the Hub: {}", path.display(), failure.message);
        Failure { message, ..failure }
    })?;
    tell(name, &pulled);
    Ok(pulled.folder)
}

/// Says what came and from where.
pub(crate) fn tell(name: &Name, pulled: &kiln_hub::Pulled) {
    pulled.note.iter().for_each(|note| report::talk(note));
    let commit = pulled.commit.get(..12).unwrap_or(&pulled.commit);
    let came = match pulled.bytes {
        0 => "from the cache".to_string(),
        bytes => format!("{:.1} MiB pulled", bytes as f64 / f64::from(1 << 20)),
    };
    report::talk(&format!("{name}: commit {commit}, {came}"));
}

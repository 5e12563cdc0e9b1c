//! The models by name and version, and their replacement while they answer.
//! Owns which is asked; folders are only those of the start, so that no request names a path. A model that is being
//! replaced answers what it has accepted; the new one takes over once it is warm.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use serde_json::json;

use crate::ServeError;
use crate::lock;
use crate::reply::Refusal;
use crate::served::{Ground, Served};
use crate::settings::Source;

/// Between two looks at the folders.
const LOOK: Duration = Duration::from_secs(1);

/// One version: where it comes from, and what answers now.
struct Slot {
    source: Source,
    now: ArcSwap<Served>,
    /// Held while it is replaced.
    replacing: Mutex<()>,
}

/// Every model.
pub(crate) struct Repository {
    models: BTreeMap<String, BTreeMap<u64, Slot>>,
    ground: Ground,
}

impl Repository {
    /// Loads every model, one after the other.
    pub(crate) fn open(sources: &[Source], ground: Ground) -> Result<Self, ServeError> {
        let mut models: BTreeMap<String, BTreeMap<u64, Slot>> = BTreeMap::new();
        for source in sources {
            let Source { name, version, .. } = source;
            if !is_name(name) {
                return Err(ServeError::Name { name: name.clone() });
            }
            let versions = models.entry(name.clone()).or_default();
            if versions.contains_key(version) {
                return Err(ServeError::Twice { name: name.clone(), version: *version });
            }
            let served = ArcSwap::from_pointee(Served::open(source, &ground)?);
            versions
                .insert(*version, Slot { source: source.clone(), now: served, replacing: Mutex::default() });
        }
        Ok(Self { models, ground })
    }

    /// The model that a URL names; without a version the highest. The published OpenAPI file writes `${MODEL_NAME}` into
    /// its paths, so that clients generated from it send `$` before both: no model's name begins with one.
    pub(crate) fn find(&self, name: &str, version: Option<&str>) -> Result<Arc<Served>, Refusal> {
        let versions = self.versions(name)?;
        let slot = match version {
            None => versions.values().next_back(),
            Some(text) => plain(text).parse().ok().and_then(|version: u64| versions.get(&version)),
        };
        slot.map(|slot| slot.now.load_full()).ok_or_else(|| {
            let there: Vec<_> = versions.keys().map(u64::to_string).collect();
            let message = format!("model {:?} has no such version; it has {}", plain(name), there.join(", "));
            Refusal::new(StatusCode::NOT_FOUND, message)
        })
    }

    fn versions(&self, name: &str) -> Result<&BTreeMap<u64, Slot>, Refusal> {
        let name = plain(name);
        self.models.get(name).ok_or_else(|| {
            let there: Vec<&str> = self.models.keys().map(String::as_str).take(20).collect();
            // A name that no model can have is not said back.
            let asked = if is_name(name) { format!("{name:?}") } else { "of that name".into() };
            let message = format!("no model {asked}; there is {}", there.join(", "));
            Refusal::new(StatusCode::NOT_FOUND, message)
        })
    }

    /// The versions of a model, lowest first.
    pub(crate) fn versions_of(&self, name: &str) -> Vec<String> {
        self.models.get(plain(name)).into_iter().flat_map(BTreeMap::keys).map(u64::to_string).collect()
    }

    /// Every version of every model.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<Served>> {
        self.models.values().flat_map(BTreeMap::values).map(|slot| slot.now.load_full())
    }

    /// Loads every version of a model anew from its folder. What fails to load goes on as it was.
    pub(crate) fn reload(&self, name: &str) -> Result<(), Refusal> {
        let failed = self.versions(name)?.values().filter(|slot| self.replace(slot).is_err()).count();
        match failed {
            0 => Ok(()),
            _ => Err(Refusal::new(
                StatusCode::CONFLICT,
                "the model could not be loaded, and the one before answers on; the server's log has the reason",
            )),
        }
    }

    fn replace(&self, slot: &Slot) -> Result<(), ServeError> {
        let _one_at_a_time = lock(&slot.replacing);
        let Source { name, version, .. } = &slot.source;
        let log = &self.ground.log;
        match Served::open(&slot.source, &self.ground) {
            Ok(served) => {
                slot.now.store(Arc::new(served));
                log.event("info", "model replaced", json!({"model": name, "version": version}));
                Ok(())
            }
            Err(error) => {
                let fields = json!({"model": name, "version": version, "error": error.to_string()});
                log.event("error", "model not replaced", fields);
                Err(error)
            }
        }
    }

    /// Looks at the folders until `stopped`, and loads anew what has been replaced and come to rest.
    pub(crate) fn watch(&self, stopped: impl Fn() -> bool) {
        let slots: Vec<&Slot> = self.models.values().flat_map(BTreeMap::values).collect();
        let stamps = || slots.iter().map(|slot| stamp(&slot.source.folder)).collect::<Vec<_>>();
        let mut loaded = stamps();
        let mut before = loaded.clone();
        while !stopped() {
            std::thread::sleep(LOOK);
            let now = stamps();
            for (i, slot) in slots.iter().enumerate() {
                if now[i].is_some() && now[i] == before[i] && now[i] != loaded[i] {
                    loaded[i] = now[i];
                    // Where it fails the log says so, and the next change is tried again.
                    let _ = self.replace(slot);
                }
            }
            before = now;
        }
    }
}

/// When the weights and the card were written, and how long they are; `None` while they are not all there.
fn stamp(folder: &Path) -> Option<[(SystemTime, u64); 2]> {
    let of = |file: &str| {
        let meta = fs::metadata(folder.join(file)).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    let weights = of("model.safetensors").or_else(|| of("model.safetensors.index.json"))?;
    Some([of("config.json")?, weights])
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.len() <= 128 && name.chars().all(allowed)
}

/// A name or version as its URL's author meant it; see [`Repository::find`].
fn plain(name: &str) -> &str {
    name.strip_prefix('$').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_urls() {
        assert!(["a", "minilm-2.1", "A_b"].into_iter().all(is_name));
        assert!(!["", ".", "..", ".a", "a/b", "a b", "$a", "ä", "a\0"].into_iter().any(is_name));
    }
}

//! Decoded images in memory, for the life of a data set.
//! Owns the map; the cache bounds it and knows what is still good.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::{Kept, Key, Store};

/// Bytes of an entry beside its pixels.
const BESIDE: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Memory(RwLock<HashMap<Key, Arc<Kept>>>);

impl Memory {
    fn get(&self, key: &Key) -> Option<Arc<Kept>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

impl Store for Memory {
    fn load(&self, key: &Key) -> Option<Kept> {
        self.get(key).map(|kept| Kept::clone(&kept))
    }

    fn size(&self, key: &Key, kept: &Kept) -> (u64, u64) {
        let size = |kept: &Kept| kept.image.pixels.len() as u64 + BESIDE;
        (size(kept), self.get(key).map_or(0, |kept| size(&kept)))
    }

    fn save(&self, key: &Key, kept: Kept) -> Result<(), String> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(*key, Arc::new(kept));
        Ok(())
    }

    fn used(&self) -> u64 {
        0
    }

    fn place(&self) -> String {
        "in memory".into()
    }
}

/// Bytes that this process may still take.
pub(super) fn free() -> Option<u64> {
    let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kind).ok()?;
    let group = system.cgroup_limits().map(|limits| limits.free_memory);
    Some(group.unwrap_or(u64::MAX).min(system.available_memory()))
}

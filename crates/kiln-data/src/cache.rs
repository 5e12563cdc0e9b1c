//! Decoded images that are kept, in memory or in files, after their fixed transforms.
//! Owns what tells a kept image from one whose file has changed, and the bound on all of them; never decodes. A split asks
//! it before it decodes, and hands it what it decoded. A cache that fails says so and is not used on; it ends no run.
//!
//! An image is known by its file, its place there and the words of the program. It is still good where the file's size,
//! times of change (of content and of inode, in nanoseconds) and inode number are what they were; where any differs, it is
//! still good if the bytes of the sample have the same hash, and is decoded again if not. So one edited image costs
//! one entry, `touch` costs none, and an edit that keeps size and time of the content (`cp -p`) is seen by the inode's. A
//! file that was changed less than [`SETTLED`] before it was read may change again within one tick of the clock: its
//! entry is believed by its hash alone until then.

mod disk;
mod memory;

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{CacheKind, LoaderConfig};
use crate::decode::DecodedImage;
use crate::image_program::ImageProgram;
use crate::source::Source;

/// Age of a change after which the next one has another time.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) type Key = [u8; 32];

/// What a file is known by without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u64,
    modified: u128,
    changed: u128,
    inode: u64,
}

/// An image that is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// `None` where only the hash is to be believed.
    stamp: Option<Stamp>,
    /// BLAKE3 of the sample's encoded bytes.
    content: [u8; 32],
    image: DecodedImage,
}

/// Where images are kept.
trait Store: std::fmt::Debug + Send + Sync {
    fn load(&self, key: &Key) -> Option<Kept>;
    /// Bytes that it takes, and those that it replaces.
    fn size(&self, key: &Key, kept: &Kept) -> (u64, u64);
    fn save(&self, key: &Key, kept: Kept) -> Result<(), String>;
    /// Bytes that are there from before.
    fn used(&self) -> u64;
    /// "in memory", or the folder.
    fn place(&self) -> String;
}

/// What was found for a sample.
pub(crate) enum Found {
    /// What the fixed transforms made of it.
    Image(DecodedImage),
    /// Nothing; with its bytes where it may be kept.
    Not(Option<Fresh>),
}

/// A sample that is about to be decoded.
pub(crate) struct Fresh {
    /// Its encoded bytes.
    pub(crate) bytes: Vec<u8>,
    key: Key,
    stamp: Option<Stamp>,
    content: [u8; 32],
}

/// Images of one program.
#[derive(Debug)]
pub(crate) struct Cache {
    store: Box<dyn Store>,
    program: ImageProgram,
    /// [`ImageProgram::begins_with`]
    words: String,
    limit: u64,
    /// Bytes kept; unknown until something is to be kept.
    used: Mutex<Option<u64>>,
    hits: AtomicU64,
    decoded: AtomicU64,
    full: AtomicBool,
    failed: Mutex<Option<String>>,
    told: Mutex<Option<String>>,
}

impl Cache {
    /// `None` where the config wants none.
    pub(crate) fn new(config: &LoaderConfig, program: &ImageProgram) -> Option<Self> {
        let (store, free, failed): (Box<dyn Store>, _, _) = match config.cache {
            CacheKind::None => return None,
            CacheKind::Memory => (Box::new(memory::Memory::default()), memory::free(), None),
            CacheKind::Disk => {
                let folder = folder(config);
                // So that a place where nothing can be kept is told before the first epoch, not after it.
                let made = std::fs::create_dir_all(&folder);
                let failed = made.err().map(|fault| format!("{}: {fault}", folder.display()));
                let free = disk::free(&folder);
                (Box::new(disk::Disk::new(folder)), free, failed)
            }
        };
        let limit = config.cache_max_mb.map_or(free.unwrap_or(0) / 2, |mb| mb << 20);
        Some(Self {
            store,
            words: program.begins_with(),
            program: program.clone(),
            limit,
            used: Mutex::default(),
            hits: AtomicU64::new(0),
            decoded: AtomicU64::new(0),
            full: AtomicBool::new(false),
            failed: Mutex::new(failed),
            told: Mutex::default(),
        })
    }

    /// Whether what is kept is what this program begins with.
    pub(crate) fn is_of(&self, program: &ImageProgram) -> bool {
        program.begins_as(&self.program)
    }

    /// Looks for sample `row` of a source.
    pub(crate) fn find(&self, source: &dyn Source, row: usize) -> Found {
        let Some((path, place)) = source.origin(row) else { return Found::Not(None) };
        // Before the bytes are read: a change in between is seen at the next look.
        let Some((stamp, settled)) = stamp(&path) else { return Found::Not(None) };
        let key = self.key(&path, place);
        let kept = self.store.load(&key);
        let kept = match kept {
            Some(kept) if kept.stamp == Some(stamp) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Found::Image(kept.image);
            }
            kept => kept,
        };
        let Ok(Some((_, bytes))) = source.encoded(row) else { return Found::Not(None) };
        let content = *blake3::hash(&bytes).as_bytes();
        let stamp = settled.then_some(stamp);
        match kept {
            Some(kept) if kept.content == content => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                let image = kept.image.clone();
                if stamp.is_some() {
                    self.save(&key, Kept { stamp, ..kept });
                }
                Found::Image(image)
            }
            _ if !source.is_in_origin(row) => Found::Not(None),
            _ => Found::Not(Some(Fresh { bytes, key, stamp, content })),
        }
    }

    /// Keeps what was made of a sample.
    pub(crate) fn keep(&self, fresh: Fresh, image: &DecodedImage) {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        let Fresh { key, stamp, content, .. } = fresh;
        self.save(&key, Kept { stamp, content, image: image.clone() });
    }

    fn save(&self, key: &Key, kept: Kept) {
        if lock(&self.failed).is_some() {
            return;
        }
        let (size, replaced) = self.store.size(key, &kept);
        {
            let mut used = lock(&self.used);
            let before = used.get_or_insert_with(|| self.store.used());
            let after = before.saturating_sub(replaced).saturating_add(size);
            if after > self.limit {
                self.full.store(true, Ordering::Relaxed);
                return;
            }
            *before = after;
        }
        if let Err(problem) = self.store.save(key, kept) {
            lock(&self.failed).get_or_insert(problem);
        }
    }

    fn key(&self, path: &Path, place: u64) -> Key {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.words.as_bytes()).update(&[0]);
        hasher.update(path.as_os_str().as_encoded_bytes()).update(&[0]).update(&place.to_le_bytes());
        *hasher.finalize().as_bytes()
    }

    /// What to tell before the first sample.
    pub(crate) fn plan(&self) -> String {
        if let Some(problem) = &*lock(&self.failed) {
            return format!("decoded images are not kept: {problem}");
        }
        let limit = self.limit >> 20;
        format!(
            "decoded images are kept {}, at most {limit} MiB (data.loader.cache_max_mb)",
            self.store.place()
        )
    }

    /// What to tell after a pass, once.
    pub(crate) fn news(&self) -> Option<String> {
        let (used, place) = (lock(&self.used).unwrap_or_else(|| self.store.used()), self.store.place());
        let (hits, decoded) = (self.hits.load(Ordering::Relaxed), self.decoded.load(Ordering::Relaxed));
        if hits + decoded == 0 {
            return None;
        }
        let state = match (&*lock(&self.failed), self.full.load(Ordering::Relaxed)) {
            (Some(problem), _) => format!("the cache of decoded images is no longer written: {problem}"),
            (None, true) => format!(
                "the cache of decoded images is full: {:.1} MiB {place}; the others are decoded in each epoch, unless \
                 data.loader.cache_max_mb is raised",
                used as f64 / 1_048_576.0
            ),
            (None, false) => format!("decoded images are kept: {:.1} MiB {place}", used as f64 / 1_048_576.0),
        };
        let mut told = lock(&self.told);
        (told.as_ref() != Some(&state)).then(|| told.insert(state).clone())
    }

    /// Images that were found kept, and images that were decoded to be kept.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.decoded.load(Ordering::Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of `cache = "disk"`.
fn folder(config: &LoaderConfig) -> PathBuf {
    let named = || kiln_core::device::cache_folder().map(|folder| folder.join("images"));
    config.cache_dir.clone().or_else(named).unwrap_or_else(|| std::env::temp_dir().join("kiln-images"))
}

/// What a file is known by, and whether its next change will be seen in that; `None` where it is not there.
fn stamp(path: &Path) -> Option<(Stamp, bool)> {
    let meta = std::fs::metadata(path).ok()?;
    let stamp = Stamp::of(&meta);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let newest = stamp.modified.max(stamp.changed);
    Some((stamp, newest + SETTLED.as_nanos() <= now.as_nanos()))
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let (changed, inode) = inode(meta);
        Self { size: meta.len(), modified: modified.unwrap_or_default().as_nanos(), changed, inode }
    }
}

#[cfg(unix)]
fn inode(meta: &Metadata) -> (u128, u64) {
    use std::os::unix::fs::MetadataExt;
    let seconds = u128::try_from(meta.ctime()).unwrap_or_default();
    (seconds * 1_000_000_000 + u128::try_from(meta.ctime_nsec()).unwrap_or_default(), meta.ino())
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> (u128, u64) {
    (0, 0)
}

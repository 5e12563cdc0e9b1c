//! Decoded images in files, one an image, for later runs and other processes too.
//! Owns the files' form; the cache bounds them and knows what is still good.
//!
//! A file appears under its name by a rename, whole, and ends in a checksum: what a crash, a full disk or another process
//! leaves is not there or is not believed. Nothing is synced, for nothing is lost that cannot be decoded again.
//! Processes that keep the same image write the same bytes.
//!
//! The form: 8 bytes of magic, the checksum (BLAKE3 of all that follows), 1 byte (whether there is a stamp), the stamp's
//! size (8), times (16, 16) and inode (8), the content's hash (32), height, width and channels (4 each), the pixels; numbers
//! little-endian.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sysinfo::Disks;

use super::{Kept, Key, Stamp, Store};
use crate::decode::DecodedImage;

/// Its digit grows when images are decoded to other levels, so that no kept ones are served.
const MAGIC: &[u8; 8] = b"KILNIMG2";
/// Bytes before the pixels.
const HEAD: usize = 8 + 32 + 1 + 48 + 32 + 12;
/// Age at which an unfinished file belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    written: AtomicU64,
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, written: AtomicU64::new(0) }
    }

    /// 256 folders, so that none grows too long.
    fn path(&self, key: &Key) -> PathBuf {
        let name = blake3::Hash::from_bytes(*key).to_hex();
        self.folder.join(&name[..2]).join(&name[2..])
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let written = match fs::write(&unfinished, bytes) {
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
                fs::write(&unfinished, bytes)
            }
            written => written,
        };
        written.and_then(|()| fs::rename(&unfinished, path)).inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })
    }
}

impl Store for Disk {
    fn load(&self, key: &Key) -> Option<Kept> {
        parse(fs::read(self.path(key)).ok()?)
    }

    fn size(&self, key: &Key, kept: &Kept) -> (u64, u64) {
        let replaced = fs::metadata(self.path(key)).map_or(0, |meta| meta.len());
        ((HEAD + kept.image.pixels.len()) as u64, replaced)
    }

    fn save(&self, key: &Key, kept: Kept) -> Result<(), String> {
        let path = self.path(key);
        self.write(&path, &render(&kept)).map_err(|fault| format!("{}: {fault}", path.display()))
    }

    /// Counts the files, and removes those that a killed process left unfinished.
    fn used(&self) -> u64 {
        let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        let mut bytes = 0;
        for file in entries(&self.folder).flat_map(|folder| entries(&folder.path())) {
            let Ok(meta) = file.metadata() else { continue };
            let unfinished = file.path().extension().is_some_and(|ending| ending == "tmp");
            let age = meta.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            if unfinished && age.is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(file.path());
            } else {
                bytes += meta.len();
            }
        }
        bytes
    }

    fn place(&self) -> String {
        format!("in {}", self.folder.display())
    }
}

fn render(kept: &Kept) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + kept.image.pixels.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 32]);
    bytes.push(u8::from(kept.stamp.is_some()));
    let stamp = kept.stamp.unwrap_or(Stamp { size: 0, modified: 0, changed: 0, inode: 0 });
    bytes.extend_from_slice(&stamp.size.to_le_bytes());
    bytes.extend_from_slice(&stamp.modified.to_le_bytes());
    bytes.extend_from_slice(&stamp.changed.to_le_bytes());
    bytes.extend_from_slice(&stamp.inode.to_le_bytes());
    bytes.extend_from_slice(&kept.content);
    for side in [kept.image.height, kept.image.width, kept.image.channels] {
        bytes.extend_from_slice(&(side as u32).to_le_bytes());
    }
    bytes.extend_from_slice(&kept.image.pixels);
    let sum = *blake3::hash(&bytes[40..]).as_bytes();
    bytes[8..40].copy_from_slice(&sum);
    bytes
}

/// `None` where the file is not whole.
fn parse(mut bytes: Vec<u8>) -> Option<Kept> {
    let head: [u8; HEAD] = bytes.get(..HEAD)?.try_into().ok()?;
    if head[..8] != *MAGIC || head[8..40] != *blake3::hash(&bytes[40..]).as_bytes() {
        return None;
    }
    let mut rest = &head[41..];
    let mut next = |n: usize| {
        let (first, after) = rest.split_at_checked(n)?;
        rest = after;
        let mut wide = [0; 16];
        wide.get_mut(..n)?.copy_from_slice(first);
        Some(u128::from_le_bytes(wide))
    };
    let size = u64::try_from(next(8)?).ok()?;
    let (modified, changed) = (next(16)?, next(16)?);
    let inode = u64::try_from(next(8)?).ok()?;
    let content: [u8; 32] = head[89..121].try_into().ok()?;
    let side = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?) as usize);
    let (height, width, channels) = (side(121)?, side(125)?, side(129)?);
    let pixels = bytes.split_off(HEAD);
    if height.checked_mul(width)?.checked_mul(channels)? != pixels.len() {
        return None;
    }
    let stamp = (head[40] == 1).then_some(Stamp { size, modified, changed, inode });
    Some(Kept { stamp, content, image: DecodedImage { height, width, channels, pixels } })
}

/// Bytes free on the disk that holds `folder`, or would.
pub(super) fn free(folder: &Path) -> Option<u64> {
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute.ancestors().find_map(|above| above.canonicalize().ok())?;
    let disks = Disks::new_with_refreshed_list().ok()?;
    let holds = disks.iter().filter(|disk| there.starts_with(disk.mount_point()));
    Some(holds.max_by_key(|disk| disk.mount_point().components().count())?.available_space())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written_and_damage_is_seen() {
        let stamp = Some(Stamp { size: 3, modified: 1 << 70, changed: 5, inode: u64::MAX });
        for stamp in [stamp, None] {
            let pixels = (0..24).collect();
            let image = DecodedImage { height: 2, width: 4, channels: 3, pixels };
            let kept = Kept { stamp, content: [7; 32], image };
            let bytes = render(&kept);
            assert_eq!(parse(bytes.clone()), Some(kept));
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_eq!(parse(damaged), None, "byte {at}");
                assert_eq!(parse(bytes[..at].to_vec()), None, "{at} bytes");
            }
        }
    }
}

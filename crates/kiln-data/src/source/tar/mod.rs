//! WebDataset: images with a class each in plain tar files, larger than memory. The members whose names agree up to the
//! first dot are one sample (`n01/0001.jpg`, `n01/0001.cls`).
//! Owns an index of 24 bytes a sample, made in one pass over the headers, by which samples are read in any order; never
//! keeps an image. Hands samples to `Split` and to prediction.

mod archive;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use archive::{Archive, Member};
use kiln_core::TaskKind;

use super::folder::is_image;
use super::{Source, class_index, many, only_classes};
use crate::decode::{decode_bytes, size_in};
use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// Largest member that holds a label.
const LARGEST_LABEL: u64 = 1 << 20;

/// Which member holds the class, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelMember {
    ending: String,
    /// The key, of a JSON object.
    key: Option<String>,
}

impl LabelMember {
    /// From `cls`, `txt` or `json.KEY`.
    pub(crate) fn new(word: Option<&str>) -> Result<Self, DataError> {
        let (ending, key) = word
            .unwrap_or("cls")
            .split_once('.')
            .map_or((word.unwrap_or("cls"), None), |(a, b)| (a, Some(b)));
        match (ending, key) {
            ("json", None | Some("")) => {
                let problem = "a JSON object has many values, and none is named";
                Err(DataError::config("label_member", problem, "name its key: label_member = \"json.label\""))
            }
            ("json", key) => Ok(Self { ending: "json".into(), key: key.map(String::from) }),
            (ending, None) if !ending.is_empty() => Ok(Self { ending: ending.to_lowercase(), key: None }),
            _ => {
                let problem = format!("expected a member's ending, got \"{}\"", word.unwrap_or_default());
                Err(DataError::config("label_member", problem, "write cls, txt or json.KEY"))
            }
        }
    }

    /// The class in a member's content; the error is what was found instead.
    fn read(&self, content: &[u8]) -> Result<String, String> {
        let text =
            std::str::from_utf8(content).map_err(|e| format!("no UTF-8 at byte {}", e.valid_up_to()))?;
        let Some(key) = &self.key else { return Ok(text.trim().to_string()) };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match &value[key.as_str()] {
            serde_json::Value::String(word) => Ok(word.clone()),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => Ok(value.to_string()),
            serde_json::Value::Null => Ok(String::new()),
            other => Err(format!("{other} at \"{key}\"")),
        }
    }
}

/// Where one sample is.
#[derive(Debug, Clone, Copy)]
struct Sample {
    shard: u32,
    /// Of `TarSource::words`; of none where there is no label.
    word: u32,
    /// The byte of its image's first header.
    image: u64,
}

const UNLABELLED: u32 = u32::MAX;

/// Shards, one after the other.
#[derive(Debug)]
pub(crate) struct TarSource {
    shards: Vec<PathBuf>,
    samples: Vec<Sample>,
    /// Distinct classes in order of appearance.
    words: Vec<String>,
    label: LabelMember,
}

/// The members of the sample that is being read.
#[derive(Default)]
struct Gathering {
    key: String,
    at: u64,
    image: Option<u64>,
    word: Option<u32>,
}

impl TarSource {
    /// Reads the headers, and the labels, of every shard.
    pub(crate) fn open(shards: &[PathBuf], label: LabelMember) -> Result<Self, DataError> {
        let mut source = Self { shards: shards.to_vec(), samples: Vec::new(), words: Vec::new(), label };
        let mut known = HashMap::new();
        for (number, path) in shards.iter().enumerate() {
            let before = source.samples.len();
            source.index(number as u32, &mut Archive::open(path)?, &mut known)?;
            if source.samples.len() == before {
                return Err(empty(path));
            }
        }
        Ok(source)
    }

    fn index(
        &mut self,
        shard: u32,
        archive: &mut Archive,
        known: &mut HashMap<String, u32>,
    ) -> Result<(), DataError> {
        let (mut at, mut open) = (0, Gathering::default());
        while let Some((member, next)) = archive.member(at)? {
            at = next;
            let Some((key, ending)) = parts(&member.name) else { continue };
            if key != open.key {
                self.close(shard, std::mem::take(&mut open))?;
                open = Gathering { key, at: member.at, ..Gathering::default() };
            }
            if ending == self.label.ending {
                let word = self.word(shard, archive, &member)?;
                let new = self.words.len() as u32;
                let place = *known.entry(word.clone()).or_insert(new);
                if place == new {
                    self.words.push(word);
                }
                open.word = Some(place);
            } else if open.image.is_none() && is_image(Path::new(&format!("x.{ending}"))) {
                open.image = Some(member.at);
            }
        }
        self.close(shard, open)
    }

    /// Ends a sample.
    fn close(&mut self, shard: u32, open: Gathering) -> Result<(), DataError> {
        let Gathering { key, at, image, word } = open;
        match image {
            Some(image) => self.samples.push(Sample { shard, word: word.unwrap_or(UNLABELLED), image }),
            None if key.is_empty() => {}
            None => {
                return Err(DataError::Unreadable {
                    path: self.shards[shard as usize].clone(),
                    problem: format!("byte {at}: sample \"{key}\" has no image"),
                    remedy: "the members of a sample lie side by side and agree up to the first dot: key.jpg, key.cls"
                        .into(),
                });
            }
        }
        Ok(())
    }

    fn word(&self, shard: u32, archive: &mut Archive, member: &Member) -> Result<String, DataError> {
        let read = match member.size {
            0..=LARGEST_LABEL => self.label.read(&archive.content(member)?),
            size => Err(format!("{size} bytes")),
        };
        read.map_err(|got| DataError::Unreadable {
            path: self.shards[shard as usize].clone(),
            problem: format!("byte {}: expected a class in \"{}\", got {got}", member.at, member.name),
            remedy: "name the member that holds the class: label_member = \"cls\", \"txt\" or \"json.KEY\""
                .into(),
        })
    }

    /// The image's member, and its archive.
    fn member(&self, i: usize) -> Result<(Archive, Member), DataError> {
        let Sample { shard, image, .. } = self.samples[i];
        let path = &self.shards[shard as usize];
        let mut archive = Archive::open(path)?;
        let gone =
            || DataError::Missing { path: path.clone(), expected: format!("a member at byte {image}") };
        let (member, _) = archive.member(image)?.ok_or_else(gone)?;
        Ok((archive, member))
    }

    fn called(&self, i: usize, member: &Member) -> String {
        format!("{}/{}", self.shards[self.samples[i].shard as usize].display(), member.name)
    }

    fn content(&self, i: usize) -> Result<(String, Vec<u8>), DataError> {
        let (mut archive, member) = self.member(i)?;
        Ok((self.called(i, &member), archive.content(&member)?))
    }
}

/// The first member of the first shard, and the ends of all.
pub(crate) fn check(shards: &[PathBuf]) -> Result<(), DataError> {
    for path in shards {
        let mut archive = Archive::open(path)?;
        let mut at = 0;
        let whole = archive.has_end()?;
        let Some((_, mut next)) = archive.member(at)? else { return Err(empty(path)) };
        // A shard that does not end in zeros is walked through to say where it is cut.
        while !whole && at != next {
            at = next;
            next = archive.member(at)?.map_or(at, |(_, next)| next);
        }
    }
    Ok(())
}

/// `(H, W)` of the first image of a shard.
pub(crate) fn first_size(shard: &Path) -> Result<Option<(usize, usize)>, DataError> {
    let mut images = images(shard)?;
    images.next().map(|(name, bytes)| size_in(&bytes?, &name)).transpose()
}

/// Every image of an archive, one by one, with its name.
pub(crate) fn images(
    path: &Path,
) -> Result<impl Iterator<Item = (String, Result<Vec<u8>, DataError>)> + Send + 'static, DataError> {
    let mut archive = Archive::open(path)?;
    let (place, mut at) = (path.display().to_string(), Some(0));
    Ok(std::iter::from_fn(move || {
        loop {
            match archive.member(at?) {
                Ok(Some((member, next))) => {
                    at = Some(next);
                    if parts(&member.name).is_some() && is_image(Path::new(&member.name)) {
                        return Some((format!("{place}/{}", member.name), archive.content(&member)));
                    }
                }
                Ok(None) => return None,
                Err(fault) => {
                    at = None;
                    return Some((place.clone(), Err(fault)));
                }
            }
        }
    }))
}

/// Key and ending of a member: its name up to the first dot after the last slash, and the rest in lower case. `None` for
/// hidden files and names without a dot.
fn parts(name: &str) -> Option<(String, String)> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (name[..dot].to_string(), name[dot + 1..].to_lowercase()))
}

fn empty(path: &Path) -> DataError {
    DataError::Unreadable {
        path: path.into(),
        problem: "holds no samples".into(),
        remedy: "leave the shard out, or give one with members key.jpg and key.cls".into(),
    }
}

impl Source for TarSource {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn name(&self, i: usize) -> String {
        let Sample { shard, image, .. } = self.samples[i];
        let place = || format!("{}, byte {image}", self.shards[shard as usize].display());
        self.member(i).map_or_else(|_| place(), |(_, member)| self.called(i, &member))
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        let (name, bytes) = self.content(i)?;
        decode_bytes(&bytes, &name).map(Raw::Image)
    }

    /// Sorted; by number where all are whole numbers.
    fn classes(&self, _: TaskKind) -> Result<Vec<String>, DataError> {
        Ok(many::sorted(self.words.iter().filter(|word| !word.is_empty()).cloned().collect()))
    }

    fn labels(&self, task: TaskKind, classes: &[String]) -> Result<Vec<Label>, DataError> {
        only_classes(task, || self.place())?;
        let first =
            |word: usize| self.samples.iter().position(|sample| sample.word as usize == word).unwrap_or(0);
        let unlabelled = |i: usize| DataError::Image {
            name: self.name(i),
            expected: format!("a member of the same key with its class, ending in .{}", self.label.ending),
            got: "none, or an empty one".into(),
            remedy: "label the sample, or name the member that holds the class: label_member".into(),
        };
        let index = |(k, word): (usize, &String)| match word.is_empty() {
            true => Err(unlabelled(first(k))),
            false => class_index(word, classes, || self.name(first(k))),
        };
        let map: Vec<usize> = self.words.iter().enumerate().map(index).collect::<Result<_, _>>()?;
        let label = |(i, sample): (usize, &Sample)| match map.get(sample.word as usize) {
            Some(class) => Ok(Label::Class(*class)),
            None => Err(unlabelled(i)),
        };
        self.samples.iter().enumerate().map(label).collect()
    }

    /// Of the name in its shard, so that a sample keeps its split in whatever shard it lies.
    fn hash(&self, i: usize) -> [u8; 32] {
        let name = self.member(i).map(|(_, member)| member.name).unwrap_or_default();
        *blake3::hash(name.as_bytes()).as_bytes()
    }

    fn size(&self, i: usize) -> Result<Option<(usize, usize)>, DataError> {
        let (name, bytes) = self.content(i)?;
        size_in(&bytes, &name).map(Some)
    }

    fn encoded(&self, i: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        let (name, bytes) = self.content(i)?;
        let file = name.rsplit('/').next().unwrap_or(&name).to_string();
        Ok(Some((file, bytes)))
    }

    fn origin(&self, i: usize) -> Option<(PathBuf, u64)> {
        let Sample { shard, image, .. } = self.samples[i];
        Some((self.shards[shard as usize].clone(), image))
    }

    fn shard(&self, i: usize) -> usize {
        self.samples[i].shard as usize
    }

    fn place(&self) -> String {
        match self.shards.as_slice() {
            [only] => only.display().to_string(),
            shards => format!("{} ({} shards)", shards[0].display(), shards.len()),
        }
    }
}

//! IDX files as MNIST ships them (LeCun, Cortes and Burges): images `[N, H, W]` and labels `[N]`, plain or gzipped.
//! Owns the format's checks; keeps the bytes as they are. Hands grey images and digits to `Split`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use kiln_core::TaskKind;

use super::{Source, only_classes};
use crate::decode::DecodedImage;
use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// Unsigned bytes in three and in one dimension.
const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;
/// Largest file read into memory.
const MAX_BYTES: usize = 64 << 30;

/// One pair of IDX files.
#[derive(Debug)]
pub(crate) struct IdxSource {
    path: PathBuf,
    pixels: Vec<u8>,
    labels_path: PathBuf,
    labels: Vec<u8>,
    height: usize,
    width: usize,
}

impl IdxSource {
    /// Reads both files whole.
    pub(crate) fn open(pair: &Pair) -> Result<Self, DataError> {
        let ([n, height, width], pixels) = read::<3>(&pair.images, IMAGES)?;
        let ([m], labels) = read::<1>(&pair.labels, LABELS)?;
        same_count(pair, n, m)?;
        Ok(Self {
            path: pair.images.clone(),
            pixels,
            labels_path: pair.labels.clone(),
            labels,
            height,
            width,
        })
    }

    fn image(&self, i: usize) -> &[u8] {
        let n = self.height * self.width;
        &self.pixels[i * n..(i + 1) * n]
    }
}

impl Source for IdxSource {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn name(&self, i: usize) -> String {
        format!("{}:{i}", self.path.display())
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        let (height, width) = (self.height, self.width);
        Ok(Raw::Image(DecodedImage { height, width, channels: 1, pixels: self.image(i).to_vec() }))
    }

    /// "0", "1", ... to the largest label.
    fn classes(&self, _: TaskKind) -> Result<Vec<String>, DataError> {
        let largest = self.labels.iter().max().map_or(0, |&m| usize::from(m));
        Ok((0..=largest).map(|k| k.to_string()).collect())
    }

    /// An IDX label is an index already.
    fn labels(&self, task: TaskKind, classes: &[String]) -> Result<Vec<Label>, DataError> {
        only_classes(task, || self.place())?;
        let known = |(i, &label): (usize, &u8)| match usize::from(label) {
            class if class < classes.len() => Ok(Label::Class(class)),
            class => Err(DataError::Class {
                place: format!("{}:{i}", self.labels_path.display()),
                class: class.to_string(),
                known: classes.to_vec(),
            }),
        };
        self.labels.iter().enumerate().map(known).collect()
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        *blake3::hash(self.image(i)).as_bytes()
    }

    fn size(&self, _: usize) -> Result<Option<(usize, usize)>, DataError> {
        Ok(Some((self.height, self.width)))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

/// An images file and the labels beside it.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    images: PathBuf,
    labels: PathBuf,
}

impl Pair {
    /// Both files.
    pub(crate) fn files(&self) -> Vec<&Path> {
        vec![&self.images, &self.labels]
    }

    /// The pair whose names start with one of `prefixes` in a folder, plain before gzipped; `None` if there is none.
    pub(crate) fn find(folder: &Path, prefixes: &[&str]) -> Result<Option<Self>, DataError> {
        for prefix in prefixes {
            for ending in ["", ".gz"] {
                let images = folder.join(format!("{prefix}-images-idx3-ubyte{ending}"));
                if images.is_file() {
                    return Self::beside(&images).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The pair of an images file.
    pub(crate) fn beside(images: &Path) -> Result<Self, DataError> {
        let name = images.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let stem = name
            .trim_end_matches(".gz")
            .replace("images-idx3", "labels-idx1")
            .replace("images.idx3", "labels.idx1");
        let plain = images.with_file_name(&stem);
        let zipped = images.with_file_name(format!("{stem}.gz"));
        let labels = [plain.clone(), zipped].into_iter().find(|p| p.is_file() && p != images);
        let missing =
            || DataError::Missing { path: plain, expected: format!("the labels of {}", images.display()) };
        Ok(Self { images: images.to_path_buf(), labels: labels.ok_or_else(missing)? })
    }

    /// `(H, W)` from the header.
    pub(crate) fn size(&self) -> Result<(usize, usize), DataError> {
        let [_, height, width] = header::<3>(&self.images, IMAGES, &mut *open(&self.images)?)?;
        Ok((height, width))
    }

    /// Headers only.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let [n, ..] = header::<3>(&self.images, IMAGES, &mut *open(&self.images)?)?;
        let [m] = header::<1>(&self.labels, LABELS, &mut *open(&self.labels)?)?;
        same_count(self, n, m)
    }
}

fn same_count(pair: &Pair, images: usize, labels: usize) -> Result<(), DataError> {
    if images == labels {
        return Ok(());
    }
    Err(bytes(&pair.labels, 4, format!("{images} labels, as many as images"), labels.to_string()))
}

fn open(path: &Path) -> Result<Box<dyn Read>, DataError> {
    let mut file = File::open(path).map_err(DataError::opening(path, "an IDX file"))?;
    let zipped = path.extension().is_some_and(|e| e == "gz");
    let mut first = [0; 2];
    if zipped && file.read(&mut first).is_ok_and(|n| n == 0) {
        return Err(bytes(path, 0, "a gzip file".into(), "an empty file".into()));
    }
    let file = File::open(path).map_err(DataError::opening(path, "an IDX file"))?;
    let reader = BufReader::new(file);
    Ok(if zipped { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

fn read<const D: usize>(path: &Path, magic: u32) -> Result<([usize; D], Vec<u8>), DataError> {
    let mut reader = open(path)?;
    let dims = header::<D>(path, magic, &mut *reader)?;
    let start = 4 + 4 * D;
    let size = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).filter(|&n| n <= MAX_BYTES);
    let size =
        size.ok_or_else(|| bytes(path, 4, format!("at most {MAX_BYTES} values"), format!("{dims:?}")))?;
    let mut values = Vec::new();
    // One byte more than announced, so that a longer file is noticed.
    reader
        .take(size as u64 + 1)
        .read_to_end(&mut values)
        .map_err(|e| bytes(path, start, format!("{size} bytes"), e.to_string()))?;
    if values.len() != size {
        let got = if values.len() > size { "more".into() } else { format!("the end after {}", values.len()) };
        return Err(bytes(path, start + values.len().min(size), format!("{size} bytes of values"), got));
    }
    Ok((dims, values))
}

/// The magic number and the dimensions, big-endian.
fn header<const D: usize>(path: &Path, magic: u32, reader: &mut dyn Read) -> Result<[usize; D], DataError> {
    let mut word = |offset: usize, expected: &str| {
        let mut raw = [0; 4];
        reader.read_exact(&mut raw).map_err(|e| bytes(path, offset, expected.into(), e.to_string()))?;
        Ok::<u32, DataError>(u32::from_be_bytes(raw))
    };
    let got = word(0, "a magic number")?;
    if got != magic {
        return Err(bytes(path, 0, format!("magic number {magic:#010x}"), format!("{got:#010x}")));
    }
    let mut dims = [0; D];
    for (k, dim) in dims.iter_mut().enumerate() {
        *dim = word(4 + 4 * k, "a dimension")? as usize;
        if *dim == 0 {
            return Err(bytes(path, 4 + 4 * k, "a dimension of at least 1".into(), "0".into()));
        }
    }
    Ok(dims)
}

fn bytes(path: &Path, offset: usize, expected: String, got: String) -> DataError {
    DataError::Bytes { path: path.into(), offset, expected, got }
}

//! Images and classes in NumPy arrays: `[N, H, W]` or `[N, H, W, C]` of bytes, and `[N]` whole numbers.
//! Owns the arrays' names and what they must hold; keeps the bytes as they are. Hands images to `Split`.

use std::path::{Path, PathBuf};

use kiln_core::TaskKind;

use super::npy::{Array, Npz};
use super::{Source, only_classes};
use crate::decode::DecodedImage;
use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// Names of the images' and the labels' array, as Keras, MedMNIST and `numpy.savez(file, x=..., y=...)` write them: of
/// train, validation and test, and of one undivided set.
const NAMES: [&[(&str, &str)]; 4] = [
    &[("x_train", "y_train"), ("train_images", "train_labels")],
    &[("x_val", "y_val"), ("x_validation", "y_validation"), ("val_images", "val_labels")],
    &[("x_test", "y_test"), ("test_images", "test_labels")],
    &[("x", "y"), ("images", "labels"), ("arr_0", "arr_1")],
];

/// Two arrays of a file.
#[derive(Debug, Clone)]
pub(crate) struct Arrays {
    path: PathBuf,
    images: String,
    labels: String,
}

impl Arrays {
    /// The file that holds them.
    pub(crate) fn file(&self) -> &Path {
        &self.path
    }

    /// Those of train, validation, test, and of one undivided set; `named` ones are of such a set.
    pub(crate) fn find(path: &Path, named: Option<&[String; 2]>) -> Result<[Option<Self>; 4], DataError> {
        let npz = Npz::open(path)?;
        let there = npz.names();
        if let Some([images, labels]) = named {
            if let Some(absent) = [images, labels].into_iter().find(|name| !there.contains(name)) {
                let problem =
                    format!("there is no array \"{absent}\" in {}, but {}", path.display(), there.join(", "));
                return Err(DataError::config("arrays", problem, "name the arrays of images and of classes"));
            }
            let (images, labels) = (images.clone(), labels.clone());
            return Ok([None, None, None, Some(Self { path: path.into(), images, labels })]);
        }
        let found = NAMES.map(|pairs| {
            let pair =
                pairs.iter().find(|(x, y)| [x, y].iter().all(|name| there.iter().any(|own| own == *name)));
            pair.map(|(x, y)| Self { path: path.into(), images: (*x).into(), labels: (*y).into() })
        });
        match found.iter().all(Option::is_none) {
            true => Err(npz.fault(&format!(
                "expected arrays x and y, or x_train, y_train and so on, got {}",
                there.join(", ")
            ))),
            false => Ok(found),
        }
    }

    /// `(H, W)` from the header.
    pub(crate) fn size(&self) -> Result<(usize, usize), DataError> {
        let mut npz = Npz::open(&self.path)?;
        let header = npz.header(&self.images)?;
        sides(&npz, &self.images, &header).map(|[_, height, width, _]| (height, width))
    }

    /// Headers only.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let mut npz = Npz::open(&self.path)?;
        let (images, labels) = (npz.header(&self.images)?, npz.header(&self.labels)?);
        let [n, ..] = sides(&npz, &self.images, &images)?;
        self.same_count(&npz, n, &labels)
    }

    fn same_count(&self, npz: &Npz, images: usize, labels: &Array) -> Result<(), DataError> {
        let whole = labels.descr.get(1..2).is_some_and(|kind| kind == "u" || kind == "i");
        if !whole || labels.descr.starts_with('>') || !matches!(labels.shape.as_slice(), [_] | [_, 1]) {
            let (name, descr, shape) = (&self.labels, &labels.descr, &labels.shape);
            let problem =
                format!("array \"{name}\": expected whole numbers of shape [N], got {descr} of {shape:?}");
            return Err(npz.fault(&problem));
        }
        match labels.shape[0] == images {
            true => Ok(()),
            false => {
                let problem = format!(
                    "array \"{}\" has {} labels for {images} images in \"{}\"",
                    self.labels, labels.shape[0], self.images
                );
                Err(npz.fault(&problem))
            }
        }
    }
}

/// `[N, H, W, C]`
fn sides(npz: &Npz, name: &str, array: &Array) -> Result<[usize; 4], DataError> {
    let sides = match *array.shape.as_slice() {
        [n, h, w] => Some([n, h, w, 1]),
        [n, h, w, c @ (1 | 3)] => Some([n, h, w, c]),
        _ => None,
    };
    let bytes = array.descr.ends_with("u1");
    sides.filter(|sides| bytes && !sides.contains(&0)).ok_or_else(|| {
        let (descr, shape) = (&array.descr, &array.shape);
        npz.fault(&format!(
            "array \"{name}\": expected uint8 images of shape [N, H, W] or [N, H, W, 1 or 3], got {descr} of {shape:?}"
        ))
    })
}

/// Both arrays in memory.
#[derive(Debug)]
pub(crate) struct NpzSource {
    arrays: Arrays,
    pixels: Vec<u8>,
    labels: Vec<i64>,
    /// `[H, W, C]`
    shape: [usize; 3],
}

impl NpzSource {
    pub(crate) fn open(arrays: &Arrays) -> Result<Self, DataError> {
        arrays.check()?;
        let mut npz = Npz::open(&arrays.path)?;
        let images = npz.read(&arrays.images)?;
        let [n, height, width, channels] = sides(&npz, &arrays.images, &images)?;
        let labels = npz.read(&arrays.labels)?;
        let width_of = labels.bytes.len() / n;
        let signed = labels.descr.contains('i');
        let number = |bytes: &[u8]| {
            let fill = if signed && bytes.last().is_some_and(|high| high & 0x80 != 0) { 0xFF } else { 0 };
            let mut wide = [fill; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            i64::from_le_bytes(wide)
        };
        let labels = labels.bytes.chunks_exact(width_of).map(number).collect();
        let shape = [height, width, channels];
        Ok(Self { arrays: arrays.clone(), pixels: images.bytes, labels, shape })
    }

    fn image(&self, i: usize) -> &[u8] {
        let n = self.shape.iter().product::<usize>();
        &self.pixels[i * n..(i + 1) * n]
    }
}

impl Source for NpzSource {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn name(&self, i: usize) -> String {
        format!("{}:{}[{i}]", self.arrays.path.display(), self.arrays.images)
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        let [height, width, channels] = self.shape;
        Ok(Raw::Image(DecodedImage { height, width, channels, pixels: self.image(i).to_vec() }))
    }

    /// "0", "1", ... to the largest label.
    fn classes(&self, _: TaskKind) -> Result<Vec<String>, DataError> {
        let largest = self.labels.iter().max().copied().unwrap_or_default();
        match usize::try_from(largest).ok().filter(|largest| *largest < 1_000_000) {
            Some(largest) => Ok((0..=largest).map(|k| k.to_string()).collect()),
            None => Err(self.unknown(self.labels.iter().position(|l| *l == largest).unwrap_or(0), &[])),
        }
    }

    /// A label is an index already.
    fn labels(&self, task: TaskKind, classes: &[String]) -> Result<Vec<Label>, DataError> {
        only_classes(task, || self.place())?;
        let index = |(i, label): (usize, &i64)| {
            let class = usize::try_from(*label).ok().filter(|class| *class < classes.len());
            class.map(Label::Class).ok_or_else(|| self.unknown(i, classes))
        };
        self.labels.iter().enumerate().map(index).collect()
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        *blake3::hash(self.image(i)).as_bytes()
    }

    fn size(&self, _: usize) -> Result<Option<(usize, usize)>, DataError> {
        Ok(Some((self.shape[0], self.shape[1])))
    }

    fn place(&self) -> String {
        self.arrays.path.display().to_string()
    }
}

impl NpzSource {
    fn unknown(&self, i: usize, classes: &[String]) -> DataError {
        DataError::Class {
            place: format!("{}:{}[{i}]", self.arrays.path.display(), self.arrays.labels),
            class: self.labels[i].to_string(),
            known: classes.to_vec(),
        }
    }
}

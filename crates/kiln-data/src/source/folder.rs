//! Images in one folder per class, listed as torchvision's `ImageFolder` lists them.
//! Owns the walk and its refusals (empty class, stray file); never opens an image before it is asked for.
//! Hands paths and classes to `Split`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::TaskKind;

use super::{Source, class_index, file, only_classes};
use crate::decode::{decode_file, size_of};
use crate::error::DataError;
use crate::label::Label;
use crate::split::Raw;

/// Endings of the formats that are built in.
const ENDINGS: [&str; 9] = ["bmp", "gif", "jfif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];
/// Deeper folders are taken for a loop of links.
const MAX_DEPTH: usize = 32;

/// A folder of class folders.
#[derive(Debug)]
pub(crate) struct FolderSource {
    root: PathBuf,
    classes: Vec<String>,
    /// Path below the root and class of each image.
    files: Vec<(PathBuf, usize)>,
}

impl FolderSource {
    /// Lists every image, class by class in name order, and in each class by folder, then name.
    pub(crate) fn open(root: &Path) -> Result<Self, DataError> {
        let classes = class_folders(root)?;
        let mut files = Vec::new();
        for (class, name) in classes.iter().enumerate() {
            let images = images_in(&root.join(name))?;
            if images.is_empty() {
                return Err(empty_class(&root.join(name)));
            }
            files.extend(
                images.into_iter().map(|p| (p.strip_prefix(root).unwrap_or(&p).to_path_buf(), class)),
            );
        }
        Ok(Self { root: root.to_path_buf(), classes, files })
    }
}

impl Source for FolderSource {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn name(&self, i: usize) -> String {
        self.root.join(&self.files[i].0).display().to_string()
    }

    fn raw(&self, i: usize) -> Result<Raw, DataError> {
        decode_file(&self.root.join(&self.files[i].0)).map(Raw::Image)
    }

    fn classes(&self, _: TaskKind) -> Result<Vec<String>, DataError> {
        Ok(self.classes.clone())
    }

    fn labels(&self, task: TaskKind, classes: &[String]) -> Result<Vec<Label>, DataError> {
        only_classes(task, || self.place())?;
        let map: Vec<usize> = self
            .classes
            .iter()
            .map(|class| class_index(class, classes, || self.root.join(class).display().to_string()))
            .collect::<Result<_, _>>()?;
        Ok(self.files.iter().map(|(_, class)| Label::Class(map[*class])).collect())
    }

    fn hash(&self, i: usize) -> [u8; 32] {
        let path = &self.files[i].0;
        let parts: Vec<_> = path.iter().map(OsStr::to_string_lossy).collect();
        *blake3::hash(parts.join("/").as_bytes()).as_bytes()
    }

    fn size(&self, i: usize) -> Result<Option<(usize, usize)>, DataError> {
        size_of(&self.root.join(&self.files[i].0)).map(Some)
    }

    fn encoded(&self, i: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        file(&self.root.join(&self.files[i].0))
    }

    fn file_size(&self, i: usize) -> Option<u64> {
        fs::metadata(self.root.join(&self.files[i].0)).ok().map(|meta| meta.len())
    }

    fn origin(&self, i: usize) -> Option<(PathBuf, u64)> {
        Some((self.root.join(&self.files[i].0), 0))
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }
}

/// Names of the class folders, sorted; any other visible entry is refused.
pub(crate) fn class_folders(root: &Path) -> Result<Vec<String>, DataError> {
    let (folders, files) = entries(root, "a folder of class folders")?;
    if let Some(stray) = files.first() {
        return Err(DataError::Folder {
            path: stray.clone(),
            problem: format!("expected only class folders here, got {} file(s) beside them", files.len()),
            remedy: "move images into a folder named after their class, and other files out".into(),
        });
    }
    if folders.is_empty() {
        return Err(DataError::Folder {
            path: root.into(),
            problem: "expected one folder a class, got none".into(),
            remedy: "put the images of each class into a folder named after it".into(),
        });
    }
    folders.iter().map(|folder| utf8_name(folder)).collect()
}

/// Whether a class folder holds anything, without listing it whole.
pub(crate) fn check_class(folder: &Path) -> Result<(), DataError> {
    let mut visible = fs::read_dir(folder)
        .map_err(DataError::opening(folder, "a class folder"))?
        .flatten()
        .filter(|e| !hidden(&e.path()));
    visible.next().map(|_| ()).ok_or_else(|| empty_class(folder))
}

/// Every image below a folder, in torchvision's order: by folder, then by name.
pub(crate) fn images_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut walk = Walk::default();
    walk.visit(folder, 0)?;
    let Some(first) = walk.strays.first() else { return Ok(walk.images) };
    Err(DataError::Folder {
        path: first.clone(),
        problem: format!(
            "expected images ({}), got {} file(s) with another ending below {}",
            ENDINGS.join(" "),
            walk.strays.len(),
            folder.display()
        ),
        remedy: "convert or move them; files whose name starts with a dot are left out".into(),
    })
}

#[derive(Default)]
struct Walk {
    images: Vec<PathBuf>,
    strays: Vec<PathBuf>,
}

impl Walk {
    fn visit(&mut self, folder: &Path, depth: usize) -> Result<(), DataError> {
        if depth > MAX_DEPTH {
            return Err(DataError::Folder {
                path: folder.into(),
                problem: format!("expected at most {MAX_DEPTH} folders inside each other"),
                remedy: "remove the link that leads back up".into(),
            });
        }
        let (folders, files) = entries(folder, "a folder of images")?;
        let (images, strays): (Vec<_>, Vec<_>) = files.into_iter().partition(|p| is_image(p));
        self.images.extend(images);
        self.strays.extend(strays);
        folders.iter().try_for_each(|sub| self.visit(sub, depth + 1))
    }
}

/// Whether the name ends as an image's.
pub(crate) fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// Visible folders and files, each sorted by name; links are followed.
fn entries(folder: &Path, expected: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(DataError::opening(folder, expected))? {
        let entry = entry.map_err(DataError::opening(folder, expected))?;
        let path = entry.path();
        if hidden(&path) {
            continue;
        }
        let kind = entry.file_type().map_err(DataError::opening(&path, expected))?;
        let is_folder = kind.is_dir() || (kind.is_symlink() && path.is_dir());
        if is_folder { folders.push(path) } else { files.push(path) }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn utf8_name(folder: &Path) -> Result<String, DataError> {
    folder.file_name().and_then(OsStr::to_str).map(str::to_string).ok_or_else(|| DataError::Folder {
        path: folder.into(),
        problem: "the folder's name, which names the class, is not UTF-8".into(),
        remedy: "rename it".into(),
    })
}

fn empty_class(folder: &Path) -> DataError {
    DataError::Folder {
        path: folder.into(),
        problem: "expected images of this class, got an empty folder".into(),
        remedy: "add images or remove the folder".into(),
    }
}

//! A trained model as a folder with everything needed to answer: config.json, model.safetensors, preprocessing.
//! Owns how the folder appears and is replaced; its files are kiln-models' and kiln-data's.
//! `kiln train` saves one; evaluator and predictor open it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use kiln_core::files::{FileError, sync_folder};
use kiln_core::{InputSpec, StateDict};
use kiln_data::{Preprocessor, pipeline_hashes};
use kiln_models::weights::SAFETENSORS;
use kiln_models::{Card, Model, ModelError, SaveOptions};

use crate::EvalError;
use crate::tasks::{self, Task};

const CARD: &str = "config.json";
/// In the weights' header: the hashes of the files that prepare samples for them, by name.
const PIPELINE: &str = "kiln_pipeline";

/// A model that can be asked.
pub struct Bundle {
    /// The net with its card.
    pub model: Model,
    /// From raw input to the net's input, as in training.
    pub preprocessor: Arc<Preprocessor>,
    /// Names of the labels in index order.
    pub classes: Vec<String>,
    /// What the net learned.
    pub task: &'static dyn Task,
}

impl Bundle {
    /// Opens a model folder on a device (without autodiff). A run folder is not one: its `model/` is.
    ///
    /// # Errors
    /// The folder holds no model, or its files are damaged or do not fit together.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, EvalError> {
        settle(folder)?;
        if !folder.join(CARD).is_file() {
            return Err(EvalError::NotAModel {
                path: folder.into(),
                expected: "a folder with a config.json",
            });
        }
        let model = kiln_models::open(folder, device)?;
        let preprocessor = Arc::new(preprocessor_of(folder, &model.card)?);
        let classes = model.card.classes();
        let task = tasks::of(model.card.task()?)?;
        Ok(Self { model, preprocessor, classes, task })
    }

    /// Writes a model folder, so that a reader sees the old one or the new one whole, also after a power cut.
    ///
    /// # Errors
    /// `folder` exists and is not a model; the system refuses. What was there is then still there.
    pub fn save(
        folder: &Path,
        card: &Card,
        state: &StateDict,
        preprocessor: &Preprocessor,
        options: &SaveOptions,
    ) -> Result<(), EvalError> {
        settle(folder)?;
        refuse_others(folder)?;
        let parent = parent(folder);
        fs::create_dir_all(parent).map_err(FileError::at(parent, "create"))?;
        let fresh = fresh(parent)?;
        preprocessor.save(fresh.path())?;
        let pipeline = serde_json::json!(pipeline_hashes(fresh.path())?).to_string();
        let images = kiln_models::brought_preprocessing(fresh.path());
        let card = card.prepared_as(images.as_ref());
        kiln_models::save_as(fresh.path(), &card, state, options, &[(PIPELINE, &pipeline)])?;
        sync_files(fresh.path())?;
        exchange(fresh, folder)
    }
}

/// The program in a folder, which must fit the model beside it: every id of the tokenizer needs an embedding.
pub(crate) fn preprocessor_of(folder: &Path, card: &Card) -> Result<Preprocessor, EvalError> {
    as_recorded(folder)?;
    let Some(InputSpec::Tokens { vocab_size, max_length, .. }) = card.kiln_input else {
        return Ok(Preprocessor::load(folder)?);
    };
    let preprocessor = Preprocessor::load_or_bring(folder, max_length)?;
    match preprocessor.input() {
        InputSpec::Tokens { vocab_size: ids, .. } if *ids > vocab_size => {
            Err(EvalError::Tokenizer { path: folder.into(), got: *ids, expected: vocab_size })
        }
        _ => Ok(preprocessor),
    }
}

/// Refuses a folder whose pipeline is not the one that its weights were saved with. Weights that kiln did not save say
/// nothing of it.
fn as_recorded(folder: &Path) -> Result<(), EvalError> {
    let metadata = kiln_models::weights::metadata(folder).map_err(ModelError::from)?;
    let Some(recorded) = metadata.get(PIPELINE) else { return Ok(()) };
    let changed = |file: &str, problem: String| EvalError::Pipeline { path: folder.join(file), problem };
    let recorded: BTreeMap<String, String> = serde_json::from_str(recorded)
        .map_err(|e| changed(SAFETENSORS, format!("its record of the preprocessing is damaged: {e}")))?;
    let found = pipeline_hashes(folder)?;
    for (file, wanted) in &recorded {
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        match found.get(file) {
            Some(hash) if hash == wanted => {}
            Some(hash) => {
                let (wanted, got) = (short(wanted), short(hash));
                let problem =
                    format!("the weights were saved with a file of hash {wanted}, this one has {got}");
                return Err(changed(file, problem));
            }
            None => return Err(changed(file, "the weights were saved with it, and it is gone".into())),
        }
    }
    match found.keys().find(|file| !recorded.contains_key(*file)) {
        Some(file) => Err(changed(file, "the weights were saved without it".into())),
        None => Ok(()),
    }
}

/// Only a model folder, an empty one or none may be replaced.
fn refuse_others(folder: &Path) -> Result<(), EvalError> {
    let free = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none() || folder.join(CARD).is_file(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    if free { Ok(()) } else { Err(EvalError::Occupied { path: folder.into() }) }
}

/// Moves `fresh` to `folder`. What stood there steps aside first; [`settle`] brings it back if we are cut off.
fn exchange(fresh: tempfile::TempDir, folder: &Path) -> Result<(), EvalError> {
    let aside = aside(folder);
    let replaces = folder.is_dir();
    if replaces {
        fs::rename(folder, &aside).map_err(FileError::at(folder, "move aside"))?;
    }
    let fresh = fresh.keep();
    if let Err(e) = fs::rename(&fresh, folder) {
        let _ = fs::remove_dir_all(&fresh);
        settle(folder)?;
        return Err(FileError::at(folder, "rename into place")(e).into());
    }
    sync_folder(parent(folder))?;
    if replaces {
        fs::remove_dir_all(&aside).map_err(FileError::at(&aside, "remove"))?;
    }
    Ok(())
}

/// Finishes what a save that was cut off between its two renames left: the old folder comes back where there is no
/// new one, and goes where there is.
fn settle(folder: &Path) -> Result<(), FileError> {
    let aside = aside(folder);
    if !aside.is_dir() {
        return Ok(());
    }
    if folder.is_dir() {
        return fs::remove_dir_all(&aside).map_err(FileError::at(&aside, "remove"));
    }
    fs::rename(&aside, folder).map_err(FileError::at(&aside, "move back"))?;
    sync_folder(parent(folder))
}

/// Where the old folder waits: a hidden sibling whose name only depends on the folder's.
fn aside(folder: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(".kiln-old");
    parent(folder).join(name)
}

fn parent(folder: &Path) -> &Path {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_files(folder: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::at(folder, "list"))? {
        let path = entry.map_err(FileError::at(folder, "list"))?.path();
        fs::File::open(&path).and_then(|f| f.sync_all()).map_err(FileError::at(&path, "sync"))?;
    }
    sync_folder(folder)
}

/// A new folder beside `folder`, with the permissions of any new folder (temporary ones are private by default).
fn fresh(parent: &Path) -> Result<tempfile::TempDir, FileError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kiln-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777)); // less the umask
    builder.tempdir_in(parent).map_err(FileError::at(parent, "create a folder in"))
}

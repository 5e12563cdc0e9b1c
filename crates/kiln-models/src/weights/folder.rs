//! A Hugging Face folder's weights: one file, or shards with an index.
//! Owns the order in which files are looked for; never a format.
//! Hands each file to `weights::read_file`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kiln_core::StateDict;
use kiln_core::files;
use serde::Deserialize;

use super::{INDEX, SAFETENSORS, WeightsError, What, read_file};

/// Looked for in this order; `.json` is an index of shards.
const NAMES: [&str; 4] = [SAFETENSORS, INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json"];

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn read(folder: &Path, what: What) -> Result<StateDict, WeightsError> {
    let Some(path) = find(folder) else {
        let message = format!("no weights here; looked for {} and for them in model/", NAMES.join(", "));
        return Err(WeightsError::content(
            folder,
            message,
            "give a folder that has one of these, or the file itself",
        ));
    };
    if path.extension().is_some_and(|e| e == "json") {
        read_shards(&path, what)
    } else {
        read_file(&path, what)
    }
}

/// The folder's safetensors file, or the first of its shards; `None` where it has none.
pub(super) fn first_file(folder: &Path) -> Result<Option<PathBuf>, WeightsError> {
    let Some(path) = find(folder) else { return Ok(None) };
    let path = match path.extension().is_some_and(|e| e == "json") {
        true => shards(&path)?.1.into_iter().next().map(|shard| path.with_file_name(shard)),
        false => Some(path),
    };
    Ok(path.filter(|path| path.extension().is_some_and(|e| e == "safetensors")))
}

fn find(folder: &Path) -> Option<PathBuf> {
    let model = folder.join("model"); // of a run folder
    [folder, &model].into_iter().flat_map(|f| NAMES.map(|n| f.join(n))).find(|path| path.is_file())
}

/// The index of shards, and their files by name, all of which are there.
fn shards(index_path: &Path) -> Result<(Index, BTreeSet<String>), WeightsError> {
    let text = files::read_text(index_path)?;
    let index: Index = serde_json::from_str(&text).map_err(|e| fault(index_path, e.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.values().cloned().collect();
    for shard in &shards {
        if Path::new(shard).file_name().is_none_or(|name| name != shard.as_str()) {
            let message = format!("weight_map names {shard:?}, expected a file name in the same folder");
            return Err(fault(index_path, message));
        }
        if !index_path.with_file_name(shard).is_file() {
            return Err(fault(index_path, format!("the shard {shard} is missing")));
        }
    }
    Ok((index, shards))
}

fn fault(index_path: &Path, message: String) -> WeightsError {
    WeightsError::content(index_path, message, "fetch the folder again, with all its files")
}

fn read_shards(index_path: &Path, what: What) -> Result<StateDict, WeightsError> {
    let (index, shards) = shards(index_path)?;
    let mut state = StateDict::new();
    for shard in shards {
        state.extend(read_file(&index_path.with_file_name(shard), what)?);
    }
    match index.weight_map.iter().find(|(name, _)| !state.contains_key(*name)) {
        Some((name, shard)) => Err(fault(index_path, format!("tensor {name} is not in its shard {shard}"))),
        None => Ok(state),
    }
}

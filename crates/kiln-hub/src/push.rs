//! A model folder -> a commit on the Hub: the model is made if it is not there, the Hub says which files are large, these
//! go up by themselves, and one commit names them all. Owns that order; never changes a file. `lfs` sends the large ones.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_core::files::{self, FileError};
use serde_json::{Value, json};

use crate::client::{Client, unexpected};
use crate::{HubError, Name, Push, Pushed, Settings, lfs};

const JSON: &str = "application/json";
/// What the Hub looks at to tell text from data.
const SAMPLE: u64 = 512;

/// A file on its way.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// Makes one commit of a model folder's files.
///
/// # Errors
/// The folder holds no model; there is no token, or it may not write; the Hub cannot be reached or refuses.
pub fn push(name: &Name, push: &Push<'_>, settings: &Settings) -> Result<Pushed, HubError> {
    if settings.offline {
        return Err(HubError::PushOffline);
    }
    if settings.token.is_none() {
        return Err(HubError::NoToken);
    }
    if !name.has_owner() {
        let why = "a push needs the owner before it".into();
        return Err(HubError::Name { text: name.to_string(), why });
    }
    let items = items(push.folder)?;
    let client = Client::new(settings, name);
    create(&client, push.private)?;
    let mut lines = vec![json!({"key": "header", "value": {"summary": push.message, "description": ""}})];
    let (large, small) = sorted(&client, items)?;
    for item in &small {
        let content = STANDARD.encode(files::read(&item.path)?);
        lines.push(json!({"key": "file",
            "value": {"path": item.name, "content": content, "encoding": "base64"}}));
    }
    let mut bytes = 0;
    for (oid, item) in lfs::send(&client, &large)? {
        bytes += item.size;
        lines.push(json!({"key": "lfsFile",
            "value": {"path": item.name, "algo": "sha256", "oid": oid, "size": item.size}}));
    }
    let files = small.iter().chain(&large).map(|item| item.name.clone()).collect();
    commit(&client, &lines, files, bytes)
}

/// A model's files: those that lie in the folder, without hidden and half ones.
fn items(folder: &Path) -> Result<Vec<Item>, HubError> {
    if !["config.json", "adapter_config.json"].iter().any(|name| folder.join(name).is_file()) {
        return Err(HubError::NoFolder { path: folder.into() });
    }
    let mut items = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::at(folder, "read"))? {
        let path = entry.map_err(FileError::at(folder, "read"))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_file() && !name.starts_with('.') {
            let size = path.metadata().map_err(FileError::at(&path, "read"))?.len();
            items.push(Item { name, path, size });
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(items)
}

/// Makes the model; one that is there already is what was wanted.
fn create(client: &Client<'_>, private: bool) -> Result<(), HubError> {
    let url = format!("{}/api/repos/create", client.settings.endpoint);
    let (owner, name) = client.name.id.split_once('/').unwrap_or_default();
    let body = json!({"name": name, "organization": owner, "type": "model", "private": private});
    let answer = client.post(&url, JSON, body.to_string().as_bytes())?;
    let status = answer.status().as_u16();
    if status == 409 {
        return Ok(());
    }
    match client.expect(&url, answer) {
        // A token that may write to this model alone may not make one.
        Err(denied @ HubError::Denied { .. }) if status == 403 => {
            client.get(&format!("api/models/{}", client.name.id)).map(|_| ()).map_err(|_| denied)
        }
        other => other.map(|_| ()),
    }
}

/// Asks which files are large; those that the model's `.gitignore` names stay here.
fn sorted(client: &Client<'_>, items: Vec<Item>) -> Result<(Vec<Item>, Vec<Item>), HubError> {
    let revision = client.repo().url_revision();
    let url = format!("{}/api/models/{}/preupload/{revision}", client.settings.endpoint, client.name.id);
    let mut files = Vec::new();
    for item in &items {
        let sample = STANDARD.encode(sample(&item.path)?);
        files.push(json!({"path": item.name, "sample": sample, "size": item.size}));
    }
    let answer = client.post_json(&url, JSON, json!({"files": files}).to_string().as_bytes())?;
    let said = answer.get("files").and_then(Value::as_array);
    let said = said.ok_or_else(|| unexpected(&url, "it has no files"))?;
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for item in items {
        let of_item = |file: &&Value| file.get("path").and_then(Value::as_str) == Some(&item.name);
        let file = said.iter().find(of_item);
        let ignored = file.and_then(|f| f.get("shouldIgnore")).and_then(Value::as_bool).unwrap_or(false);
        match file.and_then(|f| f.get("uploadMode")).and_then(Value::as_str) {
            _ if ignored => {}
            Some("lfs") => large.push(item),
            Some("regular") => small.push(item),
            mode => {
                return Err(unexpected(&url, format!("uploadMode of {} is {mode:?}", item.name)));
            }
        }
    }
    Ok((large, small))
}

fn sample(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::at(path, "read"))?;
    file.take(SAMPLE).read_to_end(&mut bytes).map_err(FileError::at(path, "read"))?;
    Ok(bytes)
}

fn commit(client: &Client<'_>, lines: &[Value], files: Vec<String>, bytes: u64) -> Result<Pushed, HubError> {
    let revision = client.repo().url_revision();
    let url = format!("{}/api/models/{}/commit/{revision}", client.settings.endpoint, client.name.id);
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let answer = client.post_json(&url, "application/x-ndjson", body.as_bytes())?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
    let commit = text("commitOid").ok_or_else(|| unexpected(&url, "it names no commit"))?;
    Ok(Pushed { commit, url: text("commitUrl").unwrap_or_default(), files, bytes })
}

//! A name -> a folder: what the model is now, its files into the cache, the snapshot.
//! Owns the order (all blobs, then the links, then the reference) and when the cache alone will do; never reads a weight.
//! Hands the snapshot's folder to the command.

use hf_hub::api::RepoInfo;
use kiln_core::files;

use crate::cache::{Folder, is_commit};
use crate::client::{Client, unexpected};
use crate::download::fetch;
use crate::wanted::{self, Wanted};
use crate::{HubError, Name, Pulled, Settings};

/// Brings a model into the cache, or finds it there.
///
/// # Errors
/// There is no such model, revision or right; the Hub cannot be reached and the cache does not hold it; what came is
/// not what the Hub has; the cache cannot be written.
pub fn pull(name: &Name, settings: &Settings) -> Result<Pulled, HubError> {
    let client = Client::new(settings, name);
    let folder = Folder::new(&settings.cache, &client.repo());
    let cached = |note| {
        let snapshot = folder.whole()?;
        Some(Pulled { folder: snapshot, commit: folder.commit()?, bytes: 0, note })
    };
    if settings.offline {
        let missing = || HubError::Offline { name: name.to_string(), cache: folder.path.clone() };
        return cached(None).ok_or_else(missing);
    }
    if is_commit(&name.revision)
        && let Some(pulled) = cached(None)
    {
        return Ok(pulled); // a commit never changes
    }
    match client.get(&format!("api/{}", client.repo().api_url())) {
        Ok(info) => download(&client, &folder, info),
        Err(fault @ HubError::Unreachable { .. }) => {
            let note = format!("{fault}; the model is taken from the cache, as it was when last pulled");
            cached(Some(note)).ok_or(fault)
        }
        Err(fault) => Err(fault),
    }
}

fn download(client: &Client<'_>, folder: &Folder, info: serde_json::Value) -> Result<Pulled, HubError> {
    let url = format!("{}/api/{}", client.settings.endpoint, client.repo().api_url());
    let info: RepoInfo = serde_json::from_value(info).map_err(|e| unexpected(&url, e.to_string()))?;
    let commit = info.sha;
    if !is_commit(&commit) {
        return Err(unexpected(&url, format!("the commit is {commit:?}, expected 40 hexadecimal digits")));
    }
    let files: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
    let unfit = |what| HubError::Unfit { name: client.name.to_string(), what, files: some(&files) };
    let wanted = Wanted::among(&files).map_err(unfit)?;
    let mut blobs = Vec::new();
    let mut bytes = 0;
    let mut take = |file: &str| -> Result<String, HubError> {
        let (tag, came) = fetch(client, folder, &commit, file)?;
        bytes += came;
        blobs.push((file.to_owned(), tag.clone()));
        Ok(tag)
    };
    for file in &wanted.small {
        take(file)?;
    }
    let tag = take(&wanted.weights)?;
    if wanted.is_sharded() {
        let index = files::read_text(&folder.blob(&tag))?;
        let address = client.address(&commit, &wanted.weights);
        for shard in wanted::shards(&index).map_err(|message| unexpected(&address, message))? {
            take(&shard)?;
        }
    }
    for (file, tag) in &blobs {
        folder.link(&commit, file, tag)?;
    }
    folder.remember(&commit)?;
    Ok(Pulled { folder: folder.snapshot(&commit), commit, bytes, note: None })
}

/// The first few names.
fn some(files: &[String]) -> String {
    let first: Vec<&str> = files.iter().take(8).map(String::as_str).collect();
    let more = files.len() - first.len();
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

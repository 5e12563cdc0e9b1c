//! Large files -> the store behind the Hub, by Git LFS: asked for in one batch, sent whole or in parts as the Hub says.
//! Owns that protocol; never commits. Hands sums to push.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use kiln_core::files::FileError;
use serde_json::{Value, json};
use ureq::SendBody;

use crate::HubError;
use crate::client::{Client, header, unexpected, unreachable};
use crate::digest;
use crate::push::Item;

const JSON: &str = "application/vnd.git-lfs+json";

/// Sends what the store lacks; answers every file with its SHA-256.
pub(crate) fn send<'a>(client: &Client<'_>, items: &'a [Item]) -> Result<Vec<(String, &'a Item)>, HubError> {
    let mut sums = Vec::new();
    for item in items {
        sums.push((digest::sha256(&item.path)?, item));
    }
    if sums.is_empty() {
        return Ok(sums);
    }
    let url = format!("{}/{}.git/info/lfs/objects/batch", client.settings.endpoint, client.name.id);
    let objects: Vec<Value> = sums.iter().map(|(oid, item)| json!({"oid": oid, "size": item.size})).collect();
    let ask = json!({"operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
        "ref": {"name": client.name.revision}, "objects": objects});
    let answer = client.post_json(&url, JSON, ask.to_string().as_bytes())?;
    let said = answer.get("objects").and_then(Value::as_array);
    let said = said.ok_or_else(|| unexpected(&url, "it has no objects"))?;
    for (oid, item) in &sums {
        let object = said.iter().find(|o| o.get("oid").and_then(Value::as_str) == Some(oid));
        let object = object.ok_or_else(|| unexpected(&url, format!("it does not speak of {}", item.name)))?;
        if let Some(error) = object.get("error") {
            return Err(unexpected(&url, format!("{} is refused: {error}", item.name)));
        }
        // Without actions the store has the file already.
        if let Some(upload) = object.pointer("/actions/upload") {
            one(client, &url, upload, oid, item)?;
        }
        if let Some(verify) = object.pointer("/actions/verify/href").and_then(Value::as_str) {
            let body = json!({"oid": oid, "size": item.size}).to_string();
            let answer = client.post(verify, JSON, body.as_bytes())?;
            client.expect(verify, answer)?;
        }
    }
    Ok(sums)
}

fn one(client: &Client<'_>, url: &str, upload: &Value, oid: &str, item: &Item) -> Result<(), HubError> {
    let href = upload.get("href").and_then(Value::as_str);
    let href = href.ok_or_else(|| unexpected(url, format!("it has no address for {}", item.name)))?;
    let Some(chunk) = upload.pointer("/header/chunk_size") else {
        return put(client, href, item, 0, item.size).map(|_| ());
    };
    let chunk = chunk.as_u64().or_else(|| chunk.as_str()?.parse().ok()).filter(|size| *size > 0);
    let chunk = chunk.ok_or_else(|| unexpected(url, "its chunk_size is not a number"))?;
    let mut parts = Vec::new();
    for (i, start) in (0..item.size).step_by(usize::try_from(chunk).unwrap_or(usize::MAX)).enumerate() {
        let address = upload.get("header").and_then(Value::as_object).and_then(|header| {
            let of_part = |key: &str| key.parse() == Ok(i + 1);
            header.iter().find(|(key, _)| of_part(key))?.1.as_str()
        });
        let address = address.ok_or_else(|| {
            unexpected(url, format!("it has no address for part {} of {}", i + 1, item.name))
        })?;
        let tag = put(client, address, item, start, chunk.min(item.size - start))?;
        let tag = tag.ok_or_else(|| unexpected(address, "a part was taken without a tag (ETag)"))?;
        parts.push(json!({"partNumber": i + 1, "etag": tag}));
    }
    let done = json!({"oid": oid, "parts": parts}).to_string();
    let answer = client.post(href, JSON, done.as_bytes())?;
    client.expect(href, answer).map(|_| ())
}

/// Sends bytes of a file to an address that carries its own right: no token goes there.
fn put(
    client: &Client<'_>,
    url: &str,
    item: &Item,
    start: u64,
    size: u64,
) -> Result<Option<String>, HubError> {
    let mut file = File::open(&item.path).map_err(FileError::at(&item.path, "read"))?;
    file.seek(SeekFrom::Start(start)).map_err(FileError::at(&item.path, "read"))?;
    let mut bytes = file.take(size);
    let request = client.agent.put(url).header("Content-Length", size.to_string());
    let answer = request.send(SendBody::from_reader(&mut bytes)).map_err(|e| unreachable(url, &e))?;
    Ok(header(&client.expect(url, answer)?, "etag"))
}

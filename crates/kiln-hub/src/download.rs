//! One file of a model -> a blob in the cache: asked for its tag and size, fetched, gone on with where it was cut, and
//! verified before it gets its name. Owns tries and resumption; never links. Hands tags to pull.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use kiln_core::files::{FileError, sync_folder};
use ureq::Body;
use ureq::http::Response;

use crate::HubError;
use crate::cache::{self, Folder};
use crate::client::{Client, header, unexpected, unreachable};
use crate::digest;

/// Tries without a single new byte before giving up.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
const CHUNK: usize = 1 << 18;
/// Redirects on the Hub itself, of a model that has another name now.
const REDIRECTS: usize = 5;

/// What the Hub says of a file.
struct Facts {
    tag: String,
    size: Option<u64>,
}

/// Brings a file into the cache; answers its tag and how many bytes came.
pub(crate) fn fetch(
    client: &Client<'_>,
    folder: &Folder,
    commit: &str,
    file: &str,
) -> Result<(String, u64), HubError> {
    let url = client.address(commit, file);
    let Facts { tag, size } = facts(client, &url)?;
    let _lock = folder.lock(&tag)?;
    let blob = folder.blob(&tag);
    let is_there = blob.metadata().is_ok_and(|there| size.is_none_or(|size| there.len() == size));
    if is_there {
        return Ok((tag, 0));
    }
    blob.parent().map_or(Ok(()), cache::make)?;
    let part = blob.with_file_name(format!("{tag}.incomplete"));
    let download = Download { client, url: &url, file, size, part: &part };
    let came = download.whole(&tag)?;
    fs::rename(&part, &blob).map_err(FileError::at(&blob, "rename into place"))?;
    blob.parent().map_or(Ok(()), sync_folder)?;
    Ok((tag, came))
}

/// Asks for a file's tag and size without its bytes.
fn facts(client: &Client<'_>, url: &str) -> Result<Facts, HubError> {
    let mut at = url.to_owned();
    let mut known: (Option<String>, Option<u64>) = (None, None);
    for _ in 0..REDIRECTS {
        let mut request = client.still.head(&at);
        if let Some(bearer) = client.bearer(&at) {
            request = request.header("Authorization", bearer);
        }
        let answer = request.call().map_err(|e| unreachable(&at, &e))?;
        let moved = answer.status().is_redirection();
        let answer = if moved { answer } else { client.expect(url, answer)? };
        let tag = header(&answer, "x-linked-etag").or_else(|| header(&answer, "etag"));
        let length = if moved { None } else { header(&answer, "content-length") };
        let size = header(&answer, "x-linked-size").or(length).and_then(|text| text.parse().ok());
        known = (tag.or(known.0), size.or(known.1));
        match header(&answer, "location").filter(|place| moved && place.starts_with('/')) {
            Some(place) => at = format!("{}{place}", origin(&client.settings.endpoint)),
            None => break,
        }
    }
    let tag = known.0.unwrap_or_default().trim_start_matches("W/").trim_matches('"').to_owned();
    let plain = !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    match plain {
        true => Ok(Facts { tag, size: known.1 }),
        false => Err(unexpected(url, format!("the tag (ETag) is {tag:?}; is this a Hub?"))),
    }
}

/// `https://host` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |i| i + 3);
    let end = url[host..].find('/').map_or(url.len(), |i| host + i);
    &url[..end]
}

struct Download<'a> {
    client: &'a Client<'a>,
    url: &'a str,
    file: &'a str,
    size: Option<u64>,
    part: &'a PathBuf,
}

impl Download<'_> {
    /// All bytes, and the right ones.
    fn whole(&self, tag: &str) -> Result<u64, HubError> {
        let kept = self.here();
        let came = self.all()?;
        let got = digest::like(tag, self.part)?;
        let Some(got) = got.filter(|got| got != tag) else { return Ok(came) };
        fs::remove_file(self.part).map_err(FileError::at(self.part, "remove"))?;
        if kept > 0 {
            return self.whole(tag); // what an earlier process left was of something else
        }
        Err(HubError::Damaged { file: self.file.into(), expected: tag.into(), got })
    }

    fn all(&self) -> Result<u64, HubError> {
        let (mut came, mut idle) = (0, 0);
        loop {
            let before = self.here();
            let result = self.some(before);
            let now = self.here();
            came += now.saturating_sub(before);
            idle = if now > before { 0 } else { idle + 1 };
            match result {
                Ok(()) if self.size.is_none_or(|size| now == size) => return Ok(came),
                Err(fault) if !passes(&fault) => return Err(fault),
                Err(fault) if idle >= TRIES => return Err(self.given_up(fault, now)),
                Ok(()) if idle >= TRIES => return Err(self.cut(now)),
                _ => thread::sleep(PAUSE * (idle + 1)),
            }
        }
    }

    /// A cut that began is told as such; a server that never answered as what it said.
    fn given_up(&self, fault: HubError, got: u64) -> HubError {
        if got > 0 { self.cut(got) } else { fault }
    }

    fn cut(&self, got: u64) -> HubError {
        HubError::Cut { file: self.file.into(), got, expected: self.size.unwrap_or(got) }
    }

    fn here(&self) -> u64 {
        self.part.metadata().map_or(0, |there| there.len())
    }

    /// Asks for the bytes from `start` on, and writes those that come.
    fn some(&self, start: u64) -> Result<(), HubError> {
        let start = if self.size.is_some_and(|size| start > size) { 0 } else { start };
        if start > 0 && self.size == Some(start) {
            return Ok(());
        }
        let answer = self.ask(start)?;
        let goes_on = answer.status().as_u16() == 206 && start > 0;
        let mut out = File::options();
        let out = if goes_on { out.append(true) } else { out.create(true).write(true).truncate(true) };
        let mut out = out.open(self.part).map_err(FileError::at(self.part, "create"))?;
        self.copy(answer, &mut out)?;
        out.sync_all().map_err(FileError::at(self.part, "sync"))?;
        Ok(())
    }

    fn ask(&self, start: u64) -> Result<Response<Body>, HubError> {
        let mut request = self.client.agent.get(self.url);
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        if let Some(bearer) = self.client.bearer(self.url) {
            request = request.header("Authorization", bearer);
        }
        let answer = request.call().map_err(|e| unreachable(self.url, &e))?;
        self.client.expect(self.url, answer)
    }

    fn copy(&self, mut answer: Response<Body>, out: &mut File) -> Result<(), HubError> {
        let mut reader = answer.body_mut().as_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            let n = match reader.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(lost(self.url, &e)),
            };
            let bytes = chunk.get(..n).unwrap_or_default();
            out.write_all(bytes).map_err(FileError::at(Path::new(self.part), "write"))?;
        }
    }
}

fn lost(url: &str, error: &io::Error) -> HubError {
    HubError::Unreachable { url: url.into(), message: error.to_string() }
}

/// Whether another try may help.
fn passes(fault: &HubError) -> bool {
    match fault {
        HubError::Unreachable { .. } => true,
        HubError::Status { status, .. } => *status >= 500 || [408, 429].contains(status),
        _ => false,
    }
}

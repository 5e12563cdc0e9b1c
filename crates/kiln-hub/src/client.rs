//! Requests to the Hub and what its answers mean.
//! Owns headers, time-outs and the translation of statuses; sends the token to the Hub alone, never to where it redirects.
//! Hands answers to pull and push.

use std::time::Duration;

use hf_hub::Repo;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::{HubError, Name, Settings};

/// Long enough for a slow line, short enough for a person who waits.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);
/// Of an answer that says why not.
const WORDS: usize = 300;

pub(crate) struct Client<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) name: &'a Name,
    /// Follows redirects; without the token when they leave the Hub.
    pub(crate) agent: Agent,
    /// Answers redirects as they are.
    pub(crate) still: Agent,
}

impl<'a> Client<'a> {
    pub(crate) fn new(settings: &'a Settings, name: &'a Name) -> Self {
        Self { settings, name, agent: agent(10), still: agent(0) }
    }

    /// The token, for the Hub's own addresses.
    pub(crate) fn bearer(&self, url: &str) -> Option<String> {
        let rest = url.strip_prefix(&self.settings.endpoint)?;
        let token = self.settings.token.as_ref().filter(|_| rest.starts_with('/'))?;
        Some(format!("Bearer {token}"))
    }

    /// `GET` of the Hub's own interface, as JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value, HubError> {
        let url = format!("{}/{path}", self.settings.endpoint);
        let mut request = self.agent.get(&url);
        if let Some(bearer) = self.bearer(&url) {
            request = request.header("Authorization", bearer);
        }
        let answer = request.call().map_err(|e| unreachable(&url, &e))?;
        json(&url, self.expect(&url, answer)?)
    }

    /// `POST` to the Hub's own interface; the answer as it is.
    pub(crate) fn post(&self, url: &str, kind: &str, body: &[u8]) -> Result<Response<Body>, HubError> {
        let mut request =
            self.agent.post(url).header("Content-Type", kind).header("Accept", kind_of_answer(kind));
        if let Some(bearer) = self.bearer(url) {
            request = request.header("Authorization", bearer);
        }
        request.send(body).map_err(|e| unreachable(url, &e))
    }

    /// The same, and a success as JSON.
    pub(crate) fn post_json(&self, url: &str, kind: &str, body: &[u8]) -> Result<Value, HubError> {
        let answer = self.post(url, kind, body)?;
        json(url, self.expect(url, answer)?)
    }

    /// A success as it is, every other answer as the fault it means.
    pub(crate) fn expect(&self, url: &str, mut answer: Response<Body>) -> Result<Response<Body>, HubError> {
        let status = answer.status().as_u16();
        let (name, endpoint) = (self.name.id.clone(), self.settings.endpoint.clone());
        let code = header(&answer, "x-error-code").unwrap_or_default();
        let token = self.settings.token.is_some();
        match (status, code.as_str()) {
            (200..=299, _) => Ok(answer),
            (404, "RevisionNotFound") => {
                Err(HubError::NoRevision { name, revision: self.name.revision.clone() })
            }
            (404, "EntryNotFound") => {
                let file = url.rsplit('/').next().unwrap_or_default().to_owned();
                Err(HubError::NoFile { name, file })
            }
            (401 | 404, "RepoNotFound") | (404, _) => Err(HubError::NoModel { name, endpoint, status }),
            (401 | 403, _) => Err(HubError::Denied { name, endpoint, status, token }),
            _ => Err(HubError::Status { url: url.into(), status, message: words(&mut answer) }),
        }
    }

    /// Where a file is at this commit.
    pub(crate) fn address(&self, commit: &str, file: &str) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.settings.endpoint, self.name.id, escaped(file))
    }

    /// hf-hub's view of the model at a revision: its addresses and its folder in the cache.
    pub(crate) fn repo(&self) -> Repo {
        Repo::with_revision(self.name.id.clone(), hf_hub::RepoType::Model, self.name.revision.clone())
    }
}

fn agent(redirects: u32) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(redirects)
        .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity") // sizes are those of the files
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into()
}

fn kind_of_answer(kind: &str) -> &str {
    if kind.contains("git-lfs") { kind } else { "application/json" }
}

pub(crate) fn header(answer: &Response<Body>, name: &str) -> Option<String> {
    answer.headers().get(name)?.to_str().ok().map(str::to_owned)
}

pub(crate) fn unreachable(url: &str, error: &ureq::Error) -> HubError {
    HubError::Unreachable { url: url.into(), message: error.to_string() }
}

pub(crate) fn unexpected(url: &str, message: impl Into<String>) -> HubError {
    HubError::Answer { url: url.into(), message: message.into() }
}

fn json(url: &str, mut answer: Response<Body>) -> Result<Value, HubError> {
    let text = answer.body_mut().read_to_string().map_err(|e| unexpected(url, e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| unexpected(url, format!("not JSON: {e}")))
}

/// What the Hub says of an error: a header, or `error` in the body, or the body.
fn words(answer: &mut Response<Body>) -> String {
    if let Some(message) = header(answer, "x-error-message") {
        return message;
    }
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let said =
        serde_json::from_str::<Value>(&text).ok().and_then(|v| Some(v.get("error")?.as_str()?.to_owned()));
    said.unwrap_or(text).chars().filter(|c| !c.is_control()).take(WORDS).collect()
}

/// A path in an address: everything but letters, digits and `-_.~/` as `%XX`.
pub(crate) fn escaped(path: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    path.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

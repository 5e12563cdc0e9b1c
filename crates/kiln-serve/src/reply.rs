//! What a client is told when it is not answered: a status, one sentence, and when to come back.
//! Owns the form of every error body, `{"error": "..."}` as the Open Inference Protocol has it; no message names a path.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

/// Longest error message, in bytes; what a client sent comes back in it.
const LONGEST: usize = 600;

/// A request that is not answered.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// The request is at fault.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The server is at fault; the reason is in its log.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the model could not answer; the server's log has the reason under this request's x-request-id",
        )
    }

    /// As a response, with a body of another protocol's form, which is given the message.
    pub(crate) fn formed(self, body: impl FnOnce(&str) -> Value) -> Response {
        let mut response = json(&body(&clipped(&self.message)));
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

/// At most [`LONGEST`] bytes of a message.
fn clipped(message: &str) -> String {
    match message.len() > LONGEST {
        true => format!("{}...", &message[..message.floor_char_boundary(LONGEST)]),
        false => message.to_string(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.formed(|message| serde_json::json!({"error": message}))
    }
}

/// A JSON body.
pub(crate) fn json(value: &impl Serialize) -> Response {
    let json = HeaderValue::from_static("application/json");
    match serde_json::to_vec(value) {
        Ok(bytes) => ([(header::CONTENT_TYPE, json)], Body::from(bytes)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = "ä".repeat(LONGEST);
        let cut = clipped(&long);
        assert!(cut.len() <= LONGEST + 3 && cut.ends_with("ä..."), "{cut}");
        assert_eq!(clipped("short"), "short");
    }
}

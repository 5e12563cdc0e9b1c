//! An answer that is sent while it grows: server-sent events.
//! Owns the order of events; what each says is its protocol's.
//! Reference: https://html.spec.whatwg.org/multipage/server-sent-events.html

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use serde_json::{Map, Value};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::reply::Refusal;

/// What an event tells of.
pub(crate) enum Told {
    /// More of the text.
    Piece(String),
    /// The fields of `kiln predict`: the last event.
    Whole(Map<String, Value>),
    /// Why there is no more: the last event.
    Refused(Refusal),
}

/// A protocol's words for it: the data of an event each.
pub(crate) type Words = Box<dyn Fn(Told) -> Vec<String> + Send + Sync>;

/// A text as it grows.
pub(crate) struct Growing<F> {
    /// The piece that has come already.
    pub(crate) first: Option<String>,
    pub(crate) pieces: UnboundedReceiver<String>,
    /// The whole, once there are no more pieces.
    pub(crate) whole: F,
}

impl<F> Growing<F>
where
    F: Future<Output = Result<Map<String, Value>, Refusal>> + Send + 'static,
{
    /// The response, whose body ends the generation where it is dropped.
    pub(crate) fn response(self, words: Words) -> Response {
        let events = unfold(Some((self, words)), |state| async move {
            let (mut growing, words) = state?;
            let piece = match growing.first.take() {
                Some(first) => Some(first),
                None => growing.pieces.recv().await,
            };
            Some(match piece {
                Some(piece) => (events(words(Told::Piece(piece))), Some((growing, words))),
                None => {
                    let last = growing.whole.await.map_or_else(Told::Refused, Told::Whole);
                    (events(words(last)), None)
                }
            })
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, Body::from_stream(events)).into_response()
    }
}

fn events(data: Vec<String>) -> Result<Bytes, Infallible> {
    Ok(data.into_iter().map(|data| format!("data: {data}\n\n")).collect::<String>().into())
}

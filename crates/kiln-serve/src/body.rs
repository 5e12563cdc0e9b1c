//! A request's body, received within its limits: bytes, time, and the bytes of all requests together.
//! Owns the refusals; parses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::reply::Refusal;
use crate::settings::Limits;

/// Bytes that requests hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    most: usize,
}

/// Some of a budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), most })
    }

    /// Nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes more, where there is as much.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let room = |held: usize| held.checked_add(bytes).filter(|all| *all <= self.budget.most);
        match self.budget.held.try_update(Relaxed, Relaxed, room) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => {
                let message = "the server holds as many bytes of requests as it may";
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).after(1))
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Relaxed);
    }
}

/// The whole body, with its part of the budget.
pub(crate) async fn receive(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<(Bytes, Held), Refusal> {
    plain(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limits.max_body as u64) {
        return Err(too_long(limits));
    }
    let mut held = budget.hold();
    let received = timeout(limits.body_timeout, collect(body, limits, &mut held)).await;
    let bytes = received.unwrap_or_else(|_| {
        let seconds = limits.body_timeout.as_secs_f64();
        let message = format!("the body did not arrive within {seconds} s");
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
    })?;
    Ok((bytes, held))
}

async fn collect(mut body: Body, limits: &Limits, held: &mut Held) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad("the body is cut short or badly framed"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limits.max_body {
            return Err(too_long(limits));
        }
        held.grow(data.len())?;
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Refuses a compressed body: its length says nothing of what it unpacks to.
fn plain(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let message = format!("expected a body that is not compressed, got {encoding:?}");
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
        _ => Ok(()),
    }
}

fn too_long(limits: &Limits) -> Refusal {
    let message = format!("expected a body of at most {} bytes", limits.max_body);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_comes_back() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (budget.hold(), budget.hold());
        one.grow(6).unwrap();
        two.grow(4).unwrap();
        let refused = two.grow(1).unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
        drop(one);
        two.grow(6).unwrap();
        assert!(two.grow(usize::MAX).is_err());
    }
}

//! From what a client sent to what the model says: prepared here, answered by the batcher.
//! Owns the limits of inputs, the wait, and the line of the prediction log; both protocols ask through it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use kiln_core::InputSpec;
use kiln_data::{Raw, decode_bytes, size_in};
use kiln_eval::Prepared;
use serde_json::{Map, Value, json};

use crate::batcher::{Done, Failed, Full};
use crate::body::Held;
use crate::lines::now;
use crate::reply::Refusal;
use crate::routes::State;
use crate::served::Served;

/// Requests of fewer bytes are prepared where they were received: handing them on costs more.
const SMALL: usize = 16 << 10;

/// One input as it was sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The bytes of an image file.
    Image(Bytes),
    /// Anything else.
    Raw(Raw),
}

impl Sent {
    fn bytes(&self) -> usize {
        match self {
            Sent::Image(bytes) => bytes.len().max(SMALL),
            Sent::Raw(Raw::Text(text)) => text.len(),
            Sent::Raw(Raw::Pair(a, b)) => a.len() + b.len(),
            Sent::Raw(_) => 64,
        }
    }

    /// As the prediction log has it: an image by its hash.
    fn described(&self) -> Value {
        match self {
            Sent::Image(bytes) => {
                json!({"blake3": blake3::hash(bytes).to_hex().as_str(), "bytes": bytes.len()})
            }
            Sent::Raw(Raw::Text(text)) => json!(text),
            Sent::Raw(Raw::Pair(a, b)) => json!([a, b]),
            Sent::Raw(Raw::Words(words)) => json!(words),
            Sent::Raw(Raw::Row { numbers, categories }) => {
                json!({"numbers": numbers, "categories": categories})
            }
            Sent::Raw(Raw::Tokens(_) | Raw::Image(_)) => Value::Null,
        }
    }
}

/// What a request carries besides its inputs.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) request_id: Arc<str>,
    /// When it must be answered.
    pub(crate) deadline: Instant,
}

/// What the log says of an answered request.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) served: Answering,
    pub(crate) inputs: usize,
    pub(crate) waited: Duration,
    pub(crate) batch: usize,
}

/// Name and version of the model that answered.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// The model's answers to a request's inputs, in their order.
pub(crate) async fn ask(
    state: &Arc<State>,
    served: &Arc<Served>,
    sent: Vec<Sent>,
    context: &Context,
    held: Held,
) -> Result<(Vec<Map<String, Value>>, Trace), Refusal> {
    let n = sent.len();
    let most = state.limits.max_queue;
    if n == 0 || n > most {
        return Err(Refusal::bad(format!("expected 1 to {most} inputs, got {n}")));
    }
    let kept = state.predictions.is_some().then(|| sent.iter().map(Sent::described).collect::<Vec<_>>());
    let (inputs, _held) = prepared(state, served, sent, held).await?;
    let waiting = served.batcher.ask(inputs, context.deadline).map_err(|full| busy(&full))?;
    let done = match tokio::time::timeout_at(context.deadline.into(), waiting).await {
        Ok(Ok(Ok(done))) => done,
        Ok(Ok(Err(Failed::Model)) | Err(_)) => return Err(Refusal::internal()),
        Ok(Ok(Err(Failed::Expired))) | Err(_) => return Err(late()),
    };
    let Done { rows, waited, batch } = done;
    let name = |i: usize, reason: String| Refusal::bad(format!("input {}: {reason}", i + 1));
    let rows = rows.into_iter().enumerate().map(|(i, row)| row.map_err(|reason| name(i, reason)));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if let Some(inputs) = kept {
        keep(state, served, &inputs, &rows, context);
    }
    let served = Answering { name: served.name.clone(), version: served.version.clone() };
    Ok((rows, Trace { served, inputs: n, waited, batch }))
}

/// Small requests at once; others on a thread that may block, as many at a time as there are processors.
async fn prepared(
    state: &Arc<State>,
    served: &Arc<Served>,
    sent: Vec<Sent>,
    held: Held,
) -> Result<(Vec<Prepared>, Held), Refusal> {
    if sent.iter().map(Sent::bytes).sum::<usize>() < SMALL {
        return prepare(state, served, sent, held);
    }
    let turn = state.preparing.clone().acquire_owned().await;
    let (state, served) = (state.clone(), served.clone());
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        prepare(&state, &served, sent, held)
    });
    work.await.unwrap_or_else(|_| Err(Refusal::internal()))
}

fn prepare(
    state: &State,
    served: &Served,
    sent: Vec<Sent>,
    mut held: Held,
) -> Result<(Vec<Prepared>, Held), Refusal> {
    let mut inputs = Vec::with_capacity(sent.len());
    for (i, one) in sent.into_iter().enumerate() {
        let name = format!("input {}", i + 1);
        let raw = match one {
            Sent::Raw(raw) => raw,
            Sent::Image(bytes) => image(state, served, &bytes, &name, &mut held)?,
        };
        let input = Prepared::new(&served.preprocessor, raw, &name);
        inputs.push(input.map_err(|e| Refusal::bad(e.to_string()))?);
    }
    Ok((inputs, held))
}

/// Decodes an image, after a look at its header: pixels are what costs memory.
fn image(state: &State, served: &Served, bytes: &[u8], name: &str, held: &mut Held) -> Result<Raw, Refusal> {
    let bad = |e: kiln_data::DataError| Refusal::bad(e.to_string());
    let (height, width) = size_in(bytes, name).map_err(bad)?;
    let pixels = height as u64 * width as u64;
    if pixels > state.limits.max_pixels {
        let most = state.limits.max_pixels;
        let message = format!("{name}: expected an image of at most {most} pixels, got {width}x{height}");
        return Err(Refusal::bad(message));
    }
    if let InputSpec::Image { channels, height, width } = served.preprocessor.input() {
        held.grow(4 * channels * height * width)?;
    }
    let mut decoded = state.budget.hold();
    decoded.grow(8 * pixels as usize)?;
    decode_bytes(bytes, name).map(Raw::Image).map_err(bad)
}

fn busy(full: &Full) -> Refusal {
    let message = "the model's queue is full";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, message).after(full.retry_after)
}

fn late() -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "the deadline passed before the model could answer")
}

fn keep(state: &State, served: &Served, inputs: &[Value], rows: &[Map<String, Value>], context: &Context) {
    let Some(predictions) = &state.predictions else { return };
    let time = now();
    for (i, (input, row)) in inputs.iter().zip(rows).enumerate() {
        predictions.line(&json!({
            "time": time, "request_id": &*context.request_id, "index": i, "model": served.name,
            "version": served.version, "input": input, "prediction": row,
        }));
    }
}

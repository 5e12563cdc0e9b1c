//! From what a client sent to what the model says: prepared here, answered by the batcher.
//! Owns the limits of inputs, the wait, and the line of the prediction log; both protocols ask through it.
//! A model that continues texts prepares them itself, and may be asked for its text as it grows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use kiln_core::InputSpec;
use kiln_data::{Features, Raw, decode_bytes, size_in};
use kiln_eval::{Generation, Prepared};
use serde_json::{Map, Value, json};

use crate::batcher::{Answering, Done, Failed};
use crate::body::Held;
use crate::generating::stream::{Growing, Words};
use crate::lines::now;
use crate::queue::Full;
use crate::reply::Refusal;
use crate::routes::State;
use crate::served::{Served, Work};

/// Requests of fewer bytes are prepared where they were received: handing them on costs more.
const SMALL: usize = 16 << 10;

/// One input as it was sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The bytes of an image file.
    Image(Bytes),
    /// Numbers that the client has prepared itself, checked.
    Given(Features),
    /// Anything else.
    Raw(Raw),
}

impl Sent {
    fn bytes(&self) -> usize {
        match self {
            Sent::Image(bytes) => bytes.len().max(SMALL),
            Sent::Raw(Raw::Text(text)) => text.len(),
            Sent::Raw(Raw::Pair(a, b)) => a.len() + b.len(),
            // Nothing is left to do with them.
            Sent::Raw(_) | Sent::Given(_) => 64,
        }
    }

    /// As the prediction log has it: an image, or its pixels, by a hash.
    fn described(&self) -> Value {
        match self {
            Sent::Given(Features::Tokens { ids, .. }) => json!({"input_ids": ids}),
            Sent::Given(Features::Image(values) | Features::Row { numbers: values, .. }) => {
                let mut hasher = blake3::Hasher::new();
                values.iter().for_each(|x| _ = hasher.update(&x.to_le_bytes()));
                json!({"blake3": hasher.finalize().to_hex().as_str(), "numbers": values.len()})
            }
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
    /// Whether the net's own numbers are asked for too.
    pub(crate) logits: bool,
    /// How a text is continued, where the model does that.
    pub(crate) how: Generation,
}

/// The model's answers.
#[derive(Debug)]
pub(crate) struct Answers {
    /// One an input, in order.
    pub(crate) rows: Vec<Map<String, Value>>,
    /// As many numbers an input as the net has answers; empty where they were not asked for.
    pub(crate) logits: Vec<f32>,
    pub(crate) trace: Trace,
}

/// What the log says of an answered request.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) served: Model,
    pub(crate) inputs: usize,
    pub(crate) waited: Duration,
    pub(crate) batch: usize,
}

/// Name and version of the model that answered.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Model {
    fn of(served: &Served) -> Self {
        Self { name: served.name.clone(), version: served.version.clone() }
    }
}

/// The model's answers to a request's inputs, in their order.
pub(crate) async fn ask(
    state: &Arc<State>,
    served: &Arc<Served>,
    sent: Vec<Sent>,
    context: &Context,
    held: Held,
) -> Result<Answers, Refusal> {
    let n = sent.len();
    let most = state.limits.max_queue;
    if n == 0 || n > most {
        return Err(Refusal::bad(format!("expected 1 to {most} inputs, got {n}")));
    }
    let kept = described(state, &sent);
    let (waiting, _held) = match &served.work {
        Work::Batches(batcher) => {
            let (inputs, held) = prepared(state, served, sent, held).await?;
            (batcher.ask(inputs, context.logits, context.deadline), held)
        }
        Work::Generates(generating) => {
            let prompts = sent.into_iter().map(prompt).collect::<Result<_, _>>()?;
            (generating.ask(prompts, context.how.clone(), context.deadline), held)
        }
    };
    let waiting = waiting.map_err(|full| busy(&full))?;
    let done = tokio::time::timeout_at(context.deadline.into(), done(waiting)).await;
    let Done { rows, logits, waited, batch } = done.unwrap_or_else(|_| Err(late()))?;
    let name = |i: usize, reason: String| Refusal::bad(format!("input {}: {reason}", i + 1));
    let rows = rows.into_iter().enumerate().map(|(i, row)| row.map_err(|reason| name(i, reason)));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if let Some(inputs) = kept {
        keep(state, served, &inputs, &rows, context);
    }
    Ok(Answers { rows, logits, trace: Trace { served: Model::of(served), inputs: n, waited, batch } })
}

/// A text as it grows, once its first piece is there, in the words of the protocol that asks.
pub(crate) async fn ask_in_pieces(
    state: &Arc<State>,
    served: &Arc<Served>,
    sent: Vec<Sent>,
    context: Context,
    held: Held,
    words: Words,
) -> Result<Response, Refusal> {
    let (Work::Generates(generating), [Sent::Raw(Raw::Text(_))]) = (&served.work, sent.as_slice()) else {
        return Err(Refusal::bad(format!("\"stream\": expected one text, got {} inputs", sent.len())));
    };
    let kept = described(state, &sent);
    let prompt = sent.into_iter().next().ok_or_else(Refusal::internal).and_then(prompt)?;
    let asked = Instant::now();
    let waiting = generating.ask_in_pieces(prompt, context.how.clone(), context.deadline);
    let (mut pieces, waiting) = waiting.map_err(|full| busy(&full))?;
    let first = tokio::time::timeout_at(context.deadline.into(), pieces.recv()).await;
    let first = first.map_err(|_| late())?;
    let own = (state.clone(), served.clone());
    let whole = async move {
        let (state, served) = own;
        let _held = held;
        let row = done(waiting).await?.rows.pop().ok_or_else(Refusal::internal)?;
        let row = row.map_err(|reason| Refusal::bad(format!("input 1: {reason}")))?;
        if let Some(inputs) = kept {
            keep(&state, &served, &inputs, std::slice::from_ref(&row), &context);
        }
        let fields = json!({"request_id": &*context.request_id, "model": served.name, "tokens": row.get("tokens"),
            "ms": asked.elapsed().as_millis() as u64});
        state.log.event("info", "streamed", fields);
        Ok(row)
    };
    let trace = Trace { served: Model::of(served), inputs: 1, waited: asked.elapsed(), batch: 1 };
    let mut response = match first {
        Some(first) => Growing { first: Some(first), pieces, whole }.response(words),
        // It ended without a piece: what is refused is refused by its status.
        None => Growing { first: None, pieces, whole: std::future::ready(Ok(whole.await?)) }.response(words),
    };
    response.extensions_mut().insert(trace);
    Ok(response)
}

fn prompt(sent: Sent) -> Result<String, Refusal> {
    match sent {
        Sent::Raw(Raw::Text(text)) => Ok(text),
        _ => Err(Refusal::internal()),
    }
}

async fn done(waiting: Answering) -> Result<Done, Refusal> {
    match waiting.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failed::Expired)) => Err(late()),
        Ok(Err(Failed::Model)) | Err(_) => Err(Refusal::internal()),
    }
}

/// The inputs for the prediction log, where there is one.
fn described(state: &State, sent: &[Sent]) -> Option<Vec<Value>> {
    state.predictions.is_some().then(|| sent.iter().map(Sent::described).collect())
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
            Sent::Given(features) => {
                inputs.push(Prepared::given(features));
                continue;
            }
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
        predictions.line(json!({
            "time": time, "request_id": &*context.request_id, "index": i, "model": served.name,
            "version": served.version, "input": input, "prediction": row,
        }));
    }
}

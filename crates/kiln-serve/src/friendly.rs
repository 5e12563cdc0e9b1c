//! The endpoint for people: a text, an image or rows in, labels and probabilities out.
//! Owns what each content type means; answers have the fields that `kiln predict` prints.

use std::sync::Arc;

use axum::extract::{FromRequest, Multipart, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use kiln_data::{Raw, Reads, Separated, rows, separated_rows};
use serde_json::{Map, Value, json};

use crate::ask::{Answers, Context, Sent, ask, ask_in_pieces};
use crate::body::{Held, receive};
use crate::generating::options;
use crate::generating::stream::Told;
use crate::reply::{Refusal, json};
use crate::routes::{Named, State};
use crate::served::{Served, Work};

/// The keys that hold inputs in a JSON object, one or a list.
const KEYS: [&str; 3] = ["inputs", "text", "image"];

/// `POST /v1/models/{name}/predict`
pub(crate) async fn predict(
    Shared(state): Shared<Arc<State>>,
    named: Named,
    request: Request,
) -> Result<Response, Refusal> {
    let served = named.served(&state)?;
    let Asked { sent, context, stream, held } = Asked::of(&state, &served, request).await?;
    if stream {
        return ask_in_pieces(&state, &served, sent, context, held, Box::new(told)).await;
    }
    let Answers { rows, trace, .. } = ask(&state, &served, sent, &context, held).await?;
    let mut response =
        json(&json!({"model_name": served.name, "model_version": served.version, "predictions": rows}));
    response.extensions_mut().insert(trace);
    Ok(response)
}

/// `{"delta": "..."}` as often as there is more, then the fields of `kiln predict`, or `{"error": "..."}`.
fn told(what: Told) -> Vec<String> {
    vec![match what {
        Told::Piece(piece) => json!({"delta": piece}).to_string(),
        Told::Whole(fields) => Value::Object(fields).to_string(),
        Told::Refused(refusal) => json!({"error": refusal.message}).to_string(),
    }]
}

/// `GET /v1/models`: what there is to ask.
pub(crate) async fn models(Shared(state): Shared<Arc<State>>) -> Response {
    let model = |served: Arc<Served>| {
        let reads = match &served.reads {
            Reads::Image => json!({"kind": "image"}),
            Reads::Text { pair } => json!({"kind": "text", "pair": pair}),
            Reads::Row { numbers, categories } => {
                json!({"kind": "row", "numbers": numbers, "categories": categories})
            }
        };
        let mut model = json!({"name": served.name, "version": served.version, "task": served.task.to_string(),
            "input": reads, "labels": served.classes});
        if let Work::Generates(_) = served.work {
            model["options"] = json!(options::OPTIONS);
            model["max_new_tokens"] = json!(state.limits.max_new_tokens);
        }
        model
    };
    let mut names: Vec<String> = state.models.all().map(|served| served.name.clone()).collect();
    names.dedup();
    let named = |name| json!({"id": name, "object": "model", "created": 0, "owned_by": "kiln"});
    // The same as OpenAI's clients read it.
    let data: Vec<Value> = names.into_iter().map(named).collect();
    json(
        &json!({"models": state.models.all().map(model).collect::<Vec<_>>(), "object": "list", "data": data}),
    )
}

/// A request, read.
struct Asked {
    sent: Vec<Sent>,
    context: Context,
    /// Whether the answer comes as it grows.
    stream: bool,
    held: Held,
}

impl Asked {
    async fn of(state: &Arc<State>, served: &Served, request: Request) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let (bytes, held) = receive(&parts.headers, body, &state.limits, &state.budget).await?;
        let mut context = state.context(&parts);
        let mut stream = false;
        let kind = content_type(&parts.headers)?;
        let sent = match kind.as_str() {
            "application/json" | "" => {
                let mut value = parsed(&bytes)?;
                if let (Work::Generates(_), Value::Object(fields)) = (&served.work, &mut value) {
                    // Hugging Face's servers have the options a level deeper.
                    if let Some(Value::Object(deeper)) = fields.remove("parameters") {
                        fields.extend(deeper);
                    }
                    context.how = options::take(fields, &state.limits)?;
                    stream = streamed(fields)?;
                }
                from_json(served, value)?
            }
            "text/plain" => vec![of_text(served, text(&bytes)?.to_string())?],
            "text/csv" => from_table(state, served, bytes, Separated::Comma)?,
            "text/tab-separated-values" => from_table(state, served, bytes, Separated::Tab)?,
            "multipart/form-data" => {
                let request = Request::from_parts(parts, bytes.into());
                from_parts(served, request).await?
            }
            other if other.starts_with("image/") || other == "application/octet-stream" => {
                vec![of_image(served, bytes)?]
            }
            other => {
                let expected = "application/json, text/plain, text/csv, text/tab-separated-values, \
                     multipart/form-data, image/* or application/octet-stream";
                let message = format!("expected a content-type of {expected}, got {other:?}");
                return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
            }
        };
        Ok(Self { sent, context, stream, held })
    }
}

/// Takes what is asked of the answer's form out of the fields, of which the prompt alone may be left.
fn streamed(fields: &mut Map<String, Value>) -> Result<bool, Refusal> {
    let stream = match fields.remove("stream") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(stream)) => stream,
        Some(other) => return Err(Refusal::bad(format!("stream: expected true or false, got {other}"))),
    };
    match fields.keys().find(|key| !KEYS[..2].contains(&key.as_str())) {
        None => Ok(stream),
        Some(key) => {
            let all = options::OPTIONS.join(", ");
            Err(Refusal::bad(format!("expected \"text\", \"stream\" and of the options {all}; got {key:?}")))
        }
    }
}

/// The rows of a table, with the columns of training under their names; a model that was trained on a table without
/// names reads them by their places, and no first row of names. One more than may be asked is read of too many.
fn from_table(
    state: &State,
    served: &Served,
    bytes: Bytes,
    separated: Separated,
) -> Result<Vec<Sent>, Refusal> {
    let bad = |e: kiln_data::DataError| Refusal::bad(e.to_string());
    let raws = separated_rows(&served.preprocessor, bytes.reader(), separated).map_err(bad)?;
    raws.take(state.limits.max_queue + 1).map(|raw| raw.map(Sent::Raw).map_err(bad)).collect()
}

/// Without its parameters, in lower case; empty where there is none.
fn content_type(headers: &HeaderMap) -> Result<String, Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(String::new()) };
    let text = value.to_str().map_err(|_| Refusal::bad("the content-type is no ASCII text"))?;
    Ok(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn parsed(bytes: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(bytes).map_err(|e| Refusal::bad(format!("expected JSON: {e}")))
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|e| Refusal::bad(format!("expected UTF-8 text, got {e}")))
}

/// `{"text": "..."}`, `{"text": ["...", "..."]}`, `{"image": BASE64}`, `{"inputs": [...]}`, an object with the columns
/// of training, or a list of any of these.
fn from_json(served: &Served, value: Value) -> Result<Vec<Sent>, Refusal> {
    match value {
        Value::Array(list) => list.into_iter().map(|one| of_value(served, one)).collect(),
        Value::Object(mut object) => {
            let key = KEYS.into_iter().find(|key| object.len() == 1 && object.contains_key(*key));
            match key.and_then(|key| object.remove(key)) {
                Some(Value::Array(list)) => list.into_iter().map(|one| of_value(served, one)).collect(),
                Some(one) => Ok(vec![of_value(served, one)?]),
                None => Ok(vec![of_object(served, object)?]),
            }
        }
        other => Ok(vec![of_value(served, other)?]),
    }
}

fn of_value(served: &Served, value: Value) -> Result<Sent, Refusal> {
    match (value, &served.reads) {
        (Value::Object(object), _) => of_object(served, object),
        (Value::String(base64), Reads::Image) => of_base64(&base64),
        (Value::String(text), _) => of_text(served, text),
        (other, _) => Err(wrong(served, &kind_of(&other))),
    }
}

fn of_object(served: &Served, object: Map<String, Value>) -> Result<Sent, Refusal> {
    match (&served.reads, object.get("image")) {
        (Reads::Image, Some(Value::String(base64))) => of_base64(base64),
        (Reads::Image, _) => Err(wrong(served, "a JSON object without \"image\"")),
        _ => {
            let mut raws = rows(&served.preprocessor, &[object]).map_err(|e| Refusal::bad(e.to_string()))?;
            raws.pop().map(Sent::Raw).ok_or_else(Refusal::internal)
        }
    }
}

fn of_text(served: &Served, text: String) -> Result<Sent, Refusal> {
    match &served.reads {
        Reads::Text { pair: false } => Ok(Sent::Raw(Raw::Text(text))),
        _ => Err(wrong(served, "a text")),
    }
}

fn of_image(served: &Served, bytes: Bytes) -> Result<Sent, Refusal> {
    match served.reads {
        Reads::Image => Ok(Sent::Image(bytes)),
        _ => Err(wrong(served, "a file")),
    }
}

/// An image in a JSON string.
pub(crate) fn of_base64(text: &str) -> Result<Sent, Refusal> {
    let bytes = STANDARD.decode(text).map_err(|e| {
        Refusal::bad(format!("expected the bytes of an image file in base64, got a string that is not: {e}"))
    })?;
    Ok(Sent::Image(bytes.into()))
}

/// One input a part: a file for an image, a field for a text; for a pair of texts and for a row, the fields of one.
async fn from_parts(served: &Served, request: Request) -> Result<Vec<Sent>, Refusal> {
    let bad = |e: &dyn std::fmt::Display| Refusal::bad(format!("expected multipart/form-data: {e}"));
    let mut parts = Multipart::from_request(request, &()).await.map_err(|e| bad(&e.body_text()))?;
    let mut sent = Vec::new();
    let mut fields = Map::new();
    while let Some(field) = parts.next_field().await.map_err(|e| bad(&e.body_text()))? {
        let name = field.name().unwrap_or_default().to_string();
        let bytes = field.bytes().await.map_err(|e| bad(&e.body_text()))?;
        match &served.reads {
            Reads::Image => sent.push(Sent::Image(bytes)),
            Reads::Text { pair: false } => sent.push(of_text(served, text(&bytes)?.to_string())?),
            Reads::Text { pair: true } => {
                fields.insert(name, text(&bytes)?.into());
            }
            Reads::Row { numbers, .. } => {
                let word = text(&bytes)?;
                let number = numbers.contains(&name).then(|| word.trim().parse::<f64>().ok()).flatten();
                fields.insert(name, number.map_or_else(|| word.into(), Value::from));
            }
        }
    }
    if !fields.is_empty() {
        sent.push(of_object(served, fields)?);
    }
    Ok(sent)
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "a boolean".into(),
        Value::Number(_) => "a number".into(),
        Value::Array(_) => "a list".into(),
        Value::String(_) => "a string".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// Another kind of input than the model reads.
fn wrong(served: &Served, got: &str) -> Refusal {
    let expected = match &served.reads {
        Reads::Image => "an image: its bytes, a multipart file, or {\"image\": BASE64}".to_string(),
        Reads::Text { pair: false } => "a text: text/plain, a multipart field, or {\"text\": \"...\"}".into(),
        Reads::Text { pair: true } => "two texts: {\"text\": \"...\", \"text_pair\": \"...\"}".into(),
        Reads::Row { numbers, categories } => {
            let names: Vec<&str> = numbers.iter().chain(categories).map(String::as_str).take(20).collect();
            format!("a JSON object with the columns {}", names.join(", "))
        }
    };
    Refusal::bad(format!("model {:?} expected {expected}; got {got}", served.name))
}

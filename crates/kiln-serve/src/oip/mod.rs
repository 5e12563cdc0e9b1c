//! The Open Inference Protocol v2 over REST, with the binary tensor extension.
//! Owns its routes' answers; tensors are read in `request`, written in `response`, named in `signature`.
//! Reference: https://github.com/kserve/open-inference-protocol, `inference_rest.md` and `open_inference_rest.yaml`.

mod column;
mod prepared;
mod request;
mod response;
mod signature;
mod tensor;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::ask::ask;
use crate::body::receive;
use crate::generating::options;
use crate::reply::{Refusal, json};
use crate::routes::{Named, State};
use crate::served::Work;

/// `GET /v2`
pub(crate) async fn server() -> Response {
    json(&json!({"name": "kiln", "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_repository"]}))
}

/// `GET /v2/health/live`: also while it drains, so that nobody restarts it.
pub(crate) async fn live() -> StatusCode {
    StatusCode::OK
}

/// `GET /v2/health/ready`: every model is loaded before the first connection, so only a drain says no.
pub(crate) async fn ready(Shared(state): Shared<Arc<State>>) -> Response {
    match state.is_draining() {
        false => StatusCode::OK.into_response(),
        true => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").into_response(),
    }
}

/// `GET /v2/models/{name}/ready`
pub(crate) async fn model_ready(
    Shared(state): Shared<Arc<State>>,
    named: Named,
) -> Result<Response, Refusal> {
    named.served(&state)?;
    Ok(ready(Shared(state)).await)
}

/// `GET /v2/models/{name}`
pub(crate) async fn model(Shared(state): Shared<Arc<State>>, named: Named) -> Result<Response, Refusal> {
    let served = named.served(&state)?;
    let versions = state.models.versions_of(&served.name);
    Ok(json(&json!({"name": served.name, "versions": versions, "platform": "kiln",
        "inputs": signature::inputs(&served), "outputs": signature::outputs(&served)})))
}

/// `POST /v2/models/{name}/infer`
pub(crate) async fn infer(
    Shared(state): Shared<Arc<State>>,
    named: Named,
    request: Request,
) -> Result<Response, Refusal> {
    let served = named.served(&state)?;
    let (parts, body) = request.into_parts();
    let (bytes, held) = receive(&parts.headers, body, &state.limits, &state.budget).await?;
    let mut context = state.context(&parts);
    let mut asked = request::Asked::parse(&parts.headers, bytes)?;
    let wanted = response::Wanted::of(&asked, &served)?;
    context.logits = wanted.logits();
    if let Work::Generates(_) = served.work {
        context.how = options::take(&mut asked.parameters, &state.limits)?;
    }
    if let Some(micros) = asked.timeout()? {
        context.deadline = context.deadline.min(Instant::now() + Duration::from_micros(micros));
    }
    let id = asked.id.clone();
    let sent = asked.inputs(&served)?;
    let answers = ask(&state, &served, sent, &context, held).await?;
    let mut response = wanted.answer(&served, id, &answers)?;
    response.extensions_mut().insert(answers.trace);
    Ok(response)
}

/// `POST /v2/repository/index`
pub(crate) async fn index(Shared(state): Shared<Arc<State>>) -> Response {
    let entries = state.models.all();
    let entries =
        entries.map(|s| json!({"name": s.name, "version": s.version, "state": "READY", "reason": ""}));
    json(&entries.collect::<Vec<_>>())
}

/// `POST /v2/repository/models/{name}/load`: from the folder that the server was started with.
pub(crate) async fn load(Shared(state): Shared<Arc<State>>, named: Named) -> Result<StatusCode, Refusal> {
    named.served(&state)?;
    let work = tokio::task::spawn_blocking(move || state.models.reload(&named.name));
    work.await.unwrap_or_else(|_| Err(Refusal::internal()))?;
    Ok(StatusCode::OK)
}

//! Which URL is which answer, and what happens around every request: its id, its token, its line in the log.
//! Owns the shared state; the answers are `oip`'s and `friendly`'s. Every body that says no is JSON.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Path, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::ask::{Context, Trace};
use crate::body::Budget;
use crate::generating::options;
use crate::lines::{Lines, now};
use crate::metrics::{Counted, Metrics};
use crate::reply::Refusal;
use crate::repository::Repository;
use crate::served::Served;
use crate::settings::Limits;
use crate::token::Tokens;
use crate::{completions, friendly, oip, page};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A client's own deadline, in milliseconds; only a shorter one than the server's counts.
const TIMEOUT: &str = "x-request-timeout-ms";
/// Longest request id that is taken over.
const LONGEST_ID: usize = 128;

/// What every request may need.
pub(crate) struct State {
    pub(crate) models: Repository,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Lines,
    pub(crate) predictions: Option<Lines>,
    pub(crate) budget: Arc<Budget>,
    /// Turns of threads that decode and tokenize.
    pub(crate) preparing: Arc<Semaphore>,
    pub(crate) draining: AtomicBool,
    pub(crate) ids: Ids,
    pub(crate) tokens: Tokens,
}

impl State {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// A request's id and deadline, which runs from the arrival of its body.
    pub(crate) fn context(&self, parts: &Parts) -> Context {
        let own = parts.headers.get(TIMEOUT).and_then(|value| value.to_str().ok()?.parse().ok());
        let longest =
            own.map_or(self.limits.deadline, |ms| self.limits.deadline.min(Duration::from_millis(ms)));
        let id = parts.extensions.get::<Id>().map_or_else(|| "".into(), |id| id.0.clone());
        let (deadline, how) = (Instant::now() + longest, options::defaults(&self.limits));
        Context { request_id: id, deadline, logits: false, how }
    }
}

/// Every route.
pub(crate) fn router(state: &Arc<State>) -> Router {
    let model = |tail: &str| {
        [format!("/v2/models/{{name}}{tail}"), format!("/v2/models/{{name}}/versions/{{version}}{tail}")]
    };
    let mut router = Router::new()
        .route("/", get(page::page))
        .route("/v2", get(oip::server))
        .route("/v2/", get(oip::server))
        .route("/v2/health/live", get(oip::live))
        .route("/v2/health/ready", get(oip::ready))
        .route("/v2/repository/index", post(oip::index))
        .route("/v2/repository/models/{name}/load", post(oip::load))
        .route("/v1/models", get(friendly::models))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/models/{name}/predict", post(friendly::predict))
        .route("/v1/models/{name}/versions/{version}/predict", post(friendly::predict))
        .route("/metrics", get(metrics));
    for path in model("") {
        router = router.route(&path, get(oip::model));
    }
    for path in model("/ready") {
        router = router.route(&path, get(oip::model_ready));
    }
    for path in model("/infer") {
        router = router.route(&path, post(oip::infer));
    }
    router
        .fallback(nowhere)
        .method_not_allowed_fallback(no_method)
        // `body` has the limits.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(state.clone(), around))
        .with_state(state.clone())
}

async fn nowhere() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this address; POST /v1/models/NAME/predict asks a model",
    )
}

async fn no_method(method: Method) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not offered at this address"))
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    state.models.all().for_each(|s| *depths.entry(s.name.clone()).or_default() += s.work.depth());
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let depths: Vec<_> = depths.into_iter().collect();
    ([(header::CONTENT_TYPE, text)], state.metrics.render(&depths)).into_response()
}

/// The model of a URL.
pub(crate) struct Named {
    pub(crate) name: String,
    version: Option<String>,
}

impl Named {
    pub(crate) fn served(&self, state: &State) -> Result<Arc<Served>, Refusal> {
        state.models.find(&self.name, self.version.as_deref())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let words = Path::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        let Path(mut words) = words.map_err(|e| Refusal::bad(e.body_text()))?;
        Ok(Self { name: words.remove("name").unwrap_or_default(), version: words.remove("version") })
    }
}

/// A request's id.
#[derive(Debug, Clone)]
struct Id(Arc<str>);

/// Ids for requests that bring none: random per process, counted within it.
pub(crate) struct Ids {
    first: u64,
    next: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self { first: RandomState::new().hash_one(0), next: AtomicU64::new(0) }
    }
}

impl Ids {
    fn of(&self, headers: &HeaderMap) -> Arc<str> {
        let sane = |id: &&str| {
            !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane) {
            Some(id) => id.into(),
            None => format!("{:016x}-{}", self.first, self.next.fetch_add(1, Relaxed)).into(),
        }
    }
}

/// Around every request.
async fn around(Shared(state): Shared<Arc<State>>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let _counted = Counted::new(&state.metrics, |metrics| &metrics.in_flight);
    let id = state.ids.of(request.headers());
    request.extensions_mut().insert(Id(id.clone()));
    let route = request.extensions().get::<MatchedPath>().map(|path| label(path.as_str()));
    let route = route.unwrap_or("other");
    let method = request.method().clone();
    let mut response = match is_open(route) || state.tokens.admit(request.headers()) {
        true => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
            state.metrics.panics.fetch_add(1, Relaxed);
            Refusal::internal().into_response()
        }),
        false => Refusal::new(StatusCode::UNAUTHORIZED, "expected a header `Authorization: Bearer TOKEN`")
            .into_response(),
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if state.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    tell(&state, &id, &method, route, &response, start.elapsed());
    response
}

/// What needs no token: probes, and the page, which holds nothing of a model.
fn is_open(route: &str) -> bool {
    matches!(route, "page" | "live" | "ready")
}

/// The route as metrics and log name it.
fn label(path: &str) -> &'static str {
    match path {
        "/" => "page",
        "/metrics" => "metrics",
        "/v2" | "/v2/" => "server",
        "/v2/health/live" => "live",
        "/v2/health/ready" => "ready",
        "/v1/models" => "models",
        "/v1/completions" => "completions",
        "/v2/repository/index" => "index",
        _ if path.ends_with("/predict") => "predict",
        _ if path.ends_with("/infer") => "infer",
        _ if path.ends_with("/ready") => "model_ready",
        _ if path.ends_with("/load") => "load",
        _ => "model",
    }
}

/// Metrics and a line in the log; probes and scrapes leave no line.
fn tell(state: &State, id: &str, method: &Method, route: &'static str, response: &Response, took: Duration) {
    let status = response.status();
    let trace = response.extensions().get::<Trace>();
    let model = trace.map_or("", |trace| trace.served.name.as_str());
    state.metrics.request(route, model, status.as_u16(), took);
    if status.is_success() && matches!(route, "live" | "ready" | "metrics") {
        return;
    }
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let level = if status.is_server_error() { "error" } else { "info" };
    let mut line = json!({"time": now(), "level": level, "request_id": id, "method": method.as_str(),
        "route": route, "status": status.as_u16(), "ms": ms(took)});
    if let Some(trace) = trace {
        line["model"] = json!(trace.served.name);
        line["version"] = json!(trace.served.version);
        line["inputs"] = json!(trace.inputs);
        line["queue_ms"] = json!(ms(trace.waited));
        line["batch"] = json!(trace.batch);
    }
    state.log.line(line);
}

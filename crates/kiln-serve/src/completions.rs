//! Completions as OpenAI's clients ask for them: `POST /v1/completions`.
//! Owns the names of that protocol, and refuses what of it is not offered; what follows a prompt is the model's.
//! Reference: https://platform.openai.com/docs/api-reference/completions. Chats are not offered: they need a model's own template.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use kiln_data::Raw;
use serde_json::{Map, Value, json};

use crate::ask::{Answers, Context, Sent, ask, ask_in_pieces};
use crate::body::receive;
use crate::generating::options;
use crate::generating::stream::Told;
use crate::reply::{Refusal, json};
use crate::routes::State;
use crate::served::{Served, Work};

/// Tokens where nothing is said.
const TOKENS: u64 = 16;
/// The end of a stream.
const DONE: &str = "[DONE]";

/// A request, read.
struct Asked {
    served: Arc<Served>,
    prompts: Vec<String>,
    stream: bool,
    /// Whether a stream tells at its end how many tokens there were.
    usage: bool,
    context: Context,
}

/// `POST /v1/completions`
pub(crate) async fn complete(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    answered(state, request).await.unwrap_or_else(|refusal| {
        let status = refusal.status;
        refusal.formed(|message| json!({"error": error(message, status)}))
    })
}

/// What went wrong, in this protocol's form.
fn error(message: &str, status: StatusCode) -> Value {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    json!({"message": message, "type": kind, "param": null, "code": status.as_u16()})
}

async fn answered(state: Arc<State>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let (bytes, held) = receive(&parts.headers, body, &state.limits, &state.budget).await?;
    let fields =
        serde_json::from_slice(&bytes).map_err(|e| Refusal::bad(format!("expected a JSON object: {e}")))?;
    let Asked { served, prompts, stream, usage, context } = Asked::of(fields, &state, state.context(&parts))?;
    let form = Form { id: context.request_id.clone(), created: Timestamp::now().as_second(), served };
    let served = form.served.clone();
    let prompt_tokens = tokens(&served, &prompts);
    let sent = prompts.into_iter().map(|prompt| Sent::Raw(Raw::Text(prompt))).collect();
    if stream {
        let words = move |told| form.told(told, usage.then_some(prompt_tokens));
        return ask_in_pieces(&state, &served, sent, context, held, Box::new(words)).await;
    }
    let Answers { rows, trace, .. } = ask(&state, &served, sent, &context, held).await?;
    let generated = rows.iter().filter_map(|row| row.get("tokens")?.as_u64()).sum();
    let choices = rows.iter().enumerate().map(|(i, row)| choice(i, &row["text"], &row["finish_reason"]));
    let mut whole = form.object(choices.collect());
    whole["usage"] = used(prompt_tokens, generated);
    let mut response = json(&whole);
    response.extensions_mut().insert(trace);
    Ok(response)
}

impl Asked {
    fn of(mut fields: Map<String, Value>, state: &State, context: Context) -> Result<Self, Refusal> {
        let name = match fields.remove("model") {
            Some(Value::String(name)) => name,
            other => return Err(wrong("model", "the name of a model", other.as_ref())),
        };
        let served = state.models.find(&name, None)?;
        let Work::Generates(_) = served.work else {
            let message = format!(
                "model {:?} does not continue texts; POST /v1/models/{0}/predict asks it",
                served.name
            );
            return Err(Refusal::bad(message));
        };
        let prompts = fields.remove("prompt");
        let text = |value: &Value| value.as_str().map(str::to_string);
        let all = match &prompts {
            Some(Value::Array(list)) => list.iter().map(text).collect(),
            Some(one) => text(one).map(|one| vec![one]),
            None => None,
        };
        let prompts =
            all.ok_or_else(|| wrong("prompt", "a string or a list of strings", prompts.as_ref()))?;
        let flag = |fields: &mut Map<String, Value>, key: &str| match fields.remove(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            other => Err(wrong(key, "true or false", other.as_ref())),
        };
        let stream = flag(&mut fields, "stream")?;
        let usage = match fields.remove("stream_options") {
            Some(Value::Object(mut options)) => flag(&mut options, "include_usage")?,
            _ => false,
        };
        // Unlike `kiln predict`, whose seed is 0: clients of this protocol expect another text each time.
        fields.entry("seed").or_insert_with(|| json!(RandomState::new().hash_one(0) >> 1));
        let most = fields.remove("max_tokens").filter(|most| !most.is_null());
        fields.insert(
            "max_new_tokens".into(),
            most.unwrap_or_else(|| json!(TOKENS.min(state.limits.max_new_tokens as u64))),
        );
        let how = options::take(&mut fields, &state.limits)?;
        match fields.iter().find(|(key, value)| !is_idle(key, value)) {
            None => Ok(Self { served, prompts, stream, usage, context: Context { how, ..context } }),
            Some((key, value)) => Err(Refusal::bad(format!("{key}: {value} is not offered"))),
        }
    }
}

/// Whether a field asks for nothing.
fn is_idle(key: &str, value: &Value) -> bool {
    match key {
        _ if value.is_null() => true,
        "user" => true,
        "n" | "best_of" => value == 1,
        "echo" => value == false,
        "presence_penalty" | "frequency_penalty" => value.as_f64() == Some(0.0),
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "suffix" => value == "",
        _ => false,
    }
}

fn wrong(key: &str, expected: &str, got: Option<&Value>) -> Refusal {
    let got = got.map_or_else(|| "nothing".into(), Value::to_string);
    Refusal::bad(format!("{key}: expected {expected}, got {got}"))
}

/// Tokens of the prompts; a prompt that the tokenizer refuses is refused where it is continued.
fn tokens(served: &Served, prompts: &[String]) -> u64 {
    let of = |prompt: &String| served.preprocessor.encode(prompt)?.ok().map(|ids| ids.len() as u64);
    prompts.iter().filter_map(of).sum()
}

fn used(prompt: u64, generated: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated})
}

fn choice(index: usize, text: &Value, finish_reason: &Value) -> Value {
    json!({"index": index, "text": text, "finish_reason": finish_reason, "logprobs": null})
}

/// What every object of an answer says.
struct Form {
    id: Arc<str>,
    created: i64,
    served: Arc<Served>,
}

impl Form {
    fn object(&self, choices: Vec<Value>) -> Value {
        json!({"id": format!("cmpl-{}", self.id), "object": "text_completion", "created": self.created,
            "model": self.served.name, "choices": choices})
    }

    /// The data of a stream's events.
    fn told(&self, told: Told, prompt: Option<u64>) -> Vec<String> {
        match told {
            Told::Piece(piece) => {
                vec![self.object(vec![choice(0, &json!(piece), &Value::Null)]).to_string()]
            }
            Told::Whole(fields) => {
                let last = self.object(vec![choice(0, &json!(""), &fields["finish_reason"])]);
                let usage = prompt.map(|prompt| {
                    let mut object = self.object(Vec::new());
                    object["usage"] = used(prompt, fields["tokens"].as_u64().unwrap_or_default());
                    object.to_string()
                });
                std::iter::once(last.to_string()).chain(usage).chain([DONE.to_string()]).collect()
            }
            Told::Refused(refusal) => {
                vec![json!({"error": error(&refusal.message, refusal.status)}).to_string()]
            }
        }
    }
}

//! Pages of other servers that may ask from a browser (CORS).
//! Owns which methods and headers they may use; a browser enforces it, and a token is asked of them as of everybody.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::ServeError;

/// How long a browser remembers what it was told.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Any page.
const ANY: &str = "*";

/// What tells browsers that pages of these origins may ask; `None` of none.
pub(crate) fn layer(origins: &[String]) -> Result<Option<CorsLayer>, ServeError> {
    let checked = origins.iter().map(|origin| checked(origin)).collect::<Result<Vec<_>, _>>()?;
    let allowed = match origins {
        [] => return Ok(None),
        all if all.iter().any(|origin| origin == ANY) => AllowOrigin::any(),
        _ => AllowOrigin::list(checked),
    };
    let named = HeaderName::from_static;
    let id = named("x-request-id");
    let length = named("inference-header-content-length");
    let sent = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        id.clone(),
        named("x-request-timeout-ms"),
        length.clone(),
    ];
    Ok(Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(sent)
            .expose_headers([id, length, header::RETRY_AFTER])
            .max_age(REMEMBERED),
    ))
}

/// `*`, or a scheme and a host as a browser sends them.
fn checked(origin: &str) -> Result<HeaderValue, ServeError> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let whole = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ']));
    let value = HeaderValue::from_str(origin).ok().filter(|_| whole || origin == ANY);
    value.ok_or_else(|| ServeError::Origin { origin: origin.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let one = |origin: &str| layer(&[origin.to_string()]);
        assert!(
            ["*", "https://a.example", "http://localhost:3000"]
                .into_iter()
                .all(|o| one(o).is_ok_and(|l| l.is_some()))
        );
        assert!(
            ["", "a.example", "https://", "https://a.example/", "ftp://a", "https://a b"]
                .into_iter()
                .all(|o| one(o).is_err())
        );
        assert!(layer(&[]).is_ok_and(|layer| layer.is_none()));
    }
}

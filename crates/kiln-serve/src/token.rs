//! Who may ask: bearer tokens, compared in constant time.
//! Owns only their hashes, so that neither a core dump's reader nor the comparison's timing learns one.

use axum::http::{HeaderMap, header};
use subtle::{Choice, ConstantTimeEq};

use crate::ServeError;

/// Fewest bytes of a token.
const SHORTEST: usize = 16;

/// The tokens that are accepted.
#[derive(Clone, Default)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// One token a line; blank lines and lines that begin with `#` hold none.
    ///
    /// # Errors
    /// A token of fewer than 16 bytes, or of anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self, ServeError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let hash = |line: &str| match line.len() >= SHORTEST && line.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(*blake3::hash(line.as_bytes()).as_bytes()),
            false => Err(ServeError::Token { got: line.len(), expected: SHORTEST }),
        };
        lines.map(hash).collect::<Result<_, _>>().map(Self)
    }

    /// Whether everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these headers carry one of the tokens. Every token is compared, whichever fits.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let hash = *blake3::hash(token.unwrap_or_default().as_bytes()).as_bytes();
        let fits = self.0.iter().fold(Choice::from(0), |any, one| any | one.ct_eq(&hash));
        self.is_empty() || bool::from(fits)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_the_tokens_themselves_are_admitted() {
        let tokens = Tokens::parse("# two\n0123456789abcdef\n\nfedcba9876543210\n").ok().unwrap();
        assert!(tokens.admit(&with("Bearer 0123456789abcdef")));
        assert!(tokens.admit(&with("bearer fedcba9876543210")));
        for other in ["", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcde", "# two"] {
            assert!(!tokens.admit(&with(other)), "{other:?}");
        }
        assert!(!tokens.admit(&HeaderMap::new()));
        assert!(Tokens::default().admit(&HeaderMap::new()));
    }

    #[test]
    fn weak_tokens_are_refused() {
        assert!(Tokens::parse("secret").is_err());
        assert!(Tokens::parse("0123456789 abcdef").is_err());
    }
}

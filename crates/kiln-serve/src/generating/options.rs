//! The options of a request to continue a text: the words of `kiln predict` as JSON fields.
//! Owns their names, ranges and defaults; `kiln_eval::Generation` is what they fill.

use kiln_eval::Generation;
use serde_json::{Map, Value};

use crate::reply::Refusal;
use crate::settings::Limits;

/// Fields with an option each.
pub(crate) const OPTIONS: [&str; 6] = ["max_new_tokens", "temperature", "top_k", "top_p", "seed", "stop"];

/// How a text is continued where nothing is said.
pub(crate) fn defaults(limits: &Limits) -> Generation {
    let how = Generation::default();
    Generation { max_new_tokens: how.max_new_tokens.min(limits.max_new_tokens), ..how }
}

/// Takes the options out of an object's fields; `null` stands for the default.
pub(crate) fn take(fields: &mut Map<String, Value>, limits: &Limits) -> Result<Generation, Refusal> {
    let most = limits.max_new_tokens;
    let mut how = defaults(limits);
    for name in OPTIONS {
        let Some(value) = fields.remove(name).filter(|value| !value.is_null()) else { continue };
        let wrong = |expected: &str| Refusal::bad(format!("{name}: expected {expected}, got {value}"));
        let whole = || value.as_u64().and_then(|n| usize::try_from(n).ok());
        match name {
            "max_new_tokens" => {
                let n = whole().filter(|n| (1..=most).contains(n));
                how.max_new_tokens =
                    n.ok_or_else(|| wrong(&format!("a number of tokens from 1 to {most}")))?;
            }
            "temperature" => {
                let t = value.as_f64().filter(|t| *t >= 0.0 && t.is_finite());
                how.sampling.temperature = t.ok_or_else(|| wrong("0 or more"))?;
            }
            "top_k" => {
                let k = whole().filter(|k| *k > 0);
                how.sampling.top_k = Some(k.ok_or_else(|| wrong("a whole number from 1"))?);
            }
            "top_p" => {
                let p = value.as_f64().filter(|p| *p > 0.0 && *p <= 1.0);
                how.sampling.top_p = Some(p.ok_or_else(|| wrong("a number above 0 and at most 1"))?);
            }
            "seed" => how.seed = value.as_u64().ok_or_else(|| wrong("a whole number from 0"))?,
            _ => {
                how.stop =
                    strings(&value).ok_or_else(|| wrong("a string or a list of strings, none empty"))?
            }
        }
    }
    Ok(how)
}

fn strings(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        value => Some(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Result<Generation, String> {
        let mut fields = value.as_object().unwrap().clone();
        let how = take(&mut fields, &Limits { max_new_tokens: 20, ..Limits::default() });
        how.map_err(|refusal| refusal.message)
    }

    #[test]
    fn options_are_those_of_predict_with_its_defaults() {
        assert_eq!(
            of(json!({"other": 1})).unwrap(),
            Generation { max_new_tokens: 20, ..Generation::default() }
        );
        let how = of(
            json!({"max_new_tokens": 3, "temperature": 0, "top_k": 5, "top_p": 0.5, "seed": 7, "stop": ["a", "b"]}),
        );
        let how = how.unwrap();
        assert_eq!((how.max_new_tokens, how.seed, how.stop), (3, 7, vec!["a".to_string(), "b".to_string()]));
        assert_eq!(
            (how.sampling.temperature, how.sampling.top_k, how.sampling.top_p),
            (0.0, Some(5), Some(0.5))
        );
        assert_eq!(of(json!({"stop": "end", "seed": null})).unwrap().stop, ["end"]);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for (value, expected) in [
            (
                json!({"max_new_tokens": 21}),
                "max_new_tokens: expected a number of tokens from 1 to 20, got 21",
            ),
            (json!({"max_new_tokens": 1.5}), "from 1 to 20, got 1.5"),
            (json!({"temperature": -1}), "temperature: expected 0 or more, got -1"),
            (json!({"top_k": 0}), "top_k: expected a whole number from 1, got 0"),
            (json!({"top_p": 1.1}), "at most 1, got 1.1"),
            (json!({"seed": -1}), "seed: expected a whole number from 0, got -1"),
            (json!({"stop": [""]}), "none empty, got [\"\"]"),
            (json!({"stop": 3}), "a string or a list of strings"),
        ] {
            let said = of(value).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}

//! Tensors as they travel: JSON lists of any depth, or bytes.
//! Owns the two forms; what a tensor means is `signature`'s.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::reply::Refusal;

/// The elements of a JSON tensor, row by row; nested lists are laid out flat.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Elements {
    #[default]
    None,
    Numbers(Vec<f64>),
    Texts(Vec<String>),
    Booleans(Vec<bool>),
}

impl Elements {
    pub(crate) fn len(&self) -> usize {
        match self {
            Elements::None => 0,
            Elements::Numbers(list) => list.len(),
            Elements::Texts(list) => list.len(),
            Elements::Booleans(list) => list.len(),
        }
    }

    fn number<E: Error>(&mut self, x: f64) -> Result<(), E> {
        match self {
            Elements::Numbers(list) => list.push(x),
            Elements::None => *self = Elements::Numbers(vec![x]),
            _ => return Err(mixed()),
        }
        Ok(())
    }

    fn text<E: Error>(&mut self, x: String) -> Result<(), E> {
        match self {
            Elements::Texts(list) => list.push(x),
            Elements::None => *self = Elements::Texts(vec![x]),
            _ => return Err(mixed()),
        }
        Ok(())
    }

    fn boolean<E: Error>(&mut self, x: bool) -> Result<(), E> {
        match self {
            Elements::Booleans(list) => list.push(x),
            Elements::None => *self = Elements::Booleans(vec![x]),
            _ => return Err(mixed()),
        }
        Ok(())
    }
}

fn mixed<E: Error>() -> E {
    E::custom("a tensor whose elements are of different types")
}

/// Adds what it reads to the elements before.
struct Into<'a> {
    elements: &'a mut Elements,
    /// Whether only a list may stand here: a tensor is one.
    outermost: bool,
}

impl<'de> serde::de::DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.outermost {
            "a list"
        } else {
            "a number, a string, a boolean or a list of these"
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Into { elements: self.elements, outermost: false })?.is_some() {}
        Ok(())
    }

    fn visit_u64<E: Error>(self, x: u64) -> Result<(), E> {
        self.visit_f64(x as f64)
    }

    fn visit_i64<E: Error>(self, x: i64) -> Result<(), E> {
        self.visit_f64(x as f64)
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<(), E> {
        if self.outermost {
            Err(E::invalid_type(serde::de::Unexpected::Float(x), &self))
        } else {
            self.elements.number(x)
        }
    }

    fn visit_str<E: Error>(self, x: &str) -> Result<(), E> {
        self.visit_string(x.into())
    }

    fn visit_string<E: Error>(self, x: String) -> Result<(), E> {
        if self.outermost {
            Err(E::invalid_type(serde::de::Unexpected::Str(&x), &self))
        } else {
            self.elements.text(x)
        }
    }

    fn visit_bool<E: Error>(self, x: bool) -> Result<(), E> {
        if self.outermost {
            Err(E::invalid_type(serde::de::Unexpected::Bool(x), &self))
        } else {
            self.elements.boolean(x)
        }
    }
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Elements::None;
        deserializer.deserialize_any(Into { elements: &mut elements, outermost: true })?;
        Ok(elements)
    }
}

/// The elements of a BYTES tensor: each a length of 4 bytes, little-endian, and as many bytes.
pub(crate) fn strings(mut bytes: Bytes, name: &str, count: usize) -> Result<Vec<Bytes>, Refusal> {
    let mut all = Vec::with_capacity(count.min(bytes.len() / 4));
    while !bytes.is_empty() {
        let short = || {
            Refusal::bad(format!(
                "input {name:?}: expected elements of a 4-byte length and as many bytes; element {} is cut short",
                all.len()
            ))
        };
        if bytes.len() < 4 {
            return Err(short());
        }
        let head = bytes.split_to(4);
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if bytes.len() < length {
            return Err(short());
        }
        all.push(bytes.split_to(length));
    }
    Ok(all)
}

/// The elements of an FP32 tensor.
pub(crate) fn floats(bytes: &[u8], name: &str) -> Result<Vec<f32>, Refusal> {
    let (quads, rest) = bytes.as_chunks::<4>();
    match rest {
        [] => Ok(quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect()),
        _ => {
            let message =
                format!("input {name:?}: expected 4 bytes an FP32 element, got {} bytes", bytes.len());
            Err(Refusal::bad(message))
        }
    }
}

/// The elements of an INT64 tensor.
pub(crate) fn integers(bytes: &[u8], name: &str) -> Result<Vec<i64>, Refusal> {
    let (eights, rest) = bytes.as_chunks::<8>();
    match rest {
        [] => Ok(eights.iter().map(|eight| i64::from_le_bytes(*eight)).collect()),
        _ => {
            let message =
                format!("input {name:?}: expected 8 bytes an INT64 element, got {} bytes", bytes.len());
            Err(Refusal::bad(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Elements, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn nested_lists_are_laid_out_flat() {
        assert_eq!(parse("[[1, 2.5], [-3, 4]]").unwrap(), Elements::Numbers(vec![1.0, 2.5, -3.0, 4.0]));
        assert_eq!(parse("[[\"a\"], [\"b\"]]").unwrap(), Elements::Texts(vec!["a".into(), "b".into()]));
        assert_eq!(parse("[true]").unwrap(), Elements::Booleans(vec![true]));
        assert_eq!(parse("[[], []]").unwrap(), Elements::None);
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        for text in ["1", "\"a\"", "null", "{}", "[1, \"a\"]", "[null]", "[{}]", "[NaN]", "[1e999]"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn binary_strings_end_where_they_say() {
        let bytes = Bytes::from_static(b"\x02\0\0\0ab\0\0\0\0");
        assert_eq!(strings(bytes, "x", 2).unwrap(), [Bytes::from_static(b"ab"), Bytes::new()]);
        for cut in [&b"\x02\0\0"[..], b"\x03\0\0\0ab", b"\xff\xff\xff\xffab"] {
            assert!(strings(Bytes::copy_from_slice(cut), "x", 1).is_err(), "{cut:?}");
        }
        assert_eq!(floats(&1.5_f32.to_le_bytes(), "x").unwrap(), [1.5]);
        assert!(floats(&[0; 5], "x").is_err());
        assert_eq!(integers(&(-7_i64).to_le_bytes(), "x").unwrap(), [-7]);
        assert!(integers(&[0; 12], "x").is_err());
    }
}

//! Tokenizers made from the training texts, as Hugging Face `tokenizer.json` files.
//! Owns what such a file holds, one function a kind; never tokenizes samples (text_program.rs does).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

use crate::error::DataError;

/// The bytes of a `tokenizer.json` over the most frequent words of `texts`, of equals the first by alphabet: lower
/// case, split at blanks and between words and punctuation marks (the `Whitespace` pre-tokenizer). Ids: 0 `[PAD]`, 1
/// `[UNK]`, then words by frequency.
pub(crate) fn words<'a>(
    texts: impl Iterator<Item = &'a str>,
    max_vocab: usize,
    min_frequency: u64,
) -> Result<Vec<u8>, DataError> {
    let splitter = Tokenizer::from_bytes(file(&BTreeMap::new()).to_string()).map_err(refused)?;
    let mut counts: HashMap<String, u64> = HashMap::new();
    for text in texts {
        let encoding = splitter.encode(text, false).map_err(refused)?;
        for &(from, to) in encoding.get_offsets() {
            let word = text.get(from..to).unwrap_or_default();
            *counts.entry(word.chars().flat_map(char::to_lowercase).collect()).or_default() += 1;
        }
    }
    let mut ranked: Vec<(String, u64)> = counts.into_iter().filter(|(_, n)| *n >= min_frequency).collect();
    ranked.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    let ids = ranked.into_iter().take(max_vocab).zip(2..).map(|((word, _), id)| (word, id)).collect();
    Ok(file(&ids).to_string().into_bytes())
}

fn file(words: &BTreeMap<String, u32>) -> Value {
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let mut vocab = json!({"[PAD]": 0, "[UNK]": 1});
    if let Value::Object(vocab) = &mut vocab {
        vocab.extend(words.iter().map(|(word, id)| (word.clone(), json!(id))));
    }
    json!({
        "version": "1.0", "truncation": null,
        "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]")],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    })
}

/// The bytes of a `tokenizer.json` with a token a character, ids in the characters' order, as nanoGPT numbers them.
pub(crate) fn characters<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let all: BTreeSet<char> = texts.flat_map(str::chars).collect();
    let vocab: Map<String, Value> =
        all.into_iter().zip(0..).map(|(c, id)| (c.to_string(), json!(id))).collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ANY}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN},
    });
    file.to_string().into_bytes()
}

/// Every character, line ends too.
const ANY: &str = r"[\s\S]";
/// Not in the vocabulary: a character that the text lacks is refused.
const UNKNOWN: &str = "<unk>";

/// Ids by character of a tokenizer that [`characters`] made.
pub(crate) fn alphabet(tokenizer: &Tokenizer, vocab: &HashMap<String, u32>) -> Option<HashMap<char, u32>> {
    let split = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::Split(s))
        if matches!(&s.pattern, SplitPattern::Regex(r) if r == ANY));
    if !split || tokenizer.get_normalizer().is_some() || tokenizer.get_post_processor().is_some() {
        return None;
    }
    let one = |(token, id): (&String, &u32)| {
        let mut characters = token.chars();
        characters.next().filter(|_| characters.next().is_none()).map(|c| (c, *id))
    };
    vocab.iter().map(one).collect()
}

fn refused(error: impl std::fmt::Display) -> DataError {
    DataError::Text { problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(file: &[u8], text: &str) -> Vec<u32> {
        Tokenizer::from_bytes(file).unwrap().encode(text, true).unwrap().get_ids().to_vec()
    }

    #[test]
    fn words_are_ranked_by_frequency_then_alphabet() {
        let texts = ["The cat, the dog", "the İ!"];
        let file = words(texts.into_iter(), 100, 1).unwrap();
        // the (3), then "!" "," cat dog i̇ (1 each)
        assert_eq!(ids(&file, "THE cat dog, the!"), [2, 5, 6, 4, 2, 3]);
        assert_eq!(ids(&file, "a THE İ"), [1, 2, 7]);
        assert_eq!(ids(&words(texts.into_iter(), 1, 1).unwrap(), "the cat"), [2, 1]);
        assert_eq!(ids(&words(texts.into_iter(), 100, 2).unwrap(), "the cat"), [2, 1]);
    }
}

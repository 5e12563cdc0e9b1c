//! Texts, pairs of texts and sentences in words to token ids through a Hugging Face `tokenizer.json`, truncated to one length.
//! Owns the tokenizer and its source bytes; never pads (a batch does). Padding and truncation written in the file are
//! replaced by the config's. Hands ids and segments to the loader.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::files;
use serde_json::{Map, Value};
use tokenizers::{AddedToken, EncodeInput, Encoding, Tokenizer, TruncationDirection, TruncationParams};

use crate::batch::Features;
use crate::build_tokenizer::{alphabet, characters};
use crate::error::DataError;
use crate::split::Raw;
use crate::text_transforms::{TextTransform, TextTransforms, Texts};

/// A tokenizer with its file.
#[derive(Debug, Clone)]
pub(crate) struct TextProgram {
    tokenizer: Arc<Tokenizer>,
    /// `tokenizer.json`, byte for byte.
    pub(crate) source: Arc<[u8]>,
    /// `tokenizer_config.json` beside it, empty where there is none.
    pub(crate) config: Map<String, Value>,
    pub(crate) max_length: usize,
    pub(crate) vocab_size: usize,
    pub(crate) pad_id: u32,
    /// The token that hides another, where the vocabulary has one.
    pub(crate) mask: Option<(u32, String)>,
    /// Ids of the special tokens.
    pub(crate) special: Arc<BTreeSet<u32>>,
    /// What is done to texts before and to tokens after; the caller asks for it.
    pub(crate) transforms: TextTransforms,
    /// Ids by character, where the vocabulary is one of characters.
    alphabet: Option<Arc<HashMap<char, u32>>>,
}

/// Words that stand for padding in the vocabularies of BERT, RoBERTa, T5 and GPT fine-tunes; GPT-2 itself has none, and
/// its end of text is taken.
const PAD_TOKENS: [&str; 5] = ["[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>"];
/// Words that hide a token in the vocabularies of BERT and RoBERTa.
const MASK_TOKENS: [&str; 2] = ["[MASK]", "<mask>"];

impl TextProgram {
    /// Reads `tokenizer.json`, or the one in a folder; `in_words` where samples are sentences in words.
    pub(crate) fn open(path: &Path, max_length: usize, in_words: bool) -> Result<Self, DataError> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        let source = std::fs::read(&path).map_err(DataError::opening(&path, "a tokenizer.json"))?;
        let source = if in_words { for_words(source) } else { source };
        Self::new(source, neighbour(&path)?, &path, max_length)
    }

    /// From a `tokenizer.json`'s bytes; errors name `path`.
    pub(crate) fn new(
        source: Vec<u8>,
        config: Map<String, Value>,
        path: &Path,
        max_length: usize,
    ) -> Result<Self, DataError> {
        let (text, pad_id) = Self::parsed(source, config, path, max_length)?;
        let mut tokenizer = Tokenizer::clone(&text.tokenizer);
        let pad_id = pad_id.ok_or_else(|| {
            let problem =
                format!("no padding token: neither a padding section nor one of {}", PAD_TOKENS.join(" "));
            fault(path, problem, "add a padding section that names the pad token")
        })?;
        let special =
            tokenizer.get_post_processor().map_or(0, |p| tokenizers::PostProcessor::added_tokens(p, false));
        if max_length <= special {
            let problem = format!("max_length {max_length} leaves no room beside {special} special tokens");
            return Err(fault(path, problem, "raise data.tokenizer.max_length"));
        }
        let direction = match text.config.get("truncation_side").and_then(Value::as_str) {
            Some("left") => TruncationDirection::Left,
            _ => TruncationDirection::Right,
        };
        let truncation = TruncationParams { max_length, direction, ..TruncationParams::default() };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|e| fault(path, e.to_string(), "raise data.tokenizer.max_length"))?;
        Ok(Self { tokenizer: Arc::new(tokenizer), pad_id, ..text })
    }

    /// As [`open`](Self::open) for texts that are cut into blocks of `max_length` and never padded or truncated.
    pub(crate) fn open_unpadded(path: &Path, max_length: usize) -> Result<Self, DataError> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        let source = std::fs::read(&path).map_err(DataError::opening(&path, "a tokenizer.json"))?;
        Ok(Self::parsed(source, neighbour(&path)?, &path, max_length)?.0)
    }

    /// A vocabulary of the characters of `texts`.
    pub(crate) fn characters<'a>(
        texts: impl Iterator<Item = &'a str>,
        max_length: usize,
    ) -> Result<Self, DataError> {
        let path = Path::new("the characters of the training text");
        Ok(Self::parsed(characters(texts), Map::new(), path, max_length)?.0)
    }

    /// Without padding and truncation, with the id that pads, if there is one; 0 stands where it is not needed.
    fn parsed(
        source: Vec<u8>,
        config: Map<String, Value>,
        path: &Path,
        max_length: usize,
    ) -> Result<(Self, Option<u32>), DataError> {
        let mut tokenizer = Tokenizer::from_bytes(&source).map_err(|e| {
            fault(path, format!("not a tokenizer.json: {e}"), "give a fast tokenizer's tokenizer.json")
        })?;
        let padding = pad_id(&tokenizer);
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| fault(path, e.to_string(), "remove the truncation section"))?;
        let vocab = tokenizer.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |id| *id as usize + 1);
        let alphabet = alphabet(&tokenizer, &vocab).map(Arc::new);
        let mask = mask(&tokenizer, &config);
        if let Some((_, token)) = &mask {
            // As transformers does with the special tokens that it is told: a text may hold it as it is.
            let _ = tokenizer.add_special_tokens([AddedToken::from(token.clone(), true)]);
        }
        let added = tokenizer.get_added_tokens_decoder().into_iter();
        let special = Arc::new(added.filter(|(_, token)| token.special).map(|(id, _)| id).collect());
        let (tokenizer, source) = (Arc::new(tokenizer), source.into());
        let pad_id = padding.unwrap_or(0);
        Ok((
            Self {
                tokenizer,
                source,
                config,
                max_length,
                vocab_size,
                pad_id,
                mask,
                special,
                transforms: TextTransforms::default(),
                alphabet,
            },
            padding,
        ))
    }

    /// Every id of a text, of any length, without special tokens.
    pub(crate) fn token_ids(&self, text: &str) -> Result<Vec<u32>, DataError> {
        if let Some(alphabet) = &self.alphabet {
            let ids = text.chars().map(|c| alphabet.get(&c).copied()).collect::<Option<Vec<u32>>>();
            return ids.ok_or_else(|| {
                let problem = match self.unknown(text) {
                    Some((_, c)) => format!("the vocabulary has no {c:?} (U+{:04X})", u32::from(c)),
                    None => "a character that the vocabulary lacks".into(),
                };
                DataError::Text { problem }
            });
        }
        Ok(self.tokenizer.encode_fast(text, false).map_err(refused)?.get_ids().to_vec())
    }

    /// The first character that a vocabulary of characters lacks, and its place in bytes.
    pub(crate) fn unknown(&self, text: &str) -> Option<(usize, char)> {
        let alphabet = self.alphabet.as_ref()?;
        text.char_indices().find(|(_, c)| !alphabet.contains_key(c))
    }

    /// The text of ids.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.tokenizer.decode(ids, false).map_err(refused)
    }

    /// Ids and segments of one sample, special tokens included, at most `max_length`; of a pair the longer text is
    /// cut first. `None` where the sample is no text.
    pub(crate) fn run(&self, raw: &Raw) -> Option<Result<Features, DataError>> {
        let encoding = self.tokenizer.encode_fast(input(raw)?, true);
        Some(encoding.map(|encoding| features(&encoding)).map_err(refused))
    }

    /// As [`run`](Self::run), with the word and the characters that each token comes from.
    pub(crate) fn encode(&self, raw: &Raw) -> Option<Result<Encoding, DataError>> {
        Some(self.tokenizer.encode_char_offsets(input(raw)?, true).map_err(refused))
    }

    /// The same, with texts transformed before.
    pub(crate) fn with_transforms(
        self,
        transforms: &[TextTransform],
        of: &Texts<'_>,
    ) -> Result<Self, DataError> {
        let transforms = TextTransforms::new(transforms, of, self.mask.is_some())?;
        Ok(Self { transforms, ..self })
    }

    /// The same without a longest length, for counting.
    pub(crate) fn uncut(&self) -> Result<Self, DataError> {
        let mut tokenizer = Tokenizer::clone(&self.tokenizer);
        tokenizer.with_truncation(None).map_err(refused)?;
        Ok(Self { tokenizer: Arc::new(tokenizer), ..self.clone() })
    }

    /// Refuses a `max_length` that leaves no room for a pair beside its special tokens.
    pub(crate) fn for_pairs(self) -> Result<Self, DataError> {
        let post = self.tokenizer.get_post_processor();
        let special = post.map_or(0, |p| tokenizers::PostProcessor::added_tokens(p, true));
        if self.max_length > special + 1 {
            return Ok(self);
        }
        let problem =
            format!("{} tokens leave no room for a pair beside {special} special tokens", self.max_length);
        Err(DataError::config("tokenizer.max_length", problem, "raise it"))
    }

    /// The token of an id.
    pub(crate) fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

/// A sample as the tokenizer takes it; `None` where it is no text.
fn input(raw: &Raw) -> Option<EncodeInput<'_>> {
    match raw {
        Raw::Text(text) => Some(text.as_str().into()),
        Raw::Pair(a, b) => Some((a.as_str(), b.as_str()).into()),
        Raw::Words(words) => Some(words.as_slice().into()),
        Raw::Image(_) | Raw::Row { .. } | Raw::Tokens(_) => None,
    }
}

/// Ids and segments of an encoding.
pub(crate) fn features(encoding: &Encoding) -> Features {
    Features::Tokens { ids: encoding.get_ids().to_vec(), types: encoding.get_type_ids().to_vec() }
}

fn refused(error: tokenizers::Error) -> DataError {
    DataError::Text { problem: error.to_string() }
}

/// The file of a tokenizer that reads sentences word by word: a byte-level one (GPT-2, RoBERTa) must see the blank
/// before each word, the first included, as `transformers` demands by `add_prefix_space=True`. Other files stay as
/// they are, byte for byte.
pub(crate) fn for_words(source: Vec<u8>) -> Vec<u8> {
    let Ok(mut file) = serde_json::from_slice::<Value>(&source) else { return source };
    let mut changed = false;
    for key in ["pre_tokenizer", "post_processor"] {
        changed |= file.get_mut(key).is_some_and(with_prefix_space);
    }
    if changed { file.to_string().into_bytes() } else { source }
}

/// Whether anything was changed.
fn with_prefix_space(part: &mut Value) -> bool {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "Sequence" {
        let list = ["pretokenizers", "processors"].into_iter().find(|key| part.get(key).is_some());
        let parts = list.and_then(|key| part.get_mut(key)).and_then(Value::as_array_mut);
        let changed =
            parts.map(|parts| parts.iter_mut().filter_map(|p| with_prefix_space(p).then_some(())).count());
        return changed.is_some_and(|changed| changed > 0);
    }
    if !matches!(kind, "ByteLevel" | "RobertaProcessing") {
        return false;
    }
    match part.get_mut("add_prefix_space") {
        Some(flag @ Value::Bool(false)) => {
            *flag = Value::Bool(true);
            true
        }
        _ => false,
    }
}

/// The mask token: the one that `tokenizer_config.json` names, else a usual one.
fn mask(tokenizer: &Tokenizer, config: &Map<String, Value>) -> Option<(u32, String)> {
    let named = config.get("mask_token").map(|token| token.get("content").unwrap_or(token));
    let named = named.and_then(Value::as_str);
    named.into_iter().chain(MASK_TOKENS).find_map(|token| Some((tokenizer.token_to_id(token)?, token.into())))
}

/// The file that a config means: its own path, else the pretrained folder's.
pub(crate) fn locate(path: Option<&Path>, folder: Option<&Path>) -> Result<PathBuf, DataError> {
    let model = folder.map(|run| run.join("model")); // of a run folder
    let of_run = model.as_deref().filter(|model| model.join("tokenizer.json").is_file());
    let beside = folder.filter(|folder| of_run.is_none() || folder.join("tokenizer.json").is_file());
    path.or(beside).or(of_run).map(Path::to_path_buf).ok_or_else(|| {
        DataError::config(
            "tokenizer.path",
            "text needs a tokenizer, and there is no pretrained folder to take it from",
            "set data.tokenizer.path to a tokenizer.json, or model.pretrained to a folder that holds one",
        )
    })
}

fn pad_id(tokenizer: &Tokenizer) -> Option<u32> {
    let by_file = tokenizer.get_padding().map(|p| p.pad_id);
    by_file.or_else(|| PAD_TOKENS.iter().find_map(|token| tokenizer.token_to_id(token)))
}

fn neighbour(path: &Path) -> Result<Map<String, Value>, DataError> {
    let path = path.with_file_name("tokenizer_config.json");
    if !path.is_file() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&files::read(&path)?)
        .map_err(|e| fault(&path, format!("not a JSON object: {e}"), "repair or remove it"))
}

fn fault(path: &Path, problem: String, remedy: &str) -> DataError {
    DataError::Tokenizer { path: path.into(), problem, remedy: remedy.into() }
}

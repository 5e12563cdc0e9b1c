//! all-MiniLM-L6-v2 as it comes from Hugging Face: sentence embeddings and token ids against `transformers`; and folders
//! that cannot be asked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // helpers of tests are tests too

use std::fs;
use std::path::PathBuf;

use burn::tensor::Device;
use kiln_data::{DataError, Features, Preprocessor, Raw};
use kiln_eval::{Answer, Bundle, Embedder};
use serde_json::Value;

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("KILN_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: set KILN_TEST_DATA");
    }
    folder
}

/// What tests/make_encoders.py of kiln-models wrote.
fn fixture() -> Value {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../kiln-models/tests/fixtures/minilm_sentences.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn embedded(embedder: &Embedder, texts: &[String]) -> Vec<Vec<f64>> {
    let inputs = texts.iter().map(|text| (text.clone(), Ok::<_, DataError>(Raw::Text(text.clone()))));
    let vector = |answer| match answer {
        Ok(Answer::Prediction(p)) => serde_json::from_value(p.answer["embedding"].clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    embedder.embed(inputs).map(vector).collect()
}

#[test]
fn minilm_embeds_sentences_as_sentence_transformers_does() {
    let Some(data) = data() else { return };
    let fixture = fixture();
    let sentences: Vec<String> = serde_json::from_value(fixture["sentences"].clone()).unwrap();
    let expected: Vec<Vec<f64>> = serde_json::from_value(fixture["embeddings"].clone()).unwrap();
    assert_eq!((sentences.len(), expected.len()), (100, 100));
    let embedder = Embedder::open(&data.join("all-MiniLM-L6-v2"), Device::flex(), 32).unwrap();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for ((sentence, own), expected) in sentences.iter().zip(embedded(&embedder, &sentences)).zip(&expected) {
        let cosine = dot(&own, expected) / (dot(&own, &own) * dot(expected, expected)).sqrt();
        assert!(cosine > 0.99999, "{sentence}: cosine {cosine}");
        assert!((dot(&own, &own) - 1.0).abs() < 1e-5, "{sentence}");
    }
}

#[test]
fn token_ids_of_every_sst2_sentence_are_transformers() {
    let Some(data) = data() else { return };
    let fixture = fixture();
    let preprocessor = Preprocessor::load_or_bring(&data.join("all-MiniLM-L6-v2"), 128).unwrap();
    let (mut hash, mut sentences, mut bytes) = (0xCBF2_9CE4_8422_2325_u64, 0, Vec::new());
    for split in ["train", "dev", "test"] {
        let text = fs::read_to_string(data.join(format!("sst2/{split}.tsv"))).unwrap();
        for line in text.lines() {
            let sentence = line.rsplit_once('\t').unwrap().0;
            let Features::Tokens { ids, .. } =
                preprocessor.prepare(Raw::Text(sentence.into()), None).unwrap()
            else {
                panic!("no tokens")
            };
            for number in std::iter::once(ids.len() as u64).chain(ids.into_iter().map(u64::from)) {
                hash = (hash ^ number).wrapping_mul(0x100_0000_01B3); // FNV-1a, of numbers instead of bytes
                bytes.extend_from_slice(&(number as u32).to_le_bytes());
            }
            sentences += 1;
        }
    }
    assert_eq!(fixture["token_ids_sentences"], sentences);
    assert_eq!(fixture["token_ids_hash"], format!("{hash:016x}"));
    // For tests/peers/transformers_tokenizes_sst2.py.
    if let Some(out) = std::env::var_os("KILN_PEER_OUT") {
        fs::write(PathBuf::from(out).join("sst2_token_ids.bin"), bytes).unwrap();
    }
}

#[test]
fn a_bare_encoder_or_another_tokenizer_is_refused_with_the_way_out() {
    let Some(data) = data() else { return };
    let minilm = data.join("all-MiniLM-L6-v2");
    let error = Bundle::open(&minilm, &Device::flex()).err().unwrap();
    assert!(error.to_string().contains("without a head"), "{error}");
    assert!(error.hint().unwrap().contains("--embed"), "{:?}", error.hint());
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(minilm.join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["beyond"] = serde_json::json!(30600);
    fs::write(&path, tokenizer.to_string()).unwrap();
    let error = Embedder::open(folder.path(), Device::flex(), 1).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("30601 tokens") && text.contains("30522"), "{text}");
    assert!(error.hint().unwrap().contains("tokenizer.json"));
}

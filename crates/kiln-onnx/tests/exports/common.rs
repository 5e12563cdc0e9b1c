//! Model folders: a card's net with weights that are a function of their names, and a small preprocessing.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use kiln_core::{InputSpec, Net, StateDict, TaskKind};
use kiln_eval::{Bundle, Embedder};
use kiln_models::{Card, ModelConfig, build, families, save};
use kiln_onnx::{OnnxError, Options, Precision, Report, Subject, export};
use serde_json::{Value, json};

pub(crate) const VOCABULARY: usize = 40;
pub(crate) const LENGTH: usize = 24;

pub(crate) fn text() -> InputSpec {
    InputSpec::Tokens { vocab_size: VOCABULARY, max_length: LENGTH, pad_id: 0 }
}

pub(crate) fn image(channels: usize, side: usize) -> InputSpec {
    InputSpec::Image { channels, height: side, width: side }
}

pub(crate) fn table() -> InputSpec {
    InputSpec::Table { features: 3, cardinalities: vec![3, 9] }
}

/// The card that a config gives.
pub(crate) fn card(config: Value, input: &InputSpec, task: TaskKind) -> Card {
    let config: ModelConfig = serde_json::from_value(config).unwrap();
    let labels = match task.is_language_modeling() {
        true => Vec::new(),
        false => (0..3).map(|i| format!("label {i}")).collect(),
    };
    build(&config, input, &labels, task, &Device::flex(), 1).unwrap().card
}

/// Writes a model folder of a card.
pub(crate) fn folder(place: &Path, card: &Card, input: &InputSpec, extra: &Value) -> PathBuf {
    let folder = place.join("model");
    let family = families::of_card(card, place).unwrap();
    let net = family.net(card, &Device::flex()).unwrap();
    save(&folder, card, &weights(&*net)).unwrap();
    write_preprocessing(&folder, input, extra);
    folder
}

/// Values without a pattern: matrices with gain 1, gains and variances near 1, the rest near 0.
fn weights(net: &dyn Net) -> StateDict {
    let value = |n: usize, name: &str, shape: &[usize]| {
        let count: usize = shape.iter().product();
        let (middle, around) = match shape.len() {
            1 if name.ends_with("running_var") => (1.0, 0.5),
            1 if name.ends_with("weight") => (1.0, 0.3),
            1 => (0.0, 0.1),
            _ => (0.0, (3.0 / shape[1..].iter().product::<usize>() as f32).sqrt()),
        };
        let one = |i: usize| {
            let mut bits = (i as u32).wrapping_mul(2_654_435_761) ^ (n as u32).wrapping_mul(1_013_904_223);
            bits = (bits ^ (bits >> 15)).wrapping_mul(2_246_822_519);
            bits ^= bits >> 13;
            middle + around * (bits as f32 / 2f32.powi(31) - 1.0)
        };
        TensorData::new((0..count).map(one).collect(), shape.to_vec())
    };
    let all = net.parameters().into_iter().enumerate();
    all.map(|(n, p)| (p.name.clone(), value(n, &p.name, &p.shape))).collect()
}

fn write_preprocessing(folder: &Path, input: &InputSpec, extra: &Value) {
    let (name, mut program) = match input {
        InputSpec::Image { channels, height, width } => {
            let (mean, std) = (vec![0.45; *channels], vec![0.225; *channels]);
            let kiln = json!({"kind": "image", "channels": channels, "height": height, "width": width,
                "transforms": [{"kind": "normalize", "mean": mean, "std": std}]});
            ("preprocessor_config.json", json!({"kiln": kiln}))
        }
        InputSpec::Tokens { max_length, .. } => {
            tokenizer(&folder.join("tokenizer.json"));
            let columns = json!({"header": true, "wanted": {"text": "text"}});
            let kiln = json!({"kind": "text", "max_length": max_length, "columns": columns});
            ("tokenizer_config.json", json!({"kiln": kiln}))
        }
        InputSpec::Table { features, cardinalities } => {
            let columns: Vec<usize> = (0..*features).collect();
            let more: Vec<usize> = (*features..features + cardinalities.len()).collect();
            let words = |n: &usize| (1..*n).map(|i| format!("value {i}")).collect::<Vec<_>>();
            let words: Vec<_> = cardinalities.iter().map(words).collect();
            let columns = json!({"header": false, "wanted": {"features": columns}, "categories": more});
            let kiln = json!({"kind": "table", "columns": columns, "categories": words});
            ("preprocessor_config.json", json!({"kiln": kiln}))
        }
    };
    if let (Some(program), Some(extra)) = (program.as_object_mut(), extra.as_object()) {
        program.extend(extra.clone());
    }
    std::fs::write(folder.join(name), program.to_string()).unwrap();
}

/// A `tokenizer.json` of whole words.
fn tokenizer(path: &Path) {
    let mut words: Vec<String> = ["[PAD]", "[UNK]", "the", "A", "and", "not"].map(String::from).to_vec();
    words.extend((words.len()..VOCABULARY).map(|n| format!("w{n}")));
    let ids: serde_json::Map<_, _> = words.into_iter().zip((0..).map(Value::from)).collect();
    let special = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]")],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    });
    std::fs::write(path, json.to_string()).unwrap();
}

/// Exports a model folder.
pub(crate) fn exported(model: &Path, to: &Path, options: Options<'_>) -> Result<Report, OnnxError> {
    let device = Device::flex();
    let bundle = Bundle::open(model, &device)?;
    let (net, card, preprocessor) = (&*bundle.model.net, &bundle.model.card, &*bundle.preprocessor);
    let subject = Subject { net, card, preprocessor, device: &device, folder: model };
    export(&subject, options, to, |report| format!("{} nodes\n", report.nodes))
}

/// Exports the encoder of a model folder.
pub(crate) fn exported_encoder(model: &Path, to: &Path, options: Options<'_>) -> Result<Report, OnnxError> {
    let device = Device::flex();
    let embedder = Embedder::open(model, device.clone(), 1)?;
    let kiln_models::Model { net, card, .. } = embedder.model();
    let preprocessor = embedder.preprocessor();
    let subject = Subject { net: &**net, card, preprocessor, device: &device, folder: model };
    export(&subject, options, to, |_| String::new())
}

pub(crate) fn precise(precision: Precision) -> Options<'static> {
    Options { precision, ..Options::default() }
}

/// Where folders for the peers go, if anywhere.
pub(crate) fn peer_folder(name: &str) -> Option<PathBuf> {
    let place = PathBuf::from(std::env::var_os("KILN_PEER_OUT")?).join("onnx");
    std::fs::create_dir_all(&place).unwrap();
    Some(place.join(name))
}

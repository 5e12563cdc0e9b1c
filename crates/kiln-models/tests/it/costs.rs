//! Operations and activation sizes against torch's counter and hooks.

use burn::tensor::Device;
use kiln_core::{InputSpec, TaskKind};
use kiln_models::cost::{Cost, cost};
use kiln_models::lora::attach;
use kiln_models::{LoraConfig, build};
use serde_json::{Value, json};

use crate::common::*;

fn of(model: Value, input: &InputSpec, k: usize, batch: usize, length: usize, lora: Option<Value>) -> Cost {
    let device = Device::flex().autodiff();
    let task = TaskKind::Classification;
    let mut model = build(&config(model), input, &classes(k), task, &device, 1).unwrap();
    if let Some(lora) = lora {
        attach(&mut model, &serde_json::from_value::<LoraConfig>(lora).unwrap(), 1).unwrap();
    }
    cost(&*model.net, input, batch, length, &device).unwrap()
}

fn bert(layers: usize, hidden: usize, heads: usize, wide: usize) -> Value {
    json!({"kind": "bert", "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads,
        "intermediate_size": wide, "max_position_embeddings": 512})
}

fn text() -> InputSpec {
    InputSpec::Tokens { vocab_size: 1000, max_length: 128, pad_id: 0 }
}

fn equals(name: &str, got: &Cost) {
    let expected = &fixture("flops")[name];
    assert_eq!(got.forward_flops, expected["forward"].as_u64().unwrap(), "{name}: forward");
    assert_eq!(got.training_flops, expected["training"].as_u64().unwrap(), "{name}: training");
    let activations = expected["activations"].as_u64().unwrap();
    assert_eq!(got.training_activation_bytes, 4 * activations, "{name}: activations");
    assert!(got.forward_activation_bytes < got.training_activation_bytes);
}

#[test]
fn encoders_cost_what_torch_counts() {
    equals("bert", &of(bert(2, 64, 4, 128), &text(), 2, 3, 24, None));
    equals("minilm", &of(bert(6, 384, 12, 1536), &text(), 2, 2, 64, None));
}

#[test]
fn residual_nets_cost_what_torch_counts() {
    for (preset, side, batch) in [("resnet18", 64, 2), ("resnet50", 224, 1)] {
        let model = json!({"kind": "resnet", "preset": preset});
        equals(preset, &of(model, &image(3, side), 5, batch, 1, None));
    }
}

#[test]
fn adapters_spare_the_gradients_of_frozen_weights() {
    let lora = json!({"rank": 8, "target_modules": ["query", "value"]});
    let got = of(bert(6, 384, 12, 1536), &text(), 2, 2, 64, Some(lora));
    let expected = &fixture("flops")["minilm-lora"];
    assert_eq!(got.forward_flops, expected["forward"].as_u64().unwrap());
    // Within the first block the meter does not follow which of query, key and value an input goes to.
    let training = expected["training"].as_u64().unwrap() as f64;
    assert!((got.training_flops as f64 / training - 1.0).abs() < 0.02, "{} {training}", got.training_flops);
    let full = of(bert(6, 384, 12, 1536), &text(), 2, 2, 64, None);
    assert!((got.training_flops as f64) < 0.7 * full.training_flops as f64);
    assert!(got.trainable * 100 < got.values * 2 && full.trainable == full.values);
}

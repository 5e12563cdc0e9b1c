//! Activation checkpointing: every family of blocks gives the losses and gradients that it gives without it, to the bit,
//! with dropout, stochastic depth, half precision, frozen layers and adapters; and its blocks are run a second time.

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln_core::{Input, InputSpec, Net, Output, Precision, Table, TaskKind, Tokens};
use kiln_models::cost::tables_train;
use kiln_models::lora::attach;
use kiln_models::{FAMILIES, LoraConfig, build, with_blocks};
use kiln_nn::{checkpoint, meter, precision, random};
use serde_json::{Value, json};

use crate::common::*;

fn device() -> Device {
    Device::flex().autodiff()
}

/// A net of each family, what it reads, and how many blocks it has.
fn cases() -> Vec<(Value, InputSpec)> {
    let text = InputSpec::Tokens { vocab_size: 50, max_length: 12, pad_id: 0 };
    let encoder = |kind: &str| {
        json!({"kind": kind, "num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 2,
            "intermediate_size": 48, "max_position_embeddings": 16})
    };
    let vit = json!({"kind": "vit", "preset": "vit_tiny_patch16_224", "hidden_size": 32, "num_hidden_layers": 3,
        "num_attention_heads": 2, "patch_size": 4, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "drop_path_rate": 0.3});
    let gpt2 =
        json!({"kind": "gpt2", "n_layer": 3, "n_head": 2, "n_embd": 32, "n_positions": 16, "dropout": 0.1});
    let table = InputSpec::Table { features: 4, cardinalities: vec![3, 5] };
    let tabular = json!({"kind": "ft_transformer", "n_blocks": 3, "d_block": 16, "attention_n_heads": 2,
        "residual_dropout": 0.1, "ffn_dropout": 0.1});
    vec![
        (encoder("bert"), text.clone()),
        (encoder("roberta"), InputSpec::Tokens { vocab_size: 50, max_length: 12, pad_id: 1 }),
        (encoder("distilbert"), text.clone()),
        (gpt2, text),
        (vit, image(3, 16)),
        (json!({"kind": "convnext", "preset": "convnext_atto", "drop_path_rate": 0.3}), image(3, 32)),
        (tabular, table),
    ]
}

fn input(spec: &InputSpec) -> Input {
    let device = device();
    let ints = |n: usize, below: usize| (0..n).map(|i| ((i * 7 + 3) % below) as i64).collect::<Vec<_>>();
    match spec {
        InputSpec::Image { channels, height, width } => pixels([4, *channels, *height, *width], 1.0, &device),
        InputSpec::Tokens { vocab_size, .. } => {
            let mask: Vec<bool> = (0..40).map(|i| i % 10 < 10 - i / 10).collect();
            let ids: Vec<i64> = ints(40, vocab_size - 2).into_iter().map(|id| id + 2).collect();
            Input::Tokens(Tokens {
                ids: Tensor::from_data(TensorData::new(ids, [4, 10]), &device),
                mask: Tensor::from_data(TensorData::new(mask, [4, 10]), &device),
                types: Tensor::<2, Int>::zeros([4, 10], &device),
            })
        }
        InputSpec::Table { features, .. } => Input::Table(Table {
            numbers: Some(Tensor::from_data(wave(5, &[4, *features], 1.0), &device)),
            categories: Some(Tensor::from_data(TensorData::new(ints(8, 3), [4, 2]), &device)),
        }),
    }
}

/// Loss and gradients of a pass in bytes, how many layers answered, and the operations that were counted.
fn pass(
    net: &dyn Net,
    spec: &InputSpec,
    on: bool,
    half: Precision,
) -> (Vec<(String, Vec<u8>)>, usize, meter::Cost) {
    let ((found, answers), cost) = meter::measure(tables_train(net), || layers(net, spec, on, half));
    (found, answers, cost)
}

fn layers(net: &dyn Net, spec: &InputSpec, on: bool, half: Precision) -> (Vec<(String, Vec<u8>)>, usize) {
    random::seed(11, &device());
    let (found, answers) = meter::answers(|| {
        let output = precision::within(half, || checkpoint::within(on, || net.apply(input(spec)).unwrap()));
        let loss = match output {
            Output::Logits(logits) => logits.square().mean(),
            Output::TokenLogits(logits) => logits.square().mean(),
        };
        let value = loss.clone().into_data().as_bytes().to_vec();
        let gradients = net.gradients(loss);
        let mut found = vec![("loss".to_string(), value)];
        found.extend(gradients.0.iter().map(|(name, g)| (name.clone(), g.to_data().as_bytes().to_vec())));
        found
    });
    (found, answers.len())
}

fn same(what: &str, net: &dyn Net, spec: &InputSpec, half: Precision) {
    let (whole, once, cost) = pass(net, spec, false, half);
    let (blocks, twice, less) = pass(net, spec, true, half);
    // The second run of a block is no operation of the model's. In a block of which only the end trains, the count takes
    // the gradient of an input for wanted that is not.
    assert_eq!(cost.forward_flops, less.forward_flops, "{what}");
    let more = less.backward_flops.abs_diff(cost.backward_flops);
    let allowed = if what.ends_with("half frozen") { cost.backward_flops / 100 } else { 0 };
    assert!(more <= allowed, "{what}: backward {} and {}", cost.backward_flops, less.backward_flops);
    assert!(cost.largest_block_bytes == 0 && less.largest_block_bytes > 0, "{what}");
    assert!(whole.len() > 1 && whole.len() == blocks.len(), "{what}: {} {}", whole.len(), blocks.len());
    for (a, b) in whole.iter().zip(&blocks) {
        assert_eq!(a, b, "{what}: {}", a.0);
    }
    // All layers but those before and after the blocks, and those of blocks that nothing trains in or before.
    let most = if what.ends_with("half frozen") { once / 4 } else { once / 2 };
    assert!(twice > once + most, "{what}: {once} layers answered, then {twice}");
    assert_ne!(pass(net, spec, true, half).0[0].1, [0; 4], "{what}: a loss of zero shows nothing");
}

#[test]
fn blocks_that_are_run_again_change_no_bit() {
    let kinds: Vec<Value> = cases().iter().map(|(config, _)| config["kind"].clone()).collect();
    assert_eq!(kinds.len(), with_blocks().len());
    assert!(with_blocks().iter().all(|kind| kinds.contains(&json!(kind))), "a family without a case here");
    for (config_json, spec) in cases() {
        let kind = config_json["kind"].as_str().unwrap().to_string();
        let labels = classes(3);
        let task = TaskKind::Classification;
        let mut model = build(&config(config_json), &spec, &labels, task, &device(), 1).unwrap();
        // Values that are not zero where a net begins with zeros, such as layer scale.
        assert!(model.net.load_state(&weights(model.net.as_ref())).is_exact());
        same(&kind, &*model.net, &spec, Precision::F32);
        let counted = |on| pass(&*model.net, &spec, on, Precision::F32).2;
        let (whole, blocks) = (counted(false), counted(true));
        assert!(blocks.activation_bytes + blocks.largest_block_bytes < whole.activation_bytes, "{kind}");
        same(&format!("{kind} in bf16"), &*model.net, &spec, Precision::Bf16);
        let family = FAMILIES.iter().find(|family| family.name() == kind).unwrap();
        let head = family.head(&model.card).unwrap();
        let parameters = model.net.parameters();
        let n = parameters.len();
        let late: Vec<String> = parameters[n / 2..].iter().map(|p| p.name.clone()).collect();
        model.net.set_trainable(&|name| late.iter().any(|own| own == name) || name.starts_with(head));
        same(&format!("{kind}, half frozen"), &*model.net, &spec, Precision::F32);
        if model.net.adaptable().is_empty() {
            continue;
        }
        let lora: LoraConfig = serde_json::from_value(json!({"rank": 2, "dropout": 0.2})).unwrap();
        attach(&mut model, &lora, 1).unwrap();
        same(&format!("{kind} with adapters"), &*model.net, &spec, Precision::F32);
    }
}

#[test]
fn blocks_draw_dropout_and_leave_the_stream_where_it_would_be() {
    let (config_json, spec) = cases().remove(0);
    let labels = classes(3);
    let task = TaskKind::Classification;
    let model = build(&config(config_json), &spec, &labels, task, &device(), 1).unwrap();
    let two = |on: bool| {
        random::seed(3, &device());
        let once = || {
            let Output::Logits(y) = model.net.apply(input(&spec)).unwrap() else { panic!("no rows") };
            let bytes = y.to_data().as_bytes().to_vec();
            drop(model.net.gradients(y.square().mean()));
            bytes
        };
        checkpoint::within(on, || (once(), once()))
    };
    let (first, second) = two(true);
    assert_ne!(first, second, "no dropout");
    assert_eq!((first, second), two(false));
}

#[test]
fn without_a_graph_blocks_are_run_once_and_where_no_backward_pass_comes_nothing_stays() {
    let (config_json, spec) = cases().remove(4);
    let labels = classes(3);
    let task = TaskKind::Classification;
    let model = build(&config(config_json), &spec, &labels, task, &device(), 1).unwrap();
    let valid = model.net.valid();
    let x = pixels([4, 3, 16, 16], 1.0, &Device::flex());
    let bytes = |on| checkpoint::within(on, || logits(&*valid, x.clone())).into_data().as_bytes().to_vec();
    assert_eq!(bytes(true), bytes(false));
    // A loss that is thrown away, as that of a step that is not finite, and the next one.
    random::seed(1, &device());
    drop(checkpoint::within(true, || model.net.apply(input(&spec)).unwrap()));
    same("after a pass thrown away", &*model.net, &spec, Precision::F32);
}

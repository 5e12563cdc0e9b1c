//! Images and folders that do not fit are refused with their numbers.

use super::*;

fn refused(model: Value, side: usize, channels: usize) -> String {
    match build(
        &config(model.clone()),
        &image(channels, side),
        &classes(3),
        TaskKind::Classification,
        &Device::flex(),
        1,
    ) {
        Ok(_) => panic!("accepted: {model}"),
        Err(error) => format!("{error}; {}", error.hint().unwrap()),
    }
}

fn says(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

#[test]
fn sizes_that_disagree_are_refused_with_their_numbers() {
    let vit = json!({"kind": "vit", "preset": "vit_tiny_patch16_224"});
    says(&refused(vit, 50, 3), &["50x50", "16x16", "64x64", "patch_size"]);
    let heads = json!({"kind": "vit", "preset": "vit_tiny_patch16_224", "num_attention_heads": 5});
    says(&refused(heads, 32, 3), &["192", "5"]);
    for kind in ["vit", "convnext", "mobilenet_v2", "resnet"] {
        says(&refused(json!({"kind": kind}), 32, 3), &[kind, "preset", "pretrained"]);
        let preset = json!({"vit": "vit_tiny_patch16_224", "convnext": "convnext_atto", "mobilenet_v2": "mobilenetv2_035",
            "resnet": "resnet18"})[kind]
            .clone();
        let text = build(
            &config(json!({"kind": kind, "preset": preset})),
            &InputSpec::Tokens { vocab_size: 9, max_length: 9, pad_id: 0 },
            &classes(3),
            TaskKind::Classification,
            &Device::flex(),
            1,
        );
        says(&text.err().unwrap().to_string(), &[kind, "text"]);
    }
    says(&refused(json!({"kind": "convnext", "preset": "convnext_atto"}), 16, 3), &["32", "16x16"]);
}

#[test]
fn a_brought_folder_must_be_of_the_kind_and_fit_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let from = |kind: &str| json!({"kind": kind, "pretrained": folder.path()});
    write_folder(folder.path(), &reference("timm_deit_distilled"));
    says(&refused(from("resnet"), 24, 3), &["deit_tiny_distilled_patch16_224", "resnet"]);
    says(&refused(from("vit"), 24, 1), &["3 channels", "has 1"]);
    says(&refused(from("vit"), 20, 3), &["20x20", "8x8"]);
    let mut other = from("vit");
    other["hidden_size"] = json!(64);
    says(&refused(other, 24, 3), &["hidden_size = 64", "32"]);
    let mut card = reference("timm_deit_distilled")["config"].clone();
    card["model_args"]["reg_tokens"] = json!(4);
    fs::write(folder.path().join("config.json"), card.to_string()).unwrap();
    says(&refused(from("vit"), 24, 3), &["reg_tokens", "deit_tiny_distilled_patch16_224"]);
    card["architecture"] = json!("vit_giant_patch14_dinov2");
    fs::write(folder.path().join("config.json"), card.to_string()).unwrap();
    says(&refused(from("vit"), 24, 3), &["vit_giant_patch14_dinov2"]);
    assert!(
        open(folder.path(), &Device::flex()).err().unwrap().to_string().contains("vit_giant_patch14_dinov2")
    );
    write_folder(folder.path(), &reference("transformers_resnet_basic"));
    says(&refused(from("vit"), 24, 3), &["model_type is \"resnet\"", "vit"]);
}

#[test]
fn variations_that_would_compute_something_else_are_refused() {
    let changes = [
        ("transformers_vit", "hidden_act", json!("relu")),
        ("transformers_convnext", "hidden_act", json!("relu")),
        ("transformers_mobilenet_v2", "output_stride", json!(16)),
        ("transformers_mobilenet_v2", "hidden_act", json!("relu")),
        ("transformers_resnet_basic", "downsample_in_first_stage", json!(true)),
        ("transformers_resnet_basic", "layer_type", json!("deep")),
        ("transformers_resnet_basic", "depths", json!([1, 1, 1, 1, 1])),
    ];
    for (name, key, value) in changes {
        let (mut reference, folder) = (reference(name), tempfile::tempdir().unwrap());
        reference["config"][key] = value;
        write_folder(folder.path(), &reference);
        let text = open(folder.path(), &Device::flex()).err().unwrap().to_string();
        says(&text, &[key]);
    }
}

#[test]
fn positions_of_no_square_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &reference("timm_vit")); // 2x3 patches
    let text = refused(json!({"kind": "vit", "pretrained": folder.path()}), 32, 3);
    says(&text, &["7 tokens", "square"]);
}

#[test]
fn heads_for_several_labels_and_for_numbers_come_back_with_their_task() {
    let timm =
        json!({"kind": "vit", "preset": "vit_tiny_patch16_224", "hidden_size": 12, "num_hidden_layers": 1});
    let brought = tempfile::tempdir().unwrap();
    write_folder(brought.path(), &reference("transformers_vit"));
    for model in [timm, json!({"kind": "vit", "pretrained": brought.path()})] {
        for (task, labels) in [(TaskKind::MultiLabelClassification, 3), (TaskKind::Regression, 1)] {
            let input = image(3, 32);
            let model =
                build(&config(model.clone()), &input, &classes(labels), task, &Device::flex(), 1).unwrap();
            let folder = tempfile::tempdir().unwrap();
            save(folder.path(), &model.card, &model.net.state()).unwrap();
            let opened = open(folder.path(), &Device::flex()).unwrap();
            assert_eq!((opened.card.task().unwrap(), opened.card.classes()), (task, classes(labels)));
            let answer = logits(opened.net.as_ref(), pixels([2, 3, 32, 32], 1.0, &Device::flex()));
            assert_eq!(answer.dims(), [2, labels]);
        }
    }
    let tokens = build(
        &config(json!({"kind": "vit", "preset": "vit_tiny_patch16_224"})),
        &image(3, 32),
        &classes(3),
        TaskKind::TokenClassification,
        &Device::flex(),
        1,
    );
    says(&tokens.err().unwrap().to_string(), &["vit", "token_classification"]);
}

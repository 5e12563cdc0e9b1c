//! What is read from a folder and written to one beside the weights: positions of another size, the other dialect,
//! preprocessing; and folders that the references open.

use super::*;

/// The note on positions of a ViT brought in another size, and the resampled values.
#[test]
fn positions_are_resampled_as_timm_does() {
    for case in reference("positions").as_array().unwrap() {
        let (side, prefix): (usize, usize) = (of(&case["side"]), of(&case["prefix"]));
        let grid: [usize; 2] = of(&case["grid"]);
        let architecture =
            if prefix == 2 { "deit_tiny_distilled_patch16_224" } else { "vit_tiny_patch16_224" };
        let folder = tempfile::tempdir().unwrap();
        let args = json!({"img_size": 2 * side, "patch_size": 2, "embed_dim": 4, "depth": 1, "num_heads": 1});
        let card =
            json!({"architecture": architecture, "num_classes": 3, "model_args": args, "pretrained_cfg": {}});
        fs::write(folder.path().join("config.json"), card.to_string()).unwrap();
        let own = FAMILIES.iter().find(|f| f.name() == "vit").unwrap();
        let brought = Card::read(folder.path()).unwrap();
        let mut state = own.net(&brought, &Device::flex()).unwrap().state();
        state.insert("pos_embed".into(), wave(3, &[1, prefix + side * side, 4], 1.0));
        let bytes = files::to_safetensors(&state, &[]).unwrap();
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let started = config(json!({"kind": "vit", "pretrained": folder.path()}));
        let input = InputSpec::Image { channels: 3, height: 2 * grid[0], width: 2 * grid[1] };
        let model =
            build(&started, &input, &classes(3), TaskKind::Classification, &Device::flex(), 1).unwrap();
        let values: Vec<f32> = model.net.state()["pos_embed"].try_to_vec().unwrap();
        near("positions", &values, &of::<Vec<f64>>(&case["values"]), 1e-5);
        let note = format!("positions resampled from {side}x{side} to {}x{} patches", grid[0], grid[1]);
        assert!(model.notes.contains(&note), "{:?}", model.notes);
        let size = json!([2 * grid[0], 2 * grid[1]]);
        let saved = &model.card.sizes["model_args"]["img_size"];
        assert!(*saved == size || (grid[0] == grid[1] && *saved == size[0]), "{saved}");
    }
}

/// What a person who brought this folder saves after fine-tuning on her own data: other classes, other images.
fn tuned(name: &str, reference: &Value, folder: &Path) -> (Model, [usize; 3]) {
    write_folder(folder, reference);
    let [channels, height, width]: [usize; 3] = of(&reference["image"]);
    // Positions of 2x3 patches cannot be resampled.
    let (height, width) = if name == "timm_vit" { (height, width) } else { (height + 8, width + 16) };
    let input = InputSpec::Image { channels, height, width };
    let started = config(start(name, folder));
    let model = build(&started, &input, &classes(3), TaskKind::Classification, &Device::flex(), 7).unwrap();
    (model, [channels, height, width])
}

fn from_scratch() -> Vec<(&'static str, Value, [usize; 3])> {
    let vit = |preset: &str| {
        json!({"kind": "vit", "preset": preset, "patch_size": 4, "hidden_size": 48, "num_hidden_layers": 3,
            "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "drop_path_rate": 0.1})
    };
    vec![
        ("scratch_vit", vit("vit_tiny_patch16_224"), [1, 28, 28]),
        ("scratch_deit", vit("deit_tiny_distilled_patch16_224"), [3, 16, 32]),
        (
            "scratch_convnext",
            json!({"kind": "convnext", "preset": "convnext_atto", "drop_path_rate": 0.1}),
            [1, 32, 32],
        ),
        (
            "scratch_mobilenet_v2",
            json!({"kind": "mobilenet_v2", "preset": "mobilenetv2_050", "classifier_dropout": 0.2}),
            [3, 64, 64],
        ),
        ("scratch_resnet", json!({"kind": "resnet", "preset": "resnet18"}), [1, 64, 64]),
    ]
}

/// Saves `model` and what it answers to computed pixels.
fn write_peer(folder: &Path, model: &Model, image: [usize; 3]) {
    save(folder, &model.card, &model.net.state()).unwrap();
    let [c, h, w] = image;
    let answer = flat(logits(model.net.as_ref(), pixels([2, c, h, w], 1.0, &Device::flex())));
    assert!(answer.iter().all(|v| v.is_finite()));
    let opened = open(folder, &Device::flex()).unwrap();
    assert!(opened.report.unwrap().is_exact());
    assert_eq!(flat(logits(opened.net.as_ref(), pixels([2, c, h, w], 1.0, &Device::flex()))), answer);
    fs::write(folder.join("peer.json"), json!({"image": image, "logits": answer}).to_string()).unwrap();
}

/// Writes folders for tests/peers/peers_open_vision.py when KILN_PEER_OUT names a place.
#[test]
fn folders_for_the_peers() {
    let temporary = tempfile::tempdir().unwrap();
    let out = std::env::var_os("KILN_PEER_OUT")
        .map_or(temporary.path().into(), std::path::PathBuf::from)
        .join("vision");
    // The deeper one's random weights make two right programs differ by up to 1.2e-4 in single precision.
    for name in FOLDERS.into_iter().filter(|name| !name.contains("deeper")) {
        let (reference, folder) = (reference(name), tempfile::tempdir().unwrap());
        let (model, image) = tuned(name, &reference, folder.path());
        write_peer(&out.join(name), &model, image);
    }
    for (name, model, image) in from_scratch() {
        let [channels, height, width] = image;
        let input = InputSpec::Image { channels, height, width };
        let model =
            build(&config(model), &input, &classes(4), TaskKind::Classification, &Device::flex(), 3).unwrap();
        write_peer(&out.join(name), &model, image);
    }
}

#[test]
fn weights_in_the_other_dialect_are_joined_or_split() {
    let (timm, transformers) = (reference("timm_vit"), reference("transformers_vit"));
    let expected: Vec<f64> = of(&transformers["eval"]);
    let answer =
        |model: &Model| flat(logits(model.net.as_ref(), pixels_of(&transformers, 0, &Device::flex())));
    // timm's config.json, transformers' weights: three projections become one.
    let joined = tempfile::tempdir().unwrap();
    write_folder(joined.path(), &transformers);
    let mut card = timm["config"].clone();
    card["model_args"]["img_size"] = json!(24);
    fs::write(joined.path().join("config.json"), card.to_string()).unwrap();
    let model = open(joined.path(), &Device::flex()).unwrap();
    assert!(model.report.as_ref().unwrap().is_exact());
    assert!(model.net.parameters().iter().any(|p| p.name == "blocks.1.attn.qkv.bias"));
    near("joined", &answer(&model), &expected, 1e-4);
    // transformers' config.json, the weights that timm would have: one becomes three.
    let split = tempfile::tempdir().unwrap();
    save(split.path(), &model.card, &model.net.state()).unwrap();
    assert!(files::read(split.path()).unwrap().contains_key("blocks.1.attn.qkv.bias"));
    fs::write(split.path().join("config.json"), transformers["config"].to_string()).unwrap();
    let model = open(split.path(), &Device::flex()).unwrap();
    assert!(model.report.as_ref().unwrap().is_exact());
    assert!(model.net.parameters().iter().any(|p| p.name == "blocks.1.attn.key.bias"));
    near("split", &answer(&model), &expected, 1e-4);
    save(split.path(), &model.card, &model.net.state()).unwrap();
    assert_eq!(files::read(split.path()).unwrap(), tensors(&transformers));
}

/// Writes folders for tests/peers/peft_opens_vision.py when KILN_PEER_OUT names a place.
#[test]
fn adapters_for_the_peers() {
    let temporary = tempfile::tempdir().unwrap();
    let out = std::env::var_os("KILN_PEER_OUT").map_or(temporary.path().into(), std::path::PathBuf::from);
    let cases = [
        ("timm_vit", json!(["qkv", "mlp.fc1"])),
        ("timm_deit_distilled", json!(["qkv"])),
        ("timm_convnext_atto", json!(["fc1", "fc2"])),
        ("transformers_vit", json!(["query", "value"])),
        ("transformers_deit_teacher", json!(["attn.proj", "fc2"])),
        ("transformers_convnext", json!(["fc1"])),
    ];
    for (name, targets) in cases {
        let (reference, folder) = (reference(name), out.join("vision_adapters").join(name));
        fs::create_dir_all(folder.join("base")).unwrap();
        let device = Device::flex().autodiff();
        let mut model = built(name, &reference, &folder.join("base"), &device);
        save(&folder.join("base"), &model.card, &model.net.state()).unwrap();
        let lora: LoraConfig = serde_json::from_value(json!({"rank": 2, "target_modules": targets})).unwrap();
        let lora = attach(&mut model, &lora, 5).unwrap();
        assert_eq!(
            lora.saved,
            if name.contains("distilled") || name.contains("teacher") {
                vec!["head", "head_dist"]
            } else if name.contains("convnext") {
                vec!["head.fc"]
            } else {
                vec!["head"]
            }
        );
        // Trained factors: those of B start at zero, and would change nothing.
        let mut state = model.net.state();
        for (n, (tensor, data)) in state.iter_mut().enumerate().filter(|(_, (name, _))| lora.trains(name)) {
            let shape = data.shape().to_vec();
            *data = if tensor.ends_with("lora_B.weight") { wave(n, &shape, 0.5) } else { data.clone() };
        }
        assert!(model.net.load_state(&state).is_exact());
        kiln_models::peft::save(&folder.join("adapter"), &lora, &state, &model.card, None).unwrap();
        let answer = flat(logits(model.net.as_ref(), pixels_of(&reference, 0, &device)));
        let mut again = built(name, &reference, &folder.join("base"), &device);
        save(&folder.join("base"), &again.card, &again.net.state()).unwrap();
        let before = flat(logits(again.net.as_ref(), pixels_of(&reference, 0, &device)));
        assert_ne!(before, answer, "{name}");
        let from = serde_json::from_value(json!({"pretrained": folder.join("adapter")})).unwrap();
        assert_eq!(attach(&mut again, &from, 9).unwrap().layers, lora.layers, "{name}");
        assert_eq!(flat(logits(again.net.as_ref(), pixels_of(&reference, 0, &device))), answer, "{name}");
        let peer = json!({"image": reference["image"], "batch": BATCH, "logits": answer});
        fs::write(folder.join("peer.json"), peer.to_string()).unwrap();
    }
}

#[test]
fn a_brought_folder_says_how_its_images_were_prepared() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(brought_preprocessing(folder.path()), None);
    write_folder(folder.path(), &reference("timm_vit"));
    let timm = brought_preprocessing(folder.path()).unwrap();
    assert_eq!((timm.mean, timm.std), (Some(vec![0.5; 3]), Some(vec![0.5; 3])));
    assert_eq!((timm.size, timm.interpolation.as_deref()), (Some([16, 24]), Some("bicubic")));
    assert_eq!(timm.crop_fraction, Some(0.9));
    let keys = json!({"do_normalize": true, "image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 2.0, 3.0], "resample": 2,
        "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": true});
    fs::write(folder.path().join("preprocessor_config.json"), keys.to_string()).unwrap();
    let other = brought_preprocessing(folder.path()).unwrap();
    assert_eq!((other.mean, other.size), (Some(vec![0.1, 0.2, 0.3]), Some([224, 224])));
    assert_eq!((other.interpolation.as_deref(), other.crop_fraction), (Some("bilinear"), Some(0.875)));
}

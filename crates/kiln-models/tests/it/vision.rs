//! The families for images against timm, transformers and torchvision: folders in either dialect are read, answer, learn
//! and are written as the reference has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln_core::{Input, InputSpec, Net, StateDict, TaskKind};
use kiln_models::dialect::Dialect;
use kiln_models::lora::{LoraConfig, attach};
use kiln_models::{Card, FAMILIES, Model, brought_preprocessing, build, open, save, weights as files};
use kiln_nn::cross_entropy;
use serde_json::{Value, json};

use crate::common::*;

const FOLDERS: [&str; 16] = [
    "timm_vit",
    "timm_deit_distilled",
    "timm_convnext",
    "timm_convnext_atto",
    "timm_mobilenetv2",
    "timm_mobilenetv2_deeper",
    "timm_resnet18",
    "transformers_vit",
    "transformers_deit",
    "transformers_deit_teacher",
    "transformers_convnext",
    "transformers_mobilenet_v2",
    "transformers_mobilenet_v2_even",
    "transformers_resnet_basic",
    "transformers_resnet_bottleneck",
    "torchvision_mobilenet_v2",
];

const CLASSES: usize = 5;
const BATCH: usize = 4;
const STEPS: u64 = 20;

fn reference(name: &str) -> Value {
    fixture(&format!("vision/{name}"))
}

fn of<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// The reference's tensors under its own names, as make_vision.py computes them.
fn tensors(reference: &Value) -> StateDict {
    let shapes: BTreeMap<String, Vec<usize>> = of(&reference["tensors"]);
    shapes.into_iter().enumerate().map(|(n, (name, shape))| (name.clone(), value(n, &name, &shape))).collect()
}

/// The folder that the reference saved.
fn write_folder(folder: &Path, reference: &Value) {
    let bytes = files::to_safetensors(&tensors(reference), &[("format", "pt")]).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    if !reference["config"].is_null() {
        fs::write(folder.join("config.json"), reference["config"].to_string()).unwrap();
    }
}

fn spec(reference: &Value) -> InputSpec {
    let [channels, height, width]: [usize; 3] = of(&reference["image"]);
    InputSpec::Image { channels, height, width }
}

fn pixels_of(reference: &Value, step: u64, device: &Device) -> Input {
    let [c, h, w]: [usize; 3] = of(&reference["image"]);
    Input::Image(Tensor::from_data(wave(1000 + step as usize, &[BATCH, c, h, w], 1.0), device))
}

fn truth(step: u64, device: &Device) -> Tensor<1, Int> {
    let classes: Vec<i64> = (0..BATCH).map(|b| ((step as usize + 2 * b) % CLASSES) as i64).collect();
    Tensor::from_data(TensorData::new(classes, [BATCH]), device)
}

fn dialect(card: &Card) -> Dialect {
    let family = FAMILIES.iter().find(|f| f.reads(card)).unwrap();
    family.dialects(card).unwrap().remove(0)
}

/// The words of the config's `[model]` that start from `folder`.
fn start(name: &str, folder: &Path) -> Value {
    let kind =
        ["resnet", "convnext", "mobilenet", "vit", "deit"].into_iter().find(|k| name.contains(k)).unwrap();
    let kind = match kind {
        "mobilenet" => "mobilenet_v2",
        "deit" => "vit",
        other => other,
    };
    match name.starts_with("torchvision") {
        true => {
            json!({"kind": kind, "pretrained": folder.join("model.safetensors"), "preset": "mobilenetv2_100"})
        }
        false => json!({"kind": kind, "pretrained": folder}),
    }
}

fn built(name: &str, reference: &Value, folder: &Path, device: &Device) -> Model {
    write_folder(folder, reference);
    let labels: Vec<String> = (0..CLASSES).map(|i| format!("class {i}")).collect();
    let started = config(start(name, folder));
    build(&started, &spec(reference), &labels, TaskKind::Classification, device, 1).unwrap()
}

/// Values within `tolerance` of the largest expected one.
fn near(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(*g) - e).abs() / largest;
        assert!(off < tolerance, "{what}[{i}]: {g}, the reference has {e} ({off:.1e} of the largest)");
    }
}

/// As `seen` in make_vision.py: norm, and product with a wave.
fn seen(tensor: &[f32], shape: &[usize]) -> [f64; 2] {
    let other: Vec<f32> = wave(7, shape, 1.0).try_to_vec().unwrap();
    let square: f64 = tensor.iter().map(|v| f64::from(*v).powi(2)).sum();
    [square.sqrt(), tensor.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()]
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

#[test]
fn every_folder_answers_as_its_reference() {
    for name in FOLDERS {
        let (reference, folder) = (reference(name), tempfile::tempdir().unwrap());
        let device = Device::flex();
        let model = built(name, &reference, folder.path(), &device);
        assert!(model.report.as_ref().unwrap().missing.is_empty(), "{name}");
        assert_eq!(model.card.classes().len(), CLASSES);
        let evaluated = flat(logits(model.net.as_ref(), pixels_of(&reference, 0, &device)));
        near(name, &evaluated, &of::<Vec<f64>>(&reference["eval"]), 1e-4);
        if !name.starts_with("torchvision") {
            let opened = open(folder.path(), &device).unwrap();
            assert!(opened.report.unwrap().is_exact(), "{name}");
            let again = flat(logits(opened.net.as_ref(), pixels_of(&reference, 0, &device)));
            assert_eq!(again, evaluated, "{name}: opened as it is");
        }
    }
}

#[test]
fn what_is_saved_has_the_names_shapes_and_values_that_were_brought() {
    for name in FOLDERS.into_iter().filter(|name| !name.starts_with("torchvision")) {
        let (reference, folder) = (reference(name), tempfile::tempdir().unwrap());
        let model = built(name, &reference, folder.path(), &Device::flex());
        let out = tempfile::tempdir().unwrap();
        save(out.path(), &model.card, &model.net.state()).unwrap();
        let mut written = files::read(out.path()).unwrap();
        written.retain(|tensor, _| !tensor.ends_with("num_batches_tracked"));
        assert_eq!(written, tensors(&reference), "{name}");
        let saved: Value =
            serde_json::from_str(&fs::read_to_string(out.path().join("config.json")).unwrap()).unwrap();
        let brought = reference["config"].as_object().unwrap();
        for key in brought.keys() {
            // What the data decides, and `transformers`' words for opening timm's folders.
            let own =
                ["id2label", "label2id", "label_names", "pretrained_cfg", "architectures", "model_type"];
            let data = ["image_size", "num_classes", "model_args", "dtype"];
            if !own.contains(&key.as_str()) && !data.contains(&key.as_str()) {
                assert_eq!(saved[key], brought[key], "{name}: {key}");
            }
        }
        for key in ["architectures", "model_type", "architecture"] {
            if !brought.get(key).unwrap_or(&Value::Null).is_null() {
                assert_eq!(saved[key], brought[key], "{name}: {key}");
            }
        }
        let opened = open(out.path(), &Device::flex()).unwrap();
        assert_eq!(opened.net.state(), model.net.state(), "{name}");
        assert_eq!(opened.card, model.card, "{name}");
    }
}

#[test]
fn names_go_out_and_come_back_for_every_tensor() {
    for name in FOLDERS {
        let (reference, folder) = (reference(name), tempfile::tempdir().unwrap());
        let model = built(name, &reference, folder.path(), &Device::flex());
        let family = FAMILIES.iter().find(|f| f.reads(&model.card)).unwrap();
        for dialect in family.dialects(&model.card).unwrap() {
            for own in model.net.parameters() {
                assert_eq!(dialect.ours(&dialect.theirs(&own.name)), own.name, "{name}");
            }
        }
    }
}

/// PyTorch's AdamW on one parameter.
fn adamw(
    value: Tensor<1>,
    gradient: Tensor<1>,
    moments: &mut Option<(Tensor<1>, Tensor<1>)>,
    step: i32,
    rate: f64,
) -> Tensor<1> {
    let (beta1, beta2) = (0.9f64, 0.999f64);
    let (m, v) = moments.take().unwrap_or((gradient.zeros_like(), gradient.zeros_like()));
    let m = m * beta1 + gradient.clone() * (1.0 - beta1);
    let v = v * beta2 + gradient.clone() * gradient * (1.0 - beta2);
    *moments = Some((m.clone(), v.clone()));
    let root = (v / (1.0 - beta2.powi(step))).sqrt() + 1e-8;
    value * (1.0 - rate * 0.01) - m / (1.0 - beta1.powi(step)) / root * rate
}

/// Training logits, loss and gradients of the first step, the losses of twenty, and the running statistics after them.
fn learns(name: &str) {
    learns_within(name, 1e-3);
}

/// As [`learns`], with gradients within `bound` of the largest.
fn learns_within(name: &str, bound: f64) {
    let (reference, folder) = (reference(name), tempfile::tempdir().unwrap());
    let device = Device::flex().autodiff();
    let model = built(name, &reference, folder.path(), &device);
    let (mut net, dialect) = (model.net, dialect(&model.card));
    let theirs = |own: &str| dialect.theirs(own);
    let expected: Vec<f64> = of(&reference["losses"]);
    let rate: f64 = of(&reference["rate"]);
    let (mut moments, mut worst) = (BTreeMap::new(), 0f64);
    for step in 0..STEPS {
        let answer = logits(net.as_ref(), pixels_of(&reference, step, &device));
        if step == 0 {
            near(name, &flat(answer.clone()), &of::<Vec<f64>>(&reference["train"]), 1e-4);
        }
        let loss = cross_entropy(answer, truth(step, &device), 0.0);
        let got = f64::from(loss.clone().into_scalar::<f32>());
        let (off, allowed) = (got / expected[step as usize] - 1.0, if step == 0 { 1e-5 } else { 1e-3 });
        assert!(off.abs() < allowed, "{name}: loss of step {step} is {got}, {off:.1e} from the reference's");
        worst = worst.max(off.abs());
        let gradients = net.gradients(loss);
        if step == 0 {
            gradients_agree(name, net.as_ref(), &gradients.0, bound, &theirs, &reference["gradients"]);
        }
        net = net.update(&mut |p, value| {
            let Some(gradient) = gradients.0.get(&p.name) else { return value };
            adamw(value, gradient.clone(), moments.entry(p.name.clone()).or_default(), step as i32 + 1, rate)
        });
    }
    eprintln!("{name}: losses within {worst:.1e}");
    statistics_agree(name, &net.state(), &theirs, &reference["statistics"]);
}

fn gradients_agree(
    name: &str,
    net: &dyn Net,
    gradients: &BTreeMap<String, Tensor<1>>,
    bound: f64,
    theirs: &dyn Fn(&str) -> String,
    expected: &Value,
) {
    let shapes: BTreeMap<String, Vec<usize>> =
        net.parameters().into_iter().map(|p| (p.name, p.shape)).collect();
    let expected: BTreeMap<String, [f64; 2]> = of(expected);
    assert_eq!(gradients.len(), expected.len(), "{name}");
    let largest = expected.values().map(|[norm, _]| *norm).fold(0.0, f64::max);
    let mut worst = 0f64;
    for (own, gradient) in gradients {
        let [norm, product] = expected[&theirs(own)];
        let got = seen(&flat(gradient.clone()), &shapes[own]);
        let off = ((got[0] - norm).abs() / largest).max((got[1] - product).abs() / largest);
        worst = worst.max(off);
        assert!(
            off < bound,
            "{name}: gradient of {own} is {got:?}, the reference's is {:?} ({off:.1e})",
            [norm, product]
        );
    }
    eprintln!("{name}: gradients within {worst:.1e} of the largest");
}

fn statistics_agree(name: &str, state: &StateDict, theirs: &dyn Fn(&str) -> String, expected: &Value) {
    let expected: BTreeMap<String, [f64; 2]> = of(expected);
    let own: Vec<&String> = state.keys().filter(|name| name.contains("running")).collect();
    assert_eq!(own.len(), expected.len(), "{name}");
    for statistic in own {
        let [norm, product] = expected[&theirs(statistic)];
        let values: Vec<f32> = state[statistic].try_to_vec().unwrap();
        let got = seen(&values, &state[statistic].shape().to_vec());
        let off = ((got[0] - norm).abs() / norm).max((got[1] - product).abs() / norm);
        // A mean is small beside the spread that it comes from.
        assert!(
            off < 5e-3,
            "{name}: {statistic} is {got:?}, the reference's is {:?} ({off:.1e})",
            [norm, product]
        );
    }
}

#[test]
fn vision_transformers_learn_as_their_references() {
    for name in FOLDERS.into_iter().filter(|n| n.contains("vit") || n.contains("deit")) {
        learns(name);
    }
}

#[test]
fn convnexts_learn_as_their_references() {
    for name in FOLDERS.into_iter().filter(|n| n.contains("convnext")) {
        learns(name);
    }
}

#[test]
fn mobilenets_learn_as_their_references() {
    for name in FOLDERS.into_iter().filter(|n| n.contains("mobilenet") && !reference(n)["losses"].is_null()) {
        learns(name);
    }
}

#[test]
fn residual_nets_learn_as_their_references() {
    for name in FOLDERS.into_iter().filter(|n| n.contains("resnet")) {
        kiln_nn::ops::plainly(|| learns(name));
        // timm_resnet18 has a value at the kink of a ReLU: noise of 1e-7 of the largest value, added to the plain
        // form's convolutions, moves its gradients by 1.5e-3 of the largest or more; another order of sums, by 4.3e-3.
        learns_within(name, 1e-2);
    }
}

#[test]
fn presets_have_timms_parameter_counts() {
    let counts: BTreeMap<String, (usize, usize)> = of(&reference("parameters"));
    assert_eq!(counts.len(), 38);
    for (preset, (side, expected)) in counts {
        let kind = match preset.as_str() {
            p if p.starts_with("mobilenetv2") => "mobilenet_v2",
            p if p.starts_with("convnext") => "convnext",
            p if p.starts_with("resnet") => "resnet",
            _ => "vit",
        };
        let (family, config) = (
            FAMILIES.iter().find(|f| f.name() == kind).unwrap(),
            config(json!({"kind": kind, "preset": preset})),
        );
        let card = family.card(&config, &image(3, side), &classes(1000), TaskKind::Classification).unwrap();
        let net = family.net(&card, &Device::flex()).unwrap();
        let count: usize = net
            .parameters()
            .iter()
            .filter(|p| !p.name.contains("running_"))
            .map(|p| p.shape.iter().product::<usize>())
            .sum();
        assert_eq!(count, expected, "{preset}");
    }
}

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

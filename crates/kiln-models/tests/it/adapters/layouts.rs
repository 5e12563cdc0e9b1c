//! Adapters of layers that are not plain linear ones: weights stored transposed, those that train whole, decoders.

use super::*;

/// GPT-2's layer: the weight is `[IN, OUT]`. A slot knows it by the layer's name.
#[derive(Module, Debug)]
struct Conv1D {
    weight: Param<Tensor<2>>,
    lora: Slot,
}

#[derive(Module, Debug)]
struct Decoder {
    c_attn: Conv1D,
}

impl Forward for Decoder {
    type In = Tensor<2>;
    type Out = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let kept = self.c_attn.lora.keep(&x);
        self.c_attn.lora.add(x.matmul(self.c_attn.weight.val()), kept)
    }
}

#[test]
fn a_transposed_weight_is_adapted_and_merged_in_its_own_layout() {
    let device = Device::flex();
    let weight = Tensor::<2>::from_data(wave(1, &[6, 4], 1.0), &device);
    let layer = Conv1D { weight: Param::from_tensor(weight), lora: Slot::default() };
    let mut net: Box<dyn Net> = Box::new(Decoder { c_attn: layer });
    let layers = net.adaptable();
    assert_eq!((layers[0].input, layers[0].output, layers[0].fan_in_fan_out), (6, 4, true));
    let lora = Lora { rank: 2, alpha: 3.0, dropout: 0.0, use_rslora: false, layers, saved: Vec::new() };
    let scale = lora.scale();
    net.adapt(&mut |_| {
        Some(NewAdapter { a: wave(2, &[2, 6], 1.0), b: wave(3, &[4, 2], 1.0), scale, dropout: 0.0 })
    });
    let ask = |net: &dyn Net| {
        let rows = Some(Tensor::from_data(wave(4, &[3, 6], 1.0), &Device::flex()));
        let table = kiln_core::Table { numbers: rows, categories: None };
        logits(net, kiln_core::Input::Table(table)).into_data().try_to_vec::<f32>().unwrap()
    };
    let adapted = ask(&*net);
    let mut merged = net.state();
    lora.merge(&mut merged).unwrap();
    assert_eq!(merged.keys().collect::<Vec<_>>(), ["c_attn.weight"]);
    let weight = Tensor::<2>::from_data(merged["c_attn.weight"].clone(), &device);
    let plain = Decoder { c_attn: Conv1D { weight: Param::from_tensor(weight), lora: Slot::default() } };
    assert!(largest(&ask(&plain), &adapted) < 1e-5);
    let unadapted = Tensor::<2>::from_data(wave(1, &[6, 4], 1.0), &device);
    let before = Decoder { c_attn: Conv1D { weight: Param::from_tensor(unadapted), lora: Slot::default() } };
    assert!(largest(&ask(&before), &adapted) > 0.1);
}

#[test]
fn dropout_keeps_the_expected_answer_and_drops_its_share() {
    let device = Device::flex().autodiff();
    let weight = Tensor::<2>::zeros([1, 1], &device);
    let layer = Conv1D { weight: Param::from_tensor(weight), lora: Slot::default() };
    let mut net: Box<dyn Net> = Box::new(Decoder { c_attn: layer });
    let one = || burn::tensor::TensorData::new(vec![1.0f32], [1, 1]);
    net.adapt(&mut |_| Some(NewAdapter { a: one(), b: one(), scale: 2.0, dropout: 0.25 }));
    let rows = 40_000;
    let numbers = Some(Tensor::ones([rows, 1], &device));
    let table = kiln_core::Input::Table(kiln_core::Table { numbers, categories: None });
    let got: Vec<f32> = logits(&*net, table).into_data().try_to_vec().unwrap();
    let kept = got.iter().filter(|v| **v != 0.0).count() as f64 / rows as f64;
    assert!((kept - 0.75).abs() < 0.012, "{kept} kept"); // five standard deviations
    assert!(got.iter().all(|v| *v == 0.0 || (v - 2.0 / 0.75).abs() < 1e-6));
}

#[test]
fn what_a_pretrained_file_lacks_trains_whole() {
    let folder = tempfile::tempdir().unwrap();
    let model = base(3);
    let started = |without: &[&str], config_of: Value| {
        let mut state = model.net.state();
        state.retain(|name, _| !without.iter().any(|start| name.starts_with(start)));
        save(folder.path(), &model.card, &state).unwrap();
        let (_, input) = tiny_bert();
        let from = config(json!({"kind": "bert", "pretrained": folder.path()}));
        let task = TaskKind::Classification;
        let mut new = build(&from, &input, &classes(3), task, &Device::flex().autodiff(), 1).unwrap();
        let saved = attach(&mut new, &lora_config(config_of), 1).unwrap().saved;
        (saved, new.notes.join("\n"))
    };
    assert_eq!(started(&[], json!({})).0, ["classifier"]);
    assert_eq!(started(&["classifier"], json!({})).0, ["classifier"]);
    assert_eq!(started(&["classifier", "bert.pooler"], json!({})).0, ["bert.pooler.dense", "classifier"]);
    let (saved, notes) = started(&["classifier", "bert.pooler"], json!({"modules_to_save": ["classifier"]}));
    assert_eq!(saved, ["classifier"]);
    assert!(notes.contains("new and frozen, by `lora.modules_to_save`: bert.pooler.dense."), "{notes}");
}

/// The tiny GPT-2 of make_lora.py.
fn gpt2() -> Model {
    let sizes =
        json!({"kind": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 16, "dropout": 0.0});
    let input = kiln_core::InputSpec::Tokens { vocab_size: 40, max_length: 16, pad_id: 0 };
    let (task, device) = (TaskKind::CausalLanguageModeling, Device::flex().autodiff());
    let mut model = build(&config(sizes), &input, &[], task, &device, 1).unwrap();
    let computed = weights(&*model.net);
    assert!(model.net.load_state(&computed).is_exact());
    model
}

fn next_tokens(net: &dyn Net) -> Vec<f32> {
    let data = json!({"ids": fixture("lora")["ids"], "mask": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], "types": null});
    match net.valid().apply(tokens(&data, &Device::flex())).unwrap() {
        kiln_core::Output::TokenLogits(logits) => logits.into_data().try_to_vec().unwrap(),
        kiln_core::Output::Logits(_) => panic!("one answer a sample"),
    }
}

/// Writes folders for tests/peers/peft_opens_gpt2.py when KILN_PEER_OUT names a place.
#[test]
fn adapters_of_a_decoder_are_those_of_peft() {
    let expected: Vec<f64> = serde_json::from_value(fixture("lora")["lora-gpt2"].clone()).unwrap();
    let mut model = gpt2();
    let lora = attach(&mut model, &brought("lora-gpt2"), 7).unwrap();
    assert!(lora.layers.len() == 6 && lora.layers.iter().all(|l| l.fan_in_fan_out) && lora.saved.is_empty());
    let most = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
    let got = next_tokens(&*model.net);
    assert_eq!(got.len(), expected.len());
    for (g, e) in got.iter().zip(&expected) {
        assert!((f64::from(*g) - e).abs() < 1e-4 * most, "{g}, peft has {e}");
    }
    let state = model.net.state();
    let mut merged = state.clone();
    lora.merge(&mut merged).unwrap();
    let mut plain = gpt2();
    assert!(plain.net.load_state(&merged).is_exact());
    assert!(largest(&next_tokens(&*plain.net), &got) < 1e-4 * most as f32);

    let temporary = tempfile::tempdir().unwrap();
    let out = std::env::var_os("KILN_PEER_OUT").map_or(temporary.path().into(), PathBuf::from);
    let out = out.join("adapter-of-gpt2");
    save(&out.join("base"), &model.card, &gpt2().net.state()).unwrap();
    peft::save(&out.join("adapter"), &lora, &state, &model.card, None).unwrap();
    let mut again = gpt2();
    let from = lora_config(json!({"pretrained": out.join("adapter")}));
    assert_eq!(attach(&mut again, &from, 1).unwrap(), lora);
    assert_eq!(next_tokens(&*again.net), got);
    let peer = json!({"ids": fixture("lora")["ids"], "logits": got});
    fs::write(out.join("peer.json"), peer.to_string()).unwrap();
}

//! Stochastic depth in every family with residual blocks and images: a config key, off in evaluation, kept by the folder.

use burn::tensor::Device;
use kiln_core::TaskKind;
use kiln_models::{build, open, save};
use kiln_nn::random;
use serde_json::{Value, json};

use crate::common::*;

fn answers(net: &dyn kiln_core::Net, seed: u64, device: &Device) -> Vec<f32> {
    random::seed(seed, device);
    logits(net, pixels([6, 3, 32, 32], 1.0, device)).into_data().try_to_vec().unwrap()
}

#[test]
fn branches_are_left_out_in_training_alone_and_the_folder_keeps_the_rate() {
    let flex = Device::flex();
    let training = flex.clone().autodiff();
    let cases: Vec<(Value, bool)> = vec![
        (json!({"kind": "resnet", "preset": "cifar20"}), true),
        (json!({"kind": "resnet", "preset": "cifar_resnet18"}), true),
        (json!({"kind": "resnet", "preset": "resnet18"}), true),
        (json!({"kind": "convnext", "preset": "convnext_atto"}), false),
        (json!({"kind": "mobilenet_v2", "preset": "mobilenetv2_050"}), true),
        (
            json!({"kind": "vit", "preset": "vit_tiny_patch16_224", "hidden_size": 32, "num_hidden_layers": 4,
            "num_attention_heads": 2}),
            false,
        ),
    ];
    for (case, has_batch_norm) in cases {
        let built = |rate: Option<f64>, device: &Device| {
            let mut case = case.clone();
            if let Some(rate) = rate {
                case["drop_path_rate"] = json!(rate);
            }
            let mut model =
                build(&config(case), &image(3, 32), &classes(4), TaskKind::Classification, device, 1)
                    .unwrap();
            assert!(model.net.load_state(&weights(model.net.as_ref())).is_exact());
            model
        };
        let (plain, deep) = (built(None, &training), built(Some(0.6), &training));
        assert_eq!(
            answers(&*plain.net, 1, &training),
            answers(&*built(Some(0.0), &training).net, 2, &training),
            "{case}"
        );
        let drawn: Vec<_> = (0..3).map(|seed| answers(&*deep.net, seed, &training)).collect();
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2], "{case}: nothing is left out");
        assert_eq!(drawn[0], answers(&*deep.net, 0, &training), "{case}: not by the seed");
        // A sample whose branches all stay is not scaled by chance alone: others' answers differ from the plain net's.
        assert_ne!(drawn[0], answers(&*plain.net, 0, &training), "{case}");
        if !has_batch_norm {
            let (plain, deep) = (plain.net.valid(), deep.net.valid());
            assert_eq!(answers(&*deep, 0, &flex), answers(&*plain, 1, &flex), "{case}: in evaluation");
        }
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &deep.card, &deep.net.state()).unwrap();
        let again = open(folder.path(), &training).unwrap();
        assert_eq!(answers(&*again.net, 0, &training).len(), drawn[0].len());
        let fresh: Vec<_> = (0..2).map(|seed| answers(&*again.net, seed, &training)).collect();
        assert_ne!(fresh[0], fresh[1], "{case}: the folder lost the rate");
    }
}

#[test]
fn a_rate_that_is_none_is_refused() {
    let card = |rate: f64| {
        let case = json!({"kind": "resnet", "preset": "cifar20", "drop_path_rate": rate});
        build(&config(case), &image(3, 32), &classes(4), TaskKind::Classification, &Device::flex(), 1)
    };
    assert!(card(1.0).err().unwrap().to_string().contains("drop_path_rate is 1"));
    assert!(card(0.5).is_ok());
}

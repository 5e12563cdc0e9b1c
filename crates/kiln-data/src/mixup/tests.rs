//! Mixed batches against timm (tests/fixtures/make_mixup.py), and the draws against their definitions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::path::Path;

use serde_json::Value;

use super::*;

fn numbers(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn close(got: &[f32], want: &[f32], what: &Value) {
    assert_eq!(got.len(), want.len());
    let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= 2e-6, "{off} off: {what}");
}

fn batch(fixture: &Value) -> HostBatch {
    let shape: [usize; 4] = serde_json::from_value(fixture["shape"].clone()).unwrap();
    let classes = serde_json::from_value(fixture["classes"].clone()).unwrap();
    HostBatch {
        features: HostFeatures::Image { values: numbers(&fixture["values"]), shape },
        target: Some(HostTarget::Classes(classes)),
        indices: (0..shape[0]).collect(),
        padding: false,
    }
}

#[test]
fn mixed_batches_equal_timms_for_the_same_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mixup.json");
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for case in fixture["cases"].as_array().unwrap() {
        let drawn = case["blends"].as_array().unwrap().iter().map(|blend| {
            kinds.insert(blend["kind"].as_str().unwrap().to_string());
            match blend["kind"].as_str().unwrap() {
                "none" => Blend::None,
                "mix" => Blend::Mix(blend["lambda"].as_f64().unwrap()),
                _ => {
                    let cut: [usize; 4] = serde_json::from_value(blend["cut"].clone()).unwrap();
                    Blend::Cut { top: cut[0], bottom: cut[1], left: cut[2], right: cut[3] }
                }
            }
        });
        let drawn: Vec<Blend> = drawn.collect();
        let mut host = batch(&fixture);
        let n = host.size();
        let blends: Vec<Blend> = match case["mode"].as_str().unwrap() {
            "batch" => vec![drawn[0]; n],
            "pair" => (0..n).map(|i| drawn[i.min(n - 1 - i)]).collect(),
            _ => drawn,
        };
        blend(&mut host, 3, &blends);
        let HostFeatures::Image { values, .. } = &host.features else { panic!() };
        close(values, &numbers(&case["values"]), case);
        let Some(HostTarget::Soft { values, width: 3 }) = &host.target else { panic!("{:?}", host.target) };
        close(values, &numbers(&case["target"]), case);
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn draws_follow_their_definitions() {
    let config =
        MixupConfig { mixup_alpha: 1.0, cutmix_alpha: 1.0, mixup_prob: 0.8, ..MixupConfig::default() };
    let (mut rng, size, n) = (generator(1), (1000, 800), 8000);
    let drawn: Vec<Blend> = (0..n).map(|_| config.draw(size, &mut rng)).collect();
    let count = |is: fn(&Blend) -> bool| drawn.iter().filter(|b| is(b)).count() as f64 / n as f64;
    // Three standard deviations of a share of 8,000.
    assert!((count(|b| matches!(b, Blend::None)) - 0.2).abs() < 0.0135);
    assert!((count(|b| matches!(b, Blend::Mix(_))) - 0.4).abs() < 0.0165);
    let mut lambdas: Vec<f64> =
        drawn.iter().filter_map(|b| if let Blend::Mix(l) = b { Some(*l) } else { None }).collect();
    lambdas.sort_by(f64::total_cmp);
    let m = lambdas.len() as f64;
    let off = lambdas.iter().enumerate().map(|(i, l)| (l - i as f64 / m).abs()).fold(0.0, f64::max);
    assert!(off * m.sqrt() < 1.95, "Beta(1, 1) is uniform: {off}");
    for cut in drawn {
        let Blend::Cut { top, bottom, left, right } = cut else { continue };
        assert!(top <= bottom && bottom <= 1000 && left <= right && right <= 800);
        assert!((0.0..=1.0).contains(&cut.own(size)));
    }
}

#[test]
fn modes_share_draws_as_they_say_and_a_batch_is_a_function_of_its_place() {
    let of = |mode| MixupConfig { mixup_alpha: 0.4, mixup_mode: mode, ..MixupConfig::default() };
    let draws = |mode, n| of(mode).blends(n, (8, 8), &mut generator(4));
    let batch = draws(MixupMode::Batch, 5);
    assert!(batch.iter().all(|b| *b == batch[0]));
    let pair = draws(MixupMode::Pair, 5);
    assert!(pair[0] == pair[4] && pair[1] == pair[3] && pair[0] != pair[1]);
    let elem = draws(MixupMode::Elem, 4);
    assert!(elem[0] != elem[3]);
    let mixed = |seed, epoch, place| {
        let features =
            HostFeatures::Image { values: (0..12).map(|v| v as f32).collect(), shape: [3, 1, 2, 2] };
        let target = Some(HostTarget::Classes(vec![0, 1, 1]));
        let mut host = HostBatch { features, target, indices: vec![0, 1, 2], padding: false };
        Mixup { config: of(MixupMode::Elem), classes: 2 }.apply(&mut host, seed, epoch, place);
        host
    };
    assert_eq!(mixed(1, 2, 3), mixed(1, 2, 3));
    for other in [mixed(2, 2, 3), mixed(1, 3, 3), mixed(1, 2, 4)] {
        assert_ne!(mixed(1, 2, 3), other);
    }
    let Some(HostTarget::Soft { values, .. }) = mixed(1, 2, 3).target else { panic!() };
    assert!(values.chunks(2).all(|row| (row[0] + row[1] - 1.0).abs() < 1e-6));
    assert_eq!(values[2..4], [0.0, 1.0], "the middle of three has no partner but itself");
}

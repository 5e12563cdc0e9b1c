//! Random parameters against torchvision's definitions of their distributions.

use serde_json::{Value, json};

use super::statistics::{chosen, evenly, follows, uniform};
use crate::config::*;
use crate::decode::DecodedImage;
use crate::draw::{dirichlet, gamma, normal};
use crate::order::generator;
use crate::transforms::Op;
use crate::transforms::color_jitter::Change;
use crate::transforms::policy::{AUTO_AUGMENT, Operation, RAND_AUGMENT, TRIVIAL_AUGMENT, policies};
use crate::transforms::three_augment::Choice;

const N: usize = 4000;

fn made<T: serde::de::DeserializeOwned>(words: Value) -> T {
    serde_json::from_value(words).unwrap()
}

fn phi(x: f64) -> f64 {
    // Abramowitz and Stegun 7.1.26, to 1.5e-7.
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly =
        t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let erf = 1.0 - poly * (-z * z).exp();
    if x < 0.0 { (1.0 - erf) / 2.0 } else { (1.0 + erf) / 2.0 }
}

#[test]
fn normal_gamma_and_dirichlet() {
    let mut rng = generator(1);
    follows((0..N).map(|_| normal(&mut rng)).collect(), phi, "normal");
    follows((0..N).map(|_| gamma(&mut rng, 1.0)).collect(), |x| 1.0 - (-x).exp(), "gamma of 1");
    let erlang = |x: f64| 1.0 - (-x).exp() * (1.0 + x + x * x / 2.0);
    follows((0..N).map(|_| gamma(&mut rng, 3.0)).collect(), erlang, "gamma of 3");
    let mut beta = |alpha: f64| (0..N).map(|_| dirichlet(&mut rng, alpha, 2)[0]).collect::<Vec<_>>();
    uniform(beta(1.0), [0.0, 1.0], "beta of 1");
    follows(beta(2.0), |x| 3.0 * x * x - 2.0 * x * x * x, "beta of 2");
    follows(beta(0.5), |x| 2.0 / std::f64::consts::PI * x.sqrt().asin(), "beta of 0.5");
    // A part of three equal ones is Beta(1, 2).
    let three = (0..N).map(|_| dirichlet(&mut rng, 1.0, 3)[1]).collect();
    follows(three, |x| 1.0 - (1.0 - x) * (1.0 - x), "dirichlet");
    assert!((dirichlet(&mut rng, 1e-9, 5).iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn resized_crops_are_uniform_in_area_log_ratio_and_place() {
    let op: RandomResizedCrop = made(json!({"kind": "", "size": 8, "scale": [0.1, 0.5]}));
    let (mut rng, side) = (generator(2), 20_000);
    let parts: Vec<_> = (0..N).map(|_| op.part((side, side), &mut rng)).collect();
    let shares = parts.iter().map(|p| (p.2 * p.3) as f64 / (side * side) as f64);
    uniform(shares.map(|v| v.clamp(0.1, 0.5)).collect(), [0.1, 0.5], "area");
    let ratios = parts.iter().map(|p| (p.3 as f64 / p.2 as f64).ln());
    let bounds = [0.75_f64.ln(), (4.0_f64 / 3.0).ln()];
    uniform(ratios.map(|v| v.clamp(bounds[0], bounds[1])).collect(), bounds, "logarithm of the ratio");
    uniform(parts.iter().map(|p| p.0 as f64 / (side - p.2) as f64).collect(), [0.0, 1.0], "top");
    uniform(parts.iter().map(|p| p.1 as f64 / (side - p.3) as f64).collect(), [0.0, 1.0], "left");
}

#[test]
fn resized_crops_without_a_fitting_part_take_the_largest_allowed_in_the_middle() {
    let op: RandomResizedCrop = made(json!({"size": 8, "scale": [1.0, 1.0]}));
    let mut rng = generator(3);
    // torchvision: h = 300, w = round(300 * 4 / 3); and w = 90, h = round(90 / 0.75).
    assert_eq!(op.part((300, 1000), &mut rng), (0, 300, 300, 400));
    assert_eq!(op.part((1001, 90), &mut rng), (440, 0, 120, 90));
    // No square of an area of 0 either: the whole image.
    let none: RandomResizedCrop = made(json!({"size": 8, "scale": [0.0, 0.0]}));
    assert_eq!(none.part((30, 33), &mut rng), (0, 0, 30, 33));
}

#[test]
fn evaluation_of_a_resized_crop_is_timms_resize_and_centre_crop() {
    let op: RandomResizedCrop = made(json!({"size": 224}));
    // floor(224 / 0.875) = 256 on the shorter side.
    assert_eq!(op.whole((375, 500)), (256, 341));
    assert_eq!(op.whole((500, 375)), (341, 256));
    let wide: RandomResizedCrop = made(json!({"size": [100, 200], "crop_fraction": 1.0}));
    assert_eq!(wide.whole((300, 300)), (200, 200));
    assert_eq!(wide.whole((100, 900)), (100, 900));
    let exact: RandomResizedCrop =
        made(json!({"size": 30, "crop_fraction": 0.9, "interpolation": "bicubic"}));
    let image = DecodedImage { height: 41, width: 77, channels: 3, pixels: vec![9; 41 * 77 * 3] };
    let out = exact.evaluate(image).unwrap();
    assert_eq!((out.height, out.width), (30, 30));
}

#[test]
fn jitter_draws_factors_uniformly_and_any_order() {
    let op: ColorJitter =
        made(json!({"brightness": 0.4, "contrast": [0.5, 2.0], "saturation": 1.5, "hue": 0.1}));
    let mut rng = generator(4);
    let mut factors = vec![Vec::new(); 4];
    let mut orders = Vec::new();
    for _ in 0..N {
        let order = op.changes(&mut rng).into_iter().map(|change| match change {
            Change::Brightness(factor) => (0, factor),
            Change::Contrast(factor) => (1, factor),
            Change::Saturation(factor) => (2, factor),
            Change::Hue(factor) => (3, factor),
        });
        let order: Vec<(usize, f64)> = order.collect();
        order.iter().for_each(|(k, factor)| factors[*k].push(*factor));
        orders.push(order.iter().fold(0, |code, (k, _)| code * 4 + k));
    }
    for (values, range) in factors.into_iter().zip([[0.6, 1.4], [0.5, 2.0], [0.0, 2.5], [-0.1, 0.1]]) {
        uniform(values, range, "a factor");
    }
    let mut all = orders.clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 24);
    evenly(orders.iter().map(|code| all.binary_search(code).unwrap()), 24, "order");
    assert_eq!(made::<ColorJitter>(json!({"hue": 0.0, "contrast": 0.2})).changes(&mut rng).len(), 1);
}

#[test]
fn affine_maps_and_corners() {
    let op: RandomAffine = made(json!({"degrees": 30, "translate": [0.25, 0.1], "scale": [0.5, 2.0],
        "shear": [-10, 10, 5, 20]}));
    let mut rng = generator(5);
    let maps: Vec<_> = (0..N).map(|_| op.draw((1000, 800), &mut rng)).collect();
    uniform(maps.iter().map(|m| m.degrees).collect(), [-30.0, 30.0], "degrees");
    uniform(maps.iter().map(|m| m.scale).collect(), [0.5, 2.0], "scale");
    uniform(maps.iter().map(|m| m.shear[0]).collect(), [-10.0, 10.0], "shear of x");
    uniform(maps.iter().map(|m| m.shear[1]).collect(), [5.0, 20.0], "shear of y");
    uniform(maps.iter().map(|m| m.translate[0]).collect(), [-200.0, 200.0], "shift right");
    uniform(maps.iter().map(|m| m.translate[1]).collect(), [-100.0, 100.0], "shift down");
    assert!(maps.iter().all(|m| m.translate.iter().all(|t| t.fract() == 0.0)), "whole pixels");
    let op: RandomPerspective = made(json!({"distortion_scale": 0.5}));
    // torchvision: int(0.5 * 20) + 1 = 11 places across, int(0.5 * 15) + 1 = 8 down.
    let corners: Vec<_> = (0..N).map(|_| op.corners((31, 40), &mut rng)).collect();
    let starts = [[0, 0], [29, 0], [29, 23], [0, 23]];
    for (k, [x, y]) in starts.into_iter().enumerate() {
        evenly(corners.iter().map(|c| c[k][0] - x), 11, "a corner's x");
        evenly(corners.iter().map(|c| c[k][1] - y), 8, "a corner's y");
    }
}

#[test]
fn erased_parts_and_what_is_written() {
    let op = RandomErasing::new(1.0, Erased::Number(0.0));
    let (mut rng, side) = (generator(6), 20_000);
    let small: RandomErasing = made(json!({"scale": [0.02, 0.2]}));
    let parts: Vec<_> = (0..N).map(|_| small.part((side, side), &mut rng).unwrap()).collect();
    let shares = parts.iter().map(|p| (p.2 * p.3) as f64 / (side * side) as f64);
    uniform(shares.map(|v| v.clamp(0.02, 0.2)).collect(), [0.02, 0.2], "area");
    let bounds = [0.3_f64.ln(), 3.3_f64.ln()];
    let ratios = parts.iter().map(|p| (p.2 as f64 / p.3 as f64).ln().clamp(bounds[0], bounds[1]));
    uniform(ratios.collect(), bounds, "logarithm of the ratio");
    let shape = [3, 40, 50];
    let mut values = vec![7.0; 6000];
    op.train_numbers(&mut values, shape, &mut rng);
    let zeros = |plane: &[f32]| plane.iter().filter(|v| **v == 0.0).count();
    let first = zeros(&values[..2000]);
    assert!(first > 0 && values.chunks(2000).all(|plane| zeros(plane) == first), "one part in every channel");
    let of = |value: Value, seed: u64| {
        let mut values = vec![7.0; 6000];
        let op: RandomErasing = made(json!({"p": 1.0, "value": value, "scale": [0.3, 0.33]}));
        op.train_numbers(&mut values, shape, &mut generator(seed));
        values
    };
    let own = of(json!([1.0, 2.0, 3.0]), 1);
    assert!((1..=3).all(|c| own.contains(&(c as f32))));
    let drawn: Vec<f64> =
        of(json!("random"), 2).iter().filter(|v| **v != 7.0).map(|v| f64::from(*v)).collect();
    follows(drawn, phi, "random");
    let mut colors = of(json!("color"), 3);
    colors.sort_by(f32::total_cmp);
    colors.dedup();
    assert_eq!(colors.len(), 4, "one number a channel, and what is left");
    let mut still = vec![7.0; 6000];
    made::<RandomErasing>(json!({"p": 0.0})).train_numbers(&mut still, shape, &mut rng);
    assert!(still.iter().all(|v| *v == 7.0));
}

#[test]
fn policies_choose_operations_evenly() {
    let place = |own: Operation, list: &[(Operation, _)]| list.iter().position(|(o, _)| *o == own).unwrap();
    let mut rng = generator(7);
    let op = RandAugment { num_ops: 1, ..RandAugment::default() };
    let drawn: Vec<_> = (0..N).flat_map(|_| op.draw((200, 300), &mut rng)).collect();
    evenly(drawn.iter().map(|(o, _)| place(*o, &RAND_AUGMENT)), 14, "rand_augment");
    let signs = drawn.iter().filter(|(o, _)| *o == Operation::Rotate).map(|(_, m)| usize::from(*m < 0.0));
    evenly(signs, 2, "sign");
    let op: TrivialAugmentWide = made(json!({}));
    let drawn: Vec<_> = (0..4 * N).flat_map(|_| op.draw((200, 300), &mut rng)).collect();
    evenly(drawn.iter().map(|(o, _)| place(*o, &TRIVIAL_AUGMENT)), 14, "trivial_augment_wide");
    let bins =
        drawn.iter().filter(|(o, _)| *o == Operation::Solarize).map(|(_, m)| (m * 30.0).round() as usize);
    evenly(bins, 31, "bins");
    let op: AutoAugment = made(json!({"policy": "svhn"}));
    let mut counts = [0; 14];
    (0..4 * N)
        .flat_map(|_| op.draw((9, 9), &mut rng))
        .for_each(|(o, _)| counts[place(o, &AUTO_AUGMENT)] += 1);
    let mut shares = [0.0; 14];
    policies(AutoAugmentPolicy::Svhn)
        .iter()
        .flatten()
        .for_each(|(o, p, _)| shares[place(*o, &AUTO_AUGMENT)] += p);
    let (counts, shares): (Vec<_>, Vec<_>) = counts.into_iter().zip(shares).filter(|(_, s)| *s > 0.0).unzip();
    chosen(&counts, &shares, "auto_augment");
    let op: AugMix = made(json!({}));
    let depths = (0..N).map(|_| op.draw((9, 9), &mut rng).len() - 1).collect::<Vec<_>>();
    evenly(depths.into_iter(), 3, "depth of a chain");
}

#[test]
fn three_augment_chooses_evenly_and_blurs_by_a_uniform_width() {
    let op: ThreeAugment = made(json!({}));
    let mut rng = generator(9);
    let drawn: Vec<_> = (0..N).map(|_| op.draw(&mut rng)).collect();
    let kind = |choice: &Choice| match choice {
        Choice::Grey => 0,
        Choice::Solarize => 1,
        Choice::Blur(_) => 2,
    };
    evenly(drawn.iter().map(kind), 3, "three_augment");
    let widths = drawn.iter().filter_map(|choice| match choice {
        Choice::Blur(sigma) => Some(*sigma),
        _ => None,
    });
    uniform(widths.collect(), [0.1, 2.0], "width of the blur");
    // Each of the three is what stands in the list under its own name.
    let image = DecodedImage {
        height: 9,
        width: 7,
        channels: 3,
        pixels: (0..189).map(|v| (v * 37 % 251) as u8).collect(),
    };
    let of = |words: Value, rng: &mut crate::draw::Generator| {
        made::<Transform>(words).op().train(image.clone(), rng).unwrap()
    };
    let mut seen = [0; 3];
    for seed in 0..60 {
        let choice = op.draw(&mut generator(seed));
        let wanted = match choice {
            Choice::Grey => of(json!({"kind": "random_grayscale", "p": 1}), &mut rng),
            Choice::Solarize => of(json!({"kind": "random_solarize", "threshold": 128, "p": 1}), &mut rng),
            Choice::Blur(sigma) => {
                let side = 2 * (3.0 * sigma).ceil() as usize + 1;
                of(json!({"kind": "gaussian_blur", "kernel_size": side, "sigma": sigma}), &mut rng)
            }
        };
        assert_eq!(op.train(image.clone(), &mut generator(seed)).unwrap(), wanted, "{choice:?}");
        seen[kind(&choice)] += 1;
    }
    assert!(seen.iter().all(|n| *n > 5), "{seen:?}");
    assert_eq!(op.evaluate(image.clone()).unwrap(), image);
}

#[test]
fn a_mixture_lies_between_the_image_and_its_chains() {
    let image = DecodedImage { height: 6, width: 5, channels: 3, pixels: (0..90).map(|v| v * 2).collect() };
    // One chain of one operation on a table of one: the sum of weights is 1.
    for seed in 0..50 {
        let op: AugMix = made(json!({"mixture_width": 1, "chain_depth": 1}));
        let mut rng = generator(seed);
        let mixed = op.train(image.clone(), &mut rng).unwrap();
        let mut rng = generator(seed);
        let own = dirichlet(&mut rng, 1.0, 2);
        dirichlet(&mut rng, 1.0, 1);
        let drawn = op.draw((6, 5), &mut rng);
        let style = crate::transforms::policy::Style { interpolation: op.interpolation, fill: &op.fill };
        let chain = drawn.iter().fold(image.clone(), |i, (o, m)| o.apply(i, *m, &style));
        for ((got, a), b) in mixed.pixels.iter().zip(&image.pixels).zip(&chain.pixels) {
            let want = own[0] * f64::from(*a) + own[1] * f64::from(*b);
            assert!((f64::from(*got) - want.floor()).abs() <= 1.0, "{got} for {want}");
        }
    }
}

#[test]
fn chances_are_kept() {
    let image = || DecodedImage { height: 2, width: 3, channels: 1, pixels: vec![0, 50, 100, 150, 200, 250] };
    for (words, p) in [
        (json!({"kind": "random_horizontal_flip"}), 0.5),
        (json!({"kind": "random_vertical_flip", "p": 0.2}), 0.2),
        (json!({"kind": "random_invert", "p": 0.7}), 0.7),
        (json!({"kind": "random_solarize", "threshold": 10, "p": 0.35}), 0.35),
        (json!({"kind": "random_posterize", "bits": 1}), 0.5),
        (json!({"kind": "random_autocontrast", "p": 0.0}), 0.0),
        (json!({"kind": "random_invert", "p": 1.0}), 1.0),
    ] {
        let transform: Transform = made(words.clone());
        let mut rng = generator(8);
        let changed = (0..N).filter(|_| transform.op().train(image(), &mut rng).unwrap() != image()).count();
        if p == 0.0 || p == 1.0 {
            assert_eq!(changed, (p * N as f64) as usize, "{words}");
        } else {
            chosen(&[changed, N - changed], &[p, 1.0 - p], &words.to_string());
        }
        assert_eq!(transform.op().evaluate(image()).unwrap(), image(), "{words}: evaluation");
    }
}

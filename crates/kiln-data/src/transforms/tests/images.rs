//! Every operation on images, against what torchvision makes of the same Pillow image.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Fixture;
use crate::config::{Fill, Interpolation, PaddingMode, WarpInterpolation};
use crate::decode::DecodedImage;
use crate::pixels::*;
use crate::transforms::policy::{Operation, Style};
use crate::transforms::resize::shorter_side;
use crate::transforms::warps::{Map, coefficients, corners};

/// The arguments of a case.
struct Args<'a>(&'a Value);

impl Args<'_> {
    fn get<T: DeserializeOwned>(&self, key: &str) -> T {
        serde_json::from_value(self.0[key].clone()).unwrap_or_else(|e| panic!("{key}: {e}"))
    }

    fn factor(&self) -> f64 {
        self.get("factor")
    }

    /// Padded to three levels.
    fn fill(&self) -> Vec<u8> {
        self.get::<Fill>("fill").levels().to_vec()
    }
}

fn operation(name: &str) -> Operation {
    super::tables::ALL.into_iter().find(|own| format!("{own:?}") == name).unwrap()
}

fn run(op: &str, mut image: DecodedImage, args: &Args<'_>) -> DecodedImage {
    let warp = || args.get::<WarpInterpolation>("interpolation");
    let size = || args.get::<(usize, usize)>("size");
    match op {
        "resize" => resize(image, size(), args.get::<Interpolation>("interpolation")).unwrap(),
        "max_size" => {
            let most = Some(args.get("max_size"));
            let to = shorter_side(args.get("size"), most, (image.height, image.width));
            resize(image, to, Interpolation::Bilinear).unwrap()
        }
        "resized_crop" => {
            let [top, left, h, w] = args.get::<[usize; 4]>("box");
            let part = crop(&image, top as isize, left as isize, (h, w));
            resize(part, size(), args.get::<Interpolation>("interpolation")).unwrap()
        }
        "pad" => pad(&image, args.get("padding"), args.get::<PaddingMode>("padding_mode"), &args.fill()),
        "horizontal_flip" => {
            flip(&mut image);
            image
        }
        "vertical_flip" => {
            flip_vertically(&mut image);
            image
        }
        "invert" => invert(image),
        "equalize" => equalize(image),
        "autocontrast" => autocontrast(image),
        "grayscale" => grayscale(image),
        "solarize" => solarize(image, args.get("threshold")),
        "posterize" => posterize(image, args.get("bits")),
        "brightness" => brightness(image, args.factor()),
        "contrast" => contrast(image, args.factor()),
        "saturation" => saturation(image, args.factor()),
        "sharpness" => sharpness(image, args.factor()),
        "hue" => hue(image, args.factor()),
        "gaussian_blur" => gaussian_blur(&image, args.get("size"), args.get("sigma")),
        "rotate" => rotate(&image, args.get("degrees"), args.get("expand"), warp(), &args.fill()),
        "affine" => {
            let map = Map {
                degrees: args.get("degrees"),
                translate: args.get("translate"),
                scale: args.get("scale"),
                shear: args.get("shear"),
            };
            map.apply(&image, warp(), &args.fill())
        }
        "perspective" => {
            let map = coefficients(corners(image.height, image.width), args.get("to")).unwrap();
            let want: [f64; 8] = args.get("coefficients");
            assert!(map.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1e-3)), "{map:?}");
            perspective(&image, map, warp(), &args.fill())
        }
        "policy" => {
            let style = Style { interpolation: warp(), fill: &Fill::default() };
            operation(&args.get::<String>("operation")).apply(image, args.get("magnitude"), &style)
        }
        other => panic!("no such operation: {other}"),
    }
}

/// How many levels off each number is.
#[derive(Debug, Default, Clone, Copy)]
struct Off {
    cases: usize,
    unequal: usize,
    largest: u8,
    /// Of the worst case.
    mean: f64,
}

#[test]
fn operations_equal_torchvision() {
    let fixture = Fixture::read();
    let mut off: BTreeMap<String, Off> = BTreeMap::new();
    for case in fixture.index["cases"].as_array().unwrap() {
        let op = case["op"].as_str().unwrap();
        let image = fixture.image(&fixture.index["images"][case["image"].as_str().unwrap()]);
        let (got, want) = (run(op, image, &Args(&case["args"])), fixture.image(&case["made"]));
        let size = |i: &DecodedImage| (i.height, i.width, i.channels);
        assert_eq!(size(&got), size(&want), "{op} {}", case["args"]);
        let by: Vec<u8> = got.pixels.iter().zip(&want.pixels).map(|(a, b)| a.abs_diff(*b)).collect();
        let largest = by.iter().copied().max().unwrap();
        let mean = by.iter().map(|&v| f64::from(v)).sum::<f64>() / by.len() as f64;
        let color = if got.channels == 1 { "grey" } else { "rgb" };
        let key = format!("{op} {color} {}", case["args"]["interpolation"].as_str().unwrap_or_default());
        let own = off.entry(key).or_default();
        own.cases += 1;
        own.unequal += usize::from(largest > 0);
        own.largest = own.largest.max(largest);
        own.mean = own.mean.max(mean);
        if largest > 0 {
            eprintln!("{op} {} {}: {largest} at most, mean {mean:.4}", case["image"], case["args"]);
        }
    }
    for (key, off) in &off {
        eprintln!("{key}: {off:?}");
        // RGB filters have their own fixed point; the blur sums in another order; a linear or cubic warp is cut, not
        // rounded, so that the last bit of a tangent may show.
        let inexact =
            ["resize rgb bi", "resize rgb lanczos", "resized_crop rgb bi", "resized_crop rgb lanczos"];
        let inexact = inexact.iter().chain(&["max_size", "gaussian_blur", "affine rgb bi", "affine grey bi"]);
        let inexact = inexact.into_iter().any(|kind| key.starts_with(kind));
        assert!(off.largest <= u8::from(inexact) && off.mean <= 0.01, "{key}: {off:?}");
    }
    assert!(off.len() > 30, "{} kinds of operations", off.len());
}

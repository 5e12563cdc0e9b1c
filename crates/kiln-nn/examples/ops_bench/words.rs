//! The ops of nets for words and tables, at sizes of MiniLM-L6 (8x128), nanoGPT (12x64), ViT-S (8x197) and an MLP, and
//! the steps of the optimizers.
//! Owns the cases; `main` times them.

use burn::module::Initializer;
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use kiln_nn::attention::{Mask, attention};
use kiln_nn::{Dropout, Embedding, LayerNorm, Linear, ops};

use crate::{Case, case, device, random, step};

/// Batch, tokens, features read and written.
fn linear([b, t, read, written]: [usize; 4]) -> Case {
    case(format!("linear {b}x{t}x{read} to {written}"), move || {
        let (x, layer) = (random([b, t, read]), Linear::new(read, written, &device()));
        move || layer.forward(x.clone())
    })
}

#[derive(Clone, Copy)]
enum Hides {
    Nothing,
    Padding,
    Future,
}

/// Batch, heads, tokens, width; heads lie between tokens, as projections leave them.
fn attend(what: &str, [b, heads, t, width]: [usize; 4], hides: Hides) -> Case {
    case(format!("attention {b}x{heads}x{t}x{width}{what}"), move || {
        let [q, k, v] = [(); 3].map(|()| random([b, t, heads, width]));
        let real = |i: usize| matches!(hides, Hides::Future) || i % t < t - (i / t) % 4;
        let real = TensorData::new((0..b * t).map(real).collect::<Vec<bool>>(), [b, t]);
        let real = Tensor::<2, Bool>::from_data(real, &device());
        let mask = match hides {
            Hides::Nothing => None,
            Hides::Padding => Some(Mask::padding(&real)),
            Hides::Future => Some(Mask::causal(&real)),
        };
        let heads = |x: &Tensor<4>| x.clone().swap_dims(1, 2);
        move || attention(heads(&q), heads(&k), heads(&v), mask.as_ref(), &Dropout::new(0.0))
    })
}

fn layer_norm(shape: [usize; 3]) -> Case {
    let [b, t, d] = shape;
    case(format!("layer norm {b}x{t}x{d}"), move || {
        let (x, layer) = (random(shape), LayerNorm::new(d, 1e-12, &device()));
        move || layer.forward(x.clone())
    })
}

/// Whole numbers below `n`.
fn places<const D: usize>(shape: [usize; D], n: usize) -> Tensor<D, Int> {
    let last = n as f64 - 1.0;
    Tensor::<D>::random(shape, Distribution::Uniform(0.0, last), &Device::flex()).int()
}

fn cross_entropy(rows: usize, classes: usize) -> Case {
    case(format!("cross entropy {rows}x{classes}"), move || {
        let (x, answers) = (random([rows, classes]), Tensor::from_inner(places([rows], classes)));
        move || kiln_nn::cross_entropy(x.clone(), answers.clone(), 0.0)
    })
}

fn embedding(rows: usize, width: usize, [b, t]: [usize; 2]) -> Case {
    case(format!("embedding {b}x{t} of {rows}x{width}"), move || {
        let table = Embedding::new(rows, width, &Initializer::Normal { mean: 0.0, std: 1.0 }, &device());
        let places = Tensor::from_inner(places([b, t], rows));
        move || table.forward(places.clone())
    })
}

fn dropout(shape: [usize; 3]) -> Case {
    let [b, t, d] = shape;
    case(format!("dropout {b}x{t}x{d}"), move || {
        let x = random(shape);
        move || Dropout::new(0.1).forward(x.clone())
    })
}

/// `count` parameters of `n` values.
fn adamw(count: usize, n: usize) -> Case {
    step(format!("adamw, {count} of {n}"), move || {
        let make = || [(); 4].map(|()| random([n]).inner());
        let mut all: Vec<_> = (0..count).map(|_| Some(make())).collect();
        let mut step = 0;
        move || {
            step += 1;
            let rule =
                ops::AdamW { betas: [0.9, 0.999], eps: 1e-8, learning_rate: 1e-3, weight_decay: 0.01, step };
            for parameter in &mut all {
                let Some([value, gradient, mean, square]) = parameter.take() else { continue };
                let (value, [mean, square]) = rule.update(value, gradient.clone(), [mean, square.abs()]);
                *parameter = Some([value, gradient, mean, square]);
            }
        }
    })
}

fn sgd(count: usize, n: usize) -> Case {
    step(format!("sgd with momentum, {count} of {n}"), move || {
        let rule = ops::Sgd {
            momentum: 0.9,
            dampening: 0.0,
            nesterov: false,
            learning_rate: 0.1,
            weight_decay: 5e-4,
        };
        let make = || [(); 3].map(|()| random([n]).inner());
        let mut all: Vec<_> = (0..count).map(|_| Some(make())).collect();
        move || {
            for parameter in &mut all {
                let Some([value, gradient, buffer]) = parameter.take() else { continue };
                let (value, buffer) = rule.update(value, gradient.clone(), Some(buffer));
                *parameter = buffer.map(|buffer| [value, gradient, buffer]);
            }
        }
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let linears = [
        [8, 128, 384, 384],
        [8, 128, 384, 1536],
        [8, 128, 1536, 384],
        [8, 197, 384, 1152],
        [8, 197, 384, 1536],
        [8, 197, 1536, 384],
        [12, 64, 128, 512],
        [1, 128, 784, 512],
    ];
    let mut cases: Vec<Case> = linears.into_iter().map(linear).collect();
    cases.extend([
        attend(", padding", [8, 12, 128, 32], Hides::Padding),
        attend(", causal", [12, 4, 64, 32], Hides::Future),
        attend("", [8, 6, 197, 64], Hides::Nothing),
        layer_norm([8, 128, 384]),
        layer_norm([8, 197, 384]),
        case("gelu_new 12x64x512".into(), || {
            let x = random([12, 64, 512]);
            move || ops::gelu_new(x.clone())
        }),
        cross_entropy(128, 10),
        cross_entropy(768, 65),
        cross_entropy(256, 30_522),
        embedding(30_522, 384, [8, 128]),
        embedding(65, 128, [12, 64]),
        dropout([8, 128, 1536]),
        adamw(1, 4_194_304),
        adamw(100, 384),
        sgd(1, 4_194_304),
        sgd(100, 512),
    ]);
    cases
}

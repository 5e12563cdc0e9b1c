//! Layers in ONNX's words, each computing what kiln-nn's layer of the same name computes in evaluation.
//! Owns these sequences of nodes; never an architecture (`families`). Batch norms are folded into the convolution that
//! they follow, in double precision.
//!
//! Shapes: `B` batch, `T` tokens, `D` width, `N` heads, `C` channels, `H W` pixels.

use crate::graph::{Attr, Graph, Value};

/// How a convolution pads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pad {
    /// So many on every side.
    By(usize),
    /// TensorFlow's "SAME": as many as the stride needs, the odd one at the end.
    Same,
}

/// A square convolution's ways.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) stride: usize,
    pub(crate) pad: Pad,
}

impl Graph<'_> {
    /// `torch.nn.Linear` of `[.., IN]`.
    pub(crate) fn linear(&mut self, x: &Value, layer: &str) -> Value {
        self.at(layer);
        let weight = self.transposed(&format!("{layer}.weight"));
        self.product(x, &weight, layer)
    }

    /// GPT-2's `Conv1D`: a linear layer stored `[IN, OUT]`.
    pub(crate) fn conv1d(&mut self, x: &Value, layer: &str) -> Value {
        self.at(layer);
        let weight = self.weight(&format!("{layer}.weight"));
        self.product(x, &weight, layer)
    }

    fn product(&mut self, x: &Value, weight: &Value, layer: &str) -> Value {
        let y = self.op("MatMul", &[x, weight]);
        self.biased(y, &format!("{layer}.bias"))
    }

    /// Adds a tensor of the state where there is one.
    pub(crate) fn biased(&mut self, y: Value, bias: &str) -> Value {
        if !self.has(bias) {
            return y;
        }
        let bias = self.weight(bias);
        self.op("Add", &[&y, &bias])
    }

    /// The product of `[.., D]` with every row of an embedding.
    pub(crate) fn tied(&mut self, x: &Value, embedding: &str, at: &str) -> Value {
        let table = self.weight(embedding);
        self.at(at);
        let turned = self.op_with("Transpose", &[&table], &[("perm", Attr::Ints(&[1, 0]))]);
        self.op("MatMul", &[x, &turned])
    }

    /// Rows of an embedding.
    pub(crate) fn embedding(&mut self, ids: &Value, layer: &str) -> Value {
        self.at(layer);
        let table = self.weight(&format!("{layer}.weight"));
        self.op_with("Gather", &[&table, ids], &[("axis", Attr::Int(0))])
    }

    /// `torch.nn.LayerNorm` over the last side.
    pub(crate) fn layer_norm(&mut self, x: &Value, layer: &str, eps: f64) -> Value {
        self.at(layer);
        let weight = self.weight(&format!("{layer}.weight"));
        let bias = format!("{layer}.bias");
        let how = [("axis", Attr::Int(-1)), ("epsilon", Attr::Float(eps as f32))];
        match self.has(&bias) {
            true => {
                let bias = self.weight(&bias);
                self.op_with("LayerNormalization", &[x, &weight, &bias], &how)
            }
            false => self.op_with("LayerNormalization", &[x, &weight], &how),
        }
    }

    /// timm's `LayerNorm2d`: each pixel's channels.
    pub(crate) fn layer_norm_2d(&mut self, x: &Value, layer: &str, eps: f64) -> Value {
        self.at(layer);
        let last = self.permuted(x, &[0, 2, 3, 1]);
        let y = self.layer_norm(&last, layer, eps);
        self.permuted(&y, &[0, 3, 1, 2])
    }

    /// A convolution with its own bias, if it has one.
    pub(crate) fn conv(&mut self, x: &Value, layer: &str, window: Window) -> Value {
        self.at(layer);
        let name = format!("{layer}.weight");
        let (weight, shape) = (self.weight(&name), self.shape(&name));
        let bias = format!("{layer}.bias");
        let bias = self.has(&bias).then(|| self.weight(&bias));
        self.convolution(x, &weight, bias.as_ref(), &shape, 1, window)
    }

    /// A depthwise convolution with its bias.
    pub(crate) fn depthwise(&mut self, x: &Value, layer: &str, window: Window) -> Value {
        self.at(layer);
        let (name, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let (weight, shape, bias) = (self.weight(&name), self.shape(&name), self.weight(&bias));
        let groups = shape.first().copied().unwrap_or(1);
        self.convolution(x, &weight, Some(&bias), &shape, groups, window)
    }

    /// A convolution without bias and the batch norm behind it, as one; every channel its own group where `depthwise`.
    pub(crate) fn conv_norm(
        &mut self,
        x: &Value,
        [conv, norm]: [&str; 2],
        eps: f64,
        depthwise: bool,
        window: Window,
    ) -> Value {
        self.at(conv);
        let name = format!("{conv}.weight");
        let (shape, weight) = (self.shape(&name), self.values(&name));
        let [gain, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.values(&format!("{norm}.{part}")));
        let wide = |v: &f32| f64::from(*v);
        let scale: Vec<f64> =
            gain.iter().zip(&variance).map(|(g, v)| wide(g) / (wide(v) + eps).sqrt()).collect();
        let each = weight.len() / scale.len().max(1);
        let folded: Vec<f32> = weight
            .chunks(each.max(1))
            .zip(&scale)
            .flat_map(|(row, scale)| row.iter().map(move |w| (wide(w) * scale) as f32))
            .collect();
        let shift = bias.iter().zip(&mean).zip(&scale);
        let shift: Vec<f32> = shift.map(|((b, m), s)| (wide(b) - wide(m) * s) as f32).collect();
        let weight = self.constant(&format!("{conv}.weight_folded"), &shape, &folded);
        let bias = self.constant(&format!("{conv}.bias_folded"), &[shift.len()], &shift);
        let groups = if depthwise { shape.first().copied().unwrap_or(1) } else { 1 };
        self.convolution(x, &weight, Some(&bias), &shape, groups, window)
    }

    /// A convolution by a weight of `shape` that is no layer's.
    pub(crate) fn window(&mut self, x: &Value, weight: &Value, shape: &[usize], window: Window) -> Value {
        self.convolution(x, weight, None, shape, 1, window)
    }

    fn convolution(
        &mut self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        shape: &[usize],
        groups: usize,
        Window { stride, pad }: Window,
    ) -> Value {
        let sides = shape.len().saturating_sub(2);
        let kernel: Vec<i64> = shape.iter().skip(2).map(|n| *n as i64).collect();
        let strides = vec![stride as i64; sides];
        let by = |n: usize| vec![n as i64; 2 * sides];
        let pads = by(if let Pad::By(n) = pad { n } else { 0 });
        let padding = match pad {
            Pad::By(_) => ("pads", Attr::Ints(&pads)),
            Pad::Same => ("auto_pad", Attr::Text("SAME_UPPER")),
        };
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        self.op_with(
            "Conv",
            &inputs,
            &[
                ("kernel_shape", Attr::Ints(&kernel)),
                ("strides", Attr::Ints(&strides)),
                padding,
                ("group", Attr::Int(groups as i64)),
            ],
        )
    }

    /// Maximum over square windows.
    pub(crate) fn max_pool(&mut self, x: &Value, side: i64, stride: i64, pad: i64) -> Value {
        self.op_with(
            "MaxPool",
            &[x],
            &[
                ("kernel_shape", Attr::Ints(&[side, side])),
                ("strides", Attr::Ints(&[stride, stride])),
                ("pads", Attr::Ints(&[pad; 4])),
            ],
        )
    }

    /// `[B, C, H, W]` to the mean over pixels, `[B, C]`.
    pub(crate) fn average_pool(&mut self, x: &Value) -> Value {
        let y = self.op("GlobalAveragePool", &[x]);
        self.op_with("Flatten", &[&y], &[("axis", Attr::Int(1))])
    }

    pub(crate) fn relu(&mut self, x: &Value) -> Value {
        self.op("Relu", &[x])
    }

    pub(crate) fn relu6(&mut self, x: &Value) -> Value {
        let (low, high) = (self.number(0.0), self.number(6.0));
        self.op("Clip", &[x, &low, &high])
    }

    /// x Φ(x), in the form that ONNX Runtime knows as one.
    pub(crate) fn gelu(&mut self, x: &Value) -> Value {
        let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|n| self.number(n));
        let inner = self.op("Div", &[x, &root]);
        let erf = self.op("Erf", &[&inner]);
        let sum = self.op("Add", &[&erf, &one]);
        let product = self.op("Mul", &[x, &sum]);
        self.op("Mul", &[&product, &half])
    }

    /// 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))).
    pub(crate) fn gelu_tanh(&mut self, x: &Value) -> Value {
        let root = (2.0 / std::f64::consts::PI).sqrt() as f32;
        let [cubic, root, one, half] = [0.044715, root, 1.0, 0.5].map(|n| self.number(n));
        let square = self.op("Mul", &[x, x]);
        let cube = self.op("Mul", &[&square, x]);
        let bent = self.op("Mul", &[&cube, &cubic]);
        let sum = self.op("Add", &[x, &bent]);
        let inner = self.op("Mul", &[&sum, &root]);
        let tanh = self.op("Tanh", &[&inner]);
        let gate = self.op("Add", &[&tanh, &one]);
        let product = self.op("Mul", &[x, &gate]);
        self.op("Mul", &[&product, &half])
    }

    pub(crate) fn permuted(&mut self, x: &Value, order: &[i64]) -> Value {
        self.op_with("Transpose", &[x], &[("perm", Attr::Ints(order))])
    }

    /// Rows `from..to` of one side.
    pub(crate) fn narrowed(&mut self, x: &Value, axis: i64, from: i64, to: i64) -> Value {
        let bounds = [from, to, axis].map(|n| self.integers(&[n]));
        self.op("Slice", &[x, &bounds[0], &bounds[1], &bounds[2]])
    }

    /// One row of a side, without the side.
    pub(crate) fn one(&mut self, x: &Value, axis: i64, at: i64) -> Value {
        let at = self.integer(at);
        self.op_with("Gather", &[x, &at], &[("axis", Attr::Int(axis))])
    }

    /// `x` under a token `[1, 1, D]` of its own in every row of the batch: `[B, 1, D]`.
    pub(crate) fn in_every_row(&mut self, token: &Value, x: &Value, width: usize) -> Value {
        let rows = self.op_with("Shape", &[x], &[("start", Attr::Int(0)), ("end", Attr::Int(1))]);
        let rest = self.integers(&[1, width as i64]);
        let shape = self.op_with("Concat", &[&rows, &rest], &[("axis", Attr::Int(0))]);
        self.op("Expand", &[token, &shape])
    }

    /// Scaled dot-product attention of projections `[B, T, D]`, to `[B, T, D]`; keys are not seen where `hidden`, which
    /// fits `[B, N, T, S]`, is true.
    pub(crate) fn attention(
        &mut self,
        [query, key, value]: [&Value; 3],
        heads: usize,
        width: usize,
        hidden: Option<&Value>,
        place: &str,
    ) -> Value {
        self.at(place);
        let each = width / heads.max(1);
        let split = self.integers(&[0, 0, heads as i64, each as i64]);
        let scale = self.number(1.0 / (each as f32).sqrt());
        let query = self.op("Mul", &[query, &scale]);
        let [query, key, value] = [&query, key, value].map(|x| self.op("Reshape", &[x, &split]));
        let query = self.permuted(&query, &[0, 2, 1, 3]);
        let key = self.permuted(&key, &[0, 2, 3, 1]);
        let value = self.permuted(&value, &[0, 2, 1, 3]);
        let mut scores = self.op("MatMul", &[&query, &key]);
        if let Some(hidden) = hidden {
            let lowest = self.constant(LOWEST, &[], &[f32::MIN]);
            scores = self.op("Where", &[hidden, &lowest, &scores]);
        }
        let weights = self.op_with("Softmax", &[&scores], &[("axis", Attr::Int(-1))]);
        let mixed = self.op("MatMul", &[&weights, &value]);
        let mixed = self.permuted(&mixed, &[0, 2, 1, 3]);
        let joined = self.integers(&[0, 0, width as i64]);
        self.op("Reshape", &[&mixed, &joined])
    }
}

/// The score of what is not seen: the lowest number, so that a row of nothing but padding gives equal weights.
pub(crate) const LOWEST: &str = "lowest";

//! What a net costs: parameters, operations and activation memory of one forward pass and of one training step.
//! Owns the input that is asked with and the sums; the layers count (kiln-nn's meter).
//! `kiln models show` prints it.

use burn::tensor::{Device, Int, Tensor};
use kiln_core::{Input, InputSpec, Net, Table, Tokens, WrongInput};
use kiln_nn::meter;
use serde::Serialize;

/// Sizes of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Values of all parameters and running statistics.
    pub values: u64,
    /// Values of the parameters that train.
    pub trainable: u64,
    /// Floating-point operations of a forward pass: two for a multiply-add.
    pub forward_flops: u64,
    /// The same with the backward pass, for the parameters that train.
    pub training_flops: u64,
    /// Bytes that a forward pass needs at once: the largest layer's input and output.
    pub forward_activation_bytes: u64,
    /// Bytes of activations that a training step keeps for the backward pass.
    pub training_activation_bytes: u64,
}

/// Asks `net`, which is on `device`, a training one, with `batch` inputs of zeros; `length` is the number of tokens of
/// a text.
///
/// # Errors
/// The net does not read this kind of input.
pub fn cost(
    net: &dyn Net,
    input: &InputSpec,
    batch: usize,
    length: usize,
    device: &Device,
) -> Result<Cost, WrongInput> {
    let parameters = net.parameters();
    let size = |p: &kiln_core::net::ParamInfo| p.shape.iter().product::<usize>() as u64;
    let (answer, counted) =
        meter::measure(tables_train(net), || net.apply(zeros(input, batch, length, device)));
    answer?;
    Ok(Cost {
        values: parameters.iter().map(size).sum(),
        trainable: parameters.iter().filter(|p| p.trainable).map(size).sum(),
        forward_flops: counted.forward_flops,
        training_flops: counted.forward_flops + counted.backward_flops,
        forward_activation_bytes: counted.largest_layer_bytes,
        training_activation_bytes: counted.activation_bytes + counted.largest_block_bytes,
    })
}

/// Whether something trains that the meter does not see as a layer: embeddings, positions, class tokens.
pub fn tables_train(net: &dyn Net) -> bool {
    let layers: Vec<String> = net.adaptable().into_iter().map(|l| format!("{}.weight", l.name)).collect();
    let is_layer = |name: &String| layers.contains(name) || crate::lora::is_factor(name);
    net.parameters().iter().any(|p| p.trainable && [2, 3].contains(&p.shape.len()) && !is_layer(&p.name))
}

fn zeros(spec: &InputSpec, batch: usize, length: usize, device: &Device) -> Input {
    match spec {
        InputSpec::Image { channels, height, width } => {
            Input::Image(Tensor::zeros([batch, *channels, *height, *width], device))
        }
        InputSpec::Tokens { .. } => {
            let ids = Tensor::<2, Int>::zeros([batch, length], device);
            let mask = Tensor::<2, Int>::ones([batch, length], device).bool();
            Input::Tokens(Tokens { types: ids.clone(), ids, mask })
        }
        InputSpec::Table { features, cardinalities } => Input::Table(Table {
            numbers: (*features > 0).then(|| Tensor::zeros([batch, *features], device)),
            categories: (!cardinalities.is_empty())
                .then(|| Tensor::<2, Int>::zeros([batch, cardinalities.len()], device)),
        }),
    }
}

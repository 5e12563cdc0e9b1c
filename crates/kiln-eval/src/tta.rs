//! Test-time augmentation: an image is asked about as it is and mirrored, and the two answers are averaged.
//! Owns the average; the predictor and the evaluation ask through it.

use kiln_core::{Input, Net, Output, WrongInput};

/// How often and how each input is shown to the net.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tta {
    /// Once, as it is.
    #[default]
    None,
    /// As it is and mirrored left to right: the mean of the two answers, of class scores before the softmax.
    HorizontalFlip,
}

/// The net's answer.
///
/// # Errors
/// The net reads another kind of input, or the input has no mirror image.
pub(crate) fn answer(net: &dyn Net, input: Input, tta: Tta) -> Result<Output, WrongInput> {
    if tta == Tta::None {
        return net.apply(input);
    }
    let Input::Image(image) = input else {
        return Err(WrongInput { expected: "image", got: input.kind() });
    };
    let mirrored = net.apply(Input::Image(image.clone().flip([3])))?;
    Ok(match (net.apply(Input::Image(image))?, mirrored) {
        (Output::Logits(a), Output::Logits(b)) => Output::Logits((a + b).mul_scalar(0.5)),
        (Output::TokenLogits(a), Output::TokenLogits(b)) => Output::TokenLogits((a + b).mul_scalar(0.5)),
        (own, _) => own,
    })
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::tensor::{Device, Tensor};
    use kiln_core::{Forward, Table};

    use super::*;

    /// Answers with the first two pixels of the first row, weighted.
    #[derive(Module, Debug)]
    struct Corner {
        weight: Param<Tensor<1>>,
    }

    impl Forward for Corner {
        type In = Tensor<4>;
        type Out = Tensor<2>;

        fn forward(&self, x: Tensor<4>) -> Tensor<2> {
            let b = x.dims()[0];
            x.slice([0..b, 0..1, 0..1, 0..2]).reshape([b, 2]) * self.weight.val().unsqueeze()
        }
    }

    #[test]
    fn the_answer_is_the_mean_of_the_image_and_its_mirror() {
        let device = Device::flex();
        let net = Corner { weight: Param::from_tensor(Tensor::from_floats([1.0, 10.0], &device)) };
        let image = || Tensor::<4>::from_floats([[[[1.0, 2.0, 5.0]]], [[[3.0, 4.0, 6.0]]]], &device);
        let ask = |tta| match answer(&net, Input::Image(image()), tta).unwrap() {
            Output::Logits(logits) => logits.into_data().try_to_vec::<f32>().unwrap(),
            Output::TokenLogits(_) => Vec::new(),
        };
        assert_eq!(ask(Tta::None), [1.0, 20.0, 3.0, 40.0]);
        // Mirrored: 5, 2 and 6, 4.
        assert_eq!(ask(Tta::HorizontalFlip), [3.0, 20.0, 4.5, 40.0]);
        let table = Table { numbers: Some(Tensor::from_floats([[1.0]], &device)), categories: None };
        assert!(answer(&net, Input::Table(table), Tta::HorizontalFlip).is_err());
    }
}

//! Host batches on a device: shapes, values and padding, through the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use burn::tensor::Device;
use kiln_core::{Input, InputSpec, Target};
use kiln_data::{Features, HostBatch, Label, collate};

#[test]
fn texts_are_padded_to_the_longest() {
    let text = |n: u32| Features::Tokens { ids: (10..10 + n).collect(), types: vec![1; n as usize] };
    let input = InputSpec::Tokens { vocab_size: 100, max_length: 8, pad_id: 7 };
    let host = HostBatch::gather(vec![(4, text(3), Label::Class(1)), (2, text(1), Label::Class(0))], &input);
    assert_eq!((host.size(), host.indices.as_slice()), (2, &[4, 2][..]));
    let batch = collate(host, &Device::flex());
    let Input::Tokens(tokens) = batch.input else { panic!("no tokens") };
    let ids: Vec<i64> = tokens.ids.into_data().iter::<i64>().collect();
    assert_eq!(ids, [10, 11, 12, 10, 7, 7]);
    let mask: Vec<bool> = tokens.mask.into_data().iter::<bool>().collect();
    assert_eq!(mask, [true, true, true, true, false, false]);
    assert_eq!(tokens.types.into_data().iter::<i64>().collect::<Vec<_>>(), [1, 1, 1, 1, 0, 0]);
    let Some(Target::Classes(classes)) = batch.target else { panic!("no classes") };
    let classes: Vec<i64> = classes.into_data().iter::<i64>().collect();
    assert_eq!((classes.as_slice(), batch.size), (&[1, 0][..], 2));
}

#[test]
fn images_keep_their_layout_and_unlabelled_samples_give_no_classes() {
    let image = |from: f32| Features::Image((0..6).map(|i| from + i as f32).collect());
    let input = InputSpec::Image { channels: 1, height: 2, width: 3 };
    let samples = vec![(0, image(0.0), Label::Class(1)), (1, image(6.0), Label::None)];
    let batch = collate(HostBatch::gather(samples, &input), &Device::flex());
    assert!(batch.target.is_none());
    let Input::Image(pixels) = batch.input else { panic!("no image") };
    assert_eq!(pixels.dims(), [2, 1, 2, 3]);
    let values: Vec<f32> = pixels.into_data().iter::<f32>().collect();
    assert_eq!(values, (0..12).map(|i| i as f32).collect::<Vec<_>>());
}

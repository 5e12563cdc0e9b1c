//! Pictures as they are in their files, as evaluation sees them, and as training does.
//! Owns which samples are shown and the way back from numbers to pixels; never augments by itself.

use std::fmt::Write;

use kiln_core::InputSpec;
use kiln_core::seed::{Purpose, mix};

use super::PreviewOptions;
use crate::batch::{Features, HostBatch, HostFeatures};
use crate::dataset::Dataset;
use crate::decode::DecodedImage;
use crate::error::DataError;
use crate::label::HostTarget;
use crate::look::duplicates::word;
use crate::look::svg::{Picture, escaped, picture, png};
use crate::preprocessor::{Preprocessor, Program};
use crate::split::{Raw, Split};

/// Longest side of a picture on the page.
const SIDE: u32 = 224;
/// Training passes that are shown of each image.
const PASSES: u64 = 3;

/// Images before and after; nothing where samples are no images.
pub(super) fn before_and_after(
    data: &Dataset,
    split: &Split,
    shown: &PreviewOptions,
) -> Result<String, DataError> {
    if !matches!(data.preprocessor.input(), InputSpec::Image { .. }) {
        return Ok(String::new());
    }
    let mut html = String::from(
        "<h2>Before and after</h2><p>The image as its file has it; as evaluation and prediction see it; as the first \
         training passes see it. Numbers are turned back into pixels, levels beyond black and white are cut.</p>\
         <table><tr><th>file</th><th>evaluation</th><th>epoch 0</th><th>epoch 1</th><th>epoch 2</th><th></th></tr>",
    );
    for i in chosen(split, data.classes.len(), shown.samples.min(24)) {
        let raw = match split.raw(i) {
            Ok(raw) => raw,
            Err(fault) => {
                let _ = write!(html, "<tr><td colspan=\"5\">{}</td></tr>", escaped(&fault.to_string()));
                continue;
            }
        };
        let Raw::Image(file) = &raw else { continue };
        let size = format!("{} wide, {} high", file.width, file.height);
        let mut cells = vec![picture(file, SIDE)];
        let name = split.name(i);
        let passes = (0..PASSES).map(|epoch| Some(mix(shown.seed, Purpose::Augment, &[epoch, i as u64])));
        for augment in std::iter::once(None).chain(passes) {
            let Features::Image(values) = data.preprocessor.prepare_named(raw.clone(), &name, augment)?
            else {
                continue;
            };
            cells.push(pixels(&data.preprocessor, &values).and_then(|image| picture(&image, SIDE)));
        }
        html.push_str("<tr>");
        for uri in cells {
            let _ = write!(html, "<td><img alt=\"\" src=\"{}\"></td>", uri.unwrap_or_default());
        }
        let label = word(split.label(i), &data.classes);
        let _ = write!(
            html,
            "<td><b>{}</b><br>{}<br><span class=\"name\">{}</span></td></tr>",
            escaped(&label),
            size,
            escaped(&name)
        );
    }
    Ok(html + "</table>")
}

/// The first images of a batch with their labels; nothing where they are none.
pub(super) fn batch(data: &Dataset, split: &Split, batch: &HostBatch, most: usize) -> String {
    let HostFeatures::Image { values, shape: [_, c, h, w] } = &batch.features else { return String::new() };
    let mut html = String::from(
        "<h2>The first training batch</h2><p>In the order of epoch 0, with every augmentation and mixing.</p><div class=\"grid\">",
    );
    for (row, (values, &index)) in
        values.chunks_exact((c * h * w).max(1)).zip(&batch.indices).enumerate().take(most)
    {
        let uri =
            pixels(&data.preprocessor, values).and_then(|image| picture(&image, SIDE)).unwrap_or_default();
        let label = match &batch.target {
            Some(HostTarget::Soft { values, width }) => {
                soft(&values[row * width..(row + 1) * width], &data.classes)
            }
            _ => word(split.label(index), &data.classes),
        };
        let name = split.name(index);
        let _ = write!(
            html,
            "<figure><img alt=\"\" src=\"{uri}\"><figcaption><b>{}</b><br><span class=\"name\">{}</span></figcaption></figure>",
            escaped(&label),
            escaped(&name)
        );
    }
    html + "</div>"
}

/// The first images of a batch as a model sees them: augmented, mixed, turned back into pixels; none where the samples are
/// no images.
pub fn pictures(preprocessor: &Preprocessor, batch: &HostBatch, most: usize) -> Vec<Picture> {
    let HostFeatures::Image { values, shape: [_, c, h, w] } = &batch.features else { return Vec::new() };
    let images = values.chunks_exact((c * h * w).max(1)).take(most);
    images.filter_map(|values| pixels(preprocessor, values).and_then(|image| png(&image, SIDE))).collect()
}

fn soft(shares: &[f32], classes: &[String]) -> String {
    let mut parts: Vec<(f32, &String)> =
        shares.iter().copied().zip(classes).filter(|(share, _)| *share > 0.0).collect();
    parts.sort_by(|a, b| b.0.total_cmp(&a.0));
    parts.iter().map(|(share, name)| format!("{name} {:.0} %", 100.0 * share)).collect::<Vec<_>>().join(", ")
}

/// Samples in turn from each class, in the split's order; with no classes the first ones.
fn chosen(split: &Split, classes: usize, n: usize) -> Vec<usize> {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes.max(1)];
    let each = n.div_ceil(classes.max(1)).max(1);
    for i in 0..split.len() {
        let class = split.label(i).class().unwrap_or(0);
        if let Some(own) = by_class.get_mut(class).filter(|own| own.len() < each || classes < 2) {
            own.push(i);
        }
    }
    let turns = by_class.iter().map(Vec::len).max().unwrap_or(0);
    let turn = |t: usize| by_class.iter().filter_map(move |own| own.get(t).copied());
    (0..turns).flat_map(turn).take(n).collect()
}

/// `[C, H, W]` numbers back to levels.
fn pixels(preprocessor: &Preprocessor, values: &[f32]) -> Option<DecodedImage> {
    let Program::Image(program) = &preprocessor.program else { return None };
    let (channels, height, width) = (program.channels, program.height, program.width);
    let (mean, std) = program.normalization();
    let plane = height * width;
    let mut pixels = vec![0_u8; channels * plane];
    for (c, values) in values.chunks_exact(plane).enumerate().take(channels) {
        for (p, value) in values.iter().enumerate() {
            pixels[p * channels + c] = ((value * std[c] + mean[c]) * 255.0).round().clamp(0.0, 255.0) as u8;
        }
    }
    Some(DecodedImage { height, width, channels, pixels })
}

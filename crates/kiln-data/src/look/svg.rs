//! Charts drawn in SVG and pictures as data URIs, for a page that loads nothing.
//! Owns the drawing; knows no data set.

use std::fmt::Write;
use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
pub(super) use kiln_core::markup::escaped;

use super::columns::Bars;
use super::report::number;
use crate::decode::DecodedImage;

/// Rows of horizontal bars: a name, and one value a series.
pub(super) fn rows(rows: &[(String, Vec<f64>)], series: &[&str]) -> String {
    let most = rows.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max).max(1e-9);
    let (bar, gap) = (12.0, 6.0);
    let each = bar * series.len().max(1) as f64 + gap;
    let height = each * rows.len() as f64 + 20.0;
    let mut svg = format!("<svg viewBox=\"0 0 700 {height}\" role=\"img\">");
    for (k, name) in series.iter().enumerate().filter(|_| series.len() > 1) {
        let x = 160 + 130 * k;
        let _ = write!(
            svg,
            "<rect class=\"s{k}\" x=\"{x}\" y=\"2\" width=\"10\" height=\"10\"/><text x=\"{}\" y=\"11\">{}</text>",
            x + 14,
            escaped(name)
        );
    }
    for (r, (name, values)) in rows.iter().enumerate() {
        let top = 20.0 + each * r as f64;
        let short: String = name.chars().take(22).collect();
        let _ =
            write!(svg, "<text x=\"150\" y=\"{}\" text-anchor=\"end\">{}</text>", top + bar, escaped(&short));
        for (k, value) in values.iter().enumerate() {
            let (y, width) = (top + bar * k as f64, 440.0 * value / most);
            let _ = write!(
                svg,
                "<rect class=\"s{k}\" x=\"160\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\"><title>{}: {}</title></rect><text x=\"{:.1}\" y=\"{}\">{}</text>",
                bar - 1.0,
                escaped(name),
                number(*value),
                164.0 + width,
                y + bar - 2.0,
                number(*value)
            );
        }
    }
    svg + "</svg>"
}

/// A histogram, with a line at `mark` where it is within.
pub(super) fn histogram(bars: &Bars, mark: Option<(f64, &str)>) -> String {
    let most = bars.counts.iter().max().copied().unwrap_or(1).max(1) as f64;
    let each = 600.0 / bars.counts.len().max(1) as f64;
    let mut svg = String::from("<svg viewBox=\"0 0 660 150\" role=\"img\">");
    let span = (bars.to - bars.from).max(1e-12);
    for (k, count) in bars.counts.iter().enumerate() {
        let height = 110.0 * *count as f64 / most;
        let border = |k: usize| number(bars.from + span * k as f64 / bars.counts.len() as f64);
        let _ = write!(
            svg,
            "<rect class=\"s0\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{} to {}: {count}</title></rect>",
            30.0 + each * k as f64,
            125.0 - height,
            (each - 1.0).max(0.5),
            border(k),
            border(k + 1)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"30\" y=\"142\">{}</text><text x=\"630\" y=\"142\" text-anchor=\"end\">{}</text><text x=\"26\" y=\"20\" text-anchor=\"end\">{most}</text>",
        number(bars.from),
        number(bars.to)
    );
    if let Some((at, name)) = mark.filter(|(at, _)| (bars.from..=bars.to).contains(at)) {
        let x = 30.0 + 600.0 * (at - bars.from) / span;
        // The name stays within the picture.
        let side = if x > 330.0 { "end" } else { "start" };
        let _ = write!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"10\" y2=\"125\"/><text x=\"{x:.1}\" y=\"9\" text-anchor=\"{side}\">{}</text>",
            escaped(name)
        );
    }
    svg + "</svg>"
}

/// A picture as PNG in a data URI; see [`png`].
pub(super) fn picture(image: &DecodedImage, side: u32) -> Option<String> {
    let bytes = png(image, side)?.png;
    Some(format!("data:image/png;base64,{}", base64(&bytes)))
}

/// A picture as PNG; alpha is left out, and what is longer than `side` is scaled down.
pub(super) fn png(image: &DecodedImage, side: u32) -> Option<Picture> {
    let (width, height) = (image.width as u32, image.height as u32);
    let only = |n: usize| image.pixels.chunks_exact(image.channels).flat_map(|p| p[..n].to_vec()).collect();
    let picture = match image.channels {
        1 | 2 => DynamicImage::ImageLuma8(GrayImage::from_raw(width, height, only(1))?),
        _ => DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, only(3))?),
    };
    let picture = match width.max(height) > side {
        true => picture.thumbnail(side, side),
        false => picture,
    };
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).ok()?;
    let channels = if image.channels < 3 { 1 } else { 3 };
    Some(Picture { height: picture.height(), width: picture.width(), channels, png: bytes.into_inner() })
}

/// A picture in PNG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Rows of pixels.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
    /// 1 for grey, 3 for colours.
    pub channels: u32,
    /// The file.
    pub png: Vec<u8>,
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let all = part.iter().fold(0_u32, |sum, b| sum << 8 | u32::from(*b)) << (8 * (3 - part.len()));
        for k in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * k) & 63) as usize];
            text.push(if k <= part.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xFE]), "+//+");
    }
}

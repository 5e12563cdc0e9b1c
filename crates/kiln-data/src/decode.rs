//! Image files to pixels: 8 bits, 1 channel (grey) or 3 (RGB), and alpha where the file has it.
//! Owns decoding and its limits; never resizes. Hands `DecodedImage` to the image program, which drops alpha.
//!
//! JPEG files are read to the last bit as by Pillow (`jpeg`), all others by the `image` crate.
//! Where files are read otherwise than by torchvision's loader (Pillow's `convert("RGB")`): EXIF orientation is applied,
//! so that a photo is upright; 16-bit grey is scaled, not clipped. As Pillow: palettes expanded, CMYK converted.

mod jpeg;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::error::DataError;
use crate::loader::{Gate, Pass};

/// Largest image decoded, in pixels; Pillow refuses the same as a decompression bomb.
const MAX_PIXELS: u64 = 178_956_970;
/// Most memory that one decoder may take.
const MAX_BYTES: u64 = 2 << 30;

/// Pixels of one image, rows top to bottom, channels together: `[H, W, C]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedImage {
    /// `H`
    pub height: usize,
    /// `W`
    pub width: usize,
    /// `C`: 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
    pub channels: usize,
    /// `H * W * C` levels.
    pub pixels: Vec<u8>,
}

/// Decodes an image file by its content, whatever its name says.
///
/// # Errors
/// The file is absent, unreadable, empty, cut short, of an unknown format, or too large for memory.
pub fn decode_file(path: &Path) -> Result<DecodedImage, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::opening(path, "an image"))?;
    decode_bytes(&bytes, &path.display().to_string())
}

/// Decodes an image in memory; `name` stands for it in errors.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes(bytes: &[u8], name: &str) -> Result<DecodedImage, DataError> {
    whole(bytes, name, |_| ())
}

/// `before` is told the bytes of the decoded pixels.
fn whole(bytes: &[u8], name: &str, before: impl FnOnce(u64)) -> Result<DecodedImage, DataError> {
    if bytes.is_empty() {
        return Err(unreadable(name, "an empty file"));
    }
    if bytes.starts_with(&[0xFF, 0xD8]) && !ends(bytes) {
        return Err(unreadable(name, "a JPEG that is cut short (no end marker)"));
    }
    decode(bytes, name, before)
}

/// As [`decode_bytes`]; waits until the pixels have room in the gate, which is theirs until the pass is dropped.
pub(crate) fn decode_within(
    bytes: &[u8],
    name: &str,
    gate: &Gate,
) -> Result<(DecodedImage, Option<Pass>), DataError> {
    // Pixels as the file has them, and once more while they are turned, converted or transformed.
    let mut pass = None;
    let image = whole(bytes, name, |pixels| pass = Some(gate.enter(2 * pixels + bytes.len() as u64)))?;
    Ok((image, pass))
}

/// Whether a JPEG's first scan is followed by an end marker: the decoder fills what is missing with grey instead of
/// refusing. Segments before the scan are stepped over, for a thumbnail in them has an end marker of its own.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xDA {
            return bytes[at..].windows(2).any(|pair| pair == [0xFF, 0xD9]);
        }
        // A fill byte before a marker.
        at += if marker == 0xFF { 1 } else { 2 + usize::from(u16::from_be_bytes([high, low])) };
    }
    false
}

/// `(H, W)` from the header alone, upright.
pub(crate) fn size_of(path: &Path) -> Result<(usize, usize), DataError> {
    let file = File::open(path).map_err(DataError::opening(path, "an image"))?;
    size(BufReader::new(file), &path.display().to_string())
}

/// `(H, W)` of an image in memory, upright, from its header alone; `name` stands for it in errors.
///
/// # Errors
/// The bytes do not begin as an image.
pub fn size_in(bytes: &[u8], name: &str) -> Result<(usize, usize), DataError> {
    size(Cursor::new(bytes), name)
}

fn size(image: impl BufRead + Seek, name: &str) -> Result<(usize, usize), DataError> {
    let reader =
        ImageReader::new(image).with_guessed_format().map_err(|e| unreadable(name, &e.to_string()))?;
    let mut decoder = reader.into_decoder().map_err(|e| refused(name, &e))?;
    let (width, height) = decoder.dimensions();
    let (height, width) = (height as usize, width as usize);
    Ok(if on_its_side(orientation(&mut decoder)) { (width, height) } else { (height, width) })
}

fn decode(bytes: &[u8], name: &str, before: impl FnOnce(u64)) -> Result<DecodedImage, DataError> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| unreadable(name, &e.to_string()))?;
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| refused(name, &e))?;
    let (width, height) = decoder.dimensions();
    match u64::from(width) * u64::from(height) {
        0 => return Err(unreadable(name, &format!("one of {width}x{height} pixels"))),
        1..=MAX_PIXELS => {}
        _ => return Err(too_large(name, width, height)),
    }
    let orientation = orientation(&mut decoder);
    before(decoder.total_bytes());
    let mut image = match is_jpeg.then(|| jpeg::pixels(bytes)).flatten() {
        Some(image) => image,
        None => DynamicImage::from_decoder(decoder).map_err(|e| refused(name, &e))?,
    };
    image.apply_orientation(orientation);
    Ok(eight_bits(image))
}

/// What EXIF says of how the camera was held; damaged or absent EXIF says nothing, as in Pillow's `exif_transpose`.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Grey stays grey, everything else becomes RGB; alpha stays. 16-bit levels keep their high byte, as Pillow reads 16-bit
/// RGB. (Pillow clips 16-bit grey at 255 instead, which whitens nearly every such image; kiln does not follow.)
fn eight_bits(image: DynamicImage) -> DecodedImage {
    let (height, width) = (image.height() as usize, image.width() as usize);
    let high = |v: &u16| (v >> 8) as u8;
    let (channels, pixels) = match image {
        DynamicImage::ImageLuma8(i) => (1, i.into_raw()),
        DynamicImage::ImageLumaA8(i) => (2, i.into_raw()),
        DynamicImage::ImageLuma16(i) => (1, i.as_raw().iter().map(high).collect()),
        DynamicImage::ImageLumaA16(i) => (2, i.as_raw().iter().map(high).collect()),
        DynamicImage::ImageRgb8(i) => (3, i.into_raw()),
        DynamicImage::ImageRgba8(i) => (4, i.into_raw()),
        DynamicImage::ImageRgb16(i) => (3, i.as_raw().iter().map(high).collect()),
        DynamicImage::ImageRgba16(i) => (4, i.as_raw().iter().map(high).collect()),
        other => (3, other.to_rgb8().into_raw()),
    };
    DecodedImage { height, width, channels, pixels }
}

fn refused(name: &str, error: &ImageError) -> DataError {
    match error {
        ImageError::Limits(_) => DataError::Image {
            name: name.into(),
            expected: format!("an image that decodes within {} GiB", MAX_BYTES >> 30),
            got: error.to_string(),
            remedy: "scale it down or remove it".into(),
        },
        _ => unreadable(name, &error.to_string()),
    }
}

fn unreadable(name: &str, got: &str) -> DataError {
    DataError::Image {
        name: name.into(),
        expected: "a whole image (bmp, gif, jpeg, png, tiff or webp)".into(),
        got: got.into(),
        remedy: "replace the file or remove it".into(),
    }
}

fn too_large(name: &str, width: u32, height: u32) -> DataError {
    DataError::Image {
        name: name.into(),
        expected: format!("at most {MAX_PIXELS} pixels"),
        got: format!("{width}x{height}"),
        remedy: "scale it down or remove it".into(),
    }
}

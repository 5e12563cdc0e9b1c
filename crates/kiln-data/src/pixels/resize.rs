//! Resizing with antialiased filters, and the nearest neighbour.
//! Owns the filters; never the size, which the transforms choose. Hands images back to them.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::resample::{BICUBIC, BILINEAR, Filter, LANCZOS, across, down};
use super::warp::nearest_scale;
use crate::config::Interpolation;
use crate::decode::DecodedImage;

thread_local! {
    /// Keeps the filter's buffers between images.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// As `PIL.Image.resize`: to the bit for grey images and the nearest neighbour, within one level for RGB, whose vector
/// form has coarser weights. `None`: the filter refused the sizes.
pub(crate) fn resize(image: DecodedImage, to: (usize, usize), filter: Interpolation) -> Option<DecodedImage> {
    if to.0 == 0 || to.1 == 0 {
        return None;
    }
    let filters = match filter {
        Interpolation::Nearest => return Some(nearest_scale(image, to)),
        Interpolation::Bilinear => (BILINEAR, FilterType::Bilinear),
        Interpolation::Bicubic => (BICUBIC, FilterType::CatmullRom),
        Interpolation::Lanczos => (LANCZOS, FilterType::Lanczos3),
    };
    let first = if columns_first(&image, to) { (to.0, image.width) } else { (image.height, to.1) };
    one_side(one_side(image, first, filters)?, to, filters)
}

/// Levels are cut to 0..255 between the two passes, so their order shows. Pillow goes along rows first, and since its
/// version 13 along columns where the height shrinks by more than twice as many pixels as the width.
fn columns_first(image: &DecodedImage, to: (usize, usize)) -> bool {
    let (fewer_rows, fewer_columns) =
        (image.height as isize - to.0 as isize, image.width as isize - to.1 as isize);
    fewer_rows > 0 && fewer_rows > 2 * fewer_columns
}

/// Resizes one side; the other is as it was.
fn one_side(
    image: DecodedImage,
    (height, width): (usize, usize),
    (exact, vector): (Filter, FilterType),
) -> Option<DecodedImage> {
    match (image.height == height, image.width == width) {
        (true, true) => return Some(image),
        (true, false) if image.channels == 1 => return Some(across(&image, width, exact)),
        (false, true) if image.channels == 1 => return Some(down(&image, height, exact)),
        _ => {}
    }
    let source =
        ImageRef::new(side(image.width)?, side(image.height)?, &image.pixels, PixelType::U8x3).ok()?;
    let mut target = Image::new(side(width)?, side(height)?, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(vector)).use_alpha(false);
    RESIZER.with_borrow_mut(|resizer| resizer.resize(&source, &mut target, &options)).ok()?;
    Some(DecodedImage { height, width, channels: image.channels, pixels: target.into_vec() })
}

fn side(n: usize) -> Option<u32> {
    u32::try_from(n).ok().filter(|n| *n > 0)
}

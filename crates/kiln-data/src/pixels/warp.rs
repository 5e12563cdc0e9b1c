//! Affine and perspective warps: Pillow's `Image.transform` and `Image.rotate`.
//! Owns where each pixel is read and how it is interpolated; never draws a parameter. Hands images back to the
//! transforms.
//!
//! A matrix goes from the result to the source, as Pillow's: `x' = a x + b y + c`, `y' = d x + e y + f`.

use crate::config::WarpInterpolation;
use crate::decode::DecodedImage;

/// An affine warp into an image of `size`; what lies outside the source is `fill`, one level a channel.
pub(crate) fn affine(
    image: &DecodedImage,
    matrix: [f64; 6],
    size: (usize, usize),
    filter: WarpInterpolation,
    fill: &[u8],
) -> DecodedImage {
    let [a, b, c, d, e, f] = matrix;
    match filter {
        WarpInterpolation::Nearest if b == 0.0 && d == 0.0 => scale(image, [a, c, e, f], size, fill),
        WarpInterpolation::Nearest if in_fixed_point(matrix, size) => fixed(image, matrix, size, fill),
        _ => general(image, size, filter, fill, |x, y| (a * x + b * y + c, d * x + e * y + f)),
    }
}

/// A perspective warp: `x' = (a x + b y + c) / (g x + h y + 1)`, likewise `y'`.
pub(crate) fn perspective(
    image: &DecodedImage,
    [a, b, c, d, e, f, g, h]: [f64; 8],
    filter: WarpInterpolation,
    fill: &[u8],
) -> DecodedImage {
    general(image, (image.height, image.width), filter, fill, |x, y| {
        let depth = g * x + h * y + 1.0;
        ((a * x + b * y + c) / depth, (d * x + e * y + f) / depth)
    })
}

/// Turns counterclockwise by `degrees` about the centre; with `expand` the result holds the whole image.
pub(crate) fn rotate(
    image: &DecodedImage,
    degrees: f64,
    expand: bool,
    filter: WarpInterpolation,
    fill: &[u8],
) -> DecodedImage {
    let degrees = degrees.rem_euclid(360.0);
    let (h, w) = (image.height, image.width);
    if degrees % 180.0 == 0.0 || (degrees % 90.0 == 0.0 && (expand || h == w)) {
        return quarter_turns(image, (degrees / 90.0) as usize);
    }
    let angle = -degrees.to_radians();
    let (cos, sin) = (fifteen_places(angle.cos()), fifteen_places(angle.sin()));
    let (cx, cy) = (w as f64 / 2.0, h as f64 / 2.0);
    let turn = |x: f64, y: f64, c: f64, f: f64| (cos * x + sin * y + c, -sin * x + cos * y + f);
    let (c, f) = turn(-cx, -cy, 0.0, 0.0);
    let (mut c, mut f) = (c + cx, f + cy);
    let mut size = (h, w);
    if expand {
        let corners = [(0.0, 0.0), (w as f64, 0.0), (w as f64, h as f64), (0.0, h as f64)];
        let corners = corners.map(|(x, y)| turn(x, y, c, f));
        let span = |values: [f64; 4]| {
            let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            high.ceil() - low.floor()
        };
        let (wide, high) = (span(corners.map(|p| p.0)), span(corners.map(|p| p.1)));
        (c, f) = turn(-(wide - w as f64) / 2.0, -(high - h as f64) / 2.0, c, f);
        size = (high as usize, wide as usize);
    }
    affine(image, [cos, sin, c, -sin, cos, f], size, filter, fill)
}

/// Python's `round(x, 15)`, by which Pillow makes right angles exact.
fn fifteen_places(x: f64) -> f64 {
    format!("{x:.15}").parse().unwrap_or(x)
}

/// Counterclockwise, without interpolation.
fn quarter_turns(image: &DecodedImage, turns: usize) -> DecodedImage {
    let (h, w, c) = (image.height, image.width, image.channels);
    let (height, width) = if turns % 2 == 1 { (w, h) } else { (h, w) };
    let mut pixels = Vec::with_capacity(image.pixels.len());
    for y in 0..height {
        for x in 0..width {
            let (from_y, from_x) = match turns % 4 {
                0 => (y, x),
                1 => (x, w - 1 - y),
                2 => (h - 1 - y, w - 1 - x),
                _ => (h - 1 - x, y),
            };
            pixels.extend_from_slice(&image.pixels[(from_y * w + from_x) * c..][..c]);
        }
    }
    DecodedImage { height, width, channels: c, pixels }
}

/// Resizing by the nearest neighbour.
pub(super) fn nearest_scale(image: DecodedImage, (h, w): (usize, usize)) -> DecodedImage {
    if (image.height, image.width) == (h, w) {
        return image;
    }
    let a = image.width as f64 / w as f64;
    let e = image.height as f64 / h as f64;
    scale(&image, [a, 0.0, e, 0.0], (h, w), &[0; 3])
}

/// Nearest neighbours without rotation: positions are summed up along each side, as Pillow does.
fn scale(image: &DecodedImage, [a, c, e, f]: [f64; 4], (h, w): (usize, usize), fill: &[u8]) -> DecodedImage {
    let places = |step: f64, start: f64, n: usize, limit: usize| {
        let sums = std::iter::successors(Some(start + step * 0.5), move |at| Some(at + step));
        sums.take(n).map(move |at| inside(at, limit)).collect::<Vec<_>>()
    };
    let (rows, columns) = (places(e, f, h, image.height), places(a, c, w, image.width));
    let mut out = filled((h, w), image.channels, fill);
    let mut at = out.pixels.chunks_exact_mut(image.channels);
    for row in rows {
        for column in &columns {
            let Some(to) = at.next() else { break };
            if let (Some(y), Some(x)) = (row, column) {
                to.copy_from_slice(pixel(image, y, *x));
            }
        }
    }
    out
}

fn in_fixed_point([a, b, c, d, e, f]: [f64; 6], (h, w): (usize, usize)) -> bool {
    let corners = [(0.0, 0.0), (w as f64, 0.0), (0.0, h as f64), (w as f64, h as f64)];
    corners.iter().all(|(x, y)| (x * a + y * b + c).abs() < 32768.0 && (x * d + y * e + f).abs() < 32768.0)
}

/// Nearest neighbours in 16.16 fixed point.
fn fixed(
    image: &DecodedImage,
    [a, b, c, d, e, f]: [f64; 6],
    (h, w): (usize, usize),
    fill: &[u8],
) -> DecodedImage {
    let fix = |v: f64| (v * 65536.0 + 0.5).floor() as i32;
    let (step_x, step_y) = ([fix(a), fix(d)], [fix(b), fix(e)]);
    let mut start = [fix(c + a * 0.5 + b * 0.5), fix(f + d * 0.5 + e * 0.5)];
    let mut out = filled((h, w), image.channels, fill);
    for row in out.pixels.chunks_exact_mut(w * image.channels) {
        let [mut x, mut y] = start;
        for to in row.chunks_exact_mut(image.channels) {
            let (column, line) = ((x >> 16) as usize, (y >> 16) as usize);
            // A negative place is beyond any width.
            if column < image.width && line < image.height {
                to.copy_from_slice(pixel(image, line, column));
            }
            (x, y) = (x.wrapping_add(step_x[0]), y.wrapping_add(step_x[1]));
        }
        start = [start[0].wrapping_add(step_y[0]), start[1].wrapping_add(step_y[1])];
    }
    out
}

/// Any map, from the middle of each pixel of the result.
fn general(
    image: &DecodedImage,
    (h, w): (usize, usize),
    filter: WarpInterpolation,
    fill: &[u8],
    map: impl Fn(f64, f64) -> (f64, f64),
) -> DecodedImage {
    let mut out = filled((h, w), image.channels, fill);
    let mut at = out.pixels.chunks_exact_mut(image.channels);
    for y in 0..h {
        for x in 0..w {
            let Some(to) = at.next() else { break };
            let (x, y) = map(x as f64 + 0.5, y as f64 + 0.5);
            let (Some(column), Some(row)) = (inside(x, image.width), inside(y, image.height)) else {
                continue;
            };
            match filter {
                WarpInterpolation::Nearest => to.copy_from_slice(pixel(image, row, column)),
                WarpInterpolation::Bilinear => bilinear(image, x - 0.5, y - 0.5, to),
                WarpInterpolation::Bicubic => bicubic(image, x - 0.5, y - 0.5, to),
            }
        }
    }
    out
}

/// Between four pixels; beyond the border the border's.
fn bilinear(image: &DecodedImage, x: f64, y: f64, to: &mut [u8]) {
    let (columns, dx) = neighbours::<2>(x, image.width);
    let (rows, dy) = neighbours::<2>(y, image.height);
    for (k, level) in to.iter_mut().enumerate() {
        let along = |row: usize| {
            let [a, b] = columns.map(|column| f64::from(pixel(image, row, column)[k]));
            a + (b - a) * dx
        };
        let [a, b] = rows.map(along);
        *level = (a + (b - a) * dy) as u8;
    }
}

/// Among sixteen pixels, with Pillow's cubic of a = -1.
fn bicubic(image: &DecodedImage, x: f64, y: f64, to: &mut [u8]) {
    let (columns, dx) = neighbours::<4>(x, image.width);
    let (rows, dy) = neighbours::<4>(y, image.height);
    for (k, level) in to.iter_mut().enumerate() {
        let along = |row: usize| cubic(columns.map(|column| f64::from(pixel(image, row, column)[k])), dx);
        *level = cubic(rows.map(along), dy) as u8;
    }
}

fn cubic([a, b, c, d]: [f64; 4], at: f64) -> f64 {
    let (p2, p3, p4) = (-a + c, 2.0 * (a - b) + c - d, -a + b - c + d);
    b + at * (p2 + at * (p3 + at * p4))
}

/// The `N` pixels around a place along one side, and how far it lies between the middle two.
fn neighbours<const N: usize>(at: f64, limit: usize) -> ([usize; N], f64) {
    let floor = at.floor();
    let first = floor as isize - (N as isize / 2 - 1);
    let inside = |i: isize| i.clamp(0, limit as isize - 1) as usize;
    (std::array::from_fn(|k| inside(first + k as isize)), at - floor)
}

fn inside(at: f64, limit: usize) -> Option<usize> {
    (at >= 0.0 && at < limit as f64).then_some(at as usize)
}

fn pixel(image: &DecodedImage, y: usize, x: usize) -> &[u8] {
    &image.pixels[(y * image.width + x) * image.channels..][..image.channels]
}

fn filled((height, width): (usize, usize), channels: usize, fill: &[u8]) -> DecodedImage {
    let pixels = fill[..channels].repeat(height * width);
    DecodedImage { height, width, channels, pixels }
}

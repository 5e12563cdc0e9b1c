//! Turning the hue: torchvision's `adjust_hue` through Pillow's 8-bit HSV.
//! Owns the two conversions in Pillow's mixed precision; never draws a factor. Hands images back to the transforms.

use crate::decode::DecodedImage;

/// Turns hues by `factor` of the circle (-0.5 to 0.5); grey images stay as they are.
pub(crate) fn hue(mut image: DecodedImage, factor: f64) -> DecodedImage {
    if image.channels == 3 {
        let turn = (factor * 255.0) as i32 as u8;
        for pixel in image.pixels.as_chunks_mut::<3>().0 {
            let [h, s, v] = to_hsv(*pixel);
            *pixel = to_rgb([h.wrapping_add(turn), s, v]);
        }
    }
    image
}

/// Pillow's `rgb2hsv`: single precision, with the sums that C widens in double.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if min == max {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let below = |v: u8| f32::from(max - v) / range;
    let (rc, gc, bc) = (below(r), below(g), below(b));
    let sector = if r == max {
        bc - gc
    } else if g == max {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    // The remainder by 1 of a number below 2; a negative sector is a turn less.
    let turns = f64::from(sector) / 6.0 + 1.0;
    let turn = if turns >= 1.0 { turns - 1.0 } else { turns } as f32;
    let saturation = range / f32::from(max);
    [(f64::from(turn) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
}

/// Pillow's `hsv2rgb`.
fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sector = f64::from(h) * 6.0 / 255.0;
    let i = sector as u8;
    let f = (sector - f64::from(f32::from(i))) as f32;
    let fs = (f64::from(s) / 255.0) as f32;
    // Rounded: shares are not negative.
    let level = |share: f64| (f64::from(v) * share + 0.5) as u8;
    let p = level(1.0 - f64::from(fs));
    let q = level(1.0 - f64::from(fs * f));
    let t = level(1.0 - f64::from(fs) * (1.0 - f64::from(f)));
    match i % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

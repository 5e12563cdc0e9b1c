//! Damaged and oversized image files, made byte by byte; `data` has whole data sets.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // each test file uses some of it

pub(crate) mod data;

use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A file's bytes.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// Five small files whose headers say `side` x `side` pixels: PNG, GIF, BMP, TIFF and WebP.
pub(crate) fn bombs(side: u32) -> [(&'static str, Vec<u8>); 5] {
    [
        ("png", png(side)),
        ("gif", gif(side.min(65_535) as u16)),
        ("bmp", bmp(side)),
        ("tiff", tiff(side)),
        ("webp", webp(side)),
    ]
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

fn png(side: u32) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 1 << 20]).unwrap();
    let head = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let parts = [chunk(b"IHDR", &head), chunk(b"IDAT", &packed.finish().unwrap()), chunk(b"IEND", &[])];
    [&b"\x89PNG\r\n\x1a\n"[..], &parts.concat()].concat()
}

fn gif(side: u16) -> Vec<u8> {
    let s = side.to_le_bytes();
    let screen = [&b"GIF89a"[..], &s, &s, &[0x80, 0, 0, 0, 0, 0, 255, 255, 255]].concat();
    let frame = [&[0x2C, 0, 0, 0, 0][..], &s, &s, &[0, 2, 2, 0x4C, 1, 0, 0x3B]].concat();
    [screen, frame].concat()
}

fn bmp(side: u32) -> Vec<u8> {
    let s = side.to_le_bytes();
    let file = [&b"BM"[..], &70u32.to_le_bytes(), &[0; 4], &54u32.to_le_bytes()].concat();
    [&file[..], &40u32.to_le_bytes(), &s, &s, &[1, 0, 24, 0], &[0; 24], &[0; 16]].concat()
}

fn tiff(side: u32) -> Vec<u8> {
    let tags = [
        (256u16, side),
        (257, side),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, side),
        (279, 16),
    ];
    let mut file = [&b"II*\0"[..], &24u32.to_le_bytes(), &[0; 16]].concat();
    file.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        file.extend(tag.to_le_bytes());
        file.extend(4u16.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file
}

fn webp(side: u32) -> Vec<u8> {
    let s = (side - 1).to_le_bytes();
    let canvas = [&[0x10, 0, 0, 0][..], &s[..3], &s[..3]].concat();
    let lossless = [&[0x2F][..], &[0; 15]].concat();
    let chunks =
        [&b"VP8X"[..], &10u32.to_le_bytes(), &canvas, b"VP8L", &16u32.to_le_bytes(), &lossless].concat();
    [&b"RIFF"[..], &(chunks.len() as u32 + 4).to_le_bytes(), b"WEBP", &chunks].concat()
}

/// A 16-bit grey PNG.
pub(crate) fn sixteen_bits(path: &Path) {
    let levels = image::ImageBuffer::from_fn(24, 20, |x, y| image::Luma([(x * 2000 + y * 500) as u16]));
    levels.save(path).unwrap();
}

/// A JPEG with the EXIF orientation `turn` (1 to 8).
pub(crate) fn turned(jpeg: &[u8], turn: u8) -> Vec<u8> {
    let tag = [0x12, 0x01, 3, 0, 1, 0, 0, 0, turn, 0, 0, 0];
    let body = [&b"Exif\0\0II*\0"[..], &8u32.to_le_bytes(), &[1, 0], &tag, &[0; 4]].concat();
    let head = [&[0xFF, 0xE1][..], &(body.len() as u16 + 2).to_be_bytes()].concat();
    [&jpeg[..2], &head, &body, &jpeg[2..]].concat()
}

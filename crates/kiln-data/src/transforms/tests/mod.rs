//! Transforms against torchvision (tests/fixtures/make_transforms.py), and their draws against the definitions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod draws;
mod faults;
mod images;
pub(crate) mod statistics;
mod tables;

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::decode::DecodedImage;

/// transforms.json and the pixels beside it.
struct Fixture {
    index: Value,
    pixels: Vec<u8>,
}

impl Fixture {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let index = serde_json::from_slice(&std::fs::read(folder.join("transforms.json")).unwrap()).unwrap();
        let file = std::fs::File::open(folder.join("transforms.bin.gz")).unwrap();
        let mut pixels = Vec::new();
        GzDecoder::new(file).read_to_end(&mut pixels).unwrap();
        Self { index, pixels }
    }

    fn image(&self, place: &Value) -> DecodedImage {
        let n = |key: &str| place[key].as_u64().unwrap() as usize;
        let (height, width, channels) = (n("height"), n("width"), n("channels"));
        let pixels = self.pixels[n("offset")..][..height * width * channels].to_vec();
        DecodedImage { height, width, channels, pixels }
    }
}

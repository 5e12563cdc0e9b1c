//! JPEG files have the pixels that Pillow reads (fixtures/make_jpeg.py): every subsampling, grey, CMYK and YCCK, progressive,
//! restarts, sizes that fill no block, and files that are a little damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use kiln_data::decode_bytes;
use support::bytes;

fn crc(levels: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(levels);
    crc.sum()
}

#[test]
fn every_file_has_the_pixels_of_pillow() {
    let expected: BTreeMap<String, [usize; 4]> = serde_json::from_slice(&bytes("jpeg.json")).unwrap();
    assert_eq!(expected.len(), 44);
    for (name, [height, width, channels, sum]) in expected {
        let image = decode_bytes(&bytes(&format!("jpeg/{name}.jpg")), &name).unwrap();
        assert_eq!((image.height, image.width, image.channels), (height, width, channels), "{name}");
        assert_eq!(crc(&image.pixels) as usize, sum, "{name}: other pixels than Pillow's");
        for_peers(&name, &image.pixels);
    }
}

/// Writes what tests/peers/pillow_reads_jpeg.py compares, where KILN_PEER_OUT names a folder.
fn for_peers(name: &str, levels: &[u8]) {
    let Some(folder) = std::env::var_os("KILN_PEER_OUT") else { return };
    let folder = Path::new(&folder).join("jpeg");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.jpg")), bytes(&format!("jpeg/{name}.jpg"))).unwrap();
    std::fs::write(folder.join(format!("{name}.levels")), levels).unwrap();
}

/// What the exact decoder is not sure of goes to the other one, as before: sampling factors that no program writes.
#[test]
fn strange_sampling_is_read_by_the_other_decoder() {
    let mut read = 0;
    for name in ["420-40x31", "cmyk-40x31", "ycck-17x33"] {
        let jpeg = bytes(&format!("jpeg/{name}.jpg"));
        let frame = jpeg.windows(2).position(|w| matches!(w, [0xFF, 0xC0 | 0xC2])).unwrap();
        let components = usize::from(jpeg[frame + 9]);
        for component in 0..components {
            for factors in [0x00, 0x12, 0x13, 0x21, 0x22, 0x31, 0x42, 0x44, 0x51, 0xFF] {
                let mut strange = jpeg.clone();
                strange[frame + 11 + 3 * component] = factors;
                read += usize::from(decode_bytes(&strange, name).is_ok());
            }
        }
    }
    assert!(read > 20, "{read}");
}

/// Bytes anywhere in a file may be wrong, and files may end anywhere: an answer or an error, never a crash.
#[test]
fn damaged_files_never_crash() {
    let (mut state, mut read, mut refused) = (7u64, 0, 0);
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for name in
        ["420-17x33", "422-40x31", "440-40x31", "progressive-40x31", "ycck-17x33", "grey-40x31", "restarts"]
    {
        let jpeg = bytes(&format!("jpeg/{name}.jpg"));
        for _ in 0..400 {
            let mut bad = jpeg.clone();
            for _ in 0..=draw(3) {
                let at = 2 + draw(bad.len() - 2);
                bad[at] = draw(256) as u8;
            }
            if draw(4) == 0 {
                bad.truncate(2 + draw(jpeg.len() - 2));
                bad.extend([0xFF, 0xD9]);
            }
            // A frame of so many pixels as a byte may say now is slow rather than wrong.
            if kiln_data::size_in(&bad, name).is_ok_and(|(h, w)| h * w > 1_000_000) {
                continue;
            }
            match decode_bytes(&bad, name) {
                Ok(image) => {
                    assert_eq!(image.pixels.len(), image.height * image.width * image.channels);
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 500 && refused > 200, "{read} read, {refused} refused");
}

//! The file format of TensorBoard's event files, which is TensorFlow's TFRecord: length, its checksum, bytes, their checksum.
//! Owns the frame; knows nothing of what the bytes say. Source: `tensorflow/core/lib/io/record_writer.h`.

/// Added to a rotated checksum, so that a checksum of bytes that hold checksums is not weak.
const MASK: u32 = 0xA282_EAD8;

/// CRC-32C of `bytes`, masked.
pub(super) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

/// `bytes` as one record.
pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(masked_crc(bytes).to_le_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C bit by bit, from its polynomial alone.
    fn plain(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
            }
        }
        !crc
    }

    #[test]
    fn records_carry_both_checksums() {
        assert_eq!(plain(b"123456789"), 0xE306_9283, "the check value of CRC-32C");
        let record = framed(b"123456789");
        assert_eq!(record[..8], 9_u64.to_le_bytes());
        let masked = |bytes: &[u8]| plain(bytes).rotate_right(15).wrapping_add(MASK).to_le_bytes();
        assert_eq!(record[8..12], masked(&record[..8]));
        assert_eq!(&record[12..21], b"123456789");
        assert_eq!(record[21..], masked(b"123456789"));
    }
}

//! One value of the log: consecutive records with their checksum.
//!
//! Little-endian: `checksum u64 | before u64 | count u32 | (timestamp_ms i64, length u32, payload)*`.
//! The checksum is XXH3-64 of all that follows it. `before` is the number of payload bytes that the log took
//! before this block since it was made, so that the size of the log is a subtraction of two headers.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the first record.
const HEADER: usize = 8 + 8 + 4;
/// Bytes that a record takes besides its payload.
pub(super) const RECORD_OVERHEAD: usize = 8 + 4;
/// A block is closed when it would grow past this. It stays below a power of two by what the storage
/// library adds, because that is how space for a value is given out.
pub(super) const TARGET_BYTES: usize = (64 << 10) - 512;

/// A record as it is stored.
pub(super) type Stored = (i64, Bytes);

/// What the header of a block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Payload bytes of the log before this block.
    pub before: u64,
    /// Records in this block.
    pub count: u32,
    /// Payload bytes in this block.
    pub payload: u64,
}

/// The value for some records.
pub(super) fn encode(before: u64, records: &[Stored]) -> Vec<u8> {
    let size: usize = records.iter().map(|(_, payload)| payload.len()).sum();
    let mut value = Vec::with_capacity(HEADER + size + records.len() * RECORD_OVERHEAD);
    value.extend_from_slice(&[0; 8]);
    value.extend_from_slice(&before.to_le_bytes());
    value.extend_from_slice(&(records.len() as u32).to_le_bytes());
    for (timestamp_ms, payload) in records {
        value.extend_from_slice(&timestamp_ms.to_le_bytes());
        value.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        value.extend_from_slice(payload);
    }
    let checksum = xxh3_64(&value[8..]);
    value[..8].copy_from_slice(&checksum.to_le_bytes());
    value
}

/// How many of `records` go into the next block: at least one, and no more than fit the target size.
pub(super) fn take(records: &[Stored]) -> usize {
    let mut size = HEADER;
    for (index, (_, payload)) in records.iter().enumerate() {
        size += RECORD_OVERHEAD + payload.len();
        if size > TARGET_BYTES {
            return index.max(1);
        }
    }
    records.len()
}

/// Reads the header only; the checksum is not looked at.
pub(super) fn head(value: &[u8]) -> Result<Head, String> {
    let (Some(before), Some(count)) = (u64_at(value, 8), u32_at(value, 16)) else {
        return Err(format!("a block of {} bytes is too short", value.len()));
    };
    let overhead = HEADER as u64 + u64::from(count) * RECORD_OVERHEAD as u64;
    match (value.len() as u64).checked_sub(overhead) {
        Some(payload) if count > 0 => Ok(Head {
            before,
            count,
            payload,
        }),
        _ => Err(format!(
            "a block of {} bytes claims {count} records",
            value.len()
        )),
    }
}

/// Checks the checksum and takes the records apart; payloads share the memory of `value`.
pub(super) fn decode(value: &Bytes) -> Result<Vec<Stored>, String> {
    let head = head(value)?;
    if u64_at(value, 0) != Some(xxh3_64(&value[8..])) {
        return Err("the checksum of a block does not match".to_owned());
    }
    let mut records = Vec::with_capacity(head.count as usize);
    let mut at = HEADER;
    for _ in 0..head.count {
        let (Some(timestamp), Some(length)) = (u64_at(value, at), u32_at(value, at + 8)) else {
            return Err("a record runs past the end of its block".to_owned());
        };
        at += RECORD_OVERHEAD;
        let end = at + length as usize;
        if end > value.len() {
            return Err("a record runs past the end of its block".to_owned());
        }
        records.push((timestamp as i64, value.slice(at..end)));
        at = end;
    }
    if at == value.len() {
        Ok(records)
    } else {
        Err("a block has bytes after its last record".to_owned())
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Stored> {
        vec![
            (5, Bytes::from_static(b"one")),
            (-1, Bytes::new()),
            (i64::MAX, Bytes::from_static(b"three")),
        ]
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        let value = Bytes::from(encode(77, &sample()));
        assert_eq!(decode(&value).unwrap(), sample());
        let expected = Head {
            before: 77,
            count: 3,
            payload: 8,
        };
        assert_eq!(head(&value).unwrap(), expected);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let value = encode(77, &sample());
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&Bytes::from(flipped)).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(decode(&Bytes::copy_from_slice(&value[..length])).is_err());
        }
    }

    #[test]
    fn a_block_takes_what_fits_and_always_one() {
        let large = vec![(0, Bytes::from(vec![0u8; 1 << 20])); 2];
        assert_eq!(take(&large), 1);
        let small = vec![(0, Bytes::from(vec![0u8; 1000])); 100];
        assert_eq!(take(&small), (TARGET_BYTES - HEADER) / 1012);
        assert_eq!(take(&small[..3]), 3);
    }
}

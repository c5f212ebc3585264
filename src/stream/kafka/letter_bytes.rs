//! A dead letter as bytes, and back: fixed fields, then each text with its length in front.

use bytes::Bytes;

use super::dead_letters::Letter;
use crate::example::Record;

/// The letter as bytes.
pub(super) fn encode(letter: &Letter) -> Vec<u8> {
    let record = &letter.record;
    let mut out = Vec::new();
    out.extend_from_slice(&record.partition.to_le_bytes());
    out.extend_from_slice(&record.offset.to_le_bytes());
    out.push(u8::from(record.timestamp_ms.is_some()));
    out.extend_from_slice(&record.timestamp_ms.unwrap_or_default().to_le_bytes());
    out.push(u8::from(letter.is_cut));
    put(&mut out, record.key.as_deref());
    put(&mut out, record.payload.as_deref());
    put(&mut out, Some(letter.reason.as_bytes()));
    put(&mut out, Some(letter.detail.as_bytes()));
    for (name, value) in &record.headers {
        put(&mut out, Some(name.as_bytes()));
        put(&mut out, value.as_deref());
    }
    out
}

/// The letter; `None` for bytes that are none.
pub(super) fn decode(bytes: &[u8]) -> Option<Letter> {
    let mut rest = bytes;
    let partition = i32::from_le_bytes(*chunk(&mut rest)?);
    let offset = i64::from_le_bytes(*chunk(&mut rest)?);
    let [has_timestamp] = *chunk(&mut rest)?;
    let timestamp_ms = i64::from_le_bytes(*chunk(&mut rest)?);
    let [is_cut] = *chunk(&mut rest)?;
    let key = take(&mut rest)?;
    let payload = take(&mut rest)?;
    let reason = text(&mut rest)?;
    let detail = text(&mut rest)?;
    let mut headers = Vec::new();
    while !rest.is_empty() {
        headers.push((text(&mut rest)?, take(&mut rest)?));
    }
    Some(Letter {
        record: Record {
            partition,
            offset,
            timestamp_ms: (has_timestamp != 0).then_some(timestamp_ms),
            key,
            payload,
            headers,
        },
        reason,
        detail,
        is_cut: is_cut != 0,
        number: 0,
    })
}

/// Length plus one, then the bytes; 0 alone where there are none.
fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(0, |bytes| bytes.len() as u64 + 1);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn take(rest: &mut &[u8]) -> Option<Option<Bytes>> {
    let length = u64::from_le_bytes(*chunk(rest)?);
    let Some(length) = length.checked_sub(1) else {
        return Some(None);
    };
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(Bytes::copy_from_slice(bytes)))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(take(rest)??.to_vec()).ok()
}

fn chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(chunk)
}

//! The bytes of a checkpoint, version 1.
//!
//! ```text
//! "SKEWDCKP"  version: u32  length of the JSON: u64  JSON  arrays, one after the other  BLAKE3 of all before: 32 bytes
//! ```
//!
//! Integers are little-endian. The JSON holds the header, the texts of the state, and name, type and shape of every
//! array in the order in which they follow. Values are little-endian bits, so that every float comes back as it was.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::{Checkpoint, Header};
use crate::state::{Blob, State};

/// The format that is written, and the newest one that is read.
pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"SKEWDCKP";
const HEAD_BYTES: usize = MAGIC.len() + 4 + 8;
const HASH_BYTES: usize = blake3::OUT_LEN;

/// Why bytes are no checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Damaged(String),
    Newer(u32),
}

#[derive(Serialize, Deserialize)]
struct Contents {
    header: Header,
    texts: BTreeMap<String, String>,
    arrays: Vec<Array>,
}

#[derive(Serialize, Deserialize)]
struct Array {
    name: String,
    kind: String,
    shape: Vec<usize>,
}

impl Array {
    /// Bytes of its values; `None` where no memory could hold them.
    fn bytes(&self) -> Option<usize> {
        let width = if self.kind == "f32" { 4 } else { 8 };
        self.shape
            .iter()
            .try_fold(width, |bytes: usize, length| bytes.checked_mul(*length))
    }
}

/// The checkpoint as bytes.
pub(super) fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let contents = Contents {
        header: checkpoint.header(),
        texts: checkpoint.state.texts.clone(),
        arrays: checkpoint
            .state
            .blobs
            .iter()
            .map(|(name, blob)| Array {
                name: name.clone(),
                kind: blob.kind().to_owned(),
                shape: blob.shape(),
            })
            .collect(),
    };
    let json = serde_json::to_vec(&contents).expect("texts, numbers and string keys are JSON");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&json);
    for blob in checkpoint.state.blobs.values() {
        bytes.extend_from_slice(&blob.to_le_bytes());
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// The checkpoint in `bytes`.
///
/// # Errors
/// When a single bit is not as it was written, or the format is newer than [`VERSION`].
pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, Fault> {
    let damaged = |reason: &str| Fault::Damaged(reason.to_owned());
    if bytes.len() < HEAD_BYTES + HASH_BYTES {
        return Err(damaged("is too short for a checkpoint"));
    }
    if &bytes[..MAGIC.len()] != MAGIC {
        return Err(damaged("is not a checkpoint"));
    }
    let (body, hash) = bytes.split_at(bytes.len() - HASH_BYTES);
    if blake3::hash(body).as_bytes() != hash {
        return Err(damaged(
            "its checksum does not match: the file was cut or changed",
        ));
    }
    let version = u32::from_le_bytes(take(&body[MAGIC.len()..]));
    if version > VERSION {
        return Err(Fault::Newer(version));
    }
    let length = u64::from_le_bytes(take(&body[MAGIC.len() + 4..]));
    let rest = &body[HEAD_BYTES..];
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= rest.len())
        .ok_or_else(|| damaged("its header is longer than the file"))?;
    let (json, data) = rest.split_at(length);
    let contents: Contents = serde_json::from_slice(json)
        .map_err(|error| Fault::Damaged(format!("its header cannot be read: {error}")))?;
    let state = State {
        texts: contents.texts,
        blobs: arrays(contents.arrays, data)?,
    };
    Ok(Checkpoint::new(contents.header, state))
}

/// Length of the whole file as its beginning tells it; `None` where that is no beginning of a checkpoint that this
/// version can read. `available` is the file's real length: nothing longer is read.
pub(super) fn length(file: &mut impl Read, available: u64) -> io::Result<Option<u64>> {
    let mut head = [0; HEAD_BYTES];
    if available < HEAD_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact(&mut head)?;
    let version = u32::from_le_bytes(take(&head[MAGIC.len()..]));
    let json = u64::from_le_bytes(take(&head[MAGIC.len() + 4..]));
    if &head[..MAGIC.len()] != MAGIC || version > VERSION || json > available {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(json).read_to_end(&mut text)?;
    let Ok(contents) = serde_json::from_slice::<Contents>(&text) else {
        return Ok(None);
    };
    let beside = HEAD_BYTES as u64 + json + HASH_BYTES as u64;
    Ok(contents
        .arrays
        .iter()
        .try_fold(beside, |sum, array| sum.checked_add(array.bytes()? as u64)))
}

fn arrays(arrays: Vec<Array>, mut data: &[u8]) -> Result<BTreeMap<String, Blob>, Fault> {
    let mut blobs = BTreeMap::new();
    for array in arrays {
        let bytes = array
            .bytes()
            .filter(|bytes| *bytes <= data.len())
            .ok_or_else(|| {
                Fault::Damaged(format!("the array {} is longer than the file", array.name))
            })?;
        let (own, others) = data.split_at(bytes);
        data = others;
        let blob = match array.kind.as_str() {
            "f32" => Blob::F32 {
                shape: array.shape,
                values: own
                    .chunks_exact(4)
                    .map(|v| f32::from_le_bytes(take(v)))
                    .collect(),
            },
            "f64" => Blob::F64(
                own.chunks_exact(8)
                    .map(|v| f64::from_le_bytes(take(v)))
                    .collect(),
            ),
            "u64" => Blob::U64(
                own.chunks_exact(8)
                    .map(|v| u64::from_le_bytes(take(v)))
                    .collect(),
            ),
            other => {
                return Err(Fault::Damaged(format!(
                    "the array {} is of the unknown type {other}",
                    array.name
                )));
            }
        };
        blobs.insert(array.name, blob);
    }
    if data.is_empty() {
        Ok(blobs)
    } else {
        Err(Fault::Damaged(format!(
            "{} bytes belong to no array",
            data.len()
        )))
    }
}

/// The first bytes; the callers have seen that there are enough.
fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut own = [0; N];
    own.copy_from_slice(&bytes[..N]);
    own
}

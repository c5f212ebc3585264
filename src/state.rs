//! The learning state as named arrays and texts, and its digest.
//!
//! Every room that learns writes what it knows into a [`State`] under its own prefix and reads it back.
//! The checkpoint stores a `State` without knowing what is in it; the digest hashes it without knowing either.

use std::collections::BTreeMap;

/// Prefix of the names that the digest leaves out.
pub const DISPLAY: &str = "display.";

/// A named array. Values keep their bits: -0.0, infinities and NaN payloads included.
#[derive(Debug, Clone, PartialEq)]
pub enum Blob {
    /// 32-bit floats (parameters, momentum, sketches).
    F32 {
        /// Lengths of the dimensions; their product is the number of values.
        shape: Vec<usize>,
        /// Row-major values.
        values: Vec<f32>,
    },
    /// 64-bit floats (moments, `log s`).
    F64(Vec<f64>),
    /// Counters.
    U64(Vec<u64>),
}

/// What a reader of a state did not find as expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name is not there.
    #[error("the state has no entry {0:?}")]
    Missing(String),
    /// The entry has another type or length.
    #[error("the state's entry {name:?} is {found}, expected {expected}")]
    Mismatch {
        /// Name of the entry.
        name: String,
        /// What is there.
        found: String,
        /// What the reader wanted.
        expected: String,
    },
}

/// The whole learning state, ordered by name.
///
/// ```
/// use skewd::state::State;
/// let mut a = State::default();
/// a.put_f64("absgd.log_s", vec![0.5]);
/// let mut b = a.clone();
/// assert_eq!(a.digest(), b.digest());
/// b.put_f64("absgd.log_s", vec![-0.5]);
/// assert_ne!(a.digest(), b.digest());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Texts: the schema, the class names.
    pub texts: BTreeMap<String, String>,
    /// Arrays.
    pub blobs: BTreeMap<String, Blob>,
}

impl State {
    /// Stores a text.
    pub fn put_text(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.texts.insert(name.into(), text.into());
    }

    /// Stores 32-bit floats; the product of `shape` is the number of values.
    pub fn put_f32(&mut self, name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        self.blobs.insert(name.into(), Blob::F32 { shape, values });
    }

    /// Stores 64-bit floats.
    pub fn put_f64(&mut self, name: impl Into<String>, values: Vec<f64>) {
        self.blobs.insert(name.into(), Blob::F64(values));
    }

    /// Stores counters.
    pub fn put_u64(&mut self, name: impl Into<String>, values: Vec<u64>) {
        self.blobs.insert(name.into(), Blob::U64(values));
    }

    /// A text by name.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none.
    pub fn text(&self, name: &str) -> Result<&str, Error> {
        self.texts
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| Error::Missing(name.to_owned()))
    }

    /// Shape and values of 32-bit floats.
    ///
    /// # Errors
    /// When the name is missing or holds another type.
    pub fn f32(&self, name: &str) -> Result<(&[usize], &[f32]), Error> {
        match self.blob(name)? {
            Blob::F32 { shape, values } => Ok((shape, values)),
            other => Err(mismatch(name, other, "f32")),
        }
    }

    /// 64-bit floats.
    ///
    /// # Errors
    /// When the name is missing or holds another type.
    pub fn f64(&self, name: &str) -> Result<&[f64], Error> {
        match self.blob(name)? {
            Blob::F64(values) => Ok(values),
            other => Err(mismatch(name, other, "f64")),
        }
    }

    /// Counters.
    ///
    /// # Errors
    /// When the name is missing or holds another type.
    pub fn u64(&self, name: &str) -> Result<&[u64], Error> {
        match self.blob(name)? {
            Blob::U64(values) => Ok(values),
            other => Err(mismatch(name, other, "u64")),
        }
    }

    /// 32-bit floats of a known length.
    ///
    /// # Errors
    /// When the name is missing, holds another type or another number of values.
    pub fn f32_exact(&self, name: &str, len: usize) -> Result<&[f32], Error> {
        let (_, values) = self.f32(name)?;
        exact(name, values, len)
    }

    /// 64-bit floats of a known length.
    ///
    /// # Errors
    /// When the name is missing, holds another type or another number of values.
    pub fn f64_exact(&self, name: &str, len: usize) -> Result<&[f64], Error> {
        exact(name, self.f64(name)?, len)
    }

    /// Counters of a known length.
    ///
    /// # Errors
    /// When the name is missing, holds another type or another number of values.
    pub fn u64_exact(&self, name: &str, len: usize) -> Result<&[u64], Error> {
        exact(name, self.u64(name)?, len)
    }

    /// BLAKE3 over every name, type, shape and value (little-endian bits), in order of names: 64 hex digits.
    ///
    /// Names under [`DISPLAY`] are left out: they are kept for people (counts of rejects, the history of the
    /// page), and say nothing about what was learned.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (name, text) in self.texts.iter().filter(|(name, _)| learned(name)) {
            field(b"text");
            field(name.as_bytes());
            field(text.as_bytes());
        }
        for (name, blob) in self.blobs.iter().filter(|(name, _)| learned(name)) {
            field(blob.kind().as_bytes());
            field(name.as_bytes());
            for length in blob.shape() {
                field(&(length as u64).to_le_bytes());
            }
            field(&blob.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    fn blob(&self, name: &str) -> Result<&Blob, Error> {
        self.blobs
            .get(name)
            .ok_or_else(|| Error::Missing(name.to_owned()))
    }
}

impl Blob {
    /// `f32`, `f64` or `u64`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::F32 { .. } => "f32",
            Self::F64(_) => "f64",
            Self::U64(_) => "u64",
        }
    }

    /// Lengths of the dimensions; one dimension for 64-bit arrays.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::F32 { shape, .. } => shape.clone(),
            Self::F64(values) => vec![values.len()],
            Self::U64(values) => vec![values.len()],
        }
    }

    /// The values as little-endian bytes.
    #[must_use]
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32 { values, .. } => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::U64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}

fn learned(name: &str) -> bool {
    !name.starts_with(DISPLAY)
}

fn mismatch(name: &str, found: &Blob, expected: &str) -> Error {
    Error::Mismatch {
        name: name.to_owned(),
        found: found.kind().to_owned(),
        expected: expected.to_owned(),
    }
}

fn exact<'a, T>(name: &str, values: &'a [T], len: usize) -> Result<&'a [T], Error> {
    if values.len() == len {
        Ok(values)
    } else {
        Err(Error::Mismatch {
            name: name.to_owned(),
            found: format!("{} values", values.len()),
            expected: format!("{len} values"),
        })
    }
}

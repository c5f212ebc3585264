//! The bytes of a file without their compression.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What every zstd frame begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Buffer of a compressed file's reader.
const BUFFER_BYTES: usize = 256 << 10;

/// The content of a file, unpacked when it begins as zstd; what is read of the file itself is added to `count`.
pub(super) fn plain(path: &Path, count: &Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other(
            "is no regular file: it is read more than once, so write it to one first",
        ));
    }
    let mut magic = [0; 4];
    let is_packed = File::open(path)?.read_exact(&mut magic).is_ok() && magic == ZSTD_MAGIC;
    let file = Counted {
        inner: File::open(path)?,
        count: Arc::clone(count),
    };
    if !is_packed {
        return Ok(Box::new(file));
    }
    let buffered = BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(Box::new(Unpacked(zstd::Decoder::with_buffer(buffered)?)))
}

/// Tells damaged data ([`io::ErrorKind::InvalidData`]) from a file that cannot be read.
struct Unpacked<R>(R);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            // The decoder's own words for bytes that make no sense, and for an end in the midst of them.
            io::ErrorKind::Other | io::ErrorKind::UnexpectedEof => io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the zstd data is damaged or cut short ({error})"),
            ),
            _ => error,
        })
    }
}

/// Counts what is read.
struct Counted {
    inner: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

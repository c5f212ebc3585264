//! Tokens and the files they live in.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::secret;

/// Tokens that are accepted, as digests: the texts themselves are not kept, and comparing digests in
/// constant time tells a guesser neither a length nor a prefix.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    digests: Vec<blake3::Hash>,
    shortest: usize,
}

/// A token shorter than this is guessable by an attacker with time; the daemon warns about it.
const STRONG_BYTES: usize = 32;

impl Tokens {
    /// Tokens from a text: one a line (so that a new and an old one can be valid together), without
    /// surrounding space.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let Some(shortest) = tokens.iter().map(|token| token.len()).min() else {
            return Err(
                "it holds no token: write one line of at least 32 random characters".to_owned(),
            );
        };
        Ok(Self {
            digests: tokens
                .iter()
                .map(|token| blake3::hash(token.as_bytes()))
                .collect(),
            shortest,
        })
    }

    /// Tokens from a file that only its owner can read.
    ///
    /// # Errors
    /// When the file cannot be read, others can read it, or it holds no token. The text names the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = secret::read("token", path)?;
        let named = |why: String| format!("token file {}: {why}", path.display());
        let text = String::from_utf8(bytes).map_err(|_| named("it is not text".to_owned()))?;
        Self::parse(&text).map_err(named)
    }

    /// Tokens from a file; where there is none, a new random token is written to it with mode 0600.
    ///
    /// # Errors
    /// As [`Tokens::read`], or when the file cannot be made.
    pub fn read_or_create(path: &Path) -> Result<Self, String> {
        if !fs::exists(path).map_err(|e| format!("token file {}: {e}", path.display()))? {
            create(path)
                .map_err(|e| format!("token file {} cannot be made: {e}", path.display()))?;
        }
        Self::read(path)
    }

    /// True when `token` is one of these.
    #[must_use]
    pub fn accept(&self, token: &[u8]) -> bool {
        let digest = blake3::hash(token);
        // `blake3::Hash` compares in constant time; every digest is looked at, whichever one fits.
        self.digests
            .iter()
            .fold(false, |found, known| found | (*known == digest))
    }

    /// True when every token has at least 32 bytes.
    #[must_use]
    pub fn strong(&self) -> bool {
        self.shortest >= STRONG_BYTES
    }
}

/// Writes a new token beside `path` and moves it there: a crash leaves no half-written token.
fn create(path: &Path) -> std::io::Result<()> {
    let mut random = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token = random.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    });
    let draft = path.with_extension("token.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        let made = Tokens::read_or_create(&path).unwrap();
        assert!(made.strong());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let again = Tokens::read_or_create(&path).unwrap();
        assert!(again.accept(text.trim().as_bytes()));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_token_file_that_others_can_read_or_that_is_empty_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "secret-token\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let why = Tokens::read(&path).err().unwrap();
        assert!(
            why.contains("chmod 600") && !why.contains("secret-token"),
            "{why}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let tokens = Tokens::read(&path).unwrap();
        assert!(tokens.accept(b"secret-token") && !tokens.strong());
        fs::write(&path, "\n\n").unwrap();
        assert!(Tokens::read(&path).err().unwrap().contains("no token"));
    }
}

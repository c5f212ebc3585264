//! Secrets that live in files, taken up again when the files change: no restart for a new token or certificate.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::tls::Tls;
use super::tokens::Tokens;

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files, and who uses them.
pub struct Keeper {
    app: Arc<App>,
    /// Tokens of the public listener, where there are any.
    pub public_tokens: Option<PathBuf>,
    /// Tokens of the admin listener.
    pub admin_tokens: PathBuf,
    /// Certificates, by the name of their table.
    pub tls: Vec<(&'static str, Arc<Tls>)>,
    complaints: BTreeMap<String, String>,
}

impl Keeper {
    /// Watches the files of the listeners that `app` serves.
    #[must_use]
    pub fn new(
        app: Arc<App>,
        public_tokens: Option<PathBuf>,
        admin_tokens: PathBuf,
        tls: Vec<(&'static str, Arc<Tls>)>,
    ) -> Self {
        Self {
            app,
            public_tokens,
            admin_tokens,
            tls,
            complaints: BTreeMap::new(),
        }
    }

    /// Looks at every file once. One that cannot be used leaves what was read before in use, and is said once.
    pub fn look(&mut self) {
        let mut found: Vec<(String, Result<bool, String>)> = Vec::new();
        if let Some(path) = &self.public_tokens {
            let taken = Tokens::read(path).map(|tokens| self.app.access.set_public(tokens));
            found.push(("http.token_file".to_owned(), taken));
        }
        let taken =
            Tokens::read(&self.admin_tokens).map(|tokens| self.app.access.set_admin(tokens));
        found.push(("admin.token_file".to_owned(), taken));
        for (table, tls) in &self.tls {
            found.push((format!("{table}.tls_cert"), tls.reload()));
        }
        for (key, result) in found {
            self.report(key, result);
        }
    }

    fn report(&mut self, key: String, result: Result<bool, String>) {
        match result {
            Ok(true) => {
                self.complaints.remove(&key);
                tracing::info!(key, "the file has changed and is in use");
            }
            Ok(false) => {
                self.complaints.remove(&key);
            }
            Err(reason) => {
                if self.complaints.get(&key) != Some(&reason) {
                    tracing::error!(
                        key,
                        reason,
                        "the file cannot be used; what it held before stays in use"
                    );
                    self.complaints.insert(key, reason);
                }
            }
        }
    }
}

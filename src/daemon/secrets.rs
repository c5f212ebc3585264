//! Tokens and certificates: read before anything is served, looked at again while it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use crate::config::Config;
use crate::serve::{Access, App, Keeper, Tls, Tokens};

/// The token that is made where the settings name none.
const ADMIN_TOKEN: &str = "admin.token";

/// What the listeners keep secret.
pub(super) struct Secrets {
    pub public_tls: Option<Arc<Tls>>,
    pub admin_tls: Option<Arc<Tls>>,
    public_tokens: Option<PathBuf>,
    admin_tokens: PathBuf,
}

impl Secrets {
    /// Reads every file that the settings name.
    pub fn open(config: &Config) -> Result<(Self, Access), Failure> {
        let public_tokens = match config.http.token_file.as_str() {
            "" => None,
            file => Some(PathBuf::from(file)),
        };
        let public = public_tokens
            .as_deref()
            .map(Tokens::read)
            .transpose()
            .map_err(|reason| Failure::config(format!("http.token_file: {reason}")))?;
        let (admin_tokens, admin) = match config.admin.token_file.as_str() {
            "" => {
                let path = config.in_data_dir(ADMIN_TOKEN);
                let tokens = Tokens::read_or_create(&path);
                (path, tokens)
            }
            file => (PathBuf::from(file), Tokens::read(Path::new(file))),
        };
        let admin =
            admin.map_err(|reason| Failure::config(format!("admin.token_file: {reason}")))?;
        let secrets = Self {
            public_tls: tls("http", &config.http.tls_cert, &config.http.tls_key)?,
            admin_tls: tls("admin", &config.admin.tls_cert, &config.admin.tls_key)?,
            public_tokens,
            admin_tokens,
        };
        Ok((secrets, Access::new(public, admin, &config.http.hosts)))
    }

    /// What looks at the files while they are used.
    pub fn keeper(&self, app: Arc<App>) -> Keeper {
        let tls = [("http", &self.public_tls), ("admin", &self.admin_tls)]
            .into_iter()
            .filter_map(|(table, tls)| Some((table, Arc::clone(tls.as_ref()?))))
            .collect();
        Keeper::new(
            app,
            self.public_tokens.clone(),
            self.admin_tokens.clone(),
            tls,
        )
    }
}

/// Reads every file that the settings name, and makes none.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    let read = |key: &str, path: &Path| match Tokens::read(path) {
        Ok(_) => Ok(()),
        Err(reason) => Err(Failure::config(format!("{key}: {reason}"))),
    };
    if !config.http.token_file.is_empty() {
        read("http.token_file", Path::new(&config.http.token_file))?;
    }
    let made = config.in_data_dir(ADMIN_TOKEN);
    match config.admin.token_file.as_str() {
        // Made at the first start.
        "" if !made.exists() => {}
        "" => read("admin.token_file", &made)?,
        file => read("admin.token_file", Path::new(file))?,
    }
    tls("http", &config.http.tls_cert, &config.http.tls_key)?;
    tls("admin", &config.admin.tls_cert, &config.admin.tls_key).map(|_| ())
}

fn tls(table: &str, cert: &str, key: &str) -> Result<Option<Arc<Tls>>, Failure> {
    if cert.is_empty() {
        return Ok(None);
    }
    Tls::load(Path::new(cert), Path::new(key))
        .map(|tls| Some(Arc::new(tls)))
        .map_err(|reason| Failure::config(format!("{table}.tls_cert: {reason}")))
}

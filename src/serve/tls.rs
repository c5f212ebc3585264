//! TLS for a listener: the certificate chain and key from files, taken up again when the files change.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;

/// The TLS side of one listener. Versions 1.2 and 1.3; HTTP/1.1 is what it speaks inside.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    acceptor: ArcSwap<TlsAcceptor>,
    seen: Mutex<blake3::Hash>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// When a file cannot be read or holds no PEM of its kind, others can read the key, or the two do not belong together.
    /// The text names the file.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, String> {
        let (config, seen) = read(cert, key)?;
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            acceptor: ArcSwap::from_pointee(TlsAcceptor::from(Arc::new(config))),
            seen: Mutex::new(seen),
        })
    }

    /// Takes the files up again if they have changed; true when they had. Open connections keep what they have.
    ///
    /// # Errors
    /// As [`Tls::load`]: the old certificate stays in use.
    pub fn reload(&self) -> Result<bool, String> {
        let (config, now) = read(&self.cert, &self.key)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(false);
        }
        *seen = now;
        self.acceptor
            .store(Arc::new(TlsAcceptor::from(Arc::new(config))));
        Ok(true)
    }

    /// What shakes hands with a client.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        (**self.acceptor.load()).clone()
    }
}

fn read(cert: &Path, key: &Path) -> Result<(ServerConfig, blake3::Hash), String> {
    let chain = certificates(cert)?;
    let name = key.display();
    let mut file = File::open(key).map_err(|e| format!("key file {name} cannot be opened: {e}"))?;
    let mode = file
        .metadata()
        .map_err(|e| format!("key file {name} cannot be read: {e}"))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "key file {name} can be read by others (mode {:o}): chmod 600 it",
            mode & 0o777
        ));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .map_err(|e| format!("key file {name} cannot be read: {e}"))?;
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|e| format!("key file {name} holds no private key in PEM: {e}"))?;
    let mut hasher = blake3::Hasher::new();
    for certificate in &chain {
        hasher.update(certificate);
    }
    hasher.update(&text);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|e| format!("{} and {name} do not go together: {e}", cert.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, hasher.finalize()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = path.display();
    let text =
        fs::read(path).map_err(|e| format!("certificate file {name} cannot be read: {e}"))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("certificate file {name} is not PEM: {e}"))?;
    if chain.is_empty() {
        return Err(format!("certificate file {name} holds no certificate"));
    }
    Ok(chain)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A client for a server whose certificate is the first of a file, whatever its name: for asking one's own daemon.
///
/// # Errors
/// When the file holds no certificate.
pub fn pinned_client(cert: &Path) -> Result<ClientConfig, String> {
    let known = certificates(cert)?.swap_remove(0);
    let pinned = Pinned {
        known,
        algorithms: provider().signature_verification_algorithms,
    };
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth())
}

/// Accepts one certificate and no other.
#[derive(Debug)]
struct Pinned {
    known: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.known {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "the server shows another certificate than tls_cert".to_owned(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

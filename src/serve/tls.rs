//! TLS for a listener: the certificate chain and key from files, taken up again when the files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;

use super::secret;

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
        let files = Files::read(cert, key)?;
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            acceptor: ArcSwap::from_pointee(files.acceptor(cert, key)?),
            seen: Mutex::new(files.digest()),
        })
    }

    /// Takes the files up again if they have changed; true when they had. Open connections keep what they have.
    ///
    /// # Errors
    /// As [`Tls::load`]: the old certificate stays in use.
    pub fn reload(&self) -> Result<bool, String> {
        let files = Files::read(&self.cert, &self.key)?;
        let now = files.digest();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(false);
        }
        let acceptor = files.acceptor(&self.cert, &self.key)?;
        *seen = now;
        self.acceptor.store(Arc::new(acceptor));
        Ok(true)
    }

    /// What shakes hands with a client.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        (**self.acceptor.load()).clone()
    }
}

/// Both files as they are.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        Ok(Self {
            cert: certificate_file(cert)?,
            key: secret::read("key", key)?,
        })
    }

    fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(blake3::hash(&self.cert).as_bytes());
        hasher.update(&self.key);
        hasher.finalize()
    }

    fn acceptor(&self, cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
        let chain = certificates(cert, &self.cert)?;
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| {
            format!(
                "key file {} holds no private key in PEM: {e}",
                key.display()
            )
        })?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain, private)
            })
            .map_err(|e| {
                format!(
                    "{} and {} do not go together: {e}",
                    cert.display(),
                    key.display()
                )
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificate_file(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("certificate file {} cannot be read: {e}", path.display()))
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = path.display();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text)
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
    let known = certificates(cert, &certificate_file(cert)?)?.swap_remove(0);
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

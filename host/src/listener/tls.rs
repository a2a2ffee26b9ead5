//! Serves TLS 1.2 and 1.3 with a certificate and key from files, and reloads them when they change.
//!
//! rustls has no older versions, and for TLS 1.2 it has only key exchanges with forward secrecy and
//! authenticated ciphers, as RFC 9325 (section 4) requires. Open connections keep the certificate
//! with which they began; the next handshake uses the new one. If the files do not match, as
//! between two steps of a renewal, the old certificate stays in use.

use crate::error_chain::error_chain;
use crate::time::timestamp::Timestamp;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval at which the files are checked for changes.
const WATCH: Duration = Duration::from_secs(2);

/// The TLS files cannot be used. The operator has to correct them.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file holds no PEM of the right kind.
    #[error("{path} holds no {what} in PEM format; check tls.certificate and tls.key")]
    Pem {
        /// The path of the file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// The cause.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("the certificate and the private key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// The contents of both files.
#[derive(PartialEq, Eq)]
struct TlsFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate in use, and the files from which it was read.
#[derive(Debug)]
pub struct ServedCertificates {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Arc<CurrentCertificate>,
    config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct CurrentCertificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Returns when the first certificate of a PEM file ends.
pub fn certificate_end(path: &Path) -> Result<Timestamp, TlsFilesError> {
    let failed = |source| TlsFilesError::File { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    let pem = |source| TlsFilesError::Pem { path: path.to_owned(), what: "certificate", source };
    let first = CertificateDer::from_pem_slice(&bytes).map_err(pem)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&first)
        .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let seconds = certificate.validity().not_after.timestamp();
    Ok(Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
}

impl ServedCertificates {
    /// Reads both files.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsFilesError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = certified_key(&read_files(certificate, key)?, certificate, key, &provider)?;
        let current = Arc::new(CurrentCertificate(ArcSwap::from_pointee(pair)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsFilesError::Pair)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            provider,
            current,
            config: Arc::new(config),
        })
    }

    /// Returns the configuration for handshakes.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reloads the certificate whenever the files change, until told to stop.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = read_files(&self.certificate, &self.key).ok();
        let mut look = tokio::time::interval(WATCH);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = stop.cancelled() => return,
            }
            // A missing file may be back at the next check, as during a renewal.
            let Ok(files) = read_files(&self.certificate, &self.key) else { continue };
            if seen.as_ref() == Some(&files) {
                continue;
            }
            match certified_key(&files, &self.certificate, &self.key, &self.provider) {
                Ok(pair) => {
                    self.current.0.store(Arc::new(pair));
                    tracing::info!("the certificate was reloaded; new connections use it");
                }
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::warn!(
                        error,
                        "the changed certificate was not loaded; the old one stays in use"
                    );
                }
            }
            seen = Some(files);
        }
    }
}

fn read_files(certificate: &Path, key: &Path) -> Result<TlsFiles, TlsFilesError> {
    let file = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsFilesError::File { path: path.to_owned(), source })
    };
    Ok(TlsFiles { certificate: file(certificate)?, key: file(key)? })
}

fn certified_key(
    files: &TlsFiles,
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsFilesError> {
    let unreadable = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| TlsFilesError::Pem { path, what, source }
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&files.certificate).collect();
    let chain = chain
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(unreadable("certificate", certificate))?;
    let private =
        PrivateKeyDer::from_pem_slice(&files.key).map_err(unreadable("private key", key))?;
    CertifiedKey::from_der(chain, private, provider).map_err(TlsFilesError::Pair)
}

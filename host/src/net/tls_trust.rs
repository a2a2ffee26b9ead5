//! Decides which server certificates are trusted, by deliveries and by the command line.
//!
//! A certificate that an operator lists is trusted as an authority. It is also trusted as a
//! server's own certificate if a server presents exactly that one. Many self-signed certificates
//! claim to be an authority (`openssl req -x509` makes them so), and webpki refuses such
//! certificates for servers.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The reason why certificates or a key cannot be used. The operator has to correct the file or the
/// setting.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The further certificates are not PEM.
    #[error("the further certificate authorities are not readable as PEM certificates")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The file has no certificate.
    #[error("the file of further certificate authorities contains no certificate")]
    Empty,
    /// A certificate cannot serve as an authority.
    #[error("a further certificate authority's certificate cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The client certificate is not PEM.
    #[error("`certificate` is not readable as PEM certificates")]
    OwnCertificate(#[source] rustls::pki_types::pem::Error),
    /// The client certificate is missing.
    #[error("`certificate` contains no certificate; one begins with -----BEGIN CERTIFICATE-----")]
    NoOwnCertificate,
    /// The key is not PEM.
    #[error("`key` is not readable as a private key in PEM")]
    OwnKey(#[source] rustls::pki_types::pem::Error),
    /// The key cannot be used, or belongs to another certificate.
    #[error("`certificate` and `key` do not belong together")]
    OwnPair(#[source] rustls::Error),
    /// The name cannot be the name of a certificate.
    #[error("`server_name`: `{0}` is neither a host name nor an address")]
    ServerName(String),
    /// TLS cannot be set up with these settings.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A lowest version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Returns settings for TLS 1.2 and 1.3 that trust Mozilla's roots and the given ones.
pub fn client_config(extra_ca_pem: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
    let authorities: Vec<&[u8]> = extra_ca_pem.into_iter().collect();
    Ok(verifying_builder(&authorities, TlsVersion::Tls12)?.with_no_client_auth())
}

/// Returns a builder for TLS from a version on that trusts Mozilla's roots and the given ones. It
/// has no client certificate yet.
pub fn verifying_builder(
    authorities: &[&[u8]],
    min_version: TlsVersion,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut listed = Vec::new();
    for pem in authorities {
        listed.extend(add(&mut roots, pem)?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = match min_version {
        TlsVersion::Tls12 => builder.with_safe_default_protocol_versions(),
        TlsVersion::Tls13 => builder.with_protocol_versions(&[&rustls::version::TLS13]),
    };
    let builder = builder.map_err(TlsError::Setup)?;
    if listed.is_empty() {
        return Ok(builder.with_root_certificates(roots));
    }
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
    let verifier = Arc::new(ListedCertificates { usual, listed });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut listed = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(TlsError::Pem)?;
        roots.add(certificate.clone()).map_err(TlsError::Certificate)?;
        listed.push(certificate);
    }
    if listed.is_empty() { Err(TlsError::Empty) } else { Ok(listed) }
}

/// Whether a server presented a certificate that claims to be an authority's.
pub fn is_authority_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Returns advice about a refused certificate, if the cause is known.
pub fn tls_hint(error: &rustls::Error) -> Option<&'static str> {
    if is_authority_as_server(error) {
        return Some(
            "the receiver presents the certificate of an authority as its own: put that certificate \
             into delivery.ca_file, or give the receiver one that is not an authority's",
        );
    }
    let rustls::Error::InvalidCertificate(why) = error else { return None };
    if matches!(why, CertificateError::UnknownIssuer) {
        return Some(
            "no trusted authority issued the receiver's certificate: put the issuer's, or the \
             certificate itself, into delivery.ca_file",
        );
    }
    let other_name = matches!(
        why,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    );
    other_name.then_some("the certificate's subjectAltName must contain the host of the URL")
}

/// Verifies as usual, and also accepts a listed certificate as a server's own.
#[derive(Debug)]
struct ListedCertificates {
    usual: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for ListedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // webpki checks the validity period of a certificate before it returns this error.
            Err(error) if is_authority_as_server(&error) && self.listed.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_certificates_are_refused() {
        assert!(matches!(client_config(Some(b"")), Err(TlsError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(matches!(client_config(Some(broken)), Err(TlsError::Pem(_))));
        let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(client_config(Some(empty)), Err(TlsError::Certificate(_))));
        assert!(client_config(None).is_ok());
    }
}

//! Whose certificates are trusted: by deliveries, and by the command line.
//!
//! A certificate that an operator lists is trusted as an authority, and as the server's own where a
//! server shows that very certificate. Many self-signed ones say of themselves that they are an
//! authority's (`openssl req -x509` makes them so), and webpki refuses those as a server's.

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

/// The further certificates cannot be used; the file that holds them has to be mended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is no PEM.
    #[error("the further certificate authorities are not readable as PEM certificates")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// It holds none.
    #[error("the file of further certificate authorities holds no certificate")]
    Empty,
    /// One is no certificate authority's.
    #[error("a further certificate authority's certificate cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The own certificate is not PEM.
    #[error("`certificate` is not readable as PEM certificates")]
    OwnCertificate(#[source] rustls::pki_types::pem::Error),
    /// There is no own certificate.
    #[error("`certificate` holds no certificate; it begins with -----BEGIN CERTIFICATE-----")]
    NoOwnCertificate,
    /// The own key is not PEM.
    #[error("`key` is not readable as a private key in PEM")]
    OwnKey(#[source] rustls::pki_types::pem::Error),
    /// The own key cannot be used, or is another certificate's.
    #[error("`certificate` and `key` do not fit each other")]
    OwnPair(#[source] rustls::Error),
    /// No certificate has such a name.
    #[error("`server_name`: `{0}` is neither a host name nor an address")]
    ServerName(String),
    /// No protocol version is left.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A version of TLS.
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

/// TLS 1.2 and 1.3 with Mozilla's roots and those given.
pub fn client_config(extra_ca_pem: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
    let authorities: Vec<&[u8]> = extra_ca_pem.into_iter().collect();
    Ok(verifying_builder(&authorities, TlsVersion::Tls12)?.with_no_client_auth())
}

/// TLS from a version on, with Mozilla's roots and those given; still without a certificate of the
/// client's own.
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

/// Whether a server showed a certificate that says of itself that it is an authority's.
pub fn is_authority_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// What to do about a certificate that was refused.
pub fn tls_hint(error: &rustls::Error) -> Option<&'static str> {
    if is_authority_as_server(error) {
        return Some(
            "the receiver shows the certificate of an authority as its own: put that certificate \
             into delivery.ca_file, or give the receiver one that is not an authority's",
        );
    }
    let rustls::Error::InvalidCertificate(why) = error else { return None };
    if matches!(why, CertificateError::UnknownIssuer) {
        return Some(
            "nobody trusted has issued the receiver's certificate: put the issuer's, or the \
             certificate itself, into delivery.ca_file",
        );
    }
    let other_name = matches!(
        why,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    );
    other_name.then_some("the host of the URL must stand in the certificate's subjectAltName")
}

/// Verifies as usual, and takes a listed certificate as a server's own too.
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
            // webpki looks at the times of a certificate before it says this.
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

//! TLS settings of a single receiver.

use crate::net::tls_trust::{self, TlsError, TlsVersion};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fmt;

/// A client certificate and its key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The client's certificate first, then the intermediate ones up to its authority.
    pub certificate: String,
    pub key: String,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(hidden)")
    }
}

/// The TLS settings of a receiver that differ from those of all receivers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsProfile {
    /// Certificates in PEM that are trusted in addition to the shared ones.
    pub authorities: Vec<String>,
    /// The client certificate to present, if any.
    pub identity: Option<TlsIdentity>,
    /// The lowest version of TLS to accept.
    pub min_version: TlsVersion,
    /// The name that the receiver's certificate must have, if it is not the host of the URL.
    pub server_name: Option<String>,
}

impl TlsProfile {
    /// Builds the settings of a TLS client. `shared` holds the certificates in PEM that are trusted
    /// for all receivers, in addition to Mozilla's.
    pub fn client_config(&self, shared: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
        let own = self.authorities.iter().map(String::as_bytes);
        let authorities: Vec<&[u8]> = shared.into_iter().chain(own).collect();
        let builder = tls_trust::verifying_builder(&authorities, self.min_version)?;
        let Some(identity) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect();
        let chain = chain.map_err(TlsError::OwnCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
        let key = key.map_err(TlsError::OwnKey)?;
        if chain.is_empty() {
            return Err(TlsError::NoOwnCertificate);
        }
        builder.with_client_auth_cert(chain, key).map_err(TlsError::OwnPair)
    }

    /// Checks that a client can be built from these settings.
    pub fn check(&self) -> Result<(), TlsError> {
        if let Some(name) = &self.server_name {
            ServerName::try_from(name.as_str())
                .map_err(|_opaque| TlsError::ServerName(name.clone()))?;
        }
        self.client_config(None).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::generate_simple_self_signed;

    fn identity() -> TlsIdentity {
        let pair = generate_simple_self_signed(vec!["client.example".to_owned()]).unwrap();
        TlsIdentity { certificate: pair.cert.pem(), key: pair.signing_key.serialize_pem() }
    }

    #[test]
    fn a_certificate_needs_its_own_key() {
        let (one, other) = (identity(), identity());
        let profile = |certificate: &str, key: &str| TlsProfile {
            identity: Some(TlsIdentity {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            }),
            ..TlsProfile::default()
        };
        profile(&one.certificate, &one.key).check().unwrap();
        let error = profile(&one.certificate, &other.key).check().unwrap_err();
        assert!(matches!(error, TlsError::OwnPair(_)), "{error}");
        let error = profile("", &one.key).check().unwrap_err();
        assert!(matches!(error, TlsError::NoOwnCertificate), "{error}");
        let error = profile(&one.certificate, "none").check().unwrap_err();
        assert!(matches!(error, TlsError::OwnKey(_)), "{error}");
    }

    #[test]
    fn a_name_that_no_certificate_has_is_refused() {
        for (name, is_good) in [("erp.internal", true), ("10.0.0.1", true), ("a b", false)] {
            let server_name = Some(name.to_owned());
            let profile = TlsProfile { server_name, ..TlsProfile::default() };
            assert_eq!(profile.check().is_ok(), is_good, "{name}");
        }
    }
}

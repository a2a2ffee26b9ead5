//! TLS settings for connections to an endpoint's receiver.

use crate::crypto::assertion_key::AssertionKey;
use crate::error_chain::error_chain;
use crate::model::endpoint::EndpointSettings;
use crate::model::endpoint_auth::EndpointAuth;
use crate::model::fault::InputFault;
use crate::model::private_values::MASK;
use crate::net::tls_profile::{TlsIdentity, TlsProfile};
use crate::net::tls_trust::TlsVersion;
use serde::{Deserialize, Serialize};
use std::fmt;

/// TLS settings for connections to the receiver.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointTls {
    /// The lowest accepted version of TLS. If left out, 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Certificates of further authorities to trust for the receiver's certificate, in PEM.
    /// Mozilla's and those of `delivery.ca_file` are always trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The name that the receiver's certificate must be valid for. If left out, the host of the
    /// URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "erp.internal")]
    pub server_name: Option<String>,
    /// A client certificate to show to the receiver, in PEM, followed by the certificates between
    /// it and its authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The private key of `certificate` in PEM. Never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl fmt::Debug for EndpointTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointTls(hidden)")
    }
}

/// Longest PEM, in bytes.
const MAX_PEM: usize = 64 * 1024;

impl EndpointSettings {
    /// Returns the TLS profile of the endpoint, or `None` if it uses the defaults.
    pub fn tls_profile(&self) -> Option<TlsProfile> {
        let tls = self.tls.clone().unwrap_or_default();
        let own = match &self.auth {
            Some(EndpointAuth::Mtls(own)) => Some(own),
            Some(_) | None => None,
        };
        if self.tls.is_none() && own.is_none() {
            return None;
        }
        let identity = match (own, tls.certificate, tls.key) {
            (Some(own), _, _) => {
                Some(TlsIdentity { certificate: own.certificate.clone(), key: own.key.clone() })
            }
            (None, Some(certificate), Some(key)) => Some(TlsIdentity { certificate, key }),
            (None, _, _) => None,
        };
        let authorities = own.and_then(|own| own.ca.clone()).into_iter().chain(tls.ca).collect();
        let min_version = tls.min_version.unwrap_or_default();
        Some(TlsProfile { authorities, identity, min_version, server_name: tls.server_name })
    }

    /// Masks the secrets of `auth` and `tls`.
    pub fn mask_auth(&mut self) {
        self.auth.iter_mut().for_each(EndpointAuth::mask);
        if let Some(key) = self.tls.as_mut().and_then(|tls| tls.key.as_mut()) {
            MASK.clone_into(key);
        }
    }

    /// Returns the faults of `auth` and `tls`, except those of the contents of keys and
    /// certificates.
    pub fn check_auth(&self) -> Vec<InputFault> {
        let auth = self.auth.iter().flat_map(EndpointAuth::check);
        let mut faults: Vec<InputFault> = auth.map(|fault| fault.within("auth")).collect();
        let set_by_auth = self.auth.as_ref().and_then(EndpointAuth::header_name);
        let twice = self
            .headers
            .keys()
            .find(|name| set_by_auth.as_ref().is_some_and(|own| name.eq_ignore_ascii_case(own)));
        if let Some(name) = twice {
            let why = "`auth` sets this header; leave one of them out";
            faults.push(InputFault::new(format!("headers.{name}"), why));
        }
        let uses_tls = self.tls.is_some() || matches!(self.auth, Some(EndpointAuth::Mtls(_)));
        let is_https = self.url.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("https://"));
        if uses_tls && !is_https {
            let place = if self.tls.is_some() { "tls" } else { "auth" };
            faults.push(InputFault::new(place, "TLS settings need a `url` with https"));
        }
        faults.extend(self.tls.iter().flat_map(|tls| self.check_tls(tls)));
        faults
    }

    fn check_tls(&self, tls: &EndpointTls) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if tls.certificate.is_some() != tls.key.is_some() {
            let why = "set both `certificate` and `key`, or neither";
            faults.push(InputFault::new("tls.certificate", why));
        }
        if tls.certificate.is_some() && matches!(self.auth, Some(EndpointAuth::Mtls(_))) {
            let why = "`auth` already has a certificate; leave one of them out";
            faults.push(InputFault::new("tls.certificate", why));
        }
        for (place, pem) in [("tls.ca", &tls.ca), ("tls.certificate", &tls.certificate)] {
            if pem.as_ref().is_some_and(|pem| pem.len() > MAX_PEM) {
                faults.push(InputFault::new(place, format!("at most {MAX_PEM} bytes")));
            }
        }
        faults
    }

    /// Returns the faults of the keys and certificates. Call it after masks are replaced by stored
    /// values.
    pub fn check_keys(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if let Some(EndpointAuth::Oauth2(oauth)) = &self.auth
            && let Some(pem) = oauth.private_key.as_deref().filter(|pem| *pem != MASK)
            && let Err(why) = AssertionKey::read(pem)
        {
            faults.push(InputFault::new("auth.private_key", why.to_string()));
        }
        if let Some(Err(why)) = self.tls_profile().map(|profile| profile.check()) {
            let is_own = matches!(self.auth, Some(EndpointAuth::Mtls(_)));
            let place = if is_own { "auth" } else { "tls" };
            faults.push(InputFault::new(place, error_chain(&why)));
        }
        faults
    }
}

//! Authentication to a receiver.

use crate::model::endpoint::check_header;
use crate::model::fault::InputFault;
use crate::model::oauth_settings::OauthSettings;
use crate::model::private_values::{MASK, mask_url};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Authentication to the receiver. The secrets are stored encrypted and never shown again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EndpointAuth {
    /// HTTP Basic authentication with a name and a password (RFC 7617).
    Basic {
        /// The user's name. Never shown, because many services take their API key here.
        username: String,
        /// The password. May be empty. Never shown.
        #[serde(default)]
        password: String,
    },
    /// A fixed token in `Authorization` (RFC 6750).
    Bearer { token: String },
    /// An API key in a header or in the query of the URL.
    ApiKey {
        /// Place of the key: `header` or `query`.
        #[serde(rename = "in", default)]
        place: KeyPlace,
        /// The name of the header or the query parameter.
        name: String,
        /// The key. Never shown.
        value: String,
    },
    /// A token from a token server (OAuth 2.0, RFC 6749).
    Oauth2(Box<OauthSettings>),
    /// A client certificate that is shown in the TLS handshake.
    Mtls(ClientCertificate),
    /// A signature of Amazon Web Services (Signature Version 4).
    AwsSigv4(AwsKeys),
}

/// The keys of an account of Amazon Web Services, and what its signatures are for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsKeys {
    /// The id of the access key. Never shown.
    pub access_key: String,
    /// The secret access key. Never shown.
    pub secret_key: String,
    /// The session token of temporary credentials. Never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The region of the service, such as `eu-central-1`.
    pub region: String,
    /// The name of the service in signatures, such as `execute-api`, `lambda`, `sqs` or `events`.
    pub service: String,
}

/// The place of an API key in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// In a header.
    #[default]
    Header,
    /// In the query of the URL.
    Query,
}

/// A client certificate with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The client certificate in PEM, followed by the certificates between it and its authority.
    pub certificate: String,
    /// The private key of the certificate in PEM. Never shown.
    pub key: String,
    /// Certificates of further authorities to trust for the receiver's certificate, in PEM.
    /// Mozilla's and those of `delivery.ca_file` are always trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl fmt::Debug for EndpointAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointAuth(hidden)")
    }
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsKeys(hidden)")
    }
}

impl AwsKeys {
    fn check(&self) -> Vec<InputFault> {
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_odd = |text: &str| text.is_empty() || http::HeaderValue::from_str(text).is_err();
        let token = self.token.as_deref().unwrap_or("none");
        let checks = [
            ("region", is_name(&self.region), "a name such as `eu-central-1`"),
            ("service", is_name(&self.service), "a name such as `execute-api`"),
            ("access_key", !is_odd(&self.access_key), "visible characters"),
            ("secret_key", !self.secret_key.is_empty(), "is empty"),
            ("token", !is_odd(token), "visible characters"),
        ];
        let failed = checks.into_iter().filter(|(_, holds, _)| !holds);
        failed.map(|(path, _, why)| InputFault::new(path, why)).collect()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(hidden)")
    }
}

/// Longest secret, in bytes. RSA keys have 3 KiB and more.
const MAX_SECRET: usize = 16 * 1024;

impl EndpointAuth {
    /// Returns the name of the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "basic",
            Self::Bearer { .. } => "bearer",
            Self::ApiKey { .. } => "api_key",
            Self::Oauth2(_) => "oauth2",
            Self::Mtls(_) => "mtls",
            Self::AwsSigv4(_) => "aws_sigv4",
        }
    }

    /// Returns the faults, with paths relative to `auth`. Keys and certificates are checked by
    /// [`EndpointSettings::check_keys`](crate::model::endpoint::EndpointSettings::check_keys).
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        match self {
            Self::Basic { username, .. } => {
                if username.contains(':') {
                    faults.push(InputFault::new("username", "a name cannot contain `:`"));
                }
            }
            Self::Bearer { token } => {
                faults.extend(check_header("authorization", token, "token"));
            }
            Self::ApiKey { place: KeyPlace::Header, name, value } => {
                faults.extend(check_header(name, value, "name"));
            }
            Self::ApiKey { place: KeyPlace::Query, name, .. } => {
                if name.is_empty() || name.len() > 255 {
                    faults.push(InputFault::new("name", "a name has 1 to 255 bytes"));
                }
            }
            Self::Oauth2(settings) => faults.extend(settings.check()),
            Self::Mtls(_) => {}
            Self::AwsSigv4(keys) => faults.extend(keys.check()),
        }
        for (place, secret) in self.clone().secrets_mut() {
            if secret.len() > MAX_SECRET {
                faults.push(InputFault::new(place, format!("at most {MAX_SECRET} bytes")));
            }
        }
        faults
    }

    /// Returns the header to set on each request, if it is always the same.
    pub fn fixed_header(&self) -> Option<(String, String)> {
        let authorization = |value: String| Some(("authorization".to_owned(), value));
        match self {
            Self::Basic { username, password } => {
                let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
                authorization(format!("Basic {pair}"))
            }
            Self::Bearer { token } => authorization(format!("Bearer {token}")),
            Self::ApiKey { place: KeyPlace::Header, name, value } => {
                Some((name.clone(), value.clone()))
            }
            Self::ApiKey { place: KeyPlace::Query, .. }
            | Self::Oauth2(_)
            | Self::Mtls(_)
            | Self::AwsSigv4(_) => None,
        }
    }

    /// Returns the name of the header that authentication sets, in lower case.
    pub fn header_name(&self) -> Option<String> {
        match self {
            Self::Oauth2(_) | Self::AwsSigv4(_) => Some("authorization".to_owned()),
            Self::Basic { .. } | Self::Bearer { .. } | Self::ApiKey { .. } | Self::Mtls(_) => {
                self.fixed_header().map(|(name, _)| name.to_ascii_lowercase())
            }
        }
    }

    /// Returns the further parameters of a token request, which may be secrets too.
    pub fn extra(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Oauth2(oauth) => Some(&oauth.extra),
            Self::Basic { .. }
            | Self::Bearer { .. }
            | Self::ApiKey { .. }
            | Self::Mtls(_)
            | Self::AwsSigv4(_) => None,
        }
    }

    /// Masks the secrets.
    pub fn mask(&mut self) {
        if let Self::Oauth2(oauth) = self {
            oauth.extra.values_mut().for_each(|value| MASK.clone_into(value));
            oauth.token_url = mask_url(&oauth.token_url);
        }
        self.secrets_mut().into_iter().for_each(|(_, secret)| MASK.clone_into(secret));
    }

    /// Returns the secrets with their places relative to `auth`. [`SECRET_PLACES`] names the same
    /// ones.
    pub fn secrets_mut(&mut self) -> Vec<(String, &mut String)> {
        match self {
            Self::Basic { username, password } => {
                vec![("username".to_owned(), username), ("password".to_owned(), password)]
            }
            Self::Bearer { token } => vec![("token".to_owned(), token)],
            Self::ApiKey { value, .. } => vec![("value".to_owned(), value)],
            Self::Oauth2(settings) => settings.secrets_mut(),
            Self::Mtls(certificate) => vec![("key".to_owned(), &mut certificate.key)],
            Self::AwsSigv4(AwsKeys { access_key, secret_key, token, .. }) => {
                let keys = [("access_key", access_key), ("secret_key", secret_key)];
                let keys = keys.into_iter().chain(token.as_mut().map(|token| ("token", token)));
                keys.map(|(place, secret)| (place.to_owned(), secret)).collect()
            }
        }
    }
}

/// The places of all secrets in an endpoint's `auth` and `tls`, except those in `/auth/extra`, as
/// JSON pointers into its settings.
pub const SECRET_PLACES: [&str; 11] = [
    "/auth/username",
    "/auth/password",
    "/auth/token",
    "/auth/value",
    "/auth/client_secret",
    "/auth/private_key",
    "/auth/refresh_token",
    "/auth/key",
    "/auth/access_key",
    "/auth/secret_key",
    "/tls/key",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn auth(json: Value) -> EndpointAuth {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn fixed_credentials_are_sent_in_a_header() {
        for (settings, header) in [
            (
                json!({"kind": "basic", "username": "sk_live", "password": ""}),
                Some(("authorization", "Basic c2tfbGl2ZTo=")),
            ),
            (json!({"kind": "bearer", "token": "abc"}), Some(("authorization", "Bearer abc"))),
            (json!({"kind": "api_key", "name": "X-Key", "value": "abc"}), Some(("X-Key", "abc"))),
            (json!({"kind": "api_key", "in": "query", "name": "key", "value": "abc"}), None),
        ] {
            let found = auth(settings).fixed_header();
            let found = found.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
            assert_eq!(found, header);
        }
    }

    #[test]
    fn every_secret_has_a_sealed_place() {
        for settings in [
            json!({"kind": "basic", "username": "u", "password": "p"}),
            json!({"kind": "bearer", "token": "t"}),
            json!({"kind": "api_key", "name": "n", "value": "v"}),
            json!({"kind": "oauth2", "token_url": "https://t.example/t", "client_id": "c",
                   "client_secret": "s", "private_key": "k", "refresh_token": "r"}),
            json!({"kind": "mtls", "certificate": "c", "key": "k"}),
            json!({"kind": "aws_sigv4", "access_key": "a", "secret_key": "s", "token": "t",
                   "region": "r", "service": "sqs"}),
        ] {
            let mut auth = auth(settings);
            assert!(!format!("{auth:?}").contains('"'));
            for (place, _) in auth.secrets_mut() {
                assert!(SECRET_PLACES.contains(&format!("/auth/{place}").as_str()), "{place}");
            }
        }
    }

    #[test]
    fn unknown_fields_and_kinds_are_refused() {
        for settings in [
            json!({"kind": "digest"}),
            json!({"kind": "bearer", "token": "t", "tokn": "t"}),
            json!({"kind": "mtls", "certificate": "c", "key": "k", "x": 1}),
        ] {
            assert!(serde_json::from_value::<EndpointAuth>(settings).is_err());
        }
    }
}

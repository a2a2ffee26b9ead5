//! Settings for requesting tokens from a token server (OAuth 2.0, RFC 6749, 7521 and 7523).

use crate::model::fault::InputFault;
use crate::net::http_url::read_http_url;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Settings of requests to a token server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OauthSettings {
    /// The address of the token server.
    #[schema(example = "https://login.example/oauth2/token")]
    pub token_url: String,
    /// The grant: what entitles Waybill to a token.
    #[serde(default)]
    pub grant: OauthGrant,
    /// The client's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client's secret. Never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Authentication of the client to the token server. If left out, `basic`, or `none` for
    /// `jwt_bearer` without a `client_secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// The private key in PEM that signs assertions: RSA (`RS256`), P-256 (`ES256`), P-384
    /// (`ES384`) or Ed25519 (`EdDSA`). Never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// The key id (`kid`) of assertions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The issuer (`iss`) of the assertion of `jwt_bearer`. If left out, `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The subject (`sub`) of the assertion of `jwt_bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The audience (`aud`) of assertions. If left out, `token_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion_audience: Option<String>,
    /// The refresh token. If the token server issues a new one, the new one is stored. Never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The scope of the token, with spaces between its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The parameter `audience`, which some token servers require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Further parameters of the token request. Their values are never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
    /// The word before the token in `Authorization`. If left out, `Bearer`.
    #[serde(default = "bearer", skip_serializing_if = "is_bearer")]
    pub scheme: String,
    /// Places of the token and its lifetime in the answer.
    #[serde(default, skip_serializing_if = "TokenPlaces::is_usual")]
    pub response: TokenPlaces,
}

impl fmt::Debug for OauthSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OauthSettings(hidden)")
    }
}

/// The grant that entitles Waybill to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OauthGrant {
    /// The client's own credentials.
    #[default]
    ClientCredentials,
    /// A signed assertion (RFC 7523, section 2.1).
    JwtBearer,
    /// A refresh token that a person obtained.
    RefreshToken,
}

/// The authentication of a client to a token server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// With id and secret in `Authorization`.
    Basic,
    /// With id and secret in the form.
    Post,
    /// With a signed assertion (RFC 7523, section 2.2).
    PrivateKeyJwt,
    /// Not at all, or by the endpoint's certificate (RFC 8705). The id is sent in the form.
    None,
}

/// Places of the parts of a token server's answer, as JSON pointers (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenPlaces {
    /// The place of the token.
    #[serde(default = "token_place")]
    #[schema(default = "/access_token")]
    pub token: String,
    /// The place of the token's lifetime: seconds from now, a time in seconds or milliseconds since
    /// 1970, or an RFC 3339 time.
    #[serde(default = "expiry_place")]
    #[schema(default = "/expires_in")]
    pub expires: String,
}

impl Default for TokenPlaces {
    fn default() -> Self {
        Self { token: token_place(), expires: expiry_place() }
    }
}

impl TokenPlaces {
    /// Whether the parts are in the places that RFC 6749 defines.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

fn token_place() -> String {
    "/access_token".to_owned()
}

fn expiry_place() -> String {
    "/expires_in".to_owned()
}

fn bearer() -> String {
    "Bearer".to_owned()
}

fn is_bearer(scheme: &str) -> bool {
    scheme == "Bearer"
}

/// Parameters that Waybill sets from other settings.
const OWN_PARAMETERS: [&str; 9] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "assertion",
    "refresh_token",
    "scope",
    "audience",
];
/// Most further parameters.
const MAX_EXTRA: usize = 32;
/// Longest text that is not a secret, in bytes.
const MAX_TEXT: usize = 2_048;

impl OauthSettings {
    /// Returns how the client authenticates.
    pub fn client_auth(&self) -> ClientAuth {
        let is_alone = self.grant == OauthGrant::JwtBearer && self.client_secret.is_none();
        self.client_auth.unwrap_or(if is_alone { ClientAuth::None } else { ClientAuth::Basic })
    }

    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let url = read_http_url(&self.token_url).err();
        faults.extend(url.map(|why| InputFault::new("token_url", why)));
        for (place, why) in self.missing_parts() {
            faults.push(InputFault::new(place, why));
        }
        if self.extra.len() > MAX_EXTRA {
            faults.push(InputFault::new("extra", format!("at most {MAX_EXTRA} parameters")));
        }
        for name in self.extra.keys().filter(|name| OWN_PARAMETERS.contains(&name.as_str())) {
            let why = format!("Waybill sets `{name}` itself, from the other settings");
            faults.push(InputFault::new(format!("extra.{name}"), why));
        }
        for (place, pointer) in
            [("response.token", &self.response.token), ("response.expires", &self.response.expires)]
        {
            if !pointer.starts_with('/') {
                let why = "a JSON pointer begins with `/`, such as `/data/token`";
                faults.push(InputFault::new(place, why));
            }
        }
        if self.scheme.is_empty() || !self.scheme.bytes().all(|byte| byte.is_ascii_graphic()) {
            faults.push(InputFault::new("scheme", "must be one word of ASCII, such as `Bearer`"));
        }
        let texts = [&self.client_id, &self.scope, &self.audience, &self.issuer, &self.subject];
        let is_long = |text: &&String| text.len() > MAX_TEXT;
        if texts.into_iter().flatten().chain([&self.token_url]).any(|text| is_long(&text)) {
            faults.push(InputFault::new("", format!("a text has at most {MAX_TEXT} bytes")));
        }
        faults
    }

    /// Returns the settings that the grant and the client's authentication need and that are
    /// missing, each with the reason.
    fn missing_parts(&self) -> Vec<(&'static str, &'static str)> {
        let mut missing = Vec::new();
        match self.grant {
            OauthGrant::ClientCredentials => {}
            OauthGrant::JwtBearer => {
                if self.private_key.is_none() {
                    missing
                        .push(("private_key", "the grant `jwt_bearer` needs a key to sign with"));
                }
                if self.issuer.is_none() && self.client_id.is_none() {
                    missing.push((
                        "issuer",
                        "the grant `jwt_bearer` needs an issuer or a `client_id`",
                    ));
                }
            }
            OauthGrant::RefreshToken => {
                if self.refresh_token.is_none() {
                    missing
                        .push(("refresh_token", "the grant `refresh_token` needs a refresh token"));
                }
            }
        }
        let client_auth = self.client_auth();
        let needs_secret = matches!(client_auth, ClientAuth::Basic | ClientAuth::Post);
        if needs_secret && self.client_secret.is_none() {
            missing.push((
                "client_secret",
                "`client_auth` needs a secret; set one, or set `client_auth` to `none`",
            ));
        }
        if client_auth != ClientAuth::None && self.client_id.is_none() {
            missing.push(("client_id", "`client_auth` needs the client's id"));
        }
        let signs = client_auth == ClientAuth::PrivateKeyJwt;
        if signs && self.private_key.is_none() && self.grant != OauthGrant::JwtBearer {
            missing.push(("private_key", "`private_key_jwt` needs a key to sign with"));
        }
        missing
    }

    /// Returns the secrets with their places.
    pub fn secrets_mut(&mut self) -> Vec<(String, &mut String)> {
        let named = [
            ("client_secret", &mut self.client_secret),
            ("private_key", &mut self.private_key),
            ("refresh_token", &mut self.refresh_token),
        ];
        let named = named
            .into_iter()
            .filter_map(|(place, value)| value.as_mut().map(|value| (place.to_owned(), value)));
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn places(more: &Value) -> Vec<String> {
        let mut settings = json!({"token_url": "https://t.example/token"});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let settings: OauthSettings = serde_json::from_value(settings).unwrap();
        settings.check().into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn missing_settings_of_a_grant_are_reported() {
        let none: [&str; 0] = [];
        assert_eq!(places(&json!({"client_id": "c", "client_secret": "s"})), none);
        assert_eq!(places(&json!({})), ["client_secret", "client_id"]);
        assert_eq!(places(&json!({"client_id": "c", "client_auth": "none"})), none);
        assert_eq!(
            places(&json!({"grant": "jwt_bearer", "private_key": "k", "issuer": "i"})),
            none
        );
        assert_eq!(places(&json!({"grant": "jwt_bearer"})), ["private_key", "issuer"]);
        let refresh = json!({"grant": "refresh_token", "client_id": "c", "client_secret": "s"});
        assert_eq!(places(&refresh), ["refresh_token"]);
        let signed = json!({"client_id": "c", "client_auth": "private_key_jwt"});
        assert_eq!(places(&signed), ["private_key"]);
    }

    #[test]
    fn invalid_settings_are_refused_with_their_place() {
        let base = json!({"client_id": "c", "client_secret": "s"});
        for (name, value, place) in [
            ("token_url", json!("ftp://t.example"), "token_url"),
            ("extra", json!({"scope": "x"}), "extra.scope"),
            ("response", json!({"token": "token"}), "response.token"),
            ("scheme", json!("two words"), "scheme"),
            ("scope", json!("x".repeat(3_000)), ""),
        ] {
            let mut settings = base.clone();
            settings[name] = value;
            assert_eq!(places(&settings), [place]);
        }
    }
}

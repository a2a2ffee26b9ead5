//! The names of the signing schemes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A scheme by which deliveries are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, utoipa::ToSchema)]
#[schema(as = Scheme, rename_all = "lowercase")]
pub enum SignatureScheme {
    /// Standard Webhooks 1.0, symmetric.
    Standard,
    /// `X-PerfexAPI-Signature`, as the vendor documents it.
    PerfexApi,
    /// `X-Webhook-Signature`, as the vendor's n8n node reads it.
    Webhook,
    /// `Stripe-Signature`.
    Stripe,
    /// `X-Hub-Signature-256`.
    Github,
    /// `X-Perfex-Signature`, as the REST API module of Themesic signs.
    Themesic,
    /// Standard Webhooks 1.0, asymmetric.
    Ed25519,
}

/// The text does not name a signing scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a signing scheme{}; the schemes are standard, perfexapi, webhook, stripe, github, themesic, ed25519", hint(*.nearest))]
pub struct UnknownScheme {
    name: String,
    nearest: Option<SignatureScheme>,
}

fn hint(nearest: Option<SignatureScheme>) -> String {
    nearest.map(|scheme| format!(", did you mean `{scheme}`?")).unwrap_or_default()
}

impl SignatureScheme {
    /// All schemes.
    pub const ALL: [Self; 7] = [
        Self::Standard,
        Self::PerfexApi,
        Self::Webhook,
        Self::Stripe,
        Self::Github,
        Self::Themesic,
        Self::Ed25519,
    ];

    /// The default schemes of an endpoint, all on one request.
    pub const DEFAULT: [Self; 3] = [Self::Standard, Self::PerfexApi, Self::Webhook];

    /// Returns the name of the scheme.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::PerfexApi => "perfexapi",
            Self::Webhook => "webhook",
            Self::Stripe => "stripe",
            Self::Github => "github",
            Self::Themesic => "themesic",
            Self::Ed25519 => "ed25519",
        }
    }

    fn nearest(name: &str) -> Option<Self> {
        let distance = |scheme: &Self| strsim::osa_distance(&name.to_lowercase(), scheme.as_str());
        Self::ALL.into_iter().min_by_key(distance).filter(|scheme| distance(scheme) <= 3)
    }
}

impl fmt::Display for SignatureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SignatureScheme {
    type Err = UnknownScheme;

    fn from_str(name: &str) -> Result<Self, UnknownScheme> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.as_str() == name)
            .ok_or_else(|| UnknownScheme { name: name.to_owned(), nearest: Self::nearest(name) })
    }
}

impl Serialize for SignatureScheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SignatureScheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for scheme in SignatureScheme::ALL {
            assert_eq!(scheme.to_string().parse(), Ok(scheme));
            let json = serde_json::to_string(&scheme).unwrap();
            assert_eq!(serde_json::from_str::<SignatureScheme>(&json).unwrap(), scheme);
        }
    }

    #[test]
    fn an_unknown_name_gets_a_hint() {
        let error = "Githup".parse::<SignatureScheme>().unwrap_err().to_string();
        assert!(
            error.starts_with("`Githup` is not a signing scheme, did you mean `github`?"),
            "{error}"
        );
        let error = "rsa".parse::<SignatureScheme>().unwrap_err().to_string();
        assert!(
            error.starts_with("`rsa` is not a signing scheme; the schemes are standard,"),
            "{error}"
        );
    }
}

//! The ways in which senders prove that a request is from them.

use super::template::{self, TemplatePiece};
use crate::model::fault::InputFault;
use crate::model::signature_rule::{
    HashAlgorithm, HmacRule, KeyForm, SIGNED_BODY, SignatureEncoding,
};
use http::HeaderName;
use serde::{Deserialize, Serialize};

/// The verification of a sender's requests.
#[derive(Debug, Clone, Copy)]
pub enum SenderProof {
    /// None.
    Nothing,
    /// An HMAC over the request. The first rule with a header in the request applies.
    Hmac(&'static [HmacRule<'static>]),
    /// HTTP Basic authentication.
    Basic,
    /// The secret itself.
    Token(TokenPlace<'static>),
    /// PayPal's certificate.
    PayPal,
    /// The verification in the source's settings.
    AsSet,
}

/// The place of the secret in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPlace<'a> {
    /// In a header, after a prefix such as `Bearer `.
    Header {
        /// The name of the header.
        name: &'a str,
        /// The text before the secret.
        prefix: &'a str,
    },
    /// In a query parameter.
    Query(&'a str),
    /// In a member of the body, as a JSON pointer.
    Body(&'a str),
}

impl<'a> TokenPlace<'a> {
    /// Returns the name of the header that holds the secret, if one does.
    pub fn header(self) -> Option<&'a str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::Query(_) | Self::Body(_) => None,
        }
    }
}

/// Signature of the requests, for the scheme `hmac`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacSettings {
    /// The hash function.
    #[serde(default)]
    pub algorithm: HashAlgorithm,
    /// The header with the signature.
    #[schema(example = "X-Signature")]
    pub header: String,
    /// The encoding of the signature.
    #[serde(default)]
    pub encoding: SignatureEncoding,
    /// The text before the signature, such as `sha256=`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The name of the signature's value if the header holds several, such as `t=…,v1=…`: here
    /// `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The place of the signed time: `header:NAME`, or `part:NAME` of the signature's header. The
    /// time may be Unix seconds or milliseconds, or RFC 3339. `webhook.tolerance` bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "header:X-Timestamp")]
    pub timestamp: Option<String>,
    /// The header with the signed id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The signed text, with `{body}`, `{timestamp}`, `{id}`, `{method}` and `{url}` for parts of
    /// the request.
    #[serde(default = "signed")]
    #[schema(example = "{timestamp}.{body}")]
    pub signed: String,
    /// The way in which the bytes of the key are read from the secret.
    #[serde(default)]
    pub key: KeyForm,
}

fn signed() -> String {
    SIGNED_BODY.to_owned()
}

impl HmacSettings {
    /// Returns the settings as a rule.
    pub fn rule(&self) -> HmacRule<'_> {
        HmacRule {
            algorithm: self.algorithm,
            header: &self.header,
            encoding: self.encoding,
            prefix: &self.prefix,
            part: self.part.as_deref(),
            timestamp: self.timestamp.as_deref(),
            id: self.id.as_deref(),
            signed: &self.signed,
            key: self.key,
        }
    }

    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: &str| faults.push(InputFault::new(path, message));
        let is_header = |name: &str| name.parse::<HeaderName>().is_ok();
        if !is_header(&self.header) {
            fault("header", "must be the name of a header, such as `X-Signature`");
        }
        if self.id.as_deref().is_some_and(|name| !is_header(name)) {
            fault("id", "must be the name of a header, such as `X-Delivery-Id`");
        }
        let is_time =
            |place: &str| match (place.strip_prefix("header:"), place.strip_prefix("part:")) {
                (Some(name), _) => is_header(name),
                (None, Some(name)) => !name.is_empty() && self.part.is_some(),
                (None, None) => false,
            };
        if self.timestamp.as_deref().is_some_and(|place| !is_time(place)) {
            fault("timestamp", "must be `header:NAME`, or with `part` also `part:NAME`");
        }
        match template::parse_template(&self.signed) {
            Err(message) => fault("signed", &message),
            Ok(pieces) => {
                if !pieces.contains(&TemplatePiece::Body) {
                    fault(
                        "signed",
                        "write `{body}` in it: an unsigned body can be changed on its way",
                    );
                }
                for (piece, name, is_set) in [
                    (TemplatePiece::Timestamp, "timestamp", self.timestamp.is_some()),
                    (TemplatePiece::Id, "id", self.id.is_some()),
                ] {
                    match (pieces.contains(&piece), is_set) {
                        (true, false) => fault(name, "set its place, because it is signed"),
                        (false, true) => {
                            fault(name, "this is not part of the signature; leave it out");
                        }
                        (true, true) | (false, false) => {}
                    }
                }
            }
        }
        faults
    }
}

/// The login of HTTP Basic authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicSettings {
    /// The user's name. If left out, any name is accepted. The password is the source's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl BasicSettings {
    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let is_wrong = |name: &String| name.is_empty() || name.contains(':');
        let wrong = self.username.as_ref().filter(|name| is_wrong(name));
        wrong.map(|_| InputFault::new("username", "must not contain `:`")).into_iter().collect()
    }
}

/// Place of the secret, for the scheme `token`: exactly one of `header`, `query` and `body`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTokenSettings {
    /// The name of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "X-Token")]
    pub header: Option<String>,
    /// The text before the secret in the header, such as `Bearer `.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The name of a query parameter. Proxies may write it to their logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A member of the body, such as `/token`. It is not stored with the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl WebhookTokenSettings {
    /// Returns the place, or `None` if not exactly one is set.
    pub fn place(&self) -> Option<TokenPlace<'_>> {
        match (&self.header, &self.query, &self.body) {
            (Some(name), None, None) => Some(TokenPlace::Header { name, prefix: &self.prefix }),
            (None, Some(name), None) => Some(TokenPlace::Query(name)),
            (None, None, Some(pointer)) => Some(TokenPlace::Body(pointer)),
            _ => None,
        }
    }

    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let message = match self.place() {
            None => Some("set exactly one of `header`, `query` and `body`"),
            Some(TokenPlace::Header { name, .. }) => {
                let is_wrong = name.parse::<HeaderName>().is_err();
                is_wrong.then_some("`header` must be the name of a header, such as `X-Token`")
            }
            Some(TokenPlace::Query(name)) => name
                .is_empty()
                .then_some("`query` must be the name of a parameter, such as `token`"),
            Some(TokenPlace::Body(pointer)) => {
                let name = pointer.strip_prefix('/').filter(|name| !name.is_empty());
                let is_member = name.is_some_and(|name| !name.contains(['/', '~']));
                (!is_member).then_some("`body` must be a member of the body, such as `/token`")
            }
        };
        let prefix = match self.place() {
            Some(TokenPlace::Header { .. }) | None => None,
            Some(_) if self.prefix.is_empty() => None,
            Some(_) => Some("`prefix` can only be used with `header`"),
        };
        message.into_iter().chain(prefix).map(|message| InputFault::new("", message)).collect()
    }
}

/// Settings for verifying PayPal's signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayPalSettings {
    /// The webhook's id, as PayPal shows it.
    #[schema(example = "9XL90610J3647323C")]
    pub webhook_id: String,
    /// The certificate from the address in `PAYPAL-CERT-URL`, in PEM. Make sure that the address
    /// belongs to PayPal.
    pub certificate: String,
}

//! How a sender proves that a request is its own.

use super::template::{self, TemplatePiece};
use crate::model::fault::InputFault;
use crate::model::signature_rule::{
    HashAlgorithm, HmacRule, KeyForm, SIGNED_BODY, SignatureEncoding,
};
use http::HeaderName;
use serde::{Deserialize, Serialize};

/// How the requests of a sender are verified.
#[derive(Debug, Clone, Copy)]
pub enum SenderProof {
    /// Not at all.
    Nothing,
    /// By a code over the request. The first rule whose header is there counts.
    Hmac(&'static [HmacRule<'static>]),
    /// By HTTP Basic authentication.
    Basic,
    /// By the secret itself.
    Token(TokenPlace<'static>),
    /// By PayPal's certificate.
    PayPal,
    /// By what the source's settings say.
    AsSet,
}

/// Where a request has the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPlace<'a> {
    /// In a header, behind a prefix such as `Bearer `.
    Header {
        /// The header.
        name: &'a str,
        /// What stands before the secret.
        prefix: &'a str,
    },
    /// In a parameter of the query.
    Query(&'a str),
    /// In a member of the body, as a JSON pointer.
    Body(&'a str),
}

impl<'a> TokenPlace<'a> {
    /// The header that holds the secret, if one does.
    pub fn header(self) -> Option<&'a str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::Query(_) | Self::Body(_) => None,
        }
    }
}

/// How the scheme `hmac` signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacSettings {
    /// The hash function.
    #[serde(default)]
    pub algorithm: HashAlgorithm,
    /// The header with the signature.
    #[schema(example = "X-Signature")]
    pub header: String,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: SignatureEncoding,
    /// What stands before the signature, such as `sha256=`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The name of the signature where the header holds several values such as `t=…,v1=…`: here `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Where the signed time stands: `header:NAME`, or `part:NAME` of the signature's header. Unix seconds or
    /// milliseconds, or RFC 3339; `webhook.tolerance` bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "header:X-Timestamp")]
    pub timestamp: Option<String>,
    /// The header with the signed id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is signed: a text with `{body}`, `{timestamp}`, `{id}`, `{method}` and `{url}` in it.
    #[serde(default = "signed")]
    #[schema(example = "{timestamp}.{body}")]
    pub signed: String,
    /// What bytes the secret stands for.
    #[serde(default)]
    pub key: KeyForm,
}

fn signed() -> String {
    SIGNED_BODY.to_owned()
}

impl HmacSettings {
    /// Reads it as a rule.
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

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: &str| faults.push(InputFault::new(path, message));
        let is_header = |name: &str| name.parse::<HeaderName>().is_ok();
        if !is_header(&self.header) {
            fault("header", "the name of a header, such as `X-Signature`");
        }
        if self.id.as_deref().is_some_and(|name| !is_header(name)) {
            fault("id", "the name of a header, such as `X-Delivery-Id`");
        }
        let is_time =
            |place: &str| match (place.strip_prefix("header:"), place.strip_prefix("part:")) {
                (Some(name), _) => is_header(name),
                (None, Some(name)) => !name.is_empty() && self.part.is_some(),
                (None, None) => false,
            };
        if self.timestamp.as_deref().is_some_and(|place| !is_time(place)) {
            fault("timestamp", "`header:NAME`, or with `part` also `part:NAME`");
        }
        match template::parse_template(&self.signed) {
            Err(message) => fault("signed", &message),
            Ok(pieces) => {
                if !pieces.contains(&TemplatePiece::Body) {
                    fault("signed", "say `{body}`: what is not signed can be changed on the way");
                }
                for (piece, name, is_set) in [
                    (TemplatePiece::Timestamp, "timestamp", self.timestamp.is_some()),
                    (TemplatePiece::Id, "id", self.id.is_some()),
                ] {
                    match (pieces.contains(&piece), is_set) {
                        (true, false) => fault(name, "say where it stands: it is signed"),
                        (false, true) => {
                            fault(name, "it is not signed, so it proves nothing; leave it out");
                        }
                        (true, true) | (false, false) => {}
                    }
                }
            }
        }
        faults
    }
}

/// How the scheme `basic` and others with HTTP Basic authentication are checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicSettings {
    /// The user's name; any where left out. The password is the source's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl BasicSettings {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<InputFault> {
        let is_wrong = |name: &String| name.is_empty() || name.contains(':');
        let wrong = self.username.as_ref().filter(|name| is_wrong(name));
        wrong.map(|_| InputFault::new("username", "a text without `:`")).into_iter().collect()
    }
}

/// Where the scheme `token` looks for the secret: in exactly one of `header`, `query` and `body`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTokenSettings {
    /// A header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "X-Token")]
    pub header: Option<String>,
    /// What stands before the secret in the header, such as `Bearer `.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// A parameter of the address's query. Proxies may keep it in their logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A member of the body, such as `/token`. It is not kept with the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl WebhookTokenSettings {
    /// The place; `None` where there is not exactly one.
    pub fn place(&self) -> Option<TokenPlace<'_>> {
        match (&self.header, &self.query, &self.body) {
            (Some(name), None, None) => Some(TokenPlace::Header { name, prefix: &self.prefix }),
            (None, Some(name), None) => Some(TokenPlace::Query(name)),
            (None, None, Some(pointer)) => Some(TokenPlace::Body(pointer)),
            _ => None,
        }
    }

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<InputFault> {
        let message = match self.place() {
            None => Some("give one of `header`, `query` and `body`"),
            Some(TokenPlace::Header { name, .. }) => {
                let is_wrong = name.parse::<HeaderName>().is_err();
                is_wrong.then_some("`header` is the name of a header, such as `X-Token`")
            }
            Some(TokenPlace::Query(name)) => {
                name.is_empty().then_some("`query` is the name of a parameter, such as `token`")
            }
            Some(TokenPlace::Body(pointer)) => {
                let name = pointer.strip_prefix('/').filter(|name| !name.is_empty());
                let is_member = name.is_some_and(|name| !name.contains(['/', '~']));
                (!is_member).then_some("`body` is a member of the body, such as `/token`")
            }
        };
        let prefix = match self.place() {
            Some(TokenPlace::Header { .. }) | None => None,
            Some(_) if self.prefix.is_empty() => None,
            Some(_) => Some("`prefix` goes with `header` only"),
        };
        message.into_iter().chain(prefix).map(|message| InputFault::new("", message)).collect()
    }
}

/// What PayPal's signatures are checked by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayPalSettings {
    /// The webhook's id, as PayPal shows it.
    #[schema(example = "9XL90610J3647323C")]
    pub webhook_id: String,
    /// The certificate from the address in `PAYPAL-CERT-URL`, in PEM. Check that the address is PayPal's.
    pub certificate: String,
}

//! Verifies that a webhook request comes from the sender that its source is set to.
//!
//! Each sender proves that in its own way ([`crate::model::webhook_source::senders`]). A
//! [`WebhookVerifier`] checks exactly the proof that its source requires, in constant time.
//!
//! A signature covers the body as it arrived. If it does not match and the body is compressed, the
//! decompressed body is tried, because some senders sign before they compress.
//!
//! A signed time must be within the source's tolerance of now, in either direction. If a scheme has
//! no signed time, an intercepted request could be sent again at any time.
//! [`crate::ingest::repeats`] explains how a repeat is recognised.

pub mod form;
pub mod paypal;
pub mod rule;
pub mod secret_place;

use crate::crypto::sha256;
use crate::model::secrets::{RotatedKeys, SigningSecrets};
use crate::model::webhook_source::WebhookSettings;
use crate::model::webhook_source::proof::{SenderProof, WebhookTokenSettings};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use core::convert::Infallible;
use core::net::IpAddr;
use http::{HeaderMap, Method, Uri, header};
use ipnet::IpNet;
use paypal::PayPalCertificate;
use ring::hmac;
use rule::PreparedRule;
use secret_place::SecretPlace;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

pub use paypal::check_certificate;
pub use rule::is_key;

/// Verifies the requests of one webhook source.
pub struct WebhookVerifier {
    proof: WebhookCheck,
    tolerance: Duration,
    from: Vec<IpNet>,
    url: Option<String>,
    keys: RotatedKeys<WebhookKey>,
}

impl std::fmt::Debug for WebhookVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookVerifier").finish_non_exhaustive()
    }
}

/// The check of a source's requests.
enum WebhookCheck {
    Nothing,
    Hmac(Vec<PreparedRule>),
    /// HTTP Basic authentication, with the required user name, if one is set.
    Basic(Option<String>),
    Token(SecretPlace),
    PayPal(Box<PayPalCertificate>),
}

/// A secret in the form in which it is compared.
enum WebhookKey {
    None,
    /// One key for each rule.
    Hmac(Vec<hmac::Key>),
    /// The SHA-256 of the secret.
    Digest([u8; 32]),
}

/// A request as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct WebhookRequest<'a> {
    pub method: &'a Method,
    /// The path and query.
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    /// The body as it arrived.
    pub body: &'a [u8],
    /// The decompressed body.
    pub plain: &'a [u8],
    /// The address of the sender.
    pub address: IpAddr,
}

/// A request that passed the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedWebhook {
    /// The decoded signature, because its text can be written in several ways. `None` if the scheme
    /// has no signature.
    pub signature: Option<Vec<u8>>,
}

/// The reason why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefusal {
    /// The request comes from an address that the source does not accept.
    #[error(
        "the source accepts no requests from this address; `webhook.from` lists the networks that it accepts"
    )]
    Address,
    /// A header is missing.
    #[error("the header `{0}` is missing")]
    Missing(String),
    /// The place of the secret is empty.
    #[error("{0} is missing")]
    MissingToken(String),
    /// A header does not have the form that the scheme requires.
    #[error("the header `{0}` does not have the form `{1}`")]
    Form(String, String),
    /// The request was signed too long ago. It was delayed, or somebody sends it again.
    #[error("it was signed {0} s ago, which is longer than the `tolerance` of the source")]
    Stale(u64),
    /// The request was signed in the future. One of the clocks is wrong.
    #[error("it was signed {0} s in the future; one of the clocks is wrong")]
    Early(u64),
    /// Another secret made the signature, or the body was changed on the way.
    #[error(
        "the signature does not fit: check the secret, and that nothing on the way changes the body"
    )]
    Wrong,
    /// The signature, which also covers the address, does not match.
    #[error(
        "the signature does not fit: check the secret, and set `webhook.url` to the address that the sender calls"
    )]
    WrongAddress,
    /// The secret or the user name is wrong.
    #[error("the secret or the user name is wrong; check both")]
    WrongToken,
}

impl WebhookRefusal {
    /// Returns the kind of refusal as one word, for counters.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Missing(_) | Self::MissingToken(_) | Self::Form(..) => "unsigned",
            Self::Stale(_) | Self::Early(_) => "stale",
            Self::Wrong | Self::WrongAddress | Self::WrongToken => "wrong_signature",
        }
    }
}

impl WebhookVerifier {
    /// Makes a verifier from settings that were checked before, and from the source's secrets.
    pub fn new(settings: &WebhookSettings, secrets: &SigningSecrets) -> Self {
        let proof = webhook_check(settings);
        let key = |secret: &str| {
            // A source without a secret accepts no request.
            if secret.is_empty() {
                return WebhookKey::None;
            }
            match &proof {
                WebhookCheck::Nothing | WebhookCheck::PayPal(_) => WebhookKey::None,
                WebhookCheck::Hmac(rules) => {
                    WebhookKey::Hmac(rules.iter().map(|rule| rule.key(secret)).collect())
                }
                WebhookCheck::Basic(_) | WebhookCheck::Token(_) => {
                    WebhookKey::Digest(sha256::sha256_digest(&[secret.as_bytes()]))
                }
            }
        };
        let Ok(keys) = RotatedKeys::prepare(secrets, |secret| Ok::<_, Infallible>(key(secret)));
        Self {
            keys,
            proof,
            tolerance: settings.tolerance.get(),
            from: settings.from.clone(),
            url: settings.url.clone(),
        }
    }

    /// Verifies a request. Returns its signature, if the scheme has one.
    pub fn verify(
        &self,
        request: &WebhookRequest<'_>,
        now: Timestamp,
    ) -> Result<VerifiedWebhook, WebhookRefusal> {
        self.check_address(request.address)?;
        let signature = match &self.proof {
            WebhookCheck::Nothing => None,
            WebhookCheck::Hmac(rules) => Some(self.check_code(rules, request, now)?),
            WebhookCheck::PayPal(certificate) => {
                let (signature, at) = certificate.verify(request)?;
                self.check_time(at, now)?;
                Some(signature)
            }
            WebhookCheck::Basic(_) | WebhookCheck::Token(_) => {
                self.check_secret(request, now)?;
                None
            }
        };
        Ok(VerifiedWebhook { signature })
    }

    /// Checks a handshake request that a sender makes before it sends anything. Such a request has
    /// no body that could be signed, so only the address and a secret outside of the body are
    /// checked. Later requests are verified in full.
    pub fn verify_question(
        &self,
        request: &WebhookRequest<'_>,
        now: Timestamp,
    ) -> Result<(), WebhookRefusal> {
        self.check_address(request.address)?;
        match &self.proof {
            WebhookCheck::Nothing
            | WebhookCheck::Hmac(_)
            | WebhookCheck::PayPal(_)
            | WebhookCheck::Token(SecretPlace::Body(_)) => Ok(()),
            WebhookCheck::Basic(_) | WebhookCheck::Token(_) => self.check_secret(request, now),
        }
    }

    /// Whether a caller whose handshake request passes has shown a secret.
    pub fn knows_caller(&self) -> bool {
        matches!(
            self.proof,
            WebhookCheck::Basic(_)
                | WebhookCheck::Token(SecretPlace::Header { .. } | SecretPlace::Query(_))
        )
    }

    /// Whether a request that passes [`Self::verify`] proves its sender by a secret or by an
    /// address that the source lists.
    pub fn proves_sender(&self) -> bool {
        !matches!(self.proof, WebhookCheck::Nothing) || !self.from.is_empty()
    }

    /// Whether the source requires HTTP Basic authentication.
    pub fn is_basic(&self) -> bool {
        matches!(self.proof, WebhookCheck::Basic(_))
    }

    /// Checks the address of a sender. [`Self::verify`] does so too. Callers use this to refuse a
    /// request before they do other work.
    pub fn check_address(&self, address: IpAddr) -> Result<(), WebhookRefusal> {
        let is_known = self.from.is_empty() || self.from.iter().any(|net| net.contains(&address));
        if is_known { Ok(()) } else { Err(WebhookRefusal::Address) }
    }

    fn check_code(
        &self,
        rules: &[PreparedRule],
        request: &WebhookRequest<'_>,
        now: Timestamp,
    ) -> Result<Vec<u8>, WebhookRefusal> {
        let is_there = |rule: &&PreparedRule| request.headers.contains_key(&rule.header);
        let n = rules.iter().position(|rule| is_there(&rule)).unwrap_or_default();
        let rule = rules.get(n).ok_or(WebhookRefusal::Wrong)?;
        let claim = rule.claim(request.headers)?;
        let keys = self.keys.valid_at(now).filter_map(|key| match key {
            WebhookKey::Hmac(keys) => keys.get(n),
            WebhookKey::None | WebhookKey::Digest(_) => None,
        });
        let forms = rule.signed_forms(self.url.as_deref(), request);
        let mut fitting = keys.filter_map(|key| rule.fits(key, &claim, &forms));
        let wrong =
            if rule.signs_address() { WebhookRefusal::WrongAddress } else { WebhookRefusal::Wrong };
        let signature = fitting.next().ok_or(wrong)?;
        // The time is only checked now, because an unsigned time proves nothing.
        claim.at.map_or(Ok(()), |at| self.check_time(at, now))?;
        Ok(signature)
    }

    fn check_time(&self, at: &str, now: Timestamp) -> Result<(), WebhookRefusal> {
        let form = || WebhookRefusal::Form("timestamp".to_owned(), "Unix time".to_owned());
        let at = Timestamp::parse_lenient(at).ok_or_else(form)?;
        let age = now.seconds().saturating_sub(at.seconds());
        let off = age.unsigned_abs();
        match age {
            _ if off <= self.tolerance.as_secs() => Ok(()),
            1.. => Err(WebhookRefusal::Stale(off)),
            _ => Err(WebhookRefusal::Early(off)),
        }
    }

    fn check_secret(
        &self,
        request: &WebhookRequest<'_>,
        now: Timestamp,
    ) -> Result<(), WebhookRefusal> {
        let (given, is_user) = match &self.proof {
            WebhookCheck::Basic(user) => {
                let (name, password) = credentials(request.headers)?;
                let wanted = user.as_deref().unwrap_or(&name);
                (password, bool::from(wanted.as_bytes().ct_eq(name.as_bytes())))
            }
            WebhookCheck::Token(place) => (place.find(request)?, true),
            WebhookCheck::Nothing | WebhookCheck::Hmac(_) | WebhookCheck::PayPal(_) => {
                return Err(WebhookRefusal::WrongToken);
            }
        };
        // Digests have the same length, so the comparison takes the same time for every input.
        let digest = sha256::sha256_digest(&[given.as_bytes()]);
        let is_one = self.keys.valid_at(now).fold(false, |any, key| match key {
            WebhookKey::Digest(wanted) => bool::from(wanted.ct_eq(&digest)) | any,
            WebhookKey::None | WebhookKey::Hmac(_) => any,
        });
        if is_one && is_user { Ok(()) } else { Err(WebhookRefusal::WrongToken) }
    }
}

fn webhook_check(settings: &WebhookSettings) -> WebhookCheck {
    match settings.scheme.sender().proof {
        SenderProof::Nothing => WebhookCheck::Nothing,
        SenderProof::Hmac(rules) => {
            WebhookCheck::Hmac(rules.iter().map(PreparedRule::new).collect())
        }
        SenderProof::Basic => {
            WebhookCheck::Basic(settings.basic.as_ref().and_then(|basic| basic.username.clone()))
        }
        SenderProof::Token(place) => WebhookCheck::Token(place.into()),
        SenderProof::PayPal => match settings.paypal.as_ref().map(PayPalCertificate::read) {
            Some(Ok(certificate)) => WebhookCheck::PayPal(Box::new(certificate)),
            // Such a certificate is refused when it is set. Without a rule, no request passes.
            Some(Err(_)) | None => WebhookCheck::Hmac(Vec::new()),
        },
        SenderProof::AsSet => {
            let hmac = settings
                .hmac
                .as_ref()
                .map(|hmac| WebhookCheck::Hmac(vec![PreparedRule::new(&hmac.rule())]));
            let place = settings.token.as_ref().and_then(WebhookTokenSettings::place);
            hmac.or_else(|| place.map(|place| WebhookCheck::Token(place.into())))
                .unwrap_or(WebhookCheck::Hmac(Vec::new()))
        }
    }
}

/// Returns the user name and the password of HTTP Basic authentication (RFC 7617).
fn credentials(headers: &HeaderMap) -> Result<(String, String), WebhookRefusal> {
    let name = header::AUTHORIZATION.as_str();
    let value = text(headers, name)?;
    let decoded = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = decoded.and_then(|(_, text)| BASE64_STANDARD.decode(text.trim()).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let form = || WebhookRefusal::Form(name.to_owned(), "Basic BASE64".to_owned());
    pair.map(|(name, password)| (name.to_owned(), password.to_owned())).ok_or_else(form)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, WebhookRefusal> {
    let value = headers.get(name).ok_or_else(|| WebhookRefusal::Missing(name.to_owned()))?;
    let form = |_opaque| WebhookRefusal::Form(name.to_owned(), "visible ASCII".to_owned());
    value.to_str().map(str::trim).map_err(form)
}

#[cfg(test)]
mod tests;

//! Whether what another system sent is its own.
//!
//! Each system proves that in its own way ([`crate::model::webhook_source::senders`]), and a
//! [`WebhookVerifier`] checks exactly the one that its source is set to, in constant time.
//!
//! A code is made over the body as it arrived. Where that does not fit and the body is compressed,
//! the decompressed body is tried, because some senders sign before they compress.
//!
//! A signed time has to be within the source's tolerance of now, either way. Where a scheme has no
//! time, a request that was listened to could be sent again at any time; [`crate::ingest::repeats`]
//! says what a repeat is recognised by.

pub mod form;
pub mod paypal;
pub mod rule;

use crate::crypto::sha256;
use crate::json::members::{scalar_text, without_byte_order_mark};
use crate::json::pointer;
use crate::model::secrets::{RotatedKeys, SigningSecrets};
use crate::model::webhook_source::WebhookSettings;
use crate::model::webhook_source::proof::{SenderProof, TokenPlace, WebhookTokenSettings};
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
use serde_json::value::RawValue;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

pub use paypal::check_certificate;
pub use rule::is_key;

/// Checks the requests of one source.
pub struct WebhookVerifier {
    proof: WebhookCheck,
    tolerance: Duration,
    from: Vec<IpNet>,
    url: Option<String>,
    keys: RotatedKeys<WebhookKey>,
}

impl std::fmt::Debug for WebhookVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// How requests are checked.
enum WebhookCheck {
    Nothing,
    Hmac(Vec<PreparedRule>),
    /// With the name that has to be given.
    Basic(Option<String>),
    Token(SecretPlace),
    PayPal(Box<PayPalCertificate>),
}

/// A [`TokenPlace`] of its own.
enum SecretPlace {
    Header { name: String, prefix: String },
    Query(String),
    Body(String),
}

/// A secret made ready.
enum WebhookKey {
    None,
    /// For each of the rules.
    Hmac(Vec<hmac::Key>),
    /// The digest of the secret itself.
    Digest([u8; 32]),
}

/// A request as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct WebhookRequest<'a> {
    pub method: &'a Method,
    /// Its path and query.
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    /// Its body, as it arrived.
    pub body: &'a [u8],
    /// Its body, decompressed.
    pub plain: &'a [u8],
    /// Where it comes from.
    pub address: IpAddr,
}

/// A request that is its source's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedWebhook {
    /// The signature, decoded, because its text can be written in several ways. `None` where the
    /// scheme has none.
    pub signature: Option<Vec<u8>>,
}

/// Why a request is not taken for the source's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefusal {
    /// It comes from elsewhere.
    #[error("the source takes no requests from this address; `webhook.from` names the networks")]
    Address,
    /// A header is missing.
    #[error("the header `{0}` is missing")]
    Missing(String),
    /// The secret is missing.
    #[error("{0} is missing")]
    MissingToken(String),
    /// A header has not the form that the scheme asks for.
    #[error("the header `{0}` has not the form `{1}`")]
    Form(String, String),
    /// It was signed too long ago: it was held up, or somebody sends it again.
    #[error("it was signed {0} s ago, which is longer than the source tolerates")]
    Stale(u64),
    /// It was signed in the future: one of the clocks is wrong.
    #[error("it was signed {0} s in the future; one of the clocks is wrong")]
    Early(u64),
    /// The signature is another's, or the body was changed on the way.
    #[error(
        "the signature does not fit: check the secret, and that nothing on the way changes the body"
    )]
    Wrong,
    /// The address is signed, and the signature does not fit.
    #[error(
        "the signature does not fit: check the secret, and set `webhook.url` to the address that the sender calls"
    )]
    WrongAddress,
    /// The secret is another.
    #[error("the secret or the user's name is another; check both")]
    WrongToken,
}

impl WebhookRefusal {
    /// In a word, for counting.
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
    /// Makes one that checks by these settings, which were checked before, and with these secrets.
    pub fn new(settings: &WebhookSettings, secrets: &SigningSecrets) -> Self {
        let proof = webhook_check(settings);
        let key = |secret: &str| {
            // A source without a secret takes nothing.
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

    /// Checks a request.
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

    /// Checks a request that asks before anything is sent. It has no body that could be signed, so
    /// only an address and a secret are asked for; what is sent later is verified all the same.
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

    /// Whether a request that asks first has shown a secret.
    pub fn knows_caller(&self) -> bool {
        matches!(
            self.proof,
            WebhookCheck::Basic(_)
                | WebhookCheck::Token(SecretPlace::Header { .. } | SecretPlace::Query(_))
        )
    }

    /// Whether whoever passes [`Self::verify`] has a secret or one of the set addresses.
    pub fn proves_sender(&self) -> bool {
        !matches!(self.proof, WebhookCheck::Nothing) || !self.from.is_empty()
    }

    /// Whether HTTP Basic authentication is asked for.
    pub fn is_basic(&self) -> bool {
        matches!(self.proof, WebhookCheck::Basic(_))
    }

    /// Checks the address that a request comes from. [`Self::verify`] does so too; this is for
    /// callers who have work to do before it.
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
        // Only now, because a time that nobody signed is not a time.
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
        // Digests have one length, so that comparing takes one time.
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
            // Refused when it was set; without a rule nothing fits.
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

impl From<TokenPlace<'_>> for SecretPlace {
    fn from(place: TokenPlace<'_>) -> Self {
        match place {
            TokenPlace::Header { name, prefix } => {
                Self::Header { name: name.to_owned(), prefix: prefix.to_owned() }
            }
            TokenPlace::Query(name) => Self::Query(name.to_owned()),
            TokenPlace::Body(pointer) => Self::Body(pointer.to_owned()),
        }
    }
}

impl SecretPlace {
    fn find(&self, request: &WebhookRequest<'_>) -> Result<String, WebhookRefusal> {
        match self {
            Self::Header { name, prefix } => {
                let text = text(request.headers, name)?.strip_prefix(prefix.as_str());
                let form = || WebhookRefusal::Form(name.clone(), format!("{prefix}SECRET"));
                text.map(str::to_owned).ok_or_else(form)
            }
            Self::Query(name) => {
                let pairs: Vec<(String, String)> = request
                    .uri
                    .query()
                    .and_then(|query| serde_urlencoded::from_str(query).ok())
                    .unwrap_or_default();
                let value = pairs.into_iter().find(|(known, _)| known == name);
                let missing =
                    || WebhookRefusal::MissingToken(format!("the query's parameter `{name}`"));
                value.map(|(_, value)| value).ok_or_else(missing)
            }
            Self::Body(pointer) => find_in_body(request, pointer)
                .ok_or_else(|| WebhookRefusal::MissingToken(format!("the body's `{pointer}`"))),
        }
    }
}

/// The text at this place of a body: of JSON, of a form's field, or the same one of each element of
/// an array.
fn find_in_body(request: &WebhookRequest<'_>, pointer: &str) -> Option<String> {
    let plain = without_byte_order_mark(request.plain);
    let find = |body: &RawValue| pointer::find_value(body, pointer).and_then(scalar_text);
    if let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(plain) {
        let first = find(elements.first()?)?;
        let is_of_all = elements.iter().all(|element| find(element).as_ref() == Some(&first));
        return is_of_all.then_some(first);
    }
    if let Ok(body) = serde_json::from_slice::<&RawValue>(plain) {
        return find(body);
    }
    let name = pointer::unescape_token(pointer.strip_prefix('/')?);
    let mut fields = form::form_fields(plain).ok()?.into_iter();
    fields.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The name and the password of HTTP Basic authentication (RFC 7617).
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

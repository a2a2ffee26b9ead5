//! Whether what another system sent bears its signature.
//!
//! Each system signs in its own way, and a [`Verifier`] checks exactly the one that its source is set
//! to, over the raw bytes, in constant time:
//!
//! | scheme | header | signs | reads the secret | time |
//! |---|---|---|---|---|
//! | `perfexapi` | `X-PerfexAPI-Signature` or `X-Webhook-Signature`: HEX | body | literally | none |
//! | `themesic` | `X-Perfex-Signature: t=…,v1=HEX` | `t.body` | literally | `t` |
//! | `n8n-bridge` | `X-Perfex-Signature: HEX` | body | literally | none |
//! | `standard` | `webhook-signature: v1,BASE64 …` | `id.timestamp.body` | base64 after `whsec_` | `webhook-timestamp` |
//! | `github` | `X-Hub-Signature-256: sha256=HEX` | body | literally | none |
//! | `stripe` | `Stripe-Signature: t=…,v1=HEX[,v1=…]` | `t.body` | literally | `t` |
//! | `shopify` | `X-Shopify-Hmac-SHA256: BASE64` | body | literally | none |
//! | `slack` | `X-Slack-Signature: v0=HEX` | `v0:timestamp:body` | literally | `X-Slack-Request-Timestamp` |
//! | `none` | | | | |
//!
//! A time has to be within the source's tolerance of now, either way. Where a scheme has no time, a
//! request that was listened to could be sent again at any time; [`super::repeats`] says what a repeat
//! is recognised by.
//!
//! Sources: the specification of Standard Webhooks 1.0, "Validating webhook deliveries" (GitHub),
//! stripe-node `Webhooks.ts`, "Verify webhooks" (shopify.dev), "Verifying requests from Slack", the
//! vendors' pages and code for the three Perfex forms.

use crate::domain::endpoint::Secrets;
use crate::domain::time::Timestamp;
use crate::domain::webhook::Scheme;
use crate::sha256::Mac;
use crate::sign::standard_key;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName};
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// Checks the requests of one source.
pub struct Verifier {
    scheme: Scheme,
    tolerance: Duration,
    current: Mac,
    previous: Option<(Mac, Timestamp)>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// A request that bears its source's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fits {
    /// The signature, decoded, because its text can be written in several ways. `None` where the scheme has none.
    pub signature: Option<[u8; 32]>,
}

/// Why a request is not taken for the source's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header is missing.
    #[error("the header `{0}` is missing")]
    Missing(&'static str),
    /// A header has not the form that the scheme asks for.
    #[error("the header `{0}` has not the form `{1}`")]
    Form(&'static str, &'static str),
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
}

impl Refusal {
    /// In a word, for counting.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::Form(..) => "unsigned",
            Self::Stale(_) | Self::Early(_) => "stale",
            Self::Wrong => "wrong_signature",
        }
    }
}

/// The signatures of a request, and what they sign before the body.
struct Claim<'h> {
    signatures: Vec<&'h str>,
    encoding: Encoding,
    /// What comes before the body.
    before: String,
    at: Option<&'h str>,
}

#[derive(Clone, Copy)]
enum Encoding {
    Hex,
    Base64,
}

impl Verifier {
    /// One that checks with these secrets.
    pub fn new(scheme: Scheme, tolerance: Duration, secrets: &Secrets) -> Self {
        let key = |secret: &str| {
            // A `whsec_` that is no base64 is none of that scheme: it is read as it is.
            let decoded = (scheme == Scheme::Standard).then(|| standard_key(secret).ok()).flatten();
            decoded.map_or_else(|| Mac::new(secret.as_bytes()), |key| Mac::new(&key))
        };
        let previous = secrets.previous.as_ref();
        Self {
            scheme,
            tolerance,
            current: key(&secrets.current),
            previous: previous.map(|graced| (key(&graced.secret), graced.until)),
        }
    }

    /// Checks a request.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Fits, Refusal> {
        if self.scheme == Scheme::None {
            return Ok(Fits { signature: None });
        }
        let claim = claim(self.scheme, headers)?;
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until);
        let mut keys = [Some(&self.current), previous.map(|(key, _)| key)].into_iter().flatten();
        let fitting = keys.find_map(|key| claim.fits(key, body));
        let signature = fitting.ok_or(Refusal::Wrong)?;
        // Only now, because a time that nobody signed is no time.
        claim.at.map_or(Ok(()), |at| self.check_time(at, now))?;
        Ok(Fits { signature: Some(signature) })
    }

    fn check_time(&self, at: &str, now: Timestamp) -> Result<(), Refusal> {
        let form = Refusal::Form("timestamp", "Unix seconds");
        let at: i64 = at.parse().map_err(|_no_number| form)?;
        let age = now.seconds().saturating_sub(at);
        let off = age.unsigned_abs();
        match age {
            _ if off <= self.tolerance.as_secs() => Ok(()),
            1.. => Err(Refusal::Stale(off)),
            _ => Err(Refusal::Early(off)),
        }
    }
}

fn equal(wanted: &[u8; 32], text: &str, encoding: Encoding) -> bool {
    let given = match encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => BASE64_STANDARD.decode(text).ok(),
    };
    given.is_some_and(|given| wanted.ct_eq(&given[..]).into())
}

fn header<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Refusal> {
    let value = headers.get(HeaderName::from_static(name)).ok_or(Refusal::Missing(name))?;
    value.to_str().map(str::trim).map_err(|_opaque| Refusal::Form(name, "visible ASCII"))
}

fn claim(scheme: Scheme, headers: &HeaderMap) -> Result<Claim<'_>, Refusal> {
    match scheme {
        Scheme::PerfexApi => {
            let named = header(headers, "x-perfexapi-signature");
            let signature = named.or_else(|_| header(headers, "x-webhook-signature"));
            signature.map(|text| Claim::bare(text, Encoding::Hex))
        }
        Scheme::N8nBridge => {
            header(headers, "x-perfex-signature").map(|text| Claim::bare(text, Encoding::Hex))
        }
        Scheme::Shopify => {
            let text = header(headers, "x-shopify-hmac-sha256")?;
            Ok(Claim::bare(text, Encoding::Base64))
        }
        Scheme::Github => {
            let name = "x-hub-signature-256";
            let text = header(headers, name)?.strip_prefix("sha256=");
            text.map(|text| Claim::bare(text, Encoding::Hex))
                .ok_or(Refusal::Form(name, "sha256=HEX"))
        }
        Scheme::Themesic => Claim::timed(headers, "x-perfex-signature"),
        Scheme::Stripe => Claim::timed(headers, "stripe-signature"),
        Scheme::Standard => Claim::standard(headers),
        Scheme::Slack => Claim::slack(headers),
        Scheme::None => Ok(Claim::bare("", Encoding::Hex)),
    }
}

impl<'h> Claim<'h> {
    /// The signature that this key makes, if it is one of those given.
    fn fits(&self, key: &Mac, body: &[u8]) -> Option<[u8; 32]> {
        let wanted = key.of(&[self.before.as_bytes(), body]);
        // All are compared, so that the time tells nothing.
        let compared = self.signatures.iter().map(|text| equal(&wanted, text, self.encoding));
        compared.fold(false, |any, one| any | one).then_some(wanted)
    }

    fn bare(text: &'h str, encoding: Encoding) -> Self {
        Self { signatures: vec![text], encoding, before: String::new(), at: None }
    }

    /// `t=…,v1=…[,v1=…]`.
    fn timed(headers: &'h HeaderMap, name: &'static str) -> Result<Self, Refusal> {
        let parts = || header(headers, name).map(|text| text.split(','));
        let of = |wanted: &'static str| {
            let parts = parts()?.filter_map(move |part| {
                part.trim().split_once('=').filter(|(name, _)| *name == wanted)
            });
            Ok::<Vec<&str>, Refusal>(parts.map(|(_, text)| text).collect())
        };
        let (times, signatures) = (of("t")?, of("v1")?);
        match times.as_slice() {
            [at] if !signatures.is_empty() => Ok(Self {
                signatures,
                encoding: Encoding::Hex,
                before: format!("{at}."),
                at: Some(at),
            }),
            _ => Err(Refusal::Form(name, "t=SECONDS,v1=HEX")),
        }
    }

    fn standard(headers: &'h HeaderMap) -> Result<Self, Refusal> {
        let (id, at) = (header(headers, "webhook-id")?, header(headers, "webhook-timestamp")?);
        let list = header(headers, "webhook-signature")?.split_ascii_whitespace();
        let signatures: Vec<&str> = list.filter_map(|entry| entry.strip_prefix("v1,")).collect();
        if signatures.is_empty() {
            return Err(Refusal::Form("webhook-signature", "v1,BASE64"));
        }
        let (encoding, before) = (Encoding::Base64, format!("{id}.{at}."));
        Ok(Self { signatures, encoding, before, at: Some(at) })
    }

    fn slack(headers: &'h HeaderMap) -> Result<Self, Refusal> {
        let at = header(headers, "x-slack-request-timestamp")?;
        let name = "x-slack-signature";
        let text = header(headers, name)?.strip_prefix("v0=");
        let text = text.ok_or(Refusal::Form(name, "v0=HEX"))?;
        Ok(Self { before: format!("v0:{at}:"), at: Some(at), ..Self::bare(text, Encoding::Hex) })
    }
}

#[cfg(test)]
mod tests;

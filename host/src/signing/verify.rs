//! Checks a received delivery against a secret and explains what is wrong with it.
//!
//! [`verify_delivery`] reports every scheme whose header is present. If a signature does not match,
//! it looks for the usual mistakes: it tries variations of the secret, the content, the body and
//! the encoding, and reports the one that matches ([`SignatureProblem`]).
//!
//! This module serves people who set up a receiver: `waybill verify` and `waybill listen`. A
//! receiver in production checks one scheme and nothing else, as `docs/verify-deliveries.md` shows.

pub mod problem;
pub mod search;

pub use problem::SignatureProblem;

use super::secret::{PUBLIC, public_key};
use super::{WEBHOOK_ID, WEBHOOK_TIMESTAMP, key};
use crate::model::signature_rule::STANDARD;
use crate::model::signature_scheme::SignatureScheme;
use crate::time::timestamp::Timestamp;
use ed25519_dalek::VerifyingKey;
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// Most difference between a timestamp and now, in either direction: 300 s, as in the libraries of
/// Standard Webhooks and Stripe.
pub const TOLERANCE: Duration = Duration::from_mins(5);

/// A prefix that some senders write before a signature. Some receivers also expect it in schemes
/// that do not have it.
const HASH_PREFIX: &str = "sha256=";

/// A delivery as a receiver got it.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedDelivery<'a> {
    pub headers: &'a HeaderMap,
    /// The body, byte for byte as it arrived.
    pub body: &'a [u8],
    /// The time of the check.
    pub now: Timestamp,
}

/// The secrets to check a delivery with, as they are configured, or a `whpk_` public key.
#[derive(Clone, Copy)]
pub struct VerificationKeys<'a> {
    /// The current secret, which should have signed the delivery.
    pub current: &'a str,
    /// The previous secret, if its grace period may still last.
    pub previous: Option<&'a str>,
}

impl std::fmt::Debug for VerificationKeys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerificationKeys(hidden)")
    }
}

impl VerificationKeys<'_> {
    /// Returns the secrets, each with whether it is the previous one.
    fn all(&self) -> impl Iterator<Item = (&str, bool)> {
        [(self.current, false)].into_iter().chain(self.previous.map(|secret| (secret, true)))
    }

    /// Returns the ed25519 public keys, each with whether it belongs to the previous secret.
    fn public(&self) -> Vec<(VerifyingKey, bool)> {
        let read = |secret: &str| {
            if secret.starts_with(PUBLIC) {
                return public_key(secret);
            }
            key::key_pair(secret).ok().map(|pair| pair.verifying_key())
        };
        self.all().filter_map(|(secret, previous)| Some((read(secret)?, previous))).collect()
    }
}

/// The result for one scheme whose header the delivery carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeFinding {
    pub scheme: SignatureScheme,
    pub header: HeaderName,
    /// The result of checking this header.
    pub verdict: SignatureVerdict,
}

/// The result of checking a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureVerdict {
    /// The signature matches the current secret.
    Fits,
    /// The signature matches the previous secret.
    FitsPrevious,
    /// The signature is not valid. The list says why.
    Wrong(Vec<SignatureProblem>),
}

impl SignatureVerdict {
    /// Whether a receiver should accept the delivery.
    pub fn fits(&self) -> bool {
        match self {
            Self::Fits | Self::FitsPrevious => true,
            Self::Wrong(_) => false,
        }
    }
}

/// Returns the result for every scheme found, in the order of [`SignatureScheme::ALL`]. The list is
/// empty if the delivery has no signature header.
pub fn verify_delivery(
    received: ReceivedDelivery<'_>,
    keys: VerificationKeys<'_>,
) -> Vec<SchemeFinding> {
    let check = SchemeCheck { received, keys };
    let mut findings = check.webhook_signature();
    let others = SignatureScheme::ALL.into_iter();
    for scheme in others.filter(|scheme| scheme.rule().header != STANDARD.header) {
        let header = HeaderName::from_static(scheme.rule().header);
        if let Some(value) = received.headers.get(&header) {
            let verdict = check.symmetric(scheme, &String::from_utf8_lossy(value.as_bytes()));
            findings.push(SchemeFinding { scheme, header, verdict });
        }
    }
    findings.sort_by_key(|finding| {
        SignatureScheme::ALL.iter().position(|known| *known == finding.scheme)
    });
    findings
}

/// The signatures of a header, and the timestamp that they cover.
#[derive(Default)]
struct SignatureClaim {
    timestamp: Option<String>,
    signatures: Vec<String>,
    problems: Vec<SignatureProblem>,
}

struct SchemeCheck<'a> {
    received: ReceivedDelivery<'a>,
    keys: VerificationKeys<'a>,
}

impl SchemeCheck<'_> {
    /// Checks `webhook-signature`, the list that `standard` and `ed25519` share.
    fn webhook_signature(&self) -> Vec<SchemeFinding> {
        let header = HeaderName::from_static(STANDARD.header);
        let Some(value) = self.received.headers.get(&header) else { return Vec::new() };
        let text = String::from_utf8_lossy(value.as_bytes());
        let of = |scheme: SignatureScheme| -> Vec<String> {
            let (entries, version) = (text.split_ascii_whitespace(), scheme.rule().prefix);
            entries.filter_map(|entry| Some(entry.strip_prefix(version)?.to_owned())).collect()
        };
        let (symmetric, asymmetric) = (of(SignatureScheme::Standard), of(SignatureScheme::Ed25519));
        let finding = |scheme, verdict| SchemeFinding { scheme, header: header.clone(), verdict };
        let mut findings = Vec::new();
        if !asymmetric.is_empty() {
            findings.push(finding(SignatureScheme::Ed25519, self.asymmetric(asymmetric)));
        }
        if !symmetric.is_empty() {
            let verdict = self.judge(SignatureScheme::Standard, self.standard_claim(symmetric));
            findings.push(finding(SignatureScheme::Standard, verdict));
        }
        if findings.is_empty() {
            let claim = self.standard_claim(vec![text.trim().to_owned()]);
            let verdict =
                self.judge(SignatureScheme::Standard, claim.with(SignatureProblem::NoVersion));
            findings.push(finding(SignatureScheme::Standard, verdict));
        }
        findings
    }

    fn standard_claim(&self, signatures: Vec<String>) -> SignatureClaim {
        let timestamp = self.text(&WEBHOOK_TIMESTAMP);
        let missing = [WEBHOOK_ID, WEBHOOK_TIMESTAMP].into_iter();
        let missing = missing.filter(|name| !self.received.headers.contains_key(name));
        let problems = missing.map(SignatureProblem::MissingHeader).collect();
        SignatureClaim { timestamp, signatures, problems }
    }

    fn symmetric(&self, scheme: SignatureScheme, value: &str) -> SignatureVerdict {
        let value = value.trim();
        let rule = scheme.rule();
        let claim = if rule.part.is_some() {
            SignatureClaim::timed(value)
        } else if rule.prefix.is_empty() {
            match value.strip_prefix(HASH_PREFIX) {
                Some(signature) => SignatureClaim::of(signature)
                    .with(SignatureProblem::NeedlessPrefix(HASH_PREFIX)),
                None => SignatureClaim::of(value),
            }
        } else {
            match value.strip_prefix(rule.prefix) {
                Some(signature) => SignatureClaim::of(signature),
                None => {
                    SignatureClaim::of(value).with(SignatureProblem::MissingPrefix(rule.prefix))
                }
            }
        };
        self.judge(scheme, claim)
    }

    fn judge(&self, scheme: SignatureScheme, claim: SignatureClaim) -> SignatureVerdict {
        let mut problems = claim.problems;
        let time = claim.timestamp.as_deref();
        problems.extend(time.and_then(|text| time_problem(text, self.received.now)));
        let id = self.text(&WEBHOOK_ID).unwrap_or_default();
        let subject = search::SignedSubject {
            scheme,
            id: &id,
            // A sender may have signed the timestamp by mistake, even in a scheme that only signs
            // the body.
            timestamp: time.map_or_else(|| self.text(&WEBHOOK_TIMESTAMP), |t| Some(t.to_owned())),
            body: self.received.body,
        };
        let found = search::best(&subject, &claim.signatures, self.keys);
        verdict(problems, found)
    }

    fn asymmetric(&self, signatures: Vec<String>) -> SignatureVerdict {
        let claim = self.standard_claim(signatures);
        let mut problems = claim.problems;
        let time = claim.timestamp.as_deref().unwrap_or_default();
        problems.extend(time_problem(time, self.received.now));
        let id = self.text(&WEBHOOK_ID).unwrap_or_default();
        let found = search::best_asymmetric(
            &format!("{id}.{time}."),
            self.received.body,
            &claim.signatures,
            &self.keys.public(),
        );
        verdict(problems, found)
    }

    fn text(&self, name: &HeaderName) -> Option<String> {
        let value = self.received.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
    }
}

impl SignatureClaim {
    fn of(signature: &str) -> Self {
        Self { signatures: vec![signature.trim().to_owned()], ..Self::default() }
    }

    /// Reads the form `t=…,v1=…[,v1=…]`.
    fn timed(value: &str) -> Self {
        let parts = || value.split(',').filter_map(|part| part.trim().split_once('='));
        let of = |wanted: &'static str| {
            parts().filter(move |(name, _)| *name == wanted).map(|(_, text)| text.to_owned())
        };
        let claim = Self {
            timestamp: of("t").next(),
            signatures: of("v1").collect(),
            problems: Vec::new(),
        };
        if claim.timestamp.is_some() && !claim.signatures.is_empty() {
            claim
        } else {
            Self::of(value).with(SignatureProblem::NoTimedForm)
        }
    }

    fn with(mut self, problem: SignatureProblem) -> Self {
        self.problems.push(problem);
        self
    }
}

/// Combines the result of the search with the problems found before it.
fn verdict(
    mut problems: Vec<SignatureProblem>,
    found: Option<search::SearchMatch>,
) -> SignatureVerdict {
    match found {
        None => problems.push(SignatureProblem::Mismatch),
        Some(found) => {
            problems.extend(found.problems);
            if problems.is_empty() {
                return if found.previous {
                    SignatureVerdict::FitsPrevious
                } else {
                    SignatureVerdict::Fits
                };
            }
        }
    }
    SignatureVerdict::Wrong(problems)
}

fn time_problem(text: &str, now: Timestamp) -> Option<SignatureProblem> {
    /// In seconds, no time of this millennium is that large. In milliseconds, every time since 1973
    /// is.
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    let Ok(seconds) = text.parse::<i64>() else {
        return Some(SignatureProblem::TimestampForm(text.to_owned()));
    };
    if seconds >= MILLISECONDS_FROM {
        return Some(SignatureProblem::TimestampMilliseconds);
    }
    let age = now.seconds().saturating_sub(seconds);
    let beyond = age.unsigned_abs() > TOLERANCE.as_secs();
    let off = Duration::from_secs(age.unsigned_abs());
    match age {
        _ if !beyond => None,
        1.. => Some(SignatureProblem::TooOld(off)),
        _ => Some(SignatureProblem::InFuture(off)),
    }
}

#[cfg(test)]
mod tests;

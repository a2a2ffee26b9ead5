//! Finds the variation of secret, content, body or encoding that a signature matches.

use super::problem::{BodyChange, GivenEncoding, SecretReading, SignatureProblem, SignedContent};
use super::{SignatureScheme, VerificationKeys};
use crate::crypto::sha256::MacKey;
use crate::json::canonical;
use crate::model::signature_rule::{KeyForm, SignatureEncoding};
use crate::signing::secret::{SYMMETRIC, standard_key};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use std::borrow::Cow;
use subtle::ConstantTimeEq as _;

/// The parts of a delivery that may have been signed.
pub struct SignedSubject<'a> {
    pub scheme: SignatureScheme,
    pub id: &'a str,
    pub timestamp: Option<String>,
    pub body: &'a [u8],
}

/// A variation that matches.
pub struct SearchMatch {
    /// The differences from the scheme's rule.
    pub problems: Vec<SignatureProblem>,
    /// Whether the previous secret matched.
    pub previous: bool,
}

/// Returns the variation with the fewest differences that matches one of the signatures.
pub fn best(
    subject: &SignedSubject<'_>,
    signatures: &[String],
    keys: VerificationKeys<'_>,
) -> Option<SearchMatch> {
    let claims: Vec<DecodedSignature> =
        signatures.iter().flat_map(|text| decodings(text, subject.scheme)).collect();
    let bodies = bodies(subject.body);
    let mut best: Option<SearchMatch> = None;
    for (secret, previous) in keys.all() {
        for (reading, key) in readings(secret, subject.scheme) {
            let mac = MacKey::new(&key);
            for (content, (change, body)) in pairs(&contents(subject), &bodies) {
                let expected = mac.of(&content.parts(subject, body));
                let fitting =
                    claims.iter().filter(|claim| bool::from(claim.bytes.ct_eq(&expected)));
                for claim in fitting {
                    let problems = [
                        claim.encoding.map(SignatureProblem::Encoding),
                        reading.map(SignatureProblem::Reading),
                        content.problem.map(SignatureProblem::Content),
                        change.map(SignatureProblem::Body),
                    ];
                    let problems: Vec<_> = problems.into_iter().flatten().collect();
                    keep_better(&mut best, SearchMatch { problems, previous });
                }
            }
        }
    }
    best
}

/// Does the same for ed25519, for which only changes of the body are tried.
pub fn best_asymmetric(
    prefix: &str,
    body: &[u8],
    signatures: &[String],
    keys: &[(VerifyingKey, bool)],
) -> Option<SearchMatch> {
    let signatures: Vec<Signature> = signatures
        .iter()
        .filter_map(|text| Signature::from_slice(&STANDARD.decode(text).ok()?).ok())
        .collect();
    let mut best = None;
    for (change, body) in bodies(body) {
        let content = [prefix.as_bytes(), &body].concat();
        for (key, previous) in keys {
            if signatures.iter().any(|signature| key.verify_strict(&content, signature).is_ok()) {
                let problems = change.map(SignatureProblem::Body).into_iter().collect();
                keep_better(&mut best, SearchMatch { problems, previous: *previous });
            }
        }
    }
    best
}

fn keep_better(best: &mut Option<SearchMatch>, found: SearchMatch) {
    if best.as_ref().is_none_or(|best| found.problems.len() < best.problems.len()) {
        *best = Some(found);
    }
}

fn pairs<'a, A, B>(
    outer: &'a [A],
    inner: &'a [(Option<BodyChange>, B)],
) -> impl Iterator<Item = (&'a A, (Option<BodyChange>, &'a B))> {
    outer.iter().flat_map(move |a| inner.iter().map(move |(change, b)| (a, (*change, b))))
}

/// The bytes of a signature, and the wrong encoding they were read from, if it is wrong.
struct DecodedSignature {
    encoding: Option<GivenEncoding>,
    bytes: Vec<u8>,
}

/// Returns the bytes that a signature's text may stand for.
fn decodings(text: &str, scheme: SignatureScheme) -> Vec<DecodedSignature> {
    let base64 = scheme.rule().encoding == SignatureEncoding::Base64;
    let mut found = Vec::new();
    let mut add = |encoding, bytes: Option<Vec<u8>>| {
        found.extend(bytes.map(|bytes| DecodedSignature { encoding, bytes }));
    };
    let hex_problem = match () {
        () if base64 => Some(GivenEncoding::Hex),
        () if text.bytes().any(|byte| byte.is_ascii_uppercase()) => Some(GivenEncoding::UpperHex),
        () => None,
    };
    add(hex_problem, hex::decode(text).ok());
    let standard = STANDARD.decode(text).ok();
    let of_hex = standard.as_ref().and_then(|bytes| hex::decode(bytes).ok());
    add((!base64).then_some(GivenEncoding::Base64), standard);
    add(Some(GivenEncoding::Base64OfHex), of_hex);
    for engine in [STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        add(Some(GivenEncoding::UrlBase64), engine.decode(text).ok());
    }
    found
}

/// Returns the keys that a secret may stand for, the scheme's own reading first.
fn readings(secret: &str, scheme: SignatureScheme) -> Vec<(Option<SecretReading>, Vec<u8>)> {
    let literal = secret.as_bytes().to_vec();
    let rest = secret.strip_prefix(SYMMETRIC);
    let mut readings: Vec<(Option<SecretReading>, Vec<u8>)> = match scheme.rule().key {
        KeyForm::Standard => {
            let own = standard_key(secret).ok().map(|key| (None, key));
            let other = rest.map(|_| (Some(SecretReading::Literal), literal.clone()));
            own.into_iter().chain(other).collect()
        }
        KeyForm::Text | KeyForm::Hex | KeyForm::Base64 => {
            let decoded = rest.and_then(|_| standard_key(secret).ok());
            let other = decoded.map(|key| (Some(SecretReading::Decoded), key));
            [(None, literal.clone())].into_iter().chain(other).collect()
        }
    };
    if let Some(rest) = rest {
        readings.push((Some(SecretReading::WithoutPrefix), rest.as_bytes().to_vec()));
    } else if let Some(key) = STANDARD.decode(secret).ok().filter(|key| !key.is_empty()) {
        readings.push((Some(SecretReading::BareBase64), key));
    }
    readings.push((Some(SecretReading::WithLineBreak), [literal.as_slice(), b"\n"].concat()));
    readings
}

/// Returns the contents that may have been signed, the scheme's own first.
fn contents(subject: &SignedSubject<'_>) -> Vec<SignatureForm> {
    let all = [
        SignedContent::Body,
        SignedContent::TimestampBody,
        SignedContent::TimestampCommaBody,
        SignedContent::IdTimestampBody,
        SignedContent::TimestampJoinedBody,
    ];
    let signed = subject.scheme.rule().signed;
    let own = all.into_iter().find(|content| content.template() == signed);
    let own = own.unwrap_or(SignedContent::Body);
    let others = all.into_iter().filter(|content| *content != own);
    let others = others.map(|content| SignatureForm { content, problem: Some(content) });
    [SignatureForm { content: own, problem: None }].into_iter().chain(others).collect()
}

struct SignatureForm {
    content: SignedContent,
    /// The content, if it is not the scheme's own.
    problem: Option<SignedContent>,
}

impl SignatureForm {
    fn parts<'a>(&self, subject: &'a SignedSubject<'_>, body: &'a [u8]) -> Vec<&'a [u8]> {
        let id = subject.id.as_bytes();
        let time = subject.timestamp.as_deref().unwrap_or_default().as_bytes();
        match self.content {
            SignedContent::Body => vec![body],
            SignedContent::TimestampBody => vec![time, b".", body],
            SignedContent::TimestampCommaBody => vec![time, b",", body],
            SignedContent::IdTimestampBody => vec![id, b".", time, b".", body],
            SignedContent::TimestampJoinedBody => vec![time, body],
        }
    }
}

/// Returns the bodies that may have been signed, the received one first.
fn bodies(body: &[u8]) -> Vec<(Option<BodyChange>, Cow<'_, [u8]>)> {
    let mut bodies = vec![(None, Cow::Borrowed(body))];
    let mut add = |change, body: Option<Cow<'_, [u8]>>| {
        if let Some(body) = body {
            bodies.push((Some(change), Cow::Owned(body.into_owned())));
        }
    };
    let unbroken = body.strip_suffix(b"\r\n").or_else(|| body.strip_suffix(b"\n"));
    add(BodyChange::LineBreakAdded, unbroken.map(Cow::Borrowed));
    add(BodyChange::LineBreakLost, Some(Cow::Owned([body, b"\n"].concat())));
    add(BodyChange::ByteOrderMark, body.strip_prefix(b"\xef\xbb\xbf").map(Cow::Borrowed));
    let text = str::from_utf8(body).ok();
    let lf = text.filter(|text| text.contains("\r\n")).map(|text| text.replace("\r\n", "\n"));
    add(BodyChange::LineEnds, lf.map(|text| Cow::Owned(text.into_bytes())));
    let mut compact = Vec::new();
    let written = text.is_some_and(|text| canonical::write_canonical(text, &mut compact).is_ok());
    add(BodyChange::Reserialised, (written && compact != body).then_some(Cow::Owned(compact)));
    add(BodyChange::Empty, (!body.is_empty()).then_some(Cow::Borrowed(&[])));
    bodies
}

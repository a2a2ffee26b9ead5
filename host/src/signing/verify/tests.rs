use super::problem::{BodyChange, GivenEncoding, SecretReading, SignedContent};
use super::*;
use crate::crypto::sha256::MacKey;
use crate::model::secrets::{GracedSecret, SigningSecrets};
use crate::signing::DeliverySigner;
use crate::signing::tests::{
    GITHUB_SIGNATURE, PERFEXAPI_SIGNATURE, STRIPE_SIGNATURE, THEMESIC_SIGNATURE,
    WEBHOOK_HEX_SIGNATURE, WEBHOOK_SIGNATURE,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PLAIN: &str = "a secret in plain words";
const BODY: &[u8] = br#"{"id":17,"total":"1.50"}"#;
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn signed_with(secret: &str, body: &[u8], at: Timestamp) -> HeaderMap {
    let secrets = SigningSecrets { current: secret.to_owned(), previous: None };
    let mut headers = HeaderMap::new();
    DeliverySigner::new(&SignatureScheme::ALL, &secrets)
        .unwrap()
        .sign("dlv_1", at, body, &mut headers)
        .unwrap();
    headers
}

fn checked(headers: &HeaderMap, body: &[u8], secret: &str) -> Vec<SchemeFinding> {
    verify_delivery(
        ReceivedDelivery { headers, body, now: NOW },
        VerificationKeys { current: secret, previous: None },
    )
}

fn of(findings: &[SchemeFinding], scheme: SignatureScheme) -> SignatureVerdict {
    findings.iter().find(|finding| finding.scheme == scheme).unwrap().verdict.clone()
}

/// Returns the verdict on a single header, sent with the id and the timestamp.
fn on_header(name: HeaderName, value: &str, secret: &str, body: &[u8]) -> SignatureVerdict {
    let headers = HeaderMap::from_iter([
        (WEBHOOK_ID, HeaderValue::from_static("dlv_1")),
        (WEBHOOK_TIMESTAMP, HeaderValue::from_static("1700000000")),
        (name, HeaderValue::from_str(value).unwrap()),
    ]);
    let findings = checked(&headers, body, secret);
    assert_eq!(findings.len(), 1);
    findings[0].verdict.clone()
}

fn digest(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    MacKey::new(key).of(parts)
}

fn base64_of(key: &[u8], parts: &[&[u8]]) -> String {
    format!("v1,{}", STANDARD.encode(digest(key, parts)))
}

fn hex_of(key: &[u8], parts: &[&[u8]]) -> String {
    hex::encode(digest(key, parts))
}

fn bare_secret() -> &'static str {
    SECRET.strip_prefix("whsec_").unwrap()
}

fn decoded() -> Vec<u8> {
    STANDARD.decode(bare_secret()).unwrap()
}

fn wrong<const N: usize>(problems: [SignatureProblem; N]) -> SignatureVerdict {
    SignatureVerdict::Wrong(problems.into())
}

#[test]
fn every_scheme_is_found_in_order_and_matches() {
    for secret in [SECRET, PLAIN] {
        let findings = checked(&signed_with(secret, BODY, NOW), BODY, secret);
        let schemes: Vec<_> = findings.iter().map(|finding| finding.scheme).collect();
        assert_eq!(schemes, SignatureScheme::ALL);
        assert!(findings.iter().all(|finding| finding.verdict == SignatureVerdict::Fits));
    }
    assert_eq!(checked(&HeaderMap::new(), BODY, SECRET), []);
}

#[test]
fn a_public_key_is_enough_for_ed25519() {
    let secrets = SigningSecrets { current: SECRET.to_owned(), previous: None };
    let public =
        DeliverySigner::new(&[SignatureScheme::Ed25519], &secrets).unwrap().public_key().unwrap();
    let findings = checked(&signed_with(SECRET, BODY, NOW), BODY, &public);
    assert_eq!(of(&findings, SignatureScheme::Ed25519), SignatureVerdict::Fits);
    assert_eq!(of(&findings, SignatureScheme::Standard), wrong([SignatureProblem::Mismatch]));
}

#[test]
fn another_secret_or_body_matches_nothing() {
    let headers = signed_with(SECRET, BODY, NOW);
    for (body, secret) in [(BODY, PLAIN), (br#"{"id":18,"total":"1.50"}"#, SECRET)] {
        for finding in checked(&headers, body, secret) {
            assert_eq!(finding.verdict, wrong([SignatureProblem::Mismatch]), "{}", finding.scheme);
        }
    }
}

#[test]
fn the_previous_secret_is_recognised() {
    let keys = VerificationKeys { current: SECRET, previous: Some(PLAIN) };
    let old = signed_with(PLAIN, BODY, NOW);
    for finding in verify_delivery(ReceivedDelivery { headers: &old, body: BODY, now: NOW }, keys) {
        assert_eq!(finding.verdict, SignatureVerdict::FitsPrevious, "{}", finding.scheme);
        assert!(finding.verdict.fits());
    }
    let until = NOW.after(Duration::from_hours(1));
    let previous = Some(GracedSecret { secret: PLAIN.to_owned(), until });
    let secrets = SigningSecrets { current: SECRET.to_owned(), previous };
    let mut headers = HeaderMap::new();
    DeliverySigner::new(&SignatureScheme::ALL, &secrets)
        .unwrap()
        .sign("dlv_1", NOW, BODY, &mut headers)
        .unwrap();
    let findings = checked(&headers, BODY, PLAIN);
    let fitting: Vec<_> = findings.iter().filter(|f| f.verdict.fits()).map(|f| f.scheme).collect();
    assert_eq!(
        fitting,
        [SignatureScheme::Standard, SignatureScheme::Stripe, SignatureScheme::Ed25519]
    );
}

#[test]
fn timestamps_have_a_tolerance_either_way() {
    let at = |seconds: i64| {
        let at = Timestamp::from_micros(NOW.micros() + seconds * 1_000_000);
        checked(&signed_with(SECRET, BODY, at), BODY, SECRET)
    };
    let timed = [
        SignatureScheme::Standard,
        SignatureScheme::Stripe,
        SignatureScheme::Themesic,
        SignatureScheme::Ed25519,
    ];
    for scheme in timed {
        assert_eq!(of(&at(-300), scheme), SignatureVerdict::Fits);
        assert_eq!(of(&at(300), scheme), SignatureVerdict::Fits);
        assert_eq!(
            of(&at(-301), scheme),
            wrong([SignatureProblem::TooOld(Duration::from_secs(301))])
        );
        assert_eq!(
            of(&at(301), scheme),
            wrong([SignatureProblem::InFuture(Duration::from_secs(301))])
        );
    }
    assert_eq!(of(&at(-9_000), SignatureScheme::Github), SignatureVerdict::Fits);
    let message = SignatureProblem::TooOld(Duration::from_mins(90)).to_string();
    assert!(message.starts_with("the timestamp is 1h30m old"), "{message}");
}

#[test]
fn timestamps_that_are_not_in_seconds_are_reported() {
    let mut headers = signed_with(SECRET, BODY, NOW);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from_static("1700000000000"));
    let findings = checked(&headers, BODY, SECRET);
    let expected = wrong([SignatureProblem::TimestampMilliseconds, SignatureProblem::Mismatch]);
    assert_eq!(of(&findings, SignatureScheme::Standard), expected);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from_static("now"));
    let findings = checked(&headers, BODY, SECRET);
    let expected =
        wrong([SignatureProblem::TimestampForm("now".to_owned()), SignatureProblem::Mismatch]);
    assert_eq!(of(&findings, SignatureScheme::Ed25519), expected);
}

#[test]
fn changes_of_the_body_are_recognised() {
    let pretty = b"{\n  \"id\": 17,\n  \"total\": \"1.50\"\n}";
    let with_break = [BODY, b"\n"].concat();
    let with_mark = [b"\xef\xbb\xbf", BODY].concat();
    for (sent, at_hand, change) in [
        (BODY, &with_break[..], BodyChange::LineBreakAdded),
        (&with_break, BODY, BodyChange::LineBreakLost),
        (BODY, &pretty[..], BodyChange::Reserialised),
        (BODY, &with_mark, BodyChange::ByteOrderMark),
        (b"a\nb", b"a\r\nb", BodyChange::LineEnds),
        (b"", BODY, BodyChange::Empty),
    ] {
        for finding in checked(&signed_with(SECRET, sent, NOW), at_hand, SECRET) {
            assert_eq!(
                finding.verdict,
                wrong([SignatureProblem::Body(change)]),
                "{}",
                finding.scheme
            );
        }
    }
}

#[test]
fn other_readings_of_the_secret_are_recognised() {
    let standard = [b"dlv_1.1700000000.", BODY];
    let literal = base64_of(SECRET.as_bytes(), &standard);
    let cases = [
        (SECRET, WEBHOOK_SIGNATURE, literal, SecretReading::Literal),
        (SECRET, WEBHOOK_HEX_SIGNATURE, hex_of(&decoded(), &[BODY]), SecretReading::Decoded),
        (
            SECRET,
            PERFEXAPI_SIGNATURE,
            hex_of(&SECRET.as_bytes()[6..], &[BODY]),
            SecretReading::WithoutPrefix,
        ),
        (
            bare_secret(),
            WEBHOOK_SIGNATURE,
            base64_of(&decoded(), &standard),
            SecretReading::BareBase64,
        ),
        (
            PLAIN,
            WEBHOOK_HEX_SIGNATURE,
            hex_of(b"a secret in plain words\n", &[BODY]),
            SecretReading::WithLineBreak,
        ),
    ];
    for (secret, name, value, reading) in cases {
        assert_eq!(
            on_header(name, &value, secret, BODY),
            wrong([SignatureProblem::Reading(reading)])
        );
    }
}

#[test]
fn other_encodings_are_recognised() {
    let standard = [b"dlv_1.1700000000.", BODY];
    let bare = digest(SECRET.as_bytes(), &[BODY]);
    let cases = [
        (WEBHOOK_SIGNATURE, format!("v1,{}", hex_of(&decoded(), &standard)), GivenEncoding::Hex),
        (WEBHOOK_HEX_SIGNATURE, STANDARD.encode(bare), GivenEncoding::Base64),
        (WEBHOOK_HEX_SIGNATURE, hex::encode_upper(bare), GivenEncoding::UpperHex),
        (WEBHOOK_HEX_SIGNATURE, STANDARD.encode(hex::encode(bare)), GivenEncoding::Base64OfHex),
        (WEBHOOK_HEX_SIGNATURE, URL_SAFE_NO_PAD.encode(bare), GivenEncoding::UrlBase64),
    ];
    for (name, value, encoding) in cases {
        assert_eq!(
            on_header(name, &value, SECRET, BODY),
            wrong([SignatureProblem::Encoding(encoding)])
        );
    }
}

#[test]
fn other_contents_are_recognised() {
    let key = PLAIN.as_bytes();
    let timed = |parts: &[&[u8]]| format!("t=1700000000,v1={}", hex_of(key, parts));
    let cases = [
        (WEBHOOK_SIGNATURE, base64_of(key, &[BODY]), SignedContent::Body),
        (WEBHOOK_SIGNATURE, base64_of(key, &[b"1700000000.", BODY]), SignedContent::TimestampBody),
        (STRIPE_SIGNATURE, timed(&[b"1700000000,", BODY]), SignedContent::TimestampCommaBody),
        (STRIPE_SIGNATURE, timed(&[b"1700000000", BODY]), SignedContent::TimestampJoinedBody),
        (
            WEBHOOK_HEX_SIGNATURE,
            hex_of(key, &[b"dlv_1.1700000000.", BODY]),
            SignedContent::IdTimestampBody,
        ),
    ];
    for (name, value, content) in cases {
        assert_eq!(
            on_header(name, &value, PLAIN, BODY),
            wrong([SignatureProblem::Content(content)])
        );
    }
}

#[test]
fn malformed_headers_are_reported() {
    let bare = hex_of(PLAIN.as_bytes(), &[BODY]);
    let prefixed = format!("sha256={bare}");
    let unversioned = STANDARD.encode(digest(PLAIN.as_bytes(), &[b"dlv_1.1700000000.", BODY]));
    let cases = [
        (GITHUB_SIGNATURE, bare.as_str(), wrong([SignatureProblem::MissingPrefix("sha256=")])),
        (PERFEXAPI_SIGNATURE, &prefixed, wrong([SignatureProblem::NeedlessPrefix("sha256=")])),
        (
            THEMESIC_SIGNATURE,
            &bare,
            wrong([SignatureProblem::NoTimedForm, SignatureProblem::Content(SignedContent::Body)]),
        ),
        (
            STRIPE_SIGNATURE,
            "t=1,v0=ab",
            wrong([SignatureProblem::NoTimedForm, SignatureProblem::Mismatch]),
        ),
        (WEBHOOK_SIGNATURE, &unversioned, wrong([SignatureProblem::NoVersion])),
        (WEBHOOK_SIGNATURE, "", wrong([SignatureProblem::NoVersion, SignatureProblem::Mismatch])),
        (WEBHOOK_SIGNATURE, "v1,%%%", wrong([SignatureProblem::Mismatch])),
        (WEBHOOK_SIGNATURE, "v1a,AAAA", wrong([SignatureProblem::Mismatch])),
    ];
    for (name, value, verdict) in cases {
        assert_eq!(on_header(name, value, PLAIN, BODY), verdict, "{value}");
    }
}

#[test]
fn a_missing_id_or_timestamp_is_reported() {
    let mut headers = signed_with(SECRET, BODY, NOW);
    headers.remove(WEBHOOK_ID);
    let findings = checked(&headers, BODY, SECRET);
    let expected = wrong([SignatureProblem::MissingHeader(WEBHOOK_ID), SignatureProblem::Mismatch]);
    assert_eq!(of(&findings, SignatureScheme::Standard), expected);
    headers.remove(WEBHOOK_TIMESTAMP);
    assert!(!of(&checked(&headers, BODY, SECRET), SignatureScheme::Ed25519).fits());
}

#[test]
fn several_differences_are_all_reported() {
    let value = hex_of(&decoded(), &[BODY, b"\n"]);
    let verdict = on_header(WEBHOOK_HEX_SIGNATURE, &value, SECRET, BODY);
    let problems = [
        SignatureProblem::Reading(SecretReading::Decoded),
        SignatureProblem::Body(BodyChange::LineBreakLost),
    ];
    assert_eq!(verdict, wrong(problems));
}

#[test]
fn no_message_contains_the_secret() {
    let findings = checked(&signed_with(PLAIN, BODY, NOW), b"other", PLAIN);
    let keys = VerificationKeys { current: PLAIN, previous: Some(SECRET) };
    let text = format!("{findings:?} {keys:?}");
    assert!(!text.contains(PLAIN) && !text.contains(SECRET));
}

//! Vectors that the systems publish or their libraries make, and the ways to be refused.

use super::*;
use crate::domain::endpoint::Graced;
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn verifier(scheme: Scheme, secret: &str) -> Verifier {
    let secrets = Secrets { current: secret.to_owned(), previous: None };
    Verifier::new(scheme, Duration::from_mins(5), &secrets)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn hex_of(secret: &str, parts: &[&[u8]]) -> String {
    hex::encode(Mac::new(secret.as_bytes()).of(parts))
}

#[test]
fn vectors_of_others_fit() {
    let github = headers(&[(
        "x-hub-signature-256",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )]);
    let checked = verifier(Scheme::Github, "It's a Secret to Everybody");
    assert!(checked.verify(&github, b"Hello, World!", at(NOW)).is_ok());

    let standard = headers(&[
        ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
        ("webhook-timestamp", "1649367553"),
        ("webhook-signature", "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
    ]);
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let checked = verifier(Scheme::Standard, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    assert!(checked.verify(&standard, body, at(1_649_367_553)).is_ok());

    // As Slack's own slack_sdk for Python signs this body.
    let slack = headers(&[
        ("x-slack-request-timestamp", "1531420618"),
        (
            "x-slack-signature",
            "v0=4100b1756950a204e3fc6c04e24946e09b85819f68b234fd31d974b37f919c9a",
        ),
    ]);
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIffN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let checked = verifier(Scheme::Slack, "8f742231b10e8888abcd99yyyzzz85a5");
    assert!(checked.verify(&slack, body, at(1_531_420_618)).is_ok());
}

#[test]
fn each_scheme_reads_its_own_header() {
    let (secret, body) = ("whsec_literally this", b"{}".as_slice());
    let (bare, now) = (hex_of(secret, &[body]), NOW.to_string());
    let timed = format!("t={now},v1={}", hex_of(secret, &[now.as_bytes(), b".", body]));
    let base64 = BASE64_STANDARD.encode(Mac::new(secret.as_bytes()).of(&[body]));
    for (scheme, name, value) in [
        (Scheme::PerfexApi, "x-perfexapi-signature", &bare),
        (Scheme::PerfexApi, "x-webhook-signature", &bare),
        (Scheme::N8nBridge, "x-perfex-signature", &bare),
        (Scheme::Themesic, "x-perfex-signature", &timed),
        (Scheme::Stripe, "stripe-signature", &timed),
        (Scheme::Shopify, "x-shopify-hmac-sha256", &base64),
    ] {
        let checked = verifier(scheme, secret);
        let given = headers(&[(name, value)]);
        assert!(checked.verify(&given, body, at(NOW)).is_ok(), "{scheme:?}");
        assert_eq!(checked.verify(&given, b"{ }", at(NOW)), Err(Refusal::Wrong), "{scheme:?}");
        let missing = checked.verify(&HeaderMap::new(), body, at(NOW));
        assert!(matches!(missing, Err(Refusal::Missing(_))), "{scheme:?}");
        let other = verifier(scheme, "another").verify(&given, body, at(NOW));
        assert_eq!(other, Err(Refusal::Wrong), "{scheme:?}");
    }
}

#[test]
fn a_signed_time_is_near() {
    let checked = verifier(Scheme::Stripe, "secret");
    let signed = |t: i64| {
        let text = t.to_string();
        let value = format!("t={t},v1=00,v1={}", hex_of("secret", &[text.as_bytes(), b".", b"{}"]));
        checked.verify(&headers(&[("stripe-signature", &value)]), b"{}", at(NOW))
    };
    assert!(signed(NOW - 300).is_ok() && signed(NOW + 300).is_ok());
    assert_eq!(signed(NOW - 301), Err(Refusal::Stale(301)));
    assert_eq!(signed(NOW + 301), Err(Refusal::Early(301)));
}

#[test]
fn the_previous_secret_fits_while_it_has_its_grace() {
    let previous = Some(Graced { secret: "old".to_owned(), until: at(NOW + 10) });
    let secrets = Secrets { current: "new".to_owned(), previous };
    let checked = Verifier::new(Scheme::PerfexApi, Duration::ZERO, &secrets);
    let given = headers(&[("x-webhook-signature", &hex_of("old", &[b"{}"]))]);
    assert!(checked.verify(&given, b"{}", at(NOW)).is_ok());
    assert_eq!(checked.verify(&given, b"{}", at(NOW + 10)), Err(Refusal::Wrong));
}

#[test]
fn a_signature_written_otherwise_is_the_same_request() {
    let checked = verifier(Scheme::PerfexApi, "secret");
    let bare = hex_of("secret", &[b"{}"]);
    let of =
        |text: &str| checked.verify(&headers(&[("x-webhook-signature", text)]), b"{}", at(NOW));
    assert_eq!(of(&bare).unwrap(), of(&bare.to_uppercase()).unwrap());
}

proptest! {
    #[test]
    fn nonsense_is_refused_and_never_fits(value in "[ -~]{0,200}", n in 0..8_usize) {
        let schemes = [
            (Scheme::PerfexApi, "x-webhook-signature"), (Scheme::Themesic, "x-perfex-signature"),
            (Scheme::N8nBridge, "x-perfex-signature"), (Scheme::Standard, "webhook-signature"),
            (Scheme::Github, "x-hub-signature-256"), (Scheme::Stripe, "stripe-signature"),
            (Scheme::Shopify, "x-shopify-hmac-sha256"), (Scheme::Slack, "x-slack-signature"),
        ];
        let (scheme, name) = schemes[n];
        let mut given = headers(&[(name, &value)]);
        given.insert("webhook-id", "x".parse().unwrap());
        given.insert("webhook-timestamp", "1700000000".parse().unwrap());
        given.insert("x-slack-request-timestamp", "1700000000".parse().unwrap());
        let refused = verifier(scheme, "secret").verify(&given, b"{}", at(NOW)).is_err();
        prop_assert!(refused);
    }
}

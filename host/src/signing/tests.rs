pub mod receivers;

use super::*;
use crate::model::secrets::GracedSecret;
use ed25519_dalek::Verifier as _;
use proptest::prelude::*;

pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
pub const PERFEXAPI_SIGNATURE: HeaderName = HeaderName::from_static("x-perfexapi-signature");
pub const WEBHOOK_HEX_SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
pub const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
pub const GITHUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
pub const THEMESIC_SIGNATURE: HeaderName = HeaderName::from_static("x-perfex-signature");

const WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
const AT: Timestamp = Timestamp::from_micros(1_649_367_553_000_000);
const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

fn secrets(current: &str) -> SigningSecrets {
    SigningSecrets { current: current.to_owned(), previous: None }
}

fn rotated(current: &str, previous: &str, until: Timestamp) -> SigningSecrets {
    let previous = Some(GracedSecret { secret: previous.to_owned(), until });
    SigningSecrets { current: current.to_owned(), previous }
}

fn signed(schemes: &[SignatureScheme], secrets: &SigningSecrets, body: &[u8]) -> HeaderMap {
    signed_at(schemes, secrets, body, AT)
}

fn signed_at(
    schemes: &[SignatureScheme],
    secrets: &SigningSecrets,
    body: &[u8],
    at: Timestamp,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    DeliverySigner::new(schemes, secrets).unwrap().sign(ID, at, body, &mut headers).unwrap();
    headers
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).unwrap().to_str().unwrap()
}

/// The test vector of the Standard Webhooks libraries.
#[test]
fn standard_webhooks_vector() {
    let headers = signed(&[SignatureScheme::Standard], &secrets(WHSEC), BODY);
    assert_eq!(text(&headers, WEBHOOK_ID), ID);
    assert_eq!(text(&headers, WEBHOOK_TIMESTAMP), "1649367553");
    assert_eq!(
        text(&headers, WEBHOOK_SIGNATURE),
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
    );
    assert_eq!(headers.len(), 3);
}

/// The test vector of GitHub's "Validating webhook deliveries".
#[test]
fn github_vector() {
    let secrets = secrets("It's a Secret to Everybody");
    let headers =
        signed(&[SignatureScheme::Github, SignatureScheme::Webhook], &secrets, b"Hello, World!");
    let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(text(&headers, GITHUB_SIGNATURE), format!("sha256={hex}"));
    assert_eq!(text(&headers, WEBHOOK_HEX_SIGNATURE), hex);
}

/// Test vectors made with Python's `hmac` and with OpenSSL.
#[test]
fn independent_vectors() {
    let headers = signed(&SignatureScheme::ALL, &secrets(WHSEC), BODY);
    let bare = "e0fc16c6d4a28f39a6e0935569f05d86e87367db24a4b6d9271215c603e49f6a";
    let timed = "t=1649367553,v1=996637d7f89ef8f7b59f7faaf5341457472e823d8ca666d16b7bbd1dc831721d";
    assert_eq!(text(&headers, PERFEXAPI_SIGNATURE), bare);
    assert_eq!(text(&headers, WEBHOOK_HEX_SIGNATURE), bare);
    assert_eq!(text(&headers, GITHUB_SIGNATURE), format!("sha256={bare}"));
    assert_eq!(text(&headers, STRIPE_SIGNATURE), timed);
    assert_eq!(text(&headers, THEMESIC_SIGNATURE), timed);
    let raw = signed(&[SignatureScheme::Standard], &secrets("a secret in plain words"), BODY);
    assert_eq!(text(&raw, WEBHOOK_SIGNATURE), "v1,Yy/scmx1DmPTtwNp6v3F97pNAH5niWpcWXL3XExTde0=");
    let own = "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=";
    let own = signed(&[SignatureScheme::Ed25519], &secrets(own), BODY);
    assert_eq!(
        text(&own, WEBHOOK_SIGNATURE),
        "v1a,WHjsBnxYGAzT4ouNcEHVkIFB4V5sqMvGNEfbIzAeidMH5kRnfaveEv167/OQ9xXNboC36vYKangXhyprOiJMAg=="
    );
}

#[test]
fn the_default_schemes_set_three_headers_on_one_request() {
    let headers = signed(&SignatureScheme::DEFAULT, &secrets(WHSEC), BODY);
    let names: std::collections::BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
    let expected = [
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-perfexapi-signature",
        "x-webhook-signature",
    ];
    assert_eq!(names, expected.into());
    assert_eq!(headers.len(), 5);
}

#[test]
fn lists_hold_both_signatures_during_the_grace_and_the_new_one_after_it() {
    let (new, old) = (WHSEC, "the secret that was there before");
    let until = AT.after(std::time::Duration::from_secs(1));
    let during = signed(&SignatureScheme::ALL, &rotated(new, old, until), BODY);
    let after = signed(&SignatureScheme::ALL, &rotated(new, old, AT), BODY);
    let (only_new, only_old) = (
        signed(&SignatureScheme::ALL, &secrets(new), BODY),
        signed(&SignatureScheme::ALL, &secrets(old), BODY),
    );
    assert_eq!(after, only_new);
    let of = |headers: &HeaderMap| -> Vec<String> {
        text(headers, WEBHOOK_SIGNATURE).split(' ').map(ToOwned::to_owned).collect()
    };
    let (new_list, old_list) = (of(&only_new), of(&only_old));
    assert_eq!(
        of(&during),
        [&new_list[0], &old_list[0], &new_list[1], &old_list[1]].map(Clone::clone)
    );
    let old_hex = text(&only_old, STRIPE_SIGNATURE).replace("t=1649367553", "");
    assert_eq!(
        text(&during, STRIPE_SIGNATURE),
        format!("{}{old_hex}", text(&only_new, STRIPE_SIGNATURE))
    );
    for name in [PERFEXAPI_SIGNATURE, WEBHOOK_HEX_SIGNATURE, GITHUB_SIGNATURE, THEMESIC_SIGNATURE] {
        assert_eq!(during.get(&name), only_new.get(&name), "{name}");
    }
}

#[test]
fn every_secret_has_a_key_pair_and_receivers_get_its_public_half() {
    let signer = DeliverySigner::new(&[SignatureScheme::Ed25519], &secrets(WHSEC)).unwrap();
    let public = secret::public_key(&signer.public_key().unwrap()).unwrap();
    let mut headers = HeaderMap::new();
    signer.sign(ID, AT, BODY, &mut headers).unwrap();
    let signature = text(&headers, WEBHOOK_SIGNATURE).strip_prefix("v1a,").unwrap();
    let signature =
        ed25519_dalek::Signature::from_slice(&BASE64.decode(signature).unwrap()).unwrap();
    let content = [format!("{ID}.1649367553.").as_bytes(), BODY].concat();
    assert!(public.verify(&content, &signature).is_ok());
    assert!(public.verify(b"other", &signature).is_err());
    assert_eq!(
        DeliverySigner::new(&SignatureScheme::DEFAULT, &secrets(WHSEC)).unwrap().public_key(),
        None
    );
}

#[test]
fn ids_that_cannot_be_signed_are_refused() {
    let signer = DeliverySigner::new(&SignatureScheme::DEFAULT, &secrets(WHSEC)).unwrap();
    for id in ["", "a.b", "a b", "a\n", "é", &"x".repeat(256)] {
        assert_eq!(signer.sign(id, AT, BODY, &mut HeaderMap::new()), Err(UnsignableId), "{id}");
    }
}

#[test]
fn debug_output_has_no_secret() {
    let secret = "a secret in plain words";
    let signer = DeliverySigner::new(&SignatureScheme::ALL, &secrets(secret)).unwrap();
    assert!(!format!("{signer:?}").contains(secret));
}

proptest! {
    #[test]
    fn signed_deliveries_verify(secret in "[ -~]{16,40}", body: Vec<u8>, id in "[a-z0-9_]{1,40}") {
        prop_assume!(check_secret(&secret).is_ok());
        let mut headers = HeaderMap::new();
        DeliverySigner::new(&SignatureScheme::ALL, &secrets(&secret)).unwrap().sign(&id, AT, &body, &mut headers).unwrap();
        let received = verify::ReceivedDelivery { headers: &headers, body: &body, now: AT };
        let findings = verify::verify_delivery(received, verify::VerificationKeys { current: &secret, previous: None });
        prop_assert_eq!(findings.len(), 7);
        for finding in findings {
            prop_assert_eq!(finding.verdict, verify::SignatureVerdict::Fits, "{}", finding.scheme);
        }
    }
}

//! Test vectors that the systems publish or that another implementation made, and requests that
//! must be refused.

use super::*;
use crate::model::secrets::GracedSecret;
use crate::model::webhook_source::senders::SENDERS;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: i64 = 1_700_000_000;
const SECRET: &str = "the-sender-s-secret";
const BODY: &[u8] = br#"{"id":1}"#;
const URL: &str = "https://hooks.example/in/x";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn secrets(current: &str) -> SigningSecrets {
    SigningSecrets { current: current.to_owned(), previous: None }
}

fn settings(scheme: &str, more: &Value) -> WebhookSettings {
    let mut object = json!({"scheme": scheme});
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: WebhookSettings = serde_json::from_value(object).unwrap();
    assert_eq!(settings.check(), [], "{scheme}");
    settings
}

/// A request under test.
#[derive(Clone)]
struct Given {
    headers: HeaderMap,
    uri: Uri,
    body: Vec<u8>,
    plain: Option<Vec<u8>>,
    address: IpAddr,
}

impl Given {
    fn new(headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
        });
        Self {
            headers: headers.collect(),
            uri: "/in/x".parse().unwrap(),
            body: BODY.to_vec(),
            plain: None,
            address: "192.0.2.1".parse().unwrap(),
        }
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn uri(mut self, uri: &str) -> Self {
        self.uri = uri.parse().unwrap();
        self
    }

    fn check(
        &self,
        verifier: &WebhookVerifier,
        seconds: i64,
    ) -> Result<VerifiedWebhook, WebhookRefusal> {
        let request = WebhookRequest {
            method: &Method::POST,
            uri: &self.uri,
            headers: &self.headers,
            body: &self.body,
            plain: self.plain.as_deref().unwrap_or(&self.body),
            address: self.address,
        };
        verifier.verify(&request, at(seconds))
    }
}

fn verifier(scheme: &str, secret: &str) -> WebhookVerifier {
    WebhookVerifier::new(&settings(scheme, &json!({})), &secrets(secret))
}

/// `openssl dgst` and Python's `hmac` made the vectors that no system publishes, over [`BODY`] with
/// [`SECRET`].
const HEX: &str = "b07c468af879968982f33392184e86451768191617260c80a441fa5bcf18c30a";
const BASE64: &str = "sHxGivh5lomC8zOSGE6GRRdoGRYXJgyApEH6W88Ywwo=";
const TIMED: &str =
    "t=1700000000,v1=07b3c4125fe2ca03660abfafcc8d428075e952c0d8b66bc1ec5df9ea5a4ad489";

/// Returns one vector for each sender that signs with an HMAC. The value includes prefixes such as
/// `sha256=`.
fn vectors() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let one = |scheme, name, value: &str| (scheme, vec![(name, value.to_owned())]);
    let host = ("host", "hooks.example".to_owned());
    vec![
        one("perfexapi", "x-perfexapi-signature", HEX),
        one("perfexapi", "x-webhook-signature", HEX),
        one("n8n-bridge", "x-perfex-signature", HEX),
        one("themesic", "x-perfex-signature", TIMED),
        one("stripe", "stripe-signature", TIMED),
        one("shopify", "x-shopify-hmac-sha256", BASE64),
        one("shopify", "shopify-hmac-sha256", BASE64),
        one("woocommerce", "x-wc-webhook-signature", BASE64),
        one("typeform", "typeform-signature", &format!("sha256={BASE64}")),
        one("github", "x-hub-signature-256", &format!("sha256={HEX}")),
        one("meta", "x-hub-signature-256", &format!("sha256={HEX}")),
        one("xero", "x-xero-signature", BASE64),
        one("intercom", "x-hub-signature", "sha1=1c9c08922dc7fec8553db5502c9f82aa68c02e80"),
        one("calendly", "calendly-webhook-signature", TIMED),
        one("linear", "linear-signature", HEX),
        one("bitbucket", "x-hub-signature", &format!("sha256={HEX}")),
        one("notion", "x-notion-signature", &format!("sha256={HEX}")),
        one("cal-com", "x-cal-signature-256", HEX),
        one(
            "paddle",
            "paddle-signature",
            "ts=1700000000;h1=f6da64ad345f6c5bf79045a2e01282bd3222dcf9adfe704dcd0df0b152e5c803",
        ),
        (
            "zendesk",
            vec![
                (
                    "x-zendesk-webhook-signature",
                    "7Dtnts0eD6KXKlTPot54a4zpeeTZBMgaFMxK7SqqQUw=".to_owned(),
                ),
                ("x-zendesk-webhook-signature-timestamp", "2023-11-14T22:13:20Z".to_owned()),
            ],
        ),
        (
            "hubspot",
            vec![
                (
                    "x-hubspot-signature-v3",
                    "vuwWV5S2SGnofJqdO0FjUQtG9L3G3+KEiOH7Ln1un5s=".to_owned(),
                ),
                ("x-hubspot-request-timestamp", "1700000000000".to_owned()),
                host.clone(),
            ],
        ),
        (
            "square",
            vec![
                (
                    "x-square-hmacsha256-signature",
                    "jFa9jodvs0aAIObZB11Gc2tXGmKU8K0oTn0TpOII4Sw=".to_owned(),
                ),
                host,
            ],
        ),
    ]
}

fn given(headers: &[(&'static str, String)]) -> Given {
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Given::new(&headers)
}

#[test]
fn only_the_sender_s_own_signature_is_accepted() {
    for (scheme, headers) in vectors() {
        let checked = verifier(scheme, SECRET);
        let request = given(&headers);
        assert!(
            request.check(&checked, NOW).is_ok(),
            "{scheme}: {:?}",
            request.check(&checked, NOW)
        );
        let is_wrong = |refused: &Result<VerifiedWebhook, WebhookRefusal>| {
            matches!(refused, Err(WebhookRefusal::Wrong | WebhookRefusal::WrongAddress))
        };
        assert!(is_wrong(&request.clone().body(b"{ }").check(&checked, NOW)), "{scheme}");
        assert!(is_wrong(&request.check(&verifier(scheme, "another"), NOW)), "{scheme}");
        let missing = Given::new(&[]).check(&checked, NOW);
        assert!(matches!(missing, Err(WebhookRefusal::Missing(_))), "{scheme}");
    }
}

#[test]
fn each_sender_has_a_vector() {
    let elsewhere = ["standard", "slack", "twilio", "pipedrive", "zoho", "gitlab", "paypal"];
    let generic = ["hmac", "basic", "token", "ip", "none"];
    for sender in &SENDERS {
        let is_here = vectors().iter().any(|(scheme, _)| *scheme == sender.name);
        let known = elsewhere.contains(&sender.name) || generic.contains(&sender.name);
        assert!(is_here || known, "{}", sender.name);
    }
}

#[test]
fn published_vectors_are_accepted() {
    let github = Given::new(&[(
        "x-hub-signature-256",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )]);
    let checked = verifier("github", "It's a Secret to Everybody");
    assert!(github.body(b"Hello, World!").check(&checked, NOW).is_ok());

    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let checked = verifier("standard", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    for prefix in ["webhook", "svix"] {
        let names = ["id", "timestamp", "signature"].map(|name| format!("{prefix}-{name}"));
        let standard = Given::new(&[
            (names[0].as_str(), "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
            (names[1].as_str(), "1649367553"),
            (names[2].as_str(), "v1a,AAAA v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
        ]);
        assert!(standard.body(body).check(&checked, 1_649_367_553).is_ok(), "{prefix}");
    }

    // Slack's slack_sdk for Python signs this body so.
    let slack = Given::new(&[
        ("x-slack-request-timestamp", "1531420618"),
        (
            "x-slack-signature",
            "v0=4100b1756950a204e3fc6c04e24946e09b85819f68b234fd31d974b37f919c9a",
        ),
    ]);
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIffN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let checked = verifier("slack", "8f742231b10e8888abcd99yyyzzz85a5");
    assert!(slack.body(body).check(&checked, 1_531_420_618).is_ok());
}

/// The form is the vector of twilio-python's tests. Python made the JSON vector.
#[test]
fn twilio_signs_the_address_and_the_fields_of_a_form() {
    let checked = verifier("twilio", "12345");
    let form = "application/x-www-form-urlencoded";
    let request = Given::new(&[
        ("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("content-type", form),
        ("host", "mycompany.com"),
    ])
    .uri("/myapp.php?foo=1&bar=2")
    .body(b"To=%2B18005551212&CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309");
    assert!(request.check(&checked, NOW).is_ok());
    assert_eq!(request.body(b"Digits=1").check(&checked, NOW), Err(WebhookRefusal::WrongAddress));

    let checked = verifier("twilio", SECRET);
    let digest = "037c9214eef74cc3887f3a4f085b4e17d76280dafd273b0ee160c09c4ba1cfd4";
    let request = Given::new(&[
        ("x-twilio-signature", "Wn/pbCX1OatxJZsJQEKTmnhE2Rk="),
        ("content-type", "application/json"),
        ("host", "hooks.example"),
    ])
    .uri(&format!("/in/x?bodySHA256={digest}"));
    assert!(request.check(&checked, NOW).is_ok());
    assert_eq!(request.body(b"{}").check(&checked, NOW), Err(WebhookRefusal::WrongAddress));
}

#[test]
fn a_signed_address_must_be_the_configured_one() {
    let headers = vectors().into_iter().find(|(scheme, _)| *scheme == "square").unwrap().1;
    let mut request = given(&headers).uri("/other");
    request.headers.insert("host", "10.0.0.1:8400".parse().unwrap());
    assert_eq!(request.check(&verifier("square", SECRET), NOW), Err(WebhookRefusal::WrongAddress));
    let set = settings("square", &json!({"url": URL}));
    assert!(request.check(&WebhookVerifier::new(&set, &secrets(SECRET)), NOW).is_ok());
}

#[test]
fn a_rule_may_be_of_any_form() {
    let rule = json!({"hmac": {
        "algorithm": "sha512", "header": "X-Sig", "encoding": "base64", "timestamp": "header:X-Time",
        "id": "X-Id", "signed": "{timestamp}|{id}|{body}",
    }});
    let checked = WebhookVerifier::new(&settings("hmac", &rule), &secrets(SECRET));
    let code =
        "W7mRnHP2ye8ul8iE-MlVWXXtRPFXBu8HAboMA0ZMsLuhcmGZqn55DNc_9lk7mFOgaJgGg40LO8QRki5ee9CPHA";
    let request = Given::new(&[("x-sig", code), ("x-time", "1700000000"), ("x-id", "d1")]);
    assert!(request.check(&checked, NOW).is_ok());
    assert_eq!(request.check(&checked, NOW + 400), Err(WebhookRefusal::Stale(400)));
    let mut other = request;
    other.headers.insert("x-id", "d2".parse().unwrap());
    assert_eq!(other.check(&checked, NOW), Err(WebhookRefusal::Wrong));

    let rule =
        json!({"hmac": {"algorithm": "sha384", "header": "X-Sig", "prefix": "v0=", "key": "hex"}});
    let checked = WebhookVerifier::new(&settings("hmac", &rule), &secrets(&hex::encode(SECRET)));
    let code = "a5117be9b2287054cbc2ef33dec578d1d868b0c066abb9e98a819429977632648dd567111a2e7a202219547b7edeb4d0";
    let request = Given::new(&[("x-sig", &format!("v0=00,{code}"))]);
    assert!(request.check(&checked, NOW).is_ok());
}

#[test]
fn a_rule_that_proves_nothing_is_refused() {
    for (rule, path) in [
        (json!({"header": "a b"}), "hmac.header"),
        (json!({"header": "a", "signed": "{timestamp}"}), "hmac.signed"),
        (json!({"header": "a", "signed": "{secret}{body}"}), "hmac.signed"),
        (json!({"header": "a", "signed": "{timestamp}.{body}"}), "hmac.timestamp"),
        (json!({"header": "a", "timestamp": "header:b"}), "hmac.timestamp"),
        (
            json!({"header": "a", "timestamp": "part:t", "signed": "{timestamp}{body}"}),
            "hmac.timestamp",
        ),
        (json!({"header": "a", "id": "b"}), "hmac.id"),
    ] {
        let object = json!({"scheme": "hmac", "hmac": rule});
        let settings: WebhookSettings = serde_json::from_value(object).unwrap();
        let faults: Vec<String> = settings.check().into_iter().map(|fault| fault.path).collect();
        assert!(faults.contains(&path.to_owned()), "{rule}: {faults:?}");
    }
}

#[test]
fn a_secret_itself_is_compared() {
    let basic = |user: &str, password: &str| {
        let text = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Given::new(&[("authorization", &format!("Basic {text}"))])
    };
    let any = verifier("pipedrive", "s:1");
    assert!(basic("x", "s:1").check(&any, NOW).is_ok());
    assert_eq!(basic("x", "s:2").check(&any, NOW), Err(WebhookRefusal::WrongToken));
    let named = settings("basic", &json!({"basic": {"username": "u"}}));
    let named = WebhookVerifier::new(&named, &secrets("s:1"));
    assert!(basic("u", "s:1").check(&named, NOW).is_ok());
    assert_eq!(basic("x", "s:1").check(&named, NOW), Err(WebhookRefusal::WrongToken));
    let broken = Given::new(&[("authorization", "Basic !")]).check(&named, NOW);
    assert!(matches!(broken, Err(WebhookRefusal::Form(..))));

    let gitlab = Given::new(&[("x-gitlab-token", "s")]);
    assert!(gitlab.check(&verifier("gitlab", "s"), NOW).is_ok());
    assert_eq!(gitlab.check(&verifier("gitlab", "t"), NOW), Err(WebhookRefusal::WrongToken));
    let zoho = Given::new(&[]).body(br#"{"token":"s","ids":["1"]}"#);
    assert!(zoho.check(&verifier("zoho", "s"), NOW).is_ok());
    assert_eq!(zoho.check(&verifier("zoho", "t"), NOW), Err(WebhookRefusal::WrongToken));
    assert!(matches!(
        Given::new(&[]).check(&verifier("zoho", "s"), NOW),
        Err(WebhookRefusal::MissingToken(_))
    ));

    let query = WebhookVerifier::new(
        &settings("token", &json!({"token": {"query": "key"}})),
        &secrets("s 1"),
    );
    assert!(Given::new(&[]).uri("/in/x?a=1&key=s%201").check(&query, NOW).is_ok());
    assert_eq!(
        Given::new(&[]).uri("/in/x?key=s").check(&query, NOW),
        Err(WebhookRefusal::WrongToken)
    );
    assert!(matches!(Given::new(&[]).check(&query, NOW), Err(WebhookRefusal::MissingToken(_))));
    let bearer = json!({"token": {"header": "Authorization", "prefix": "Bearer "}});
    let bearer = WebhookVerifier::new(&settings("token", &bearer), &secrets("s"));
    assert!(Given::new(&[("authorization", "Bearer s")]).check(&bearer, NOW).is_ok());
}

#[test]
fn an_empty_secret_accepts_no_request() {
    let empty = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), BODY);
    let request = Given::new(&[("x-webhook-signature", &hex::encode(empty.as_ref()))]);
    assert_eq!(request.check(&verifier("perfexapi", ""), NOW), Err(WebhookRefusal::Wrong));
    let request = Given::new(&[("x-gitlab-token", "")]);
    assert_eq!(request.check(&verifier("gitlab", ""), NOW), Err(WebhookRefusal::WrongToken));
}

#[test]
fn only_addresses_of_listed_networks_are_accepted() {
    let from = settings("ip", &json!({"from": ["192.0.2.0/24", "2001:db8::/32"]}));
    let checked = WebhookVerifier::new(&from, &secrets(""));
    let mut request = Given::new(&[]);
    assert!(request.check(&checked, NOW).is_ok());
    request.address = "198.51.100.1".parse().unwrap();
    assert_eq!(request.check(&checked, NOW), Err(WebhookRefusal::Address));
}

#[test]
fn a_compressed_body_may_be_signed_before_or_after() {
    let checked = verifier("perfexapi", SECRET);
    let mut request = Given::new(&[("x-webhook-signature", HEX)]);
    request.plain = Some(b"what it decompresses to".to_vec());
    assert!(request.check(&checked, NOW).is_ok());
    let mut request = Given::new(&[("x-webhook-signature", HEX)]).body(b"what it is compressed to");
    request.plain = Some(BODY.to_vec());
    assert!(request.check(&checked, NOW).is_ok());
}

#[test]
fn a_signed_time_must_be_within_the_tolerance() {
    let checked = verifier("stripe", SECRET);
    let request = Given::new(&[("stripe-signature", &TIMED.replace(",v1=", ",v1=00,v1="))]);
    assert!(
        request.check(&checked, NOW - 300).is_ok() && request.check(&checked, NOW + 300).is_ok()
    );
    assert_eq!(request.check(&checked, NOW + 301), Err(WebhookRefusal::Stale(301)));
    assert_eq!(request.check(&checked, NOW - 301), Err(WebhookRefusal::Early(301)));
}

#[test]
fn the_previous_secret_is_accepted_during_its_grace() {
    let previous = Some(GracedSecret { secret: SECRET.to_owned(), until: at(NOW + 10) });
    let secrets = SigningSecrets { current: "new".to_owned(), previous };
    let checked = WebhookVerifier::new(&settings("perfexapi", &json!({})), &secrets);
    let request = Given::new(&[("x-webhook-signature", HEX)]);
    assert!(request.check(&checked, NOW).is_ok());
    assert_eq!(request.check(&checked, NOW + 10), Err(WebhookRefusal::Wrong));
}

#[test]
fn other_spellings_of_a_signature_are_the_same_signature() {
    let checked = verifier("perfexapi", SECRET);
    let of = |text: &str| Given::new(&[("x-webhook-signature", text)]).check(&checked, NOW);
    assert_eq!(of(HEX).unwrap(), of(&HEX.to_uppercase()).unwrap());
}

proptest! {
    #[test]
    fn nonsense_is_refused(value in "[ -~]{0,200}", n in 0..22_usize) {
        let (scheme, headers) = vectors().swap_remove(n);
        let mut request = given(&headers);
        let name = headers[0].0;
        request.headers.insert(name, value.parse().unwrap());
        prop_assert!(request.check(&verifier(scheme, SECRET), NOW).is_err());
    }
}

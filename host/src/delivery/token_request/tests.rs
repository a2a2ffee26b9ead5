//! Checks the requests for tokens as a token server receives them.

use super::*;
use crate::model::oauth_settings::OauthSettings;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::collections::BTreeMap;

const WALL: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn access(more: &Value) -> OauthAccess {
    let mut settings = json!({"token_url": "https://t.example/token", "client_id": "the client",
                              "client_secret": "s3c:ret"});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    OauthAccess::new(&serde_json::from_value::<OauthSettings>(settings).unwrap())
}

fn form(access: &OauthAccess) -> (BTreeMap<String, String>, Option<String>) {
    let request = build_request(access, WALL).unwrap();
    let form = form_urlencoded::parse(&request.body).into_owned().collect();
    let credentials = request.headers.get(header::AUTHORIZATION);
    (form, credentials.map(|value| value.to_str().unwrap().to_owned()))
}

fn claims(assertion: &str) -> Value {
    let claims = assertion.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn private_key() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}

#[test]
fn a_client_authenticates_in_three_ways() {
    let (sent, credentials) = form(&access(&json!({"scope": "a b", "extra": {"resource": "r"}})));
    assert_eq!(
        credentials.unwrap(),
        format!("Basic {}", BASE64_STANDARD.encode("the+client:s3c%3Aret"))
    );
    assert_eq!(
        json!(sent),
        json!({"grant_type": "client_credentials", "scope": "a b", "resource": "r"})
    );
    let (sent, credentials) = form(&access(&json!({"client_auth": "post", "audience": "crm"})));
    assert_eq!(credentials, None);
    let wanted = json!({"grant_type": "client_credentials", "client_id": "the client",
                        "client_secret": "s3c:ret", "audience": "crm"});
    assert_eq!(json!(sent), wanted);
    let signed = json!({"client_auth": "private_key_jwt", "private_key": private_key()});
    let (sent, credentials) = form(&access(&signed));
    assert_eq!((credentials, sent["client_assertion_type"].as_str()), (None, JWT_ASSERTION));
    let claims = claims(&sent["client_assertion"]);
    for (name, value) in
        [("iss", "the client"), ("sub", "the client"), ("aud", "https://t.example/token")]
    {
        assert_eq!(claims[name], value);
    }
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_700_000_000), &json!(1_700_000_300)));
    assert!(!sent.contains_key("client_secret"), "{sent:?}");
}

#[test]
fn a_grant_sends_its_own_credentials() {
    let signed = json!({"grant": "jwt_bearer", "client_secret": null, "private_key": private_key(),
                        "issuer": "i", "subject": "s", "scope": "x",
                        "assertion_audience": "https://a.example"});
    let (sent, credentials) = form(&access(&signed));
    assert_eq!((credentials, sent["grant_type"].as_str()), (None, JWT_BEARER));
    let claims = claims(&sent["assertion"]);
    let named = ["iss", "sub", "scope", "aud"].map(|name| claims[name].as_str().unwrap());
    assert_eq!(named, ["i", "s", "x", "https://a.example"]);
    let refreshing = access(&json!({"grant": "refresh_token", "refresh_token": "one"}));
    assert_eq!(form(&refreshing).0["refresh_token"], "one");
    refreshing.slot.rotate_refresh_token("two".to_owned());
    assert_eq!(form(&refreshing).0["refresh_token"], "two");
}

#[test]
fn a_key_that_cannot_sign_is_reported() {
    let unusable = access(&json!({"client_auth": "private_key_jwt", "private_key": "***"}));
    let why = build_request(&unusable, WALL).unwrap_err();
    assert!(why.starts_with("`private_key`: this is not a private key"), "{why}");
}

#[test]
fn lifetimes_are_read_as_unusual_servers_write_them() {
    let after = |seconds| Some(Duration::from_secs(seconds));
    for (value, life) in [
        (json!(3600), after(3_600)),
        (json!("3600"), after(3_600)),
        (json!(1_700_000_060), after(60)),
        (json!(1_700_000_060_000_u64), after(60)),
        (json!("2023-11-14T22:14:20Z"), after(60)),
        (json!(0), after(0)),
        (json!(-5), None),
        (json!("soon"), None),
        (Value::Null, None),
    ] {
        assert_eq!(read_life(&value, WALL), life, "{value}");
    }
}

#[test]
fn a_refusal_is_reported_without_secrets() {
    let redactor = SecretRedactor::new(["s3cret-value".to_owned()]);
    let told =
        |body: &'static str| describe_refusal(&Bytes::from_static(body.as_bytes()), &redactor);
    let refused = r#"{"error":"invalid_client","error_description":"no\n client s3cret-value"}"#;
    assert_eq!(told(refused), ": invalid_client: no client ***");
    assert_eq!(told("<html>"), "");
    assert_eq!(told(r#"{"message":"x"}"#), "");
}

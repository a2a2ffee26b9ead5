//! Answers the questions that senders ask before they send: whether the address belongs to the
//! operator, and whether it accepts events.
//!
//! None of these questions proves who asks. That is harmless, because an answer only tells that
//! this address accepts webhooks, and every webhook is verified.

use crate::model::webhook_source::SenderScheme;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;

/// The longest text of a question that is sent back, in bytes.
const LONGEST: usize = 1_024;

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeAnswer {
    Text(String),
    /// A JSON object with this member.
    Member(&'static str, String),
    /// A status without a body.
    Empty,
}

/// Returns the answer to a GET, if it is a question.
///
/// | sender | question | answer |
/// |---|---|---|
/// | Meta, WebSub | `?hub.mode=subscribe&hub.challenge=…` | the challenge |
/// | Dropbox, Nylas | `?challenge=…` | the challenge |
/// | Okta | `X-Okta-Verification-SlackChallenge` | `{"verification": …}` |
pub fn answer_get(uri: &Uri, headers: &HeaderMap) -> Option<HandshakeAnswer> {
    let asked = headers.get("x-okta-verification-challenge").and_then(|value| value.to_str().ok());
    if let Some(challenge) = asked.filter(|text| is_short(text)) {
        return Some(HandshakeAnswer::Member("verification", challenge.to_owned()));
    }
    // Anybody may have asked the hub to end the subscription, so that is never confirmed.
    let subscribes = parameter(uri, "hub.mode").as_deref() == Some("subscribe");
    let challenge = parameter(uri, "hub.challenge").filter(|_| subscribes);
    challenge.or_else(|| parameter(uri, "challenge")).map(HandshakeAnswer::Text)
}

/// Returns the answer to a POST that is a question and not an event. Called before the request is
/// verified, because these questions are not signed.
///
/// | sender | question | answer |
/// |---|---|---|
/// | Microsoft Graph | `?validationToken=…`, no body | the token |
/// | WooCommerce | a form `webhook_id=…` without a signature, when a webhook is saved | an empty 200 |
pub fn answer_unsigned_post(
    scheme: SenderScheme,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<HandshakeAnswer> {
    if body.is_empty() {
        return parameter(uri, "validationToken").map(HandshakeAnswer::Text);
    }
    let number = body.strip_prefix(b"webhook_id=").filter(|rest| rest.len() <= 20);
    let is_ping = scheme.as_str() == "woocommerce"
        && !headers.contains_key("x-wc-webhook-signature")
        && number.is_some_and(|rest| rest.iter().all(u8::is_ascii_digit));
    is_ping.then_some(HandshakeAnswer::Empty)
}

/// Returns the answer to a verified POST that is a question: Slack's `url_verification`
/// (docs.slack.dev, "Request URL Configuration").
pub fn answer_post(scheme: SenderScheme, body: &[u8]) -> Option<HandshakeAnswer> {
    #[derive(Deserialize)]
    struct SlackChallenge {
        r#type: String,
        challenge: String,
    }
    let asked: SlackChallenge =
        (scheme.as_str() == "slack").then(|| serde_json::from_slice(body).ok())??;
    let is_asked = asked.r#type == "url_verification" && is_short(&asked.challenge);
    is_asked.then_some(HandshakeAnswer::Member("challenge", asked.challenge))
}

/// Returns the answer to an OPTIONS request of CloudEvents' abuse protection (HTTP 1.1 Web Hooks
/// 1.0.2, section 4): the origin that asks may send, at any rate.
pub fn answer_options(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let Some(origin) = headers.get("webhook-request-origin") else { return Vec::new() };
    let name = HeaderName::from_static;
    vec![
        (name("webhook-allowed-origin"), origin.clone()),
        (name("webhook-allowed-rate"), HeaderValue::from_static("*")),
    ]
}

fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(uri.query()?).ok()?;
    let (_, value) = pairs.into_iter().find(|(known, _)| known == name)?;
    is_short(&value).then_some(value)
}

fn is_short(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> Option<HandshakeAnswer> {
        answer_get(&uri.parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn questions_are_told_from_other_requests() {
        let text = |text: &str| Some(HandshakeAnswer::Text(text.to_owned()));
        assert_eq!(
            get("/in/x?hub.mode=subscribe&hub.verify_token=T&hub.challenge=123"),
            text("123")
        );
        assert_eq!(get("/in/x?challenge=a%20b"), text("a b"));
        assert_eq!(get("/in/x?hub.challenge=123"), None);
        assert_eq!(get("/in/x?hub.mode=unsubscribe&hub.challenge=123"), None);
        assert_eq!(get("/in/x"), None);
        assert_eq!(get(&format!("/in/x?challenge={}", "x".repeat(LONGEST + 1))), None);
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-okta-verification-challenge"),
            HeaderValue::from_static("abc"),
        )]);
        let okta = answer_get(&"/in/x".parse().unwrap(), &headers);
        assert_eq!(okta, Some(HandshakeAnswer::Member("verification", "abc".to_owned())));
    }

    #[test]
    fn a_ping_is_not_an_event() {
        let of = |scheme: &str, uri: &str, body: &[u8]| {
            let scheme = SenderScheme::named(scheme).unwrap();
            answer_unsigned_post(scheme, &uri.parse().unwrap(), &HeaderMap::new(), body)
        };
        assert_eq!(of("woocommerce", "/in/x", b"webhook_id=12"), Some(HandshakeAnswer::Empty));
        assert_eq!(of("woocommerce", "/in/x", b"webhook_id=12&a=b"), None);
        assert_eq!(of("github", "/in/x", b"webhook_id=12"), None);
        let asked = Some(HandshakeAnswer::Text("t".to_owned()));
        assert_eq!(of("none", "/in/x?validationToken=t", b""), asked);
        assert_eq!(of("none", "/in/x?validationToken=t", b"{}"), None);
    }
}

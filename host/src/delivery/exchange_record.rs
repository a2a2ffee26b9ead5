//! The request and the reply of an attempt as the record of the attempt shows them: headers as a
//! JSON object, without secrets and within a bound.

use crate::model::private_values::{MASK, mask_url};
use crate::net::http_client::ClientRequest;
use crate::settings::endpoint_runtime::EndpointRuntime;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Most bytes, roughly, of the record of one message's headers. As many as are stored of a response
/// body.
const MAX_HEADERS_JSON: usize = 16 * 1024;
/// The member that says how many headers were left out. No header can have this name.
const LEFT_OUT: &str = "(not kept)";
/// The member that holds the method and the URL of a request that templates made.
pub const REQUEST_NOTE: &str = "(request)";
/// The member that says where a token was fetched from.
pub const TOKEN_NOTE: &str = "(token)";

/// The member that holds the name or id that the receiver gave to what it made of a delivery.
pub const RECEIVER_ID_NOTE: &str = "(receiver id)";

/// Returns the name or id that the receiver gave, from the headers of its recorded answer.
pub fn find_receiver_id(headers: &str) -> Option<String> {
    // Most answers have none, and need not be parsed.
    if !headers.contains(RECEIVER_ID_NOTE) {
        return None;
    }
    let mut headers: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(headers).ok()?;
    match headers.remove(RECEIVER_ID_NOTE)? {
        serde_json::Value::String(id) => Some(id),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    }
}

/// Returns a reply's headers as the record shows them. The values of `Set-Cookie` are masked.
pub fn record_reply_headers(headers: &HeaderMap) -> String {
    headers_json(headers.iter(), |name| name == header::SET_COOKIE)
}

/// Returns a request's headers as the record shows them, with the method and the URL if the
/// endpoint has templates. The values of headers that the operator set are masked.
pub fn record_request(request: &ClientRequest, target: &EndpointRuntime) -> String {
    let headers = headers_json(request.headers.iter(), |name| target.headers.contains_key(name));
    if target.template.is_none() {
        return headers;
    }
    let place = format!("{} {}", request.method, mask_url(&request.uri.to_string()));
    add_note(headers, REQUEST_NOTE, &place)
}

/// Adds a member that is not a header to a JSON object of headers.
pub fn add_note(mut json: String, name: &str, text: &str) -> String {
    json.truncate(json.trim_end_matches('}').len());
    json.push_str(if json.ends_with('{') { "\"" } else { ",\"" });
    json.push_str(name);
    json.push_str("\":\"");
    push_escaped(&mut json, text);
    json.push_str("\"}");
    json
}

/// Returns headers as a JSON object. Repeated headers are joined with commas (RFC 9110, section
/// 5.3). A receiver may send any number of headers of any length, so headers that would make the
/// object longer than [`MAX_HEADERS_JSON`] are only counted.
pub fn headers_json<'h>(
    headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    hidden: impl Fn(&HeaderName) -> bool,
) -> String {
    let mut json = String::with_capacity(640);
    let mut last: Option<&HeaderName> = None;
    let mut left_out = 0;
    for (name, value) in headers {
        if json.len() + name.as_str().len() + value.len() > MAX_HEADERS_JSON {
            left_out += 1;
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = if hidden(name) { MASK } else { &*text };
        if last == Some(name) {
            json.truncate(json.len() - 1);
            json.push_str(", ");
        } else {
            json.push_str(if last.is_none() { "{\"" } else { ",\"" });
            json.push_str(name.as_str());
            json.push_str("\":\"");
        }
        push_escaped(&mut json, text);
        json.push('"');
        last = Some(name);
    }
    if left_out > 0 {
        json.push_str(if last.is_none() { "{\"" } else { ",\"" });
        json.push_str(LEFT_OUT);
        json.push_str("\":\"");
        json.push_str(&left_out.to_string());
        json.push_str("\"}");
    } else {
        json.push_str(if last.is_none() { "{}" } else { "}" });
    }
    json
}

fn push_escaped(json: &mut String, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        json.push_str(text);
    } else {
        let quoted = serde_json::Value::from(text).to_string();
        json.push_str(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_recorded_as_json_with_secrets_masked() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2 \"q\""));
        headers.append("authorization", HeaderValue::from_static("Bearer s3cret"));
        let json = headers_json(headers.iter(), |name| name == "authorization");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value, serde_json::json!({"x-a": "1, 2 \"q\"", "authorization": "***"}));
        assert_eq!(headers_json(HeaderMap::new().iter(), |_| false), "{}");
    }

    #[test]
    fn a_note_is_added_to_the_headers() {
        let noted = add_note(r#"{"a":"1"}"#.to_owned(), TOKEN_NOTE, "from \"x\"");
        assert_eq!(noted, r#"{"a":"1","(token)":"from \"x\""}"#);
        assert_eq!(add_note("{}".to_owned(), TOKEN_NOTE, "x"), r#"{"(token)":"x"}"#);
        let named = add_note(noted, RECEIVER_ID_NOTE, "17.\"4\"");
        assert_eq!(find_receiver_id(&named).as_deref(), Some("17.\"4\""));
        assert_eq!(find_receiver_id("{}"), None);
    }

    #[test]
    fn the_record_of_many_or_long_headers_is_bounded() {
        let mut headers = HeaderMap::new();
        for number in 0..900_u16 {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            headers
                .append(name, HeaderValue::from_static("0123456789012345678901234567890123456789"));
        }
        headers.append("x-long", HeaderValue::try_from("a".repeat(100_000)).unwrap());
        let json = headers_json(headers.iter(), |_| false);
        assert!(json.len() < MAX_HEADERS_JSON + 100, "{} bytes", json.len());
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let kept = value.as_object().unwrap().len() - 1;
        assert!(kept > 200, "{kept}");
        assert_eq!(value[LEFT_OUT], (901 - kept).to_string());
        let long = HeaderValue::try_from("a".repeat(100_000)).unwrap();
        let only = HeaderMap::from_iter([(HeaderName::from_static("x-long"), long)]);
        assert_eq!(headers_json(only.iter(), |_| false), r#"{"(not kept)":"1"}"#);
    }
}

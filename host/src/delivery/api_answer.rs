//! Answers of APIs: their meaning for the delivery, and the events made of them.

use crate::channels::ChannelOutcome;
use crate::channels::api_channel::ApiOperation;
use crate::json::pointer::find_value;
use crate::model::answer_event::AnswerEvent;
use crate::model::attributes::MAX_HOPS;
use crate::model::event::MAX_KEY;
use crate::model::id::DeliveryId;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::ClientReply;
use crate::net::retry_after::retry_after;
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, StatusCode};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// Judges the status of an API's answer. A 4xx rejects the request for good, except for those that
/// depend on the moment.
pub fn judge_answer_status(
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
) -> ChannelOutcome {
    let Some(class) = ErrorClass::of_status(status) else { return ChannelOutcome::Delivered };
    let asked = retry_after(headers, now);
    match status.as_u16() {
        429 => ChannelOutcome::HeldBack { class, asked },
        503 if asked.is_some() => ChannelOutcome::HeldBack { class, asked },
        408 | 409 | 425 => ChannelOutcome::Again { class, after: asked },
        400..=499 => ChannelOutcome::Dead { class: ErrorClass::Rejected },
        _ => ChannelOutcome::Again { class, after: asked },
    }
}

/// The data for the event of an answer.
#[derive(Debug)]
pub struct ApiAnswer<'a> {
    pub operation: &'a ApiOperation,
    pub endpoint: &'a str,
    pub delivery: DeliveryId,
    /// Hops of the event to be made.
    pub hops: u32,
    /// The id that the API already stores, if an earlier attempt succeeded.
    pub repeated: Option<String>,
}

impl ApiAnswer<'_> {
    /// Makes the event of an answer. Returns `None` if the operation makes none or the answer is
    /// not a 2xx. The error says why a wanted event is missing.
    pub fn make_event(&self, reply: &ClientReply) -> Result<Option<AnswerEvent>, String> {
        let Some(mapping) = self.operation.reply_mapping().filter(|_| reply.status.is_success())
        else {
            return Ok(None);
        };
        if self.hops > MAX_HOPS {
            return Err(format!(
                "no event `{}`: it would be delivered and captured {} times, more than the limit of {MAX_HOPS}",
                mapping.event, self.hops
            ));
        }
        let pointed = || mapping.id.and_then(|pointer| find_text(&reply.body, pointer));
        let id = self.repeated.clone().or_else(pointed).filter(|id| is_key(id));
        let data = json!({
            "request_id": self.delivery,
            "status": reply.status.as_u16(),
            "id": id,
            "repeated": self.repeated.is_some(),
        });
        let data = add_body(&data, &read_body(reply)).ok_or("the answer cannot be written")?;
        Ok(Some(AnswerEvent {
            event_type: mapping.event.to_owned(),
            source: self.endpoint.to_owned(),
            resource: mapping.resource.map(str::to_owned),
            resource_id: id,
            data,
            caused_by: self.delivery,
            hops: self.hops,
        }))
    }
}

/// Whether a text is valid as the id of a record.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_KEY && !text.chars().any(char::is_control)
}

/// Returns the body of an answer: unchanged if it is JSON, else as a string. An empty body becomes
/// null.
fn read_body(reply: &ClientReply) -> Box<RawValue> {
    let text = String::from_utf8_lossy(&reply.body);
    let json = serde_json::from_str::<Box<RawValue>>(&text).ok().filter(|_| !reply.truncated);
    let text = if text.trim().is_empty() { Value::Null } else { Value::from(text.as_ref()) };
    // A string can always be written as JSON.
    json.or_else(|| to_raw_value(&text).ok()).unwrap_or_default()
}

/// Adds the body unchanged as the last member, so that no number loses a digit.
fn add_body(data: &Value, body: &RawValue) -> Option<Box<RawValue>> {
    let mut json = data.to_string();
    json.truncate(json.len().checked_sub(1)?);
    json.push_str(",\"body\":");
    json.push_str(body.get());
    json.push('}');
    RawValue::from_string(json).ok()
}

/// Returns the string or number at a JSON pointer into a body. `None` if it is absent, null, false
/// or empty.
pub fn find_text(body: &[u8], pointer: &str) -> Option<String> {
    let body: &RawValue = serde_json::from_slice(body).ok()?;
    match serde_json::from_str(find_value(body, pointer)?.get()).ok()? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("true".to_owned()),
        Value::Object(members) if !members.is_empty() => Some(String::new()),
        Value::Array(items) if !items.is_empty() => Some(String::new()),
        Value::Null
        | Value::Bool(false)
        | Value::String(_)
        | Value::Object(_)
        | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(code: u16) -> ChannelOutcome {
        let status = StatusCode::from_u16(code).unwrap();
        judge_answer_status(status, &HeaderMap::new(), Timestamp::default())
    }

    #[test]
    fn a_4xx_is_final_but_for_those_of_the_moment() {
        for code in [200, 201, 204] {
            assert_eq!(judge(code), ChannelOutcome::Delivered, "{code}");
        }
        for code in [400, 401, 403, 404, 410, 422, 451] {
            let dead = ChannelOutcome::Dead { class: ErrorClass::Rejected };
            assert_eq!(judge(code), dead, "{code}");
        }
        for code in [301, 408, 409, 425, 500, 502, 503] {
            assert!(matches!(judge(code), ChannelOutcome::Again { .. }), "{code}");
        }
        assert!(matches!(judge(429), ChannelOutcome::HeldBack { .. }));
    }

    #[test]
    fn ids_are_texts_and_numbers() {
        let body = br#"{"data": {"id": 17, "key": "a", "none": null, "no": false, "list": []}}"#;
        for (pointer, found) in [
            ("/data/id", Some("17")),
            ("/data/key", Some("a")),
            ("/data/none", None),
            ("/data/no", None),
            ("/data/list", None),
            ("/data/missing", None),
            ("/data", Some("")),
        ] {
            assert_eq!(find_text(body, pointer).as_deref(), found, "{pointer}");
        }
        assert_eq!(find_text(b"<html>", "/id"), None);
    }

    #[test]
    fn a_body_stands_in_the_data_as_it_was_written() {
        let body = RawValue::from_string(r#"{"total": 10.10}"#.to_owned()).unwrap();
        let data = add_body(&json!({"status": 201}), &body).unwrap();
        assert_eq!(data.get(), r#"{"status":201,"body":{"total": 10.10}}"#);
    }
}

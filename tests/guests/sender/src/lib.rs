//! A module that calls what its event tells it to, and reports what came of it.
//!
//! As a `transform` it makes one draft of the type `sender.report`:
//!
//! | field of the event's payload | what it does | field of the report |
//! |---|---|---|
//! | `send`, a list of `{method, url, headers, secrets, body}` | sends these requests, one after another | `answers`: `{status, body}`, or `{code}` where it failed |
//! | `hmac`, `{secret, message}` | asks for the HMAC-SHA256 in hexadecimal | `hmac`, or its `code` |
//! | `verify`, `{secret, message, hmac}` | has an HMAC verified | `verified`, or its `code` |
//! | `escape`, true | calls every capability | `escape`: the code of each |
//! | `fail`, true | ends with a failure that is tried again | none |
//!
//! Its configuration is the field `config` of each report.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use waybill_guest::emit::Fact;
use waybill_guest::http::Request;
use waybill_guest::secrets::{Encoding, Hash};
use waybill_guest::{
    Body, Draft, Event, Failure, Transform, config, deliveries, emit, export_module, http, records,
    secrets, state,
};

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    send: Vec<SendOrder>,
    hmac: Option<MacOrder>,
    verify: Option<MacOrder>,
    #[serde(default)]
    escape: bool,
    #[serde(default)]
    fail: bool,
}

#[derive(Deserialize)]
struct SendOrder {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    secrets: Vec<String>,
    body: Option<Value>,
}

#[derive(Deserialize)]
struct MacOrder {
    secret: String,
    message: String,
    #[serde(default)]
    hmac: String,
}

fn get() -> String {
    "GET".to_owned()
}

struct Sender;

impl Transform for Sender {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let order: Order = event.data()?;
        let mut report = Map::new();
        let answers: Vec<Value> = order.send.into_iter().map(send).collect();
        report.insert("answers".to_owned(), Value::from(answers));
        report.insert("config".to_owned(), json!(config::get("threshold")));
        if let Some(MacOrder { secret, message, .. }) = &order.hmac {
            let body = Body::Text(message.clone());
            let made = secrets::hmac(secret, Hash::Sha256, &body, Encoding::Hex);
            report.insert("hmac".to_owned(), told(made));
        }
        if let Some(MacOrder { secret, message, hmac }) = &order.verify {
            let body = Body::Text(message.clone());
            let fits = secrets::verify(secret, Hash::Sha256, &body, Encoding::Hex, hmac);
            report.insert("verified".to_owned(), told(fits));
        }
        if order.escape {
            report.insert("escape".to_owned(), escape(&event)?);
        }
        if order.fail {
            return Err(Failure::retryable("told_to", "the event says so"));
        }
        Ok(vec![Draft::json(&report)?.kind("sender.report")])
    }
}

fn send(order: SendOrder) -> Value {
    let SendOrder { method, url, headers, secrets, body } = order;
    let body = body.map(|value| Body::Json(value.to_string()));
    match http::send(&Request { method, url, headers, secrets, body }) {
        Ok(answer) => {
            let body = match answer.body {
                Body::Json(text) | Body::Text(text) => text,
                Body::Bytes(bytes) => format!("{} bytes", bytes.len()),
            };
            json!({ "status": answer.status, "body": body })
        }
        Err(failure) => json!({ "code": code(&failure) }),
    }
}

/// Calls every capability, as a module without grants would.
fn escape(event: &Event) -> Result<Value, Failure> {
    let request = Request {
        method: get(),
        url: "https://escape.example/".to_owned(),
        headers: Vec::new(),
        secrets: Vec::new(),
        body: None,
    };
    let message = Body::Text("x".to_owned());
    let fact = Fact::json("escape.made", &json!({}))?;
    Ok(json!({
        "state.get": told(state::get("k")),
        "state.set": told(state::set("k", "1").map(|()| "set")),
        "state.increment": told(state::increment("k", 1.0)),
        "records.get": told(records::get(&event.source, "lead", "1").map(|found| found.is_some())),
        "records.find": told(records::find(&event.source, "lead", "email", "x", 1).map(|all| all.len())),
        "http.send": told(http::send(&request).map(|answer| answer.status)),
        "secrets.hmac": told(secrets::hmac("any", Hash::Sha256, &message, Encoding::Hex)),
        "secrets.verify": told(secrets::verify("any", Hash::Sha256, &message, Encoding::Hex, "00")),
        "emit.event": told(emit::event(&fact)),
        "deliveries.cancel": told(deliveries::cancel("k").map(|()| "cancelled")),
    }))
}

fn told<T: serde::Serialize>(result: Result<T, Failure>) -> Value {
    match result {
        Ok(value) => json!({ "value": value }),
        Err(failure) => json!({ "code": code(&failure) }),
    }
}

fn code(failure: &Failure) -> &str {
    match failure {
        Failure::Retryable(retry) => &retry.reason.code,
        Failure::Permanent(reason) => &reason.code,
    }
}

export_module!(Sender: transform);

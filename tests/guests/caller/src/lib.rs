//! A module that calls the capabilities that its event names, and sends on what they answered.
//!
//! The payload is `{"calls": [{"call": NAME, …}, …], "route": {…}}`. The draft is `{"answers": […]}`, one
//! for each call. With `"catch": true` the failure of a call is its answer, `{"code": …, "message": …}`;
//! else it is the failure of the module, as `?` makes it.
//!
//! | `call` | |
//! |---|---|
//! | `get`, `set`, `swap`, `increment`, `expire`, `remove` | `state`: `key`, and `value`, `expected`, `by`, `seconds` |
//! | `record`, `find` | `records`: `resource`, and `id`, or `field` and `value` |
//! | `send` | `http`: `value` is the address |
//! | `hmac`, `verify` | `secrets`: `key` is the secret |
//! | `emit` | `emit`: `kind`, and `subject`, `key`, `value` (the payload) |
//! | `cancel` | `deliveries`: `key` |
//! | `count` | `counters`: `key`, `by` |
//! | `fail` | fails for now, after the calls before it |
//! | `told` | what the module was told of the event |
//!
//! `route` says where it goes: `to` (`sink`), `delay` in seconds, `cancel_key`, `operation`, `attribute`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use waybill_guest::{
    Body, Dispatch, Draft, Event, Failure, Route, Transform, config, counters, deliveries, emit,
    export_module, http, records, secrets, state,
};

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    calls: Vec<Call>,
    #[serde(default)]
    catch: bool,
    #[serde(default)]
    route: Way,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call {
    call: String,
    key: String,
    value: String,
    expected: Option<String>,
    by: f64,
    seconds: u32,
    resource: String,
    id: String,
    field: String,
    kind: String,
    subject: Option<String>,
}

#[derive(Clone, Default, Deserialize, serde::Serialize)]
#[serde(default)]
struct Way {
    to: Option<String>,
    delay: u64,
    cancel_key: Option<String>,
    operation: Option<String>,
    attribute: Option<String>,
}

/// The output of the transform, which the route reads.
#[derive(Deserialize, serde::Serialize)]
struct Answers {
    answers: Vec<Value>,
    route: Way,
}

struct Caller;

impl Transform for Caller {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let order: Order = event.data()?;
        let mut answers = Vec::new();
        for call in &order.calls {
            answers.push(match answer(call, &event) {
                Err(failure) if order.catch => {
                    let reason = failure.reason();
                    json!({"code": reason.code, "message": reason.message})
                }
                other => other?,
            });
        }
        Ok(vec![Draft::json(&Answers { answers, route: order.route })?])
    }
}

impl Route for Caller {
    fn plan(event: Event) -> Result<Vec<Dispatch>, Failure> {
        let Answers { route, .. } = event.data()?;
        let to = route.to.unwrap_or_else(|| "sink".to_owned());
        let mut dispatch = Dispatch::to(to).after(Duration::from_secs(route.delay));
        dispatch.cancel_key = route.cancel_key;
        dispatch.operation = route.operation;
        if let Some(name) = route.attribute {
            dispatch = dispatch.attribute(name, "1");
        }
        Ok(vec![dispatch])
    }
}

fn answer(call: &Call, event: &Event) -> Result<Value, Failure> {
    let key = call.key.as_str();
    Ok(match call.call.as_str() {
        "get" => json!(state::get(key)?),
        "set" => {
            state::set(key, &call.value)?;
            Value::Null
        }
        "swap" => json!(state::swap(key, call.expected.as_deref(), &call.value)?),
        "increment" => json!(state::increment(key, call.by)?),
        "expire" => json!(state::expire(key, call.seconds)?),
        "remove" => {
            state::remove(key)?;
            Value::Null
        }
        "record" => {
            let found = records::get(&event.source, &call.resource, &call.id)?;
            json!(found.map(|found| found.data))
        }
        "find" => found(call, event)?,
        "send" => json!(http::send(&request(call))?.status),
        "hmac" | "verify" => signed(call)?,
        "emit" => json!(emit::event(&fact(call))?),
        "cancel" => {
            deliveries::cancel(key)?;
            Value::Null
        }
        "count" => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small counts"
            )]
            counters::add(key, call.by as u32);
            Value::Null
        }
        "fail" => return Err(Failure::retryable("told_to", "told to fail")),
        "told" => told(event)?,
        other => return Err(Failure::permanent("unknown_call", other)),
    })
}

fn found(call: &Call, event: &Event) -> Result<Value, Failure> {
    let found = records::find(&event.source, &call.resource, &call.field, &call.value, 10)?;
    Ok(found.into_iter().map(|found| found.id).collect())
}

fn request(call: &Call) -> http::Request {
    http::Request {
        method: "GET".to_owned(),
        url: call.value.clone(),
        headers: Vec::new(),
        secrets: Vec::new(),
        body: None,
    }
}

fn signed(call: &Call) -> Result<Value, Failure> {
    let (hash, encoding) = (secrets::Hash::Sha256, secrets::Encoding::Hex);
    let message = Body::Text(call.value.clone());
    if call.call == "hmac" {
        return secrets::hmac(&call.key, hash, &message, encoding).map(Value::from);
    }
    secrets::verify(&call.key, hash, &message, encoding, "00").map(Value::from)
}

fn fact(call: &Call) -> emit::Fact {
    emit::Fact {
        kind: call.kind.clone(),
        resource: None,
        subject: call.subject.clone(),
        time: None,
        key: (!call.key.is_empty()).then(|| call.key.clone()),
        changes: None,
        attributes: Vec::new(),
        data: Body::Json(if call.value.is_empty() { "{}".to_owned() } else { call.value.clone() }),
    }
}

fn told(event: &Event) -> Result<Value, Failure> {
    let changes = event.changes.as_ref();
    Ok(json!({
        "resource": event.resource,
        "changed": changes.map(|changes| changes.changed.clone()),
        "previous": changes.map(|changes| changes.previous.clone()),
        "config": config::all::<Value>()?,
        "hops": event.attribute("waybill-hops"),
        "caused_by": event.attribute("waybill-caused-by"),
    }))
}

export_module!(Caller: transform, route);

#[cfg(test)]
mod tests {
    use waybill_guest::testing::{self, Host};

    use super::*;

    #[test]
    fn calls_are_answered_in_their_order() {
        let _host = Host::new();
        let calls = json!([
            {"call": "increment", "key": "turn", "by": 2}, {"call": "get", "key": "turn"},
            {"call": "nonsense"},
        ]);
        let event = testing::event("call.order", json!({"calls": calls, "catch": true}));
        let drafts = Caller::apply(event).unwrap();
        let answers = &testing::payload(&drafts[0])["answers"];
        assert_eq!(answers[0], 2.0);
        assert_eq!(answers[1], "2");
        assert_eq!(answers[2]["code"], "unknown_call");
    }
}

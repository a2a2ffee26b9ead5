//! Stands in for the host, so that a module is tested by plain `cargo test`.
//!
//! ```
//! use waybill_guest::testing::{self, Host};
//! use waybill_guest::{config, log};
//!
//! let host = Host::with_config(serde_json::json!({"days": 3}));
//! let event = testing::event("proposal.accepted", serde_json::json!({"id": 35}));
//! log::info!("{} in {} days", event.kind, config::require::<u32>("days").unwrap());
//! assert_eq!(host.log()[0].message, "proposal.accepted in 3 days");
//! ```
//!
//! A stand-in serves the thread that made it, as long as it lives. Without one there is no
//! configuration, and log lines are lost. The real limits do not hold here: `waybill module run`
//! runs the component itself, under the limits that the server sets.

pub mod exchange;
pub mod fakes;
pub mod rounds;

use std::cell::RefCell;
use std::marker::PhantomData;

use serde_json::Value;

use crate::log::Level;
use crate::{Body, Delivery, Draft, Event, Inbound};

pub use exchange::{Exchange, answer, deliver};
pub use fakes::Capabilities;
pub use rounds::{Round, pull};

/// One captured log line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// The stand-in for the host: configuration values and the captured log. Dropping it takes both
/// away.
#[derive(Debug)]
#[must_use = "the configuration is gone as soon as the stand-in is dropped"]
pub struct Host {
    /// Bound to its thread.
    thread: PhantomData<*const ()>,
}

#[derive(Debug)]
struct State {
    config: Value,
    log: Vec<Line>,
    capabilities: Capabilities,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

impl Host {
    /// A host with no configuration. It takes the place of the thread's earlier one.
    pub fn new() -> Self {
        Self::with_config(Value::Null)
    }

    /// A host with the configuration that a flow would give: a JSON object. It takes the place of
    /// the thread's earlier one.
    pub fn with_config(config: Value) -> Self {
        let capabilities = Capabilities::default();
        STATE.set(Some(State { config, log: Vec::new(), capabilities }));
        Self { thread: PhantomData }
    }

    /// The lines written so far.
    pub fn log(&self) -> Vec<Line> {
        STATE.with_borrow(|state| state.as_ref().map(|state| state.log.clone()).unwrap_or_default())
    }

    /// What the capabilities hold and what the module did with them so far. All of them are
    /// granted here.
    pub fn capabilities(&self) -> Capabilities {
        with_capabilities(|held| held.clone())
    }

    /// Puts records, state or answers to requests where the module finds them.
    pub fn change(&self, change: impl FnOnce(&mut Capabilities)) {
        with_capabilities(change);
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        STATE.set(None);
    }
}

/// An event of the given type and payload: id `evt_test`, source `test`, no resource, no subject, no
/// changes, no attributes, 2026-05-03 at noon, first attempt. `Event { subject: …, ..testing::event(…) }` sets the rest.
#[expect(clippy::needless_pass_by_value, reason = "a test hands over what `json!` made")]
pub fn event(kind: &str, data: Value) -> Event {
    Event {
        id: "evt_test".to_owned(),
        source: "test".to_owned(),
        kind: kind.to_owned(),
        resource: None,
        subject: None,
        time: "2026-05-03T12:00:00.000Z".to_owned(),
        attempt: 1,
        changes: None,
        attributes: Vec::new(),
        data: Body::Json(data.to_string()),
    }
}

/// A first attempt at delivering an event: id `dlv_test`, endpoint `test`, no operation.
pub fn delivery(event: Event) -> Delivery {
    Delivery {
        id: "dlv_test".to_owned(),
        endpoint: "test".to_owned(),
        operation: None,
        attempt: event.attempt,
        event,
    }
}

/// A `POST` with a JSON body to the address of a source.
#[expect(clippy::needless_pass_by_value, reason = "a test hands over what `json!` made")]
pub fn request(body: Value) -> Inbound {
    Inbound {
        method: "POST".to_owned(),
        path: String::new(),
        query: Vec::new(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Body::Json(body.to_string()),
    }
}

/// A draft's JSON payload, to compare in a test. Panics where the payload is not JSON.
#[expect(clippy::panic, reason = "a wrong draft fails the test that made it")]
#[track_caller]
pub fn payload(draft: &Draft) -> Value {
    match &draft.data {
        Body::Json(text) => match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => panic!("the draft's payload is not JSON: {error}"),
        },
        Body::Text(_) | Body::Bytes(_) => panic!("the draft's payload is not JSON"),
    }
}

pub(crate) fn with_capabilities<T>(work: impl FnOnce(&mut Capabilities) -> T) -> T {
    STATE.with_borrow_mut(|state| match state {
        Some(state) => work(&mut state.capabilities),
        None => work(&mut Capabilities::default()),
    })
}

/// The whole configuration, as a JSON object.
pub(crate) fn config_text() -> String {
    let text = STATE.with_borrow(|state| match &state.as_ref()?.config {
        Value::Object(object) => serde_json::to_string(object).ok(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    });
    text.unwrap_or_else(|| "{}".to_owned())
}

pub(crate) fn config_value(key: &str) -> Option<String> {
    STATE.with_borrow(|state| match state.as_ref()?.config.get(key)? {
        Value::String(text) => Some(text.clone()),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_)) => Some(other.to_string()),
    })
}

pub(crate) fn capture(level: Level, message: &str, fields: &[(String, String)]) {
    let line = Line { level, message: message.to_owned(), fields: fields.to_vec() };
    STATE.with_borrow_mut(|state| {
        if let Some(state) = state {
            state.log.push(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config, log};

    #[test]
    fn dropped_host_leaves_nothing_behind() {
        let host = Host::with_config(json!({"key": "value"}));
        log::info!("seen");
        assert_eq!(config::get("key").as_deref(), Some("value"));
        assert_eq!(host.log().len(), 1);
        drop(host);
        assert_eq!(config::get("key"), None);
        log::info!("lost");
        assert_eq!(Host::new().log(), []);
    }

    #[test]
    fn payload_is_the_drafts() {
        let draft = Draft::json(&json!({"a": 1})).unwrap();
        assert_eq!(payload(&draft), json!({"a": 1}));
    }
}

//! What the host's capabilities do in native tests: all are granted, and all that a module did can
//! be looked at.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the functions have the signatures of the host's, which can fail"
)]

use std::collections::BTreeMap;

use crate::bindings::http_types::{Request, Response};
use crate::bindings::records::Found;
use crate::bindings::types::Fact;
use crate::{Body, Failure};

/// Answers the requests of a module.
pub type Answering = fn(&Request) -> Result<Response, Failure>;

/// What the stand-in holds for the capabilities.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Keys and their JSON texts.
    pub state: BTreeMap<String, String>,
    /// Keys that expire, and after how many seconds.
    pub expiring: BTreeMap<String, u32>,
    /// Records that can be found: source, resource, record.
    pub records: Vec<(String, String, Found)>,
    /// Answers requests; none says that the network is down.
    pub http: Option<Answering>,
    /// The events that were handed in.
    pub emitted: Vec<Fact>,
    /// The keys under which deliveries were cancelled.
    pub cancelled: Vec<String>,
    /// The counters.
    pub counters: BTreeMap<String, u64>,
}

/// Works on the stand-in of this thread; a thread without one gets an empty one for the call.
fn with<T>(work: impl FnOnce(&mut Capabilities) -> T) -> T {
    super::with_capabilities(work)
}

pub(crate) mod state {
    use super::{Failure, with};

    /// The largest whole number that a double holds exactly with all smaller ones.
    const LARGEST: f64 = 9_007_199_254_740_992.0;

    pub(crate) fn get(key: &str) -> Result<Option<String>, Failure> {
        Ok(with(|host| host.state.get(key).cloned()))
    }

    pub(crate) fn set(key: &str, value: &str) -> Result<(), Failure> {
        let checked = serde_json::from_str::<serde::de::IgnoredAny>(value);
        checked.map_err(|error| {
            Failure::permanent("invalid", format!("the value of `{key}` is not JSON: {error}"))
        })?;
        with(|host| {
            drop(host.state.insert(key.to_owned(), value.to_owned()));
            host.expiring.remove(key);
        });
        Ok(())
    }

    pub(crate) fn swap(key: &str, expected: Option<&str>, value: &str) -> Result<bool, Failure> {
        if get(key)?.as_deref() != expected {
            return Ok(false);
        }
        set(key, value).map(|()| true)
    }

    pub(crate) fn increment(key: &str, by: f64) -> Result<f64, Failure> {
        let whole = |number: f64| number.fract() == 0.0 && number.abs() <= LARGEST;
        let held = get(key)?.unwrap_or_else(|| "0".to_owned());
        let sum = held.parse().ok().filter(|held| whole(*held)).map(|held: f64| held + by);
        let sum = sum.filter(|sum| whole(by) && whole(*sum)).ok_or_else(|| {
            Failure::permanent(
                "invalid",
                format!("`{key}` and what is added are not whole numbers"),
            )
        })?;
        with(|host| host.state.insert(key.to_owned(), format!("{sum}")));
        Ok(sum)
    }

    pub(crate) fn expire(key: &str, seconds: u32) -> Result<bool, Failure> {
        Ok(with(|host| {
            let is_there = host.state.contains_key(key);
            if is_there {
                host.expiring.insert(key.to_owned(), seconds);
            }
            is_there
        }))
    }

    pub(crate) fn remove(key: &str) -> Result<(), Failure> {
        with(|host| drop(host.state.remove(key)));
        Ok(())
    }
}

pub(crate) mod records {
    use super::{Failure, Found, with};
    use serde_json::Value;

    pub(crate) fn get(source: &str, resource: &str, id: &str) -> Result<Option<Found>, Failure> {
        Ok(with(|host| {
            let mut all = host.records.iter();
            let found = all.find(|(s, r, found)| s == source && r == resource && found.id == id);
            found.map(|(_, _, found)| found.clone())
        }))
    }

    pub(crate) fn find(
        source: &str,
        resource: &str,
        field: &str,
        value: &str,
        limit: u32,
    ) -> Result<Vec<Found>, Failure> {
        let has = |found: &Found| {
            let data: Value = serde_json::from_str(&found.data).unwrap_or_default();
            let held = field.split('.').try_fold(&data, |at, name| at.get(name));
            held.is_some_and(|held| {
                held.as_str().map_or_else(|| *held == *value, |text| text == value)
            })
        };
        Ok(with(|host| {
            let of_kind = host.records.iter().filter(|(s, r, _)| s == source && r == resource);
            let found = of_kind.map(|(_, _, found)| found).filter(|found| has(found));
            found.take(limit as usize).cloned().collect()
        }))
    }
}

pub(crate) mod http {
    use super::{Failure, Request, Response, with};

    pub(crate) fn send(request: &Request) -> Result<Response, Failure> {
        let down = || Err(Failure::retryable("unreachable", "this test answers no requests"));
        with(|host| host.http).map_or_else(down, |answer| answer(request))
    }
}

pub(crate) mod secrets {
    use super::{Body, Failure};
    use crate::bindings::secrets::{Encoding, Hash};

    /// No real HMAC, but a text that depends on all that it was made of.
    pub(crate) fn hmac(
        secret: &str,
        hash: Hash,
        message: &Body,
        encoding: Encoding,
    ) -> Result<String, Failure> {
        Ok(format!("{hash:?}/{encoding:?} of {message:?} under {secret}"))
    }

    pub(crate) fn verify(
        secret: &str,
        hash: Hash,
        message: &Body,
        encoding: Encoding,
        given: &str,
    ) -> Result<bool, Failure> {
        hmac(secret, hash, message, encoding).map(|made| made == given)
    }
}

pub(crate) mod emit {
    use super::{Fact, Failure, with};

    pub(crate) fn event(fact: &Fact) -> Result<String, Failure> {
        Ok(with(|host| {
            host.emitted.push(fact.clone());
            format!("evt_emitted_{}", host.emitted.len())
        }))
    }
}

pub(crate) mod deliveries {
    use super::{Failure, with};

    pub(crate) fn cancel(key: &str) -> Result<(), Failure> {
        with(|host| host.cancelled.push(key.to_owned()));
        Ok(())
    }
}

pub(crate) mod counters {
    use super::with;

    pub(crate) fn add(name: &str, by: u32) {
        with(|host| *host.counters.entry(name.to_owned()).or_default() += u64::from(by));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Host;
    use crate::{counters, deliveries, emit, http, records, state};

    #[test]
    fn state_is_kept_for_the_test() {
        let host = Host::new();
        assert_eq!(state::get("turn"), Ok(None));
        assert_eq!(state::increment("turn", 2.0), Ok(2.0));
        assert_eq!(state::swap("turn", Some("1"), "7"), Ok(false));
        assert_eq!(state::swap("turn", Some("2"), "7"), Ok(true));
        assert_eq!(state::expire("turn", 60), Ok(true));
        assert_eq!(host.capabilities().expiring["turn"], 60);
        assert_eq!(state::set("turn", "nonsense").unwrap_err().reason().code, "invalid");
        assert_eq!(state::increment("turn", 0.5).unwrap_err().reason().code, "invalid");
        state::remove("turn").unwrap();
        assert_eq!(state::get("turn"), Ok(None));
    }

    #[test]
    fn what_a_module_did_can_be_looked_at() {
        let host = Host::new();
        host.change(|held| {
            let data = r#"{"email":"a@example.com"}"#.to_owned();
            let id = "7".to_owned();
            let found = records::Found { id, updated_at: "2026-01-01T00:00:00.000Z".into(), data };
            held.records.push(("crm".into(), "contact".into(), found));
        });
        let twins = records::find("crm", "contact", "email", "a@example.com", 1).unwrap();
        assert_eq!(twins[0].id, "7");
        assert_eq!(records::get("crm", "contact", "8"), Ok(None));
        emit::event(&emit::Fact::json("lead.hot", &1).unwrap()).unwrap();
        deliveries::cancel("reminder").unwrap();
        counters::add("leads", 3);
        let request = http::Request {
            method: "GET".into(),
            url: "https://api.example.com/".into(),
            headers: Vec::new(),
            secrets: Vec::new(),
            body: None,
        };
        assert_eq!(http::send(&request).unwrap_err().reason().code, "unreachable");
        let held = host.capabilities();
        assert_eq!(held.emitted[0].kind, "lead.hot");
        assert_eq!(held.cancelled, ["reminder"]);
        assert_eq!(held.counters["leads"], 3);
    }
}

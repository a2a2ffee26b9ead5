//! Decodes the requests of a payment service; see the README.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use waybill_guest::emit::Fact;
use waybill_guest::http::Response;
use waybill_guest::{Body, Decoded, Failure, Inbound, Source, config, export_module, log};

#[derive(Deserialize)]
struct Settings {
    #[serde(default = "payments")]
    prefix: String,
    #[serde(default)]
    ignore: Vec<String>,
}

fn payments() -> String {
    "payments".to_owned()
}

/// The kind of a request, and the challenge if it is one.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    challenge: Option<String>,
}

/// A request with events, the oldest first.
#[derive(Deserialize)]
struct Batch {
    data: Vec<Notice>,
}

#[derive(Deserialize)]
struct Notice {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// RFC 3339.
    created: String,
    object: Box<RawValue>,
}

#[derive(Deserialize)]
struct Named {
    id: Option<String>,
}

struct StripeLike;

impl Source for StripeLike {
    fn decode(request: Inbound) -> Result<Decoded, Failure> {
        let settings: Settings = config::all()?;
        let head: Head = request.json()?;
        match (head.kind.as_str(), head.challenge) {
            ("endpoint.challenge", Some(challenge)) => {
                let answer = Response::of_json(200, &json!({"challenge": challenge}))?;
                Ok(Decoded::reply(answer))
            }
            ("events", _) => {
                let Batch { data } = request.json()?;
                let wanted = data.into_iter().filter(|one| !settings.ignore.contains(&one.kind));
                let facts: Vec<Fact> =
                    wanted.map(|notice| fact(&settings, notice)).collect::<Result<_, _>>()?;
                log::info!("{} events", facts.len());
                Ok(Decoded::events(facts))
            }
            (kind, _) => {
                let message = format!("`{kind}` is neither `events` nor a challenge");
                Err(Failure::permanent("unknown_type", message).at("/type"))
            }
        }
    }
}

fn fact(settings: &Settings, notice: Notice) -> Result<Fact, Failure> {
    let Notice { id, kind, created, object } = notice;
    let named: Option<Named> = serde_json::from_str(object.get()).ok();
    let fact = Fact::json(format!("{}.{kind}", settings.prefix), &Value::Null)?;
    Ok(Fact {
        subject: named.and_then(|named| named.id),
        time: Some(created),
        key: Some(id),
        data: Body::Json(object.get().to_owned()),
        ..fact
    })
}

export_module!(StripeLike: source);

#[cfg(test)]
mod tests {
    use waybill_guest::testing::{self, Host};

    use super::*;

    fn notice(id: &str, kind: &str) -> Value {
        json!({"id": id, "type": kind, "created": "2026-05-03T12:00:00Z",
            "object": {"id": "ch_1", "amount": 1999}})
    }

    #[test]
    fn one_request_brings_several_events() {
        let _host = Host::with_config(json!({"ignore": ["charge.pending"]}));
        let data = [
            notice("n1", "charge.succeeded"),
            notice("n2", "charge.pending"),
            notice("n3", "refund.made"),
        ];
        let decoded = StripeLike::decode(testing::request(json!({"type": "events", "data": data})));
        let events = decoded.unwrap().events;
        let told: Vec<_> =
            events.iter().map(|fact| (fact.kind.as_str(), fact.key.as_deref())).collect();
        assert_eq!(
            told,
            [("payments.charge.succeeded", Some("n1")), ("payments.refund.made", Some("n3"))]
        );
        assert_eq!(events[0].subject.as_deref(), Some("ch_1"));
        assert_eq!(events[0].data, Body::Json(r#"{"id":"ch_1","amount":1999}"#.to_owned()));
    }

    #[test]
    fn challenge_is_answered() {
        let _host = Host::new();
        let asked = json!({"type": "endpoint.challenge", "challenge": "abc"});
        let decoded = StripeLike::decode(testing::request(asked)).unwrap();
        let reply = decoded.reply.unwrap();
        assert_eq!((decoded.events.len(), reply.status), (0, 200));
        assert_eq!(reply.json::<Value>().unwrap(), json!({"challenge": "abc"}));
    }

    #[test]
    fn another_message_is_refused() {
        let _host = Host::new();
        let failure = StripeLike::decode(testing::request(json!({"type": "other"}))).unwrap_err();
        assert_eq!(failure.reason().code, "unknown_type");
        assert!(matches!(failure, Failure::Permanent(_)));
    }
}

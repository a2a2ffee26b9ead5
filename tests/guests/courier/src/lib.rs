//! A channel that does what the payload of its delivery tells it to.
//!
//! | field of the payload | what it does |
//! |---|---|
//! | `url`, `method`, `headers`, `secrets`, `body` | the first request; without `url`, to `/first` of the configured `base` |
//! | `render`, `classify` | `trap`, `loop`, `large` or `eat` in that function |
//! | `next`, a list of paths | further requests, one after another |
//! | `endless`, true | asks for one request after another |
//! | `emit`, a kind | emits an event of this kind, with the statuses so far, and the key in `key` |
//! | `escape`, true | calls every capability and delivers the codes as the receiver's id |
//!
//! Otherwise the delivery is delivered if the last answer is a 2xx, under the `id` in its body.

use serde::Deserialize;
use serde_json::{Value, json};
use waybill_guest::emit::{self, Fact};
use waybill_guest::http::{self, Request, Response};
use waybill_guest::secrets::{self, Encoding, Hash};
use waybill_guest::{
    Body, Channel, Delivery, Failure, Outcome, config, counters, deliveries, export_module, log,
    records, state,
};

#[derive(Deserialize)]
struct Order {
    url: Option<String>,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    secrets: Vec<String>,
    body: Option<Value>,
    render: Option<String>,
    classify: Option<String>,
    #[serde(default)]
    next: Vec<String>,
    #[serde(default)]
    endless: bool,
    emit: Option<String>,
    key: Option<String>,
    #[serde(default)]
    escape: bool,
}

fn post() -> String {
    "POST".to_owned()
}

struct Courier;

impl Channel for Courier {
    fn render(delivery: Delivery) -> Result<Request, Failure> {
        let order: Order = delivery.event.data()?;
        log::info!("renders attempt {}", delivery.attempt);
        harm(order.render.as_deref())?;
        if order.escape {
            let told = codes();
            return Request::post_json(at("/first")?, &told);
        }
        let url = order.url.clone().map_or_else(|| at("/first"), Ok)?;
        let told = json!({
            "delivery": delivery.id, "endpoint": delivery.endpoint, "attempt": delivery.attempt,
            "operation": delivery.operation, "kind": delivery.event.kind,
            "subject": delivery.event.subject, "hops": delivery.event.attribute("waybill-hops"),
            "body": order.body,
        });
        let mut request = Request::post_json(url, &told)?.method(order.method);
        request.headers = order.headers;
        request.secrets = order.secrets;
        Ok(request)
    }

    fn classify(delivery: Delivery, answers: Vec<Response>) -> Result<Outcome, Failure> {
        let order: Order = delivery.event.data()?;
        harm(order.classify.as_deref())?;
        let Some(last) = answers.last() else {
            return Err(Failure::permanent("no_answer", "the host gave none"));
        };
        if order.endless {
            return Ok(Outcome::Next(Request::get(at("/endless")?)));
        }
        if let Some(kind) = &order.emit {
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            let fact = Fact::json(kind.as_str(), &json!({"statuses": statuses}))?;
            emit::event(&Fact { key: order.key.clone(), ..fact })?;
        }
        if let Some(path) = order.next.get(answers.len() - 1) {
            return Ok(Outcome::Next(Request::get(at(path)?)));
        }
        if order.escape {
            return Ok(Outcome::delivered_as(codes().to_string()));
        }
        if !last.is_success() {
            return Err(last.failure());
        }
        let made: Option<Value> = last.json().ok();
        let id = made.as_ref().and_then(|made| made.get("id")?.as_str());
        Ok(Outcome::Delivered(id.map(str::to_owned)))
    }
}

fn at(path: &str) -> Result<String, Failure> {
    Ok(format!("{}{path}", config::require::<String>("base")?))
}

#[expect(clippy::panic, reason = "a trap is what the delivery asks for")]
fn harm(how: Option<&str>) -> Result<(), Failure> {
    match how {
        Some("trap") => panic!("told to trap"),
        Some("loop") => loop {
            std::hint::black_box(());
        },
        Some("eat") => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(vec![1; 1 << 20]);
            }
        }
        Some("large") => Err(Failure::permanent("large", "x".repeat(16 << 20))),
        Some(_) | None => Ok(()),
    }
}

/// Calls every capability that a channel has no use for, and returns the codes.
fn codes() -> Value {
    let message = Body::Text("x".to_owned());
    let fact = Fact::json("courier.made", &json!({})).ok();
    counters::add("tries", 1);
    json!([
        code(state::get("k")),
        code(records::get("crm", "lead", "1")),
        code(http::send(&Request::get("https://escape.example/"))),
        code(deliveries::cancel("k")),
        code(secrets::hmac("none", Hash::Sha256, &message, Encoding::Hex)),
        code(fact.map_or(Ok(String::new()), |fact| emit::event(&fact))),
    ])
}

fn code<T>(result: Result<T, Failure>) -> String {
    result.map_or_else(|failure| failure.reason().code.clone(), |_| "ok".to_owned())
}

export_module!(Courier: channel);

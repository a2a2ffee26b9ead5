//! A module that does what its event tells it to, to show that the host withstands it.
//!
//! The payload is `{"do": BEHAVIOUR, …}`. A behaviour of every role happens in the role that
//! `"in"` names (`filter` unless given); the other roles let the event pass: `filter` keeps it,
//! `transform` hands it on unchanged, `route` sends it to the endpoints that `"to"` lists, else to
//! the one that the configuration's `destination` names, else to `sink`.
//!
//! | `do` | role | what happens |
//! |---|---|---|
//! | `spin` | every | loops without end |
//! | `recurse` | every | calls itself until the stack is full |
//! | `memory` | every | takes memory until there is none, and touches it |
//! | `spoil` | filter | lets the event pass; every later event of the instance traps |
//! | `panic` | every | panics with the message `text` (`told to panic`) |
//! | `sleep` | every | waits `millis` milliseconds (1,000) |
//! | `log` | every | writes the line `text` |
//! | `log_flood` | every | writes `count` lines (100,000) of `bytes` bytes (1,024), then goes on |
//! | `print_flood` | every | the same to standard output and standard error |
//! | `fail_retryable` | every | fails with the code `told_to`, after `seconds` seconds if given |
//! | `fail_permanent` | every | fails with `code` (`told_to`), the message `text` and the pointer `at` (`/do`) |
//! | `drop` | filter | drops with the reason `told to` |
//! | `echo` | – | lets the event pass |
//! | `none` | transform | makes no draft |
//! | `split` | transform | makes `count` drafts (3), each with its `index` added to the payload |
//! | `draft` | transform | makes one draft with `kind`, `subject`, `attributes` and `payload`, where given |
//! | `output` | transform | makes one draft of `mib` MiB (100) |
//! | `amplify` | transform | makes `count` drafts (100) that all name the same `mib` MiB (1) |
//! | `garbage` | transform, route | a payload that is not JSON (`route` with `"in": "route"`) |
//! | `bad_kind` | transform | makes a draft whose type is no dotted name |
//! | `static_counter` | transform | the draft says how often each role ran in this instance |
//! | `route` | route | `to`, with `delay` seconds, `dedupe_key`, `ordering_key`, `attributes`, `payload` |
//! | `tell` | route | sends what the module was told of the event: `id`, `kind`, `subject`, `attributes` |
//! | `route_flood` | route | `count` dispatches (10,000) to the same endpoint |
//! | `route_nowhere` | route | one dispatch to `no-such-endpoint` |
//!
//! An unknown behaviour is a permanent failure, so that a test cannot pass by a slip of the pen.

mod harm;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use waybill_guest::{
    Body, Dispatch, Draft, Event, Failure, Filter, Route, Transform, Verdict, config,
    export_module, log,
};

/// Whether an event has told this instance to trap from now on.
static SPOILT: AtomicBool = AtomicBool::new(false);
static FILTERED: AtomicU32 = AtomicU32::new(0);
static TRANSFORMED: AtomicU32 = AtomicU32::new(0);

/// The instructions of an event. Fields that a behaviour does not use are ignored.
#[derive(Deserialize)]
struct Order {
    r#do: Behaviour,
    #[serde(default)]
    r#in: Role,
    count: Option<usize>,
    bytes: Option<usize>,
    mib: Option<usize>,
    seconds: Option<u64>,
    millis: Option<u64>,
    to: Option<Vec<String>>,
    delay: Option<u64>,
    dedupe_key: Option<String>,
    ordering_key: Option<String>,
    payload: Option<Value>,
    text: Option<String>,
    code: Option<String>,
    at: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Behaviour {
    Spin,
    Recurse,
    Memory,
    Panic,
    Sleep,
    Log,
    LogFlood,
    PrintFlood,
    FailRetryable,
    FailPermanent,
    Drop,
    Spoil,
    Echo,
    None,
    Split,
    Draft,
    Output,
    Amplify,
    Garbage,
    BadKind,
    StaticCounter,
    Route,
    Tell,
    RouteFlood,
    RouteNowhere,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Role {
    #[default]
    Filter,
    Transform,
    Route,
}

struct Hostile;

impl Filter for Hostile {
    fn check(event: Event) -> Result<Verdict, Failure> {
        FILTERED.fetch_add(1, Ordering::Relaxed);
        let order: Order = event.data()?;
        if SPOILT.load(Ordering::Relaxed) {
            harm::panic("an earlier event spoilt this instance");
        }
        SPOILT.store(order.r#do == Behaviour::Spoil, Ordering::Relaxed);
        any_role(&order, Role::Filter)?;
        Ok(if order.r#do == Behaviour::Drop { Verdict::drop("told to") } else { Verdict::Keep })
    }
}

impl Transform for Hostile {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        TRANSFORMED.fetch_add(1, Ordering::Relaxed);
        let order: Order = event.data()?;
        any_role(&order, Role::Transform)?;
        drafts(&order, event)
    }
}

impl Route for Hostile {
    fn plan(event: Event) -> Result<Vec<Dispatch>, Failure> {
        let order: Order = event.data()?;
        any_role(&order, Role::Route)?;
        dispatches(&order, &event)
    }
}

/// Runs a behaviour that every role has, in the role that the order names.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other behaviour lets the event pass")]
fn any_role(order: &Order, role: Role) -> Result<(), Failure> {
    if order.r#in != role {
        return Ok(());
    }
    let (lines, bytes) = (order.count.unwrap_or(100_000), order.bytes.unwrap_or(1_024));
    match order.r#do {
        Behaviour::Spin => harm::spin(),
        Behaviour::Recurse => harm::recurse(),
        Behaviour::Memory => harm::eat_memory(),
        Behaviour::Panic => harm::panic(order.text.as_deref().unwrap_or("told to panic")),
        Behaviour::Sleep => {
            std::thread::sleep(Duration::from_millis(order.millis.unwrap_or(1_000)));
        }
        Behaviour::Log => log::info!("{}", order.text.as_deref().unwrap_or_default()),
        Behaviour::LogFlood => harm::flood_log(lines, bytes),
        Behaviour::PrintFlood => harm::flood_output(lines, bytes),
        Behaviour::FailRetryable => {
            let failure = Failure::retryable("told_to", "told to fail for now");
            return Err(match order.seconds {
                Some(seconds) => failure.after(Duration::from_secs(seconds)),
                None => failure,
            });
        }
        Behaviour::FailPermanent => {
            let text = |given: &Option<String>, otherwise: &str| {
                given.clone().unwrap_or_else(|| otherwise.to_owned())
            };
            let failure = Failure::permanent(
                text(&order.code, "told_to"),
                text(&order.text, "told to fail for good"),
            );
            return Err(failure.at(text(&order.at, "/do")));
        }
        _ => {}
    }
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other behaviour lets the event pass")]
fn drafts(order: &Order, event: Event) -> Result<Vec<Draft>, Failure> {
    let mib = |default| order.mib.unwrap_or(default) << 20;
    Ok(match order.r#do {
        Behaviour::None => Vec::new(),
        Behaviour::Split => return split(&event, order.count.unwrap_or(3)),
        Behaviour::Draft => vec![ordered(order, event)?],
        Behaviour::Output => vec![Draft::new(Body::Json(harm::json_string(mib(100))))],
        Behaviour::Amplify => harm::shared_drafts(order.count.unwrap_or(100), mib(1)),
        Behaviour::Garbage if order.r#in != Role::Route => vec![Draft::new(garbage())],
        Behaviour::BadKind => vec![Draft::new(event.data).kind("Not a dotted name!")],
        Behaviour::StaticCounter => vec![counters()?],
        _ => vec![Draft::new(event.data)],
    })
}

fn split(event: &Event, count: usize) -> Result<Vec<Draft>, Failure> {
    let payload: Value = event.data()?;
    let draft = |index| {
        let mut payload = payload.clone();
        if let Some(object) = payload.as_object_mut() {
            object.insert("index".to_owned(), json!(index));
        }
        Draft::json(&payload)
    };
    (0..count).map(draft).collect()
}

/// Returns the draft that the order describes.
fn ordered(order: &Order, event: Event) -> Result<Draft, Failure> {
    let mut draft = match &order.payload {
        Some(payload) => Draft::json(payload)?,
        None => Draft::new(event.data),
    };
    draft.kind.clone_from(&order.kind);
    draft.subject.clone_from(&order.subject);
    draft.attributes.extend(order.attributes.clone());
    Ok(draft)
}

fn counters() -> Result<Draft, Failure> {
    Draft::json(&json!({
        "do": "static_counter",
        "filter": FILTERED.load(Ordering::Relaxed),
        "transform": TRANSFORMED.load(Ordering::Relaxed),
    }))
}

fn garbage() -> Body {
    Body::Json(r#"{"broken": "#.to_owned())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other behaviour lets the event pass")]
fn dispatches(order: &Order, event: &Event) -> Result<Vec<Dispatch>, Failure> {
    let destinations = match &order.to {
        Some(names) => names.clone(),
        None => vec![config::optional("destination")?.unwrap_or_else(|| "sink".to_owned())],
    };
    let mut dispatches: Vec<Dispatch> = destinations.into_iter().map(Dispatch::to).collect();
    match order.r#do {
        Behaviour::Route => {
            dispatches =
                dispatches.into_iter().map(|one| told(order, one)).collect::<Result<_, _>>()?;
        }
        Behaviour::Tell => {
            let told = json!({
                "id": event.id, "kind": event.kind, "subject": event.subject,
                "attributes": event.attributes.iter().cloned().collect::<BTreeMap<_, _>>(),
            });
            let telling = dispatches.into_iter().map(|one| one.json(&told));
            dispatches = telling.collect::<Result<_, _>>()?;
        }
        Behaviour::RouteNowhere => dispatches = vec![Dispatch::to("no-such-endpoint")],
        Behaviour::RouteFlood => {
            let count = order.count.unwrap_or(10_000);
            dispatches = dispatches.into_iter().cycle().take(count).collect();
        }
        Behaviour::Garbage => dispatches.iter_mut().for_each(|one| one.data = Some(garbage())),
        _ => {}
    }
    Ok(dispatches)
}

/// Adds the order's options to a dispatch.
fn told(order: &Order, dispatch: Dispatch) -> Result<Dispatch, Failure> {
    let mut dispatch = dispatch.after(Duration::from_secs(order.delay.unwrap_or_default()));
    dispatch.dedupe_key.clone_from(&order.dedupe_key);
    dispatch.ordering_key.clone_from(&order.ordering_key);
    dispatch.attributes.extend(order.attributes.clone());
    match &order.payload {
        Some(payload) => dispatch.json(payload),
        None => Ok(dispatch),
    }
}

export_module!(Hostile: filter, transform, route);

#[cfg(test)]
mod tests {
    use waybill_guest::testing;

    use super::*;

    fn event(data: Value) -> Event {
        testing::event("hostile.order", data)
    }

    #[test]
    fn behaviour_happens_in_the_role_named() {
        let order = json!({"do": "fail_retryable", "in": "route", "seconds": 7});
        assert_eq!(Hostile::check(event(order.clone())), Ok(Verdict::Keep));
        assert_eq!(Hostile::apply(event(order.clone())).unwrap().len(), 1);
        let expected = Failure::retryable("told_to", "told to fail for now");
        assert_eq!(Hostile::plan(event(order)), Err(expected.after(Duration::from_secs(7))));
    }

    #[test]
    fn route_follows_the_order() {
        let order = json!({
            "do": "route", "to": ["a", "b"], "delay": 5, "dedupe_key": "k", "ordering_key": "o",
            "payload": {"x": 1},
        });
        let dispatches = Hostile::plan(event(order)).unwrap();
        let expected = ["a", "b"].map(|name| {
            let dispatch = Dispatch::to(name).after(Duration::from_secs(5));
            dispatch.dedupe_key("k").ordering_key("o").json(&json!({"x": 1})).unwrap()
        });
        assert_eq!(dispatches, expected);
    }

    #[test]
    fn split_numbers_its_drafts() {
        let drafts = Hostile::apply(event(json!({"do": "split", "count": 2}))).unwrap();
        let payloads: Vec<Value> = drafts.iter().map(testing::payload).collect();
        assert_eq!(payloads[1], json!({"do": "split", "count": 2, "index": 1}));
        assert_eq!(payloads.len(), 2);
    }

    #[test]
    fn output_is_as_large_as_ordered() {
        let drafts = Hostile::apply(event(json!({"do": "output", "mib": 1}))).unwrap();
        let Body::Json(text) = &drafts[0].data else { unreachable!() };
        assert_eq!(text.len(), 1 << 20);
        assert_eq!(testing::payload(&drafts[0]).as_str().map(str::len), Some((1 << 20) - 2));
    }

    #[test]
    fn unknown_behaviour_fails() {
        let failure = Hostile::check(event(json!({"do": "spim"}))).unwrap_err();
        assert_eq!(failure.reason().pointer.as_deref(), Some("/do"));
    }
}

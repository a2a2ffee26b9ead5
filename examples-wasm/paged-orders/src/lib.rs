//! Asks a shop's API for orders that changed; see the README.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use waybill_guest::emit::Fact;
use waybill_guest::http::{Request, Response};
use waybill_guest::{Body, Failure, Puller, Step, config, export_module, log};

/// The name of the secret with the shop's key.
const SECRET: &str = "shop";

#[derive(Deserialize)]
struct Settings {
    #[serde(default = "shop")]
    api: String,
    #[serde(default = "beginning")]
    since: String,
    #[serde(default = "size")]
    size: u32,
}

fn shop() -> String {
    "https://shop.example.com/api".to_owned()
}

fn beginning() -> String {
    "1970-01-01T00:00:00Z".to_owned()
}

const fn size() -> u32 {
    100
}

/// What is remembered: where the next page begins.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    /// The shop's mark of the next page. None at the start of a list.
    cursor: Option<String>,
    /// The time of the newest order that was read.
    newest: Option<String>,
    /// From which time on the present list was asked for.
    since: Option<String>,
}

/// A page of the API's answer, the orders that changed first before the others.
#[derive(Deserialize)]
struct Page {
    orders: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Order {
    id: String,
    updated_at: String,
    #[serde(default)]
    version: u32,
}

struct PagedOrders;

impl Puller for PagedOrders {
    fn pull(memory: Option<String>, answer: Option<Response>) -> Result<Step, Failure> {
        let settings: Settings = config::all()?;
        let place: Place = Step::memory(memory.as_deref())?;
        let Some(answer) = answer else {
            let request = ask(&settings, &place);
            return Ok(Step::end(Vec::new(), &place)?.then(request));
        };
        if answer.status == 410 {
            // The shop forgot the mark. The list begins again; the ids of events tell repeats.
            let again = Place { cursor: None, ..place };
            let request = ask(&settings, &again);
            return Ok(Step::end(Vec::new(), &again)?.then(request));
        }
        if !answer.is_success() {
            return Err(answer.failure());
        }
        take(&settings, place, &answer)
    }
}

fn take(settings: &Settings, mut place: Place, answer: &Response) -> Result<Step, Failure> {
    let page: Page = answer.json()?;
    let mut facts = Vec::with_capacity(page.orders.len());
    for text in &page.orders {
        let order: Order = serde_json::from_str(text.get())
            .map_err(|error| Failure::permanent("bad_payload", error.to_string()))?;
        facts.push(fact(&order, text)?);
        place.newest = place.newest.max(Some(order.updated_at));
    }
    log::info!("{} orders", facts.len());
    place.cursor = page.next_cursor;
    if place.cursor.is_none() {
        place.since = place.newest.clone();
        return Step::end(facts, &place);
    }
    let request = ask(settings, &place);
    Ok(Step::end(facts, &place)?.then(request))
}

fn ask(settings: &Settings, place: &Place) -> Request {
    let Settings { api, since, size } = settings;
    let since = place.since.as_ref().unwrap_or(since);
    let cursor = place.cursor.as_ref().map(|cursor| format!("&cursor={cursor}"));
    let cursor = cursor.unwrap_or_default();
    Request::get(format!("{api}/orders?updated_since={since}&limit={size}{cursor}")).secret(SECRET)
}

fn fact(order: &Order, text: &RawValue) -> Result<Fact, Failure> {
    let kind = if order.version <= 1 { "order.created" } else { "order.updated" };
    let fact = Fact::json(kind, &())?;
    Ok(Fact {
        subject: Some(order.id.clone()),
        time: Some(order.updated_at.clone()),
        // An order that did not change since is a repeat.
        key: Some(format!("{} {}", order.id, order.updated_at)),
        data: Body::Json(text.get().to_owned()),
        ..fact
    })
}

export_module!(PagedOrders: puller);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use waybill_guest::testing::{self, Host, answer};

    use super::*;

    fn order(id: &str, hour: u32, version: u32) -> Value {
        json!({"id": id, "updated_at": format!("2026-05-03T{hour:02}:00:00Z"), "version": version})
    }

    #[test]
    fn every_page_is_read_and_the_next_round_begins_after_it() {
        let _host = Host::new();
        let round = testing::pull::<PagedOrders>(None, |request| {
            assert_eq!(request.secrets, ["shop"]);
            if request.url.ends_with("&cursor=c2") {
                answer(200, json!({"orders": [order("3", 12, 1)], "next_cursor": null}))
            } else {
                answer(
                    200,
                    json!({"orders": [order("1", 10, 1), order("2", 11, 4)], "next_cursor": "c2"}),
                )
            }
        });
        let told: Vec<_> =
            round.events.iter().map(|fact| (fact.kind.as_str(), fact.subject.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("order.created", Some("1")),
                ("order.updated", Some("2")),
                ("order.created", Some("3"))
            ]
        );
        let next = testing::pull::<PagedOrders>(round.memory.as_deref(), |request| {
            assert!(request.url.contains("updated_since=2026-05-03T12:00:00Z"), "{}", request.url);
            answer(200, json!({"orders": [], "next_cursor": null}))
        });
        assert_eq!((next.requests.len(), next.events.len()), (1, 0));
    }

    #[test]
    fn cut_off_round_goes_on_at_its_page() {
        let _host = Host::new();
        let mut calls = 0;
        let cut = testing::pull::<PagedOrders>(None, |_| {
            calls += 1;
            if calls > 1 {
                return answer(503, json!({}));
            }
            answer(200, json!({"orders": [order("1", 10, 1)], "next_cursor": "c2"}))
        });
        assert!(matches!(cut.failure, Some(Failure::Retryable(_))));
        let next = testing::pull::<PagedOrders>(cut.memory.as_deref(), |request| {
            assert!(request.url.ends_with("&cursor=c2"), "{}", request.url);
            answer(200, json!({"orders": [], "next_cursor": null}))
        });
        assert!(next.failure.is_none());
    }

    #[test]
    fn forgotten_mark_begins_the_list_again() {
        let _host = Host::new();
        let memory = json!({"cursor": "old", "newest": null, "since": "2026-05-01T00:00:00Z"});
        let round = testing::pull::<PagedOrders>(Some(&memory.to_string()), |request| {
            if request.url.contains("cursor") {
                return answer(410, json!({}));
            }
            answer(200, json!({"orders": [order("1", 10, 1)], "next_cursor": null}))
        });
        assert_eq!((round.requests.len(), round.events.len()), (2, 1));
    }
}

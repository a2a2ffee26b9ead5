//! Polling and subscriptions of automation platforms: records, REST hooks, samples.

mod subscriptions;

use crate::support::{assert_problem, caller, texts};
use hyper::StatusCode;
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};

use waybill_tests::world::text;
use waybill_tests::{Answer, World};

/// Captures an event of an invoice.
async fn invoice(world: &World, what: &str, id: u32, more: &Value) {
    let mut data = json!({"id": id.to_string(), "status": "1", "total": format!("{id}00.00"), "clientid": "7"});
    for (key, value) in more.as_object().unwrap() {
        data[key] = value.clone();
    }
    world.event(&json!({"type": format!("invoice.{what}"), "source": "crm", "data": data})).await;
}

/// Returns a record without the fields that Waybill adds.
fn own_fields(record: &Value) -> Value {
    let fields = record.as_object().unwrap().clone().into_iter();
    fields.filter(|(name, _)| !name.starts_with("waybill_")).collect()
}

async fn get(world: &World, query: &str) -> Answer {
    world.client().get(&format!("/api/v1/invoices{query}")).await.unwrap()
}

async fn ids(world: &World, query: &str) -> Vec<String> {
    let answer = get(world, query).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
    texts(&answer.data(), "id")
}

#[tokio::test]
async fn the_latest_state_of_a_record_is_served() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        for id in 1..=3 {
            invoice(&world, "created", id, &json!({})).await;
        }
        invoice(&world, "paid", 1, &json!({"status": "2"})).await;
        invoice(&world, "deleted", 2, &json!({})).await;
        assert_eq!(ids(&world, "").await, ["3", "1"], "first heard of last, without what is gone");
        assert_eq!(ids(&world, "?sort=-updated_at").await, ["1", "3"], "last heard of first");
        let one = world.client().get("/api/v1/invoices/1").await.unwrap().data();
        assert_eq!((&one["status"], &one["total"]), (&json!("2"), &json!("100.00")));
        let gone = world.client().get("/api/v1/invoices/2").await.unwrap();
        assert_problem(&gone, StatusCode::NOT_FOUND, "there is no invoice `2`");
        // An event that holds little more than the id does not replace the state.
        world.event(&json!({"type": "invoice.sent", "source": "crm", "data": {"id": "3"}})).await;
        let three = world.client().get("/api/v1/invoices/3").await.unwrap().data();
        assert_eq!(three["total"], "300.00");
        assert_eq!(ids(&world, "?sort=-updated_at").await, ["3", "1"], "but it was heard of");
        assert_eq!(ids(&world, "?sort=updated_at").await, ["1", "3"]);
        invoice(&world, "created", 2, &json!({})).await;
        assert_eq!(ids(&world, "?sort=id").await, ["1", "2", "3"]);

        let batch = json!([
            {"type": "customer.created", "data": {"userid": "9", "company": "A", "active": "1"}},
            {"type": "customer.updated", "data": {"userid": "9", "company": "B", "active": "1"}},
            {"type": "customer.status_changed", "data": {"userid": "9"}},
        ]);
        world.post("/api/v1/events", &batch).await;
        let customer = world.client().get("/api/v1/customers/9").await.unwrap().data();
        assert_eq!(
            own_fields(&customer),
            json!({"id": "9", "userid": "9", "company": "B", "active": "1"})
        );
    }
}

#[tokio::test]
async fn lists_are_paged_sorted_and_filtered_in_every_spelling() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        for id in 1..=12 {
            let more = json!({"status": (id % 3).to_string(), "date": format!("2026-01-{id:02}")});
            invoice(&world, "created", id, &more).await;
        }
        let page = get(&world, "?page=2&limit=5").await;
        assert_eq!(texts(&page.data(), "id"), ["7", "6", "5", "4", "3"]);
        let meta = page.json()["meta"].clone();
        assert_eq!(
            (&meta["page"], &meta["per_page"], &meta["total"]),
            (&json!(2), &json!(5), &json!(12))
        );
        assert_eq!((&meta["last_page"], &meta["has_more"]), (&json!(3), &json!(true)));
        let next = page.json()["links"]["next"].as_str().unwrap().to_owned();
        assert!(next.starts_with("/api/v1/invoices?limit=5&page=3&cursor="), "{next}");
        assert_eq!(texts(&world.get(&next).await, "id"), ["2", "1"]);
        assert_eq!(ids(&world, "?per_page=5&page=3").await, ["2", "1"]);
        for (query, wanted) in [
            ("?sort=-id&per_page=2", vec!["12", "11"]),
            ("?sort=total&per_page=2", vec!["1", "2"]),
            ("?sort=status,-id&per_page=3", vec!["12", "9", "6"]),
            ("?filter=status:1,id:4", vec!["4"]),
            ("?status=1&sort=id", vec!["1", "4", "7", "10"]),
            ("?filter%5Btotal.gte%5D=1100&sort=id", vec!["11", "12"]),
            ("?filter[total.lt]=300&sort=id", vec!["1", "2"]),
            ("?date_from=2026-01-11&sort=id", vec!["11", "12"]),
            ("?customer_id=7&per_page=1", vec!["12"]),
            ("?customer_id=8", vec![]),
            ("?source=crm&per_page=1", vec!["12"]),
            ("?source=other", vec![]),
            ("?include=items&per_page=1", vec!["12"]),
            ("?since=4102444800", vec![]),
            ("?since=2099-01-01T00:00:00Z", vec![]),
            ("?since=1&per_page=1", vec!["12"]),
            ("?since=2000-01-01&per_page=1", vec!["12"]),
        ] {
            assert_eq!(ids(&world, query).await, wanted, "{query}");
        }
        let fields = get(&world, "?fields=total&per_page=1").await;
        let wanted = json!([{"id": "12", "total": "1200.00", "waybill_key": "crm:12"}]);
        assert_eq!(fields.data(), wanted, "what tells rows apart is always there");
        let unknown = world.client().get("/api/v1/spaceships").await.unwrap();
        assert_problem(&unknown, StatusCode::NOT_FOUND, "resource");
        for empty in ["currencies", "credit-notes", "credit_notes", "lead-statuses"] {
            assert_eq!(world.get(&format!("/api/v1/{empty}")).await, json!([]));
        }
    }
}

#[tokio::test]
async fn queries_that_make_no_sense_are_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    for wrong in [
        "?since=yesterday",
        "?page=0",
        "?limit=-1",
        "?sort=a%20b",
        "?fields=%27",
        "?nothing=1",
        "?filter=status",
        "?filter[x.like]=1",
        "?page=99999999",
        "?filter[%27;--]=1",
        "?cursor=x",
        "?cursor=",
    ] {
        assert_problem(&get(&world, wrong).await, StatusCode::UNPROCESSABLE_ENTITY, "");
    }
}

#[tokio::test]
async fn polling_while_rows_arrive_misses_none() {
    let Some(world) = World::start(Sqlite).await else { return };
    let client = world.client().clone();
    let writer = tokio::spawn(async move {
        for id in 1..=300_u32 {
            let data = json!({"id": id.to_string(), "a": "1", "b": "2"});
            client
                .post("/api/v1/events", &json!({"type": "invoice.created", "data": data}))
                .await
                .unwrap();
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    let mut since = "0".to_owned();
    loop {
        let done = writer.is_finished();
        // Like a poller: from the time of the last answer, until a page brings nothing new.
        let next = world.get("/api/v1/auth/test").await["server_time"].as_str().unwrap().to_owned();
        for page in 1.. {
            let found = ids(&world, &format!("?since={since}&per_page=50&page={page}")).await;
            if found.is_empty() {
                break;
            }
            seen.extend(found);
        }
        since = next;
        if done {
            break;
        }
    }
    writer.await.unwrap();
    assert_eq!(seen.len(), 300);
}

/// Reads all pages by their numbers, like the n8n node: until one is not full. `between` runs after
/// each.
async fn read_by_number(
    world: &World,
    query: &str,
    between: impl AsyncFn(u32),
) -> std::collections::BTreeSet<String> {
    let mut seen = std::collections::BTreeSet::new();
    for page in 1.. {
        let found = ids(world, &format!("?limit=5&page={page}{query}")).await;
        let full = found.len() == 5;
        seen.extend(found);
        if !full {
            break;
        }
        between(page).await;
    }
    seen
}

/// Follows `links.next` to the end.
async fn read_by_links(
    world: &World,
    query: &str,
    between: impl AsyncFn(u32),
) -> std::collections::BTreeSet<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut next = Some(format!("/api/v1/invoices?limit=5{query}"));
    let mut page = 0;
    while let Some(path) = next {
        let answer = world.client().get(&path).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        seen.extend(texts(&answer.data(), "id"));
        let (links, meta) = (&answer.json()["links"], &answer.json()["meta"]);
        assert_eq!(meta["has_more"], json!(links["next"].is_string()));
        assert_eq!(meta["next_cursor"].is_string(), links["next"].is_string(), "{path}");
        next = links["next"].as_str().map(str::to_owned);
        page += 1;
        between(page).await;
    }
    seen
}

#[tokio::test]
async fn a_full_read_sees_every_record_that_is_updated_meanwhile() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        for id in 1..=23 {
            invoice(&world, "created", id, &json!({})).await;
        }
        // Unread records move to the front of any list by the time of the last update.
        let update = async |page: u32| {
            for id in [24 - 5 * page.min(4) - 1, 2, 1] {
                invoice(&world, "paid", id, &json!({"status": "2"})).await;
            }
        };
        for query in ["", "&since=1", "&clientid=7", "&sort=id", "&sort=-id"] {
            assert_eq!(read_by_number(&world, query, update).await.len(), 23, "{query}");
            assert_eq!(read_by_links(&world, query, update).await.len(), 23, "{query}");
        }
        let links = read_by_links(&world, "&sort=updated_at", update).await;
        assert_eq!(links.len(), 23, "what is updated comes again at the end");
    }
}

#[tokio::test]
async fn the_last_number_of_a_page_has_no_next_link() {
    let Some(world) = World::start(Sqlite).await else { return };
    for id in 1..=5 {
        invoice(&world, "created", id, &json!({})).await;
    }
    let first = get(&world, "?per_page=2").await.json();
    let cursor = text(&first["meta"], "next_cursor");
    let query = format!("?per_page=2&page={}&cursor={cursor}", u32::MAX);
    let answer = get(&world, &query).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let page = answer.json();
    assert_eq!((&page["meta"]["count"], &page["links"]["next"]), (&json!(2), &Value::Null));
    assert!(page["meta"]["next_cursor"].is_string(), "{page:#}");
}

#[tokio::test]
async fn a_full_read_sees_every_record_that_stays_while_others_go() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        for (round, read_links) in [(0, false), (1, true)] {
            let first = round * 100;
            for id in first + 1..=first + 23 {
                invoice(&world, "created", id, &json!({})).await;
            }
            // The newest is deleted once it was read: those after it move up by one.
            let delete = async |page: u32| {
                if page <= 2 {
                    invoice(&world, "deleted", first + 24 - page, &json!({})).await;
                }
            };
            let seen = if read_links {
                read_by_links(&world, "", delete).await
            } else {
                read_by_number(&world, "", delete).await
            };
            for id in 1..=first + 21 {
                let exists = ids(&world, &format!("?filter=id:{id}")).await.len() == 1;
                assert!(!exists || seen.contains(&id.to_string()), "{id} is missing: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn records_of_two_crms_are_told_apart() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        for (source, total) in [("crm-a", "1.00"), ("crm-b", "2.00")] {
            let data = json!({"id": "17", "total": total, "status": "1"});
            let event = json!({"type": "invoice.created", "source": source, "data": data});
            world.event(&event).await;
        }
        let rows = world.get("/api/v1/invoices").await;
        assert_eq!(texts(&rows, "waybill_source"), ["crm-b", "crm-a"]);
        assert_eq!(texts(&rows, "waybill_key"), ["crm-b:17", "crm-a:17"]);
        for row in rows.as_array().unwrap() {
            assert_eq!(row["waybill_created_at"], row["waybill_updated_at"], "{row}");
        }

        let ambiguous = world.client().get("/api/v1/invoices/17").await.unwrap();
        assert_problem(&ambiguous, StatusCode::UNPROCESSABLE_ENTITY, "crm-a");
        let faults = crate::support::problem(&ambiguous, 422);
        assert_eq!(faults[0].0, "source", "{faults:?}");
        assert!(faults[0].1.contains("?source=") && faults[0].1.contains("crm-b"), "{faults:?}");
        let one = world.get("/api/v1/invoices/17?source=crm-a").await;
        assert_eq!((&one["total"], &one["waybill_source"]), (&json!("1.00"), &json!("crm-a")));
        let missing = world.client().get("/api/v1/invoices/17?source=crm-c").await.unwrap();
        assert_eq!(missing.status, StatusCode::NOT_FOUND);

        // A trigger for updates: each update is news, and its row has changed since its creation.
        let before = texts(&rows, "waybill_revision");
        let data = json!({"id": "17", "total": "3.00", "status": "2"});
        let event = json!({"type": "invoice.updated", "source": "crm-a", "data": data});
        world.event(&event).await;
        let rows = world.get("/api/v1/invoices?sort=-updated_at").await;
        assert_eq!(texts(&rows, "waybill_source"), ["crm-a", "crm-b"]);
        let after = texts(&rows, "waybill_revision");
        assert_eq!(after[1], before[0], "what was not updated is not news");
        assert!(!before.contains(&after[0]), "{before:?} {after:?}");
        assert_ne!(rows[0]["waybill_created_at"], rows[0]["waybill_updated_at"]);
        let gone = json!({"type": "invoice.deleted", "source": "crm-b", "data": data});
        world.event(&gone).await;
        assert_eq!(world.get("/api/v1/invoices/17").await["total"], "3.00", "one is left");
    }
}

#[tokio::test]
async fn a_record_that_comes_back_after_its_deletion_is_new() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        for id in 1..=3 {
            invoice(&world, "created", id, &json!({})).await;
        }
        let first = world.get("/api/v1/invoices/1").await;
        invoice(&world, "deleted", 1, &json!({})).await;
        invoice(&world, "created", 1, &json!({"status": "6"})).await;
        let again = world.get("/api/v1/invoices/1").await;
        assert_ne!(again["waybill_created_at"], first["waybill_created_at"]);
        assert_eq!(again["waybill_created_at"], again["waybill_updated_at"]);
        assert_eq!(again["status"], "6");
        assert_eq!(ids(&world, "").await, ["1", "3", "2"], "the newest comes first");
    }
}

#[tokio::test]
async fn a_token_for_some_tables_polls_these_only() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "books", "scopes": ["records:read"], "tables": ["invoice"]});
    let books = caller(&world, &settings).await;
    assert_eq!(books.get("/api/v1/invoices").await.unwrap().status, StatusCode::OK);
    let refused = books.get("/api/v1/leads").await.unwrap();
    assert_problem(&refused, StatusCode::FORBIDDEN, "not for the table");
}

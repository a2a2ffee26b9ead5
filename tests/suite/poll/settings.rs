//! Faults of a source's settings are reported with their place.

use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::site::{KEY, now};
use waybill_tests::{Dialect, Site, World};

use super::{SOURCE, events, happened, poll, put, run_well, source};
use crate::support::{merged, problem, texts};

/// Returns good settings. No site is contacted for them.
fn good() -> Value {
    json!({"preset": "data-builder", "url": "https://crm.example.com", "lists": ["invoices"], "every": "1h"})
}

/// Returns the good settings with these fields replaced, and null fields removed.
fn with(mistake: &Value) -> Value {
    let mut settings = merged(good(), mistake);
    settings.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    settings
}

/// Returns fields that make good settings bad, and the beginning of the reported path.
fn mistakes() -> Vec<(Value, &'static str)> {
    let custom = |list: Value| json!({"preset": "custom", "lists": [list]});
    vec![
        (json!({"url": "ftp://crm.example.com"}), "poll.url"),
        (json!({"url": "crm"}), "poll.url"),
        (json!({"url": ""}), "poll.url"),
        (json!({"url": null}), "poll"),
        (json!({"preset": "salesforce"}), "poll.preset"),
        (json!({"lists": []}), "poll.lists"),
        (json!({"lists": ["space ships"]}), "poll.lists[0]"),
        // Other presets have any table; this one has a few lists.
        (json!({"preset": "themesic", "lists": ["invoices", "payments"]}), "poll.lists[1]"),
        (json!({"lists": ["invoices", "invoices"]}), "poll.lists"),
        (json!({"every": "1m", "cron": "*/5 * * * *"}), "poll"),
        (json!({"every": "500ms"}), "poll.every"),
        (json!({"every": "soon"}), "poll.every"),
        (json!({"every": null, "cron": "61 * * * *"}), "poll.cron"),
        (json!({"every": null, "cron": "* * *"}), "poll.cron"),
        (json!({"time_zone": "Mars/Olympus"}), "poll.time_zone"),
        (json!({"start": "yesterday"}), "poll.start"),
        (json!({"start": "2024-02-30"}), "poll.start"),
        (json!({"overlap": "-1m"}), "poll.overlap"),
        (json!({"intervall": "1m"}), "poll"),
        (custom(json!("invoices")), "poll.lists"),
        (custom(json!({"resource": "order"})), "poll.lists[0]"),
        (custom(json!({"path": "/orders", "resource": "order", "rows": "data"})), "poll.lists[0]"),
        (
            custom(json!({"path": "/orders", "resource": "order", "created": "Not a type!"})),
            "poll.lists[0]",
        ),
    ]
}

#[tokio::test]
async fn a_mistake_is_named_by_its_place() {
    let Some(world) = World::start(Sqlite).await else { return };
    let try_it = async |settings: &Value| {
        let answer = world.client().post("/api/v1/sources", settings).await.unwrap();
        let faults = problem(&answer, 422);
        assert!(!faults.is_empty(), "{settings:#}: {}", answer.text());
        assert!(faults.iter().all(|(_, message)| !message.is_empty()), "{faults:?}");
        faults
    };
    for (mistake, path) in mistakes() {
        let poll = with(&mistake);
        let faults =
            try_it(&json!({"name": "x", "kind": "poll", "secret": KEY, "poll": poll})).await;
        let named = faults.iter().any(|(at, _)| at.starts_with(path));
        assert!(named, "{mistake} is not named by {path}: {faults:?}");
        assert!(!format!("{faults:?}").contains(KEY));
    }
    for (settings, path) in [
        (json!({"name": "x", "kind": "poll", "secret": KEY}), "poll"),
        (json!({"name": "x", "poll": good()}), "poll"),
        (
            json!({"name": "x", "kind": "webhook", "webhook": {"scheme": "none"}, "poll": good()}),
            "poll",
        ),
        (
            json!({"name": "x", "kind": "poll", "secret": KEY, "poll": good(), "webhook": {"scheme": "none"}}),
            "webhook",
        ),
        (json!({"name": "x", "kind": "poll", "secret": "", "poll": good()}), "secret"),
    ] {
        let faults = try_it(&settings).await;
        assert!(faults.iter().any(|(at, _)| at == path), "{settings:#}: {faults:?}");
    }
    let zone = with(&json!({"time_zone": "Mars/Olympus"}));
    let faults = try_it(&json!({"name": "x", "kind": "poll", "secret": KEY, "poll": zone})).await;
    assert!(faults[0].1.contains("Mars/Olympus"), "{faults:?}");
    assert_eq!(world.get("/api/v1/sources").await, json!([]));
}

#[tokio::test]
async fn a_change_of_settings_keeps_what_is_known() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    put(&site, [1], now());
    run_well(&world).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    let change = json!({"poll": merged(poll(&site), &json!({"every": "2h", "overlap": "1h"}))});
    let changed = world.client().patch(&path, &change).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.data()["poll"]["every"], "2h");
    put(&site, [2], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 1", "created 2"]);
    let wrong = json!({"poll": merged(poll(&site), &json!({"every": "soon"}))});
    let refused = world.client().patch(&path, &wrong).await.unwrap();
    assert!(problem(&refused, 422)[0].0.starts_with("poll.every"));
}

/// The values of a query are private, so these lists have one masked path.
#[tokio::test]
async fn a_list_knows_its_rows_when_another_of_its_masked_path_comes_and_goes() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Custom).await;
    let list = |state: &str| {
        json!({
            "path": format!("/orders?state={state}"), "resource": format!("{state}_order"),
            "rows": "/result/items", "key": "number", "timestamp": "modified",
        })
    };
    let of_states = |states: &[&str]| {
        let lists: Vec<Value> = states.iter().map(|state| list(state)).collect();
        merged(poll(&site), &json!({"lists": lists}))
    };
    source(&world, &of_states(&["open"])).await;
    let path = format!("/api/v1/sources/{SOURCE}");
    let steps: [&[&str]; 6] = [
        &["open"],
        &["open", "closed"],
        &["open"],
        &["closed", "open"],
        &["open", "closed"],
        &["open"],
    ];
    let mut wanted = Vec::new();
    for (id, states) in (1..).zip(steps) {
        let change = json!({"poll": of_states(states)});
        let changed = world.client().patch(&path, &change).await.unwrap();
        assert_eq!(changed.status, 200, "{}", changed.text());
        // A list that began again would treat this row as an old one.
        put(&site, [id], now());
        run_well(&world).await;
        wanted.push(id.to_string());
        let mut found = events(&world, SOURCE).await;
        found.retain(|event| event["type"] == "open_order.created");
        assert_eq!(texts(&json!(found), "resource_id"), wanted, "with {states:?}");
    }
    assert!(!happened(&world).await.iter().any(|what| what.starts_with("updated")));
}

#[tokio::test]
async fn the_secret_is_never_shown_and_can_be_changed() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    let made = source(&world, &poll(&site)).await;
    assert!(made["secret"].is_null(), "{made:#}");
    site.lock_with("another-key");
    let path = format!("/api/v1/sources/{SOURCE}");
    let changed = world.client().patch(&path, &json!({"secret": "another-key"})).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    put(&site, [1], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 1"]);
    for path in ["/api/v1/sources", &path, "/api/v1/config"] {
        let shown = world.client().get(path).await.unwrap().text();
        assert!(!shown.contains(KEY) && !shown.contains("another-key"), "{path}: {shown}");
    }
    let output = world.server().output();
    assert!(!output.contains(KEY) && !output.contains("another-key"));
}

#[tokio::test]
async fn a_document_sets_poll_sources() {
    let Some(world) = World::start(Sqlite).await else { return };
    let document =
        json!({"sources": [{"name": "crm", "kind": "poll", "secret": KEY, "poll": good()}]});
    for action in ["create", "unchanged"] {
        let answer = world.client().put("/api/v1/config", &document).await.unwrap();
        assert_eq!(answer.data()["changes"][0]["action"], action, "{}", answer.text());
    }
    let shown = world.get("/api/v1/sources/crm").await;
    assert_eq!(
        (&shown["kind"], &shown["poll"]["preset"]),
        (&json!("poll"), &json!("data-builder"))
    );
    let defaults = json!([shown["poll"]["start"], shown["poll"]["overlap"]]);
    assert_eq!(defaults, json!(["now", "10m"]), "{shown:#}");
}

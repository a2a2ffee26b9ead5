//! Changes of settings that must be refused, and some that must be accepted.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::site::{KEY, now};
use waybill_tests::{Answer, Dialect, Site, World};

use super::super::{SOURCE, events, happened, poll, put, row, run, run_well, source};
use super::path;
use crate::support::{merged, problem, texts};

/// Applies a document with this one source.
async fn apply(world: &World, source: &Value) -> Answer {
    world.client().put("/api/v1/config", &json!({"sources": [source]})).await.unwrap()
}

fn assert_refused(answer: &Answer, place: &str) {
    let faults = problem(answer, 422);
    assert!(faults.iter().any(|(at, _)| at == place), "not named by {place}: {faults:?}");
    assert!(!answer.text().contains(KEY), "{}", answer.text());
}

#[tokio::test]
async fn a_source_stays_of_its_kind() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    let before = world.get("/api/v1/config").await;
    let nightly = json!({"cron": "0 2 * * *", "event": "report.due"});
    let database = json!({"url": "mysql://waybill@127.0.0.1:1/perfex"});
    for change in [
        json!({"kind": "schedule", "schedule": nightly}),
        json!({"kind": "database", "secret": "another", "database": database}),
        json!({"kind": "webhook", "webhook": {"scheme": "none"}}),
    ] {
        let patch = merged(change.clone(), &json!({"poll": null}));
        assert_refused(&world.client().patch(&path(), &patch).await.unwrap(), "kind");
        let named = merged(change, &json!({"name": SOURCE}));
        assert_refused(&apply(&world, &named).await, "sources[0].kind");
    }
    assert_eq!(world.get("/api/v1/config").await, before);
    put(&site, [1], now());
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 1"]);
}

#[tokio::test]
async fn no_other_address_gets_to_see_the_secret() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::DataBuilder).await;
    source(&world, &poll(&site)).await;
    let document = |poll: &Value| json!({"name": SOURCE, "kind": "poll", "poll": poll});
    let others = [Site::start(Dialect::DataBuilder).await, Site::start(Dialect::DataBuilder).await];
    for (other, by_document) in others.iter().zip([false, true]) {
        let key = format!("another-key-{by_document}");
        other.lock_with(&key);
        let moved = poll(other);
        let (refused, place) = if by_document {
            (apply(&world, &document(&moved)).await, "sources[0].secret")
        } else {
            (world.client().patch(&path(), &json!({"poll": moved})).await.unwrap(), "secret")
        };
        assert_refused(&refused, place);
        run_well(&world).await;
        assert_eq!(other.count(), 0);

        let with = json!({"secret": key});
        let taken = if by_document {
            apply(&world, &merged(document(&moved), &with)).await
        } else {
            let patch = merged(json!({"poll": moved}), &with);
            world.client().patch(&path(), &patch).await.unwrap()
        };
        assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
        run_well(&world).await;
        let wanted = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
        let asked = other.asked();
        assert!(asked.iter().all(|asked| asked.headers["authorization"] == wanted), "{asked:#?}");
        assert!(!asked.is_empty());
    }
    // A change that keeps the address needs no secret.
    let slower = merged(world.get(&path()).await["poll"].clone(), &json!({"every": "2h"}));
    let taken = world.client().patch(&path(), &json!({"poll": slower})).await.unwrap();
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
}

#[tokio::test]
async fn the_path_of_a_list_may_have_parameters() {
    let Some(world) = World::start(Sqlite).await else { return };
    let site = Site::start(Dialect::Custom).await;
    let of_path = |path: &str, more: &Value| {
        let list = json!({"path": path, "rows": "/result/items", "key": "number", "timestamp": "modified"});
        merged(poll(&site), &json!({"lists": [merged(list, more)]}))
    };
    let plain = json!({});
    source(&world, &of_path("/orders?x=1&view=a/b.c", &plain)).await;
    put(&site, 1..=50, now());
    run_well(&world).await;
    site.put("orders", 1, row(&site, 1, now(), "7.50"));
    run_well(&world).await;
    let found = events(&world, SOURCE).await;
    let mut types = texts(&json!(found), "type");
    types.dedup();
    assert_eq!((types, found.len()), (vec!["order.created".into(), "order.updated".into()], 51));
    assert!(found.iter().all(|event| event["resource"] == "order"), "{:#}", found[0]);
    let sound = |asked: &waybill_tests::site::Asked| {
        asked.query["x"] == "1" && asked.query["view"] == "a/b.c" && asked.query.contains_key("n")
    };
    assert!(site.asked().iter().all(sound), "{:#?}", site.asked());

    for (path, more) in [
        ("/orders", json!({"resource": "a b"})),
        ("/orders", json!({"resource": "a..b"})),
        ("/orders", json!({"resource": ""})),
        ("/or%20ders", plain.clone()),
        ("/", plain),
    ] {
        let settings =
            json!({"name": "x", "kind": "poll", "secret": KEY, "poll": of_path(path, &more)});
        let answer = world.client().post("/api/v1/sources", &settings).await.unwrap();
        assert_refused(&answer, "poll.lists[0].resource");
    }
    let named = of_path("/or%20ders", &json!({"resource": "order"}));
    let settings = json!({"name": "named", "kind": "poll", "secret": KEY, "poll": named});
    world.post("/api/v1/sources", &settings).await;
    run(&world, "named").await;
}

#[tokio::test]
async fn what_is_exported_and_applied_changes_nothing() {
    let Some(world) = World::start(Sqlite).await else { return };
    let (site, custom) =
        (Site::start(Dialect::DataBuilder).await, Site::start(Dialect::Custom).await);
    source(&world, &poll(&site)).await;
    let mut by_cron = merged(poll(&custom), &json!({"cron": "0 0 29 2 *", "start": "2024-01-01"}));
    by_cron.as_object_mut().unwrap().remove("every");
    for (name, of_kind) in [
        ("erp", json!({"kind": "poll", "secret": KEY, "poll": by_cron})),
        (
            "base",
            json!({"kind": "database", "secret": KEY, "enabled": false, "database": {
                "url": "mysql://waybill@127.0.0.1:1/perfex?ssl-mode=REQUIRED", "tables": ["invoices"],
                "start": "backfill", "time_zone": "Europe/Athens", "every": "90s",
            }}),
        ),
        (
            "nightly",
            json!({"kind": "schedule", "schedule": {
                "cron": "0 0 29 2 *", "event": "report.due", "data": {"a": [1, null]}, "missed": "once",
            }}),
        ),
    ] {
        world.post("/api/v1/sources", &merged(json!({"name": name}), &of_kind)).await;
    }
    run(&world, "erp").await;
    put(&site, [1], now());
    run_well(&world).await;
    let (exported, shown) = (world.get("/api/v1/config").await, shown(&world).await);
    for more in [json!({}), json!({"prune": true})] {
        let document = merged(exported.clone(), &more);
        let applied = world.client().put("/api/v1/config", &document).await.unwrap();
        assert_eq!(applied.status, StatusCode::OK, "{}", applied.text());
        let actions = texts(&applied.data()["changes"], "action");
        assert_eq!(actions, ["unchanged"; 4], "{}", applied.text());
        assert_eq!(world.get("/api/v1/config").await, exported);
        assert_eq!(self::shown(&world).await, shown, "as it was, and nothing has run");
    }
    run_well(&world).await;
    assert_eq!(happened(&world).await, ["created 1"]);
}

/// Returns the views of the sources, without members that change with time alone.
async fn shown(world: &World) -> Vec<Value> {
    let mut sources = world.get("/api/v1/sources").await.as_array().unwrap().clone();
    for source in &mut sources {
        if let Some(run) = source["run"].as_object_mut() {
            run.remove("lag_ms");
        }
    }
    sources
}

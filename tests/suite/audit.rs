//! Audited calls.

use crate::support::{assert_problem, caller, invoice, texts};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::rest::Call;
use waybill_tests::{
    Backend::{Postgres, Sqlite},
    World,
};

/// Returns the calls of a query once there are as many as wanted, newest first.
async fn calls(world: &World, query: &str, wanted: usize) -> Vec<Value> {
    let path = format!("/api/v1/audit?{query}");
    let found = world.eventually(&path, |rows| rows.as_array().unwrap().len() >= wanted).await;
    let found = found.as_array().unwrap().clone();
    assert_eq!(found.len(), wanted, "{found:?}");
    found
}

#[tokio::test]
async fn every_call_leaves_a_row() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        let made = json!({"name": "n8n", "scopes": ["events:write", "events:read"]});
        let n8n = caller(&world, &made).await;
        let captured = n8n.post("/api/v1/events", &invoice(1)).await.unwrap();
        let path = format!("/api/v1/events/{}", captured.data()["id"].as_str().unwrap());
        n8n.get(&path).await.unwrap();
        n8n.get("/api/v1/flows").await.unwrap();
        n8n.send(Call::new(Method::DELETE, "/api/v1/events")).await.unwrap();
        let rows = calls(&world, "token=n8n", 4).await;
        let seen: Vec<(&str, &str, u64)> = rows
            .iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap();
                (text("method"), text("route"), row["status"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("DELETE", "/api/v1/events", 405),
                ("GET", "/api/v1/flows", 403),
                ("GET", "/api/v1/events/{id}", 200),
                ("POST", "/api/v1/events", 202),
            ]
        );
        let capture = &rows[3];
        assert_eq!(capture["id"], captured.header("x-request-id"));
        assert_eq!((&capture["token"], &capture["calls"]), (&json!("n8n"), &json!(1)));
        assert_eq!(capture["address"], "127.0.0.1");
        assert!(capture["duration_ms"].as_f64().unwrap() > 0.0);
        assert!(capture["at"].as_str().unwrap().ends_with('Z'));
    }
}

/// Returns the rows of calls without a known token, once they stand for as many calls as wanted.
async fn refused(world: &World, wanted: u64) -> Vec<Value> {
    unknown(world, "status=4xx", wanted).await
}

/// Returns the rows of a query without a known token, once they stand for as many calls as wanted.
async fn unknown(world: &World, query: &str, wanted: u64) -> Vec<Value> {
    let count = |rows: &Value| -> u64 {
        let rows = rows.as_array().unwrap().iter().filter(|row| row["token_id"].is_null());
        rows.map(|row| row["calls"].as_u64().unwrap()).sum()
    };
    let path = format!("/api/v1/audit?limit=200&{query}");
    let found = world.eventually(&path, |rows| count(rows) >= wanted).await;
    assert_eq!(count(&found), wanted, "{found:#}");
    let rows = found.as_array().unwrap().iter();
    rows.filter(|row| row["token_id"].is_null()).cloned().collect()
}

#[tokio::test]
async fn calls_of_nobody_known_share_a_row_for_each_address_and_minute() {
    for backend in [Sqlite, Postgres] {
        let Some(mut world) = World::start(backend).await else { return };
        // A caller that was accepted there before still is.
        world.get("/api/v1/flows").await;
        let thief = world.client_with(Some("wb_guess-0123456789"));
        for n in 0..120 {
            let path = ["/api/v1/flows", "/api/v1/tokens", "/api/v1/events"][n % 3];
            thief.get(path).await.unwrap();
            world.client_with(None).post("/in/nobody", &json!({})).await.unwrap();
        }
        // The first 100 are unknown, the following ones are slowed down.
        let rows = refused(&world, 240).await;
        assert!(rows.len() <= 2, "one for each minute: {rows:#?}");
        assert_eq!(rows[0]["address"], "127.0.0.1");
        // Neither paths without a route nor routes without a token are audited.
        for path in ["/nothing", "/healthz", "/metrics", "/admin"] {
            world.client_with(None).get(path).await.unwrap();
        }
        world.stop();
        world.restart();
        let kept = refused(&world, 240).await;
        assert!(kept.len() <= rows.len(), "no row is lost or doubled by a restart");
    }
}

#[tokio::test]
async fn calls_that_prove_nothing_share_rows_whatever_they_are_answered() {
    let Some(world) = World::start(Sqlite).await else { return };
    let source = json!({"name": "hook", "kind": "webhook", "webhook": {"scheme": "github"},
        "secret": "a-secret-of-the-sender"});
    world.post("/api/v1/sources", &source).await;
    let open = json!({"name": "open", "kind": "webhook", "webhook": {"scheme": "none"}});
    world.post("/api/v1/sources", &open).await;
    let nobody = world.client_with(None);
    for _ in 0..40 {
        for method in [Method::OPTIONS, Method::HEAD] {
            assert_eq!(nobody.send(Call::new(method, "/in/hook")).await.unwrap().status, 200);
        }
        assert_eq!(
            nobody.post("/in/open", &json!({"type": "shop.ordered", "n": 1})).await.unwrap().status,
            202
        );
    }
    let rows = unknown(&world, "", 120).await;
    assert!(rows.len() <= 2, "one for each minute: {rows:#?}");
    // A call with a method that its route does not have counts against the rate of its token.
    let ended = json!({"name": "ended", "scopes": ["flows:read"], "rate": 5});
    let caller = caller(&world, &ended).await;
    for _ in 0..50 {
        caller.delete("/api/v1/events").await.unwrap();
    }
    let slowed = |rows: &Value| rows.as_array().unwrap().iter().any(|row| row["status"] == 429);
    let rows = world.eventually("/api/v1/audit?token=ended&limit=200", slowed).await;
    assert!(rows.as_array().unwrap().len() <= 12, "{rows:#}");
}

#[tokio::test]
async fn calls_that_do_not_count_against_a_rate_share_a_row() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "poll", "scopes": ["flows:read"], "rate": 5});
    let poll = caller(&world, &settings).await;
    for _ in 0..50 {
        poll.get("/api/v1/flows").await.unwrap();
    }
    let slowed = |rows: &Value| -> u64 {
        let rows = rows.as_array().unwrap().iter().filter(|row| row["status"] == 429);
        rows.map(|row| row["calls"].as_u64().unwrap()).sum()
    };
    // A new window may begin in between.
    let rows = world.eventually("/api/v1/audit?token=poll", |rows| slowed(rows) >= 40).await;
    assert!(rows.as_array().unwrap().len() <= 12, "{rows:#}");
}

#[tokio::test]
async fn what_changed_a_setting_is_on_record_before_it_is_answered() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let made = world.post("/api/v1/tokens", &json!({"name": "x", "scopes": ["flows:read"]})).await;
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    let deleted = world.client().delete(&path).await.unwrap();
    world.restart();
    let rows = calls(&world, "route=/api/v1/tokens/%7Bid%7D", 1).await;
    assert_eq!(rows[0]["id"], deleted.header("x-request-id"));
}

#[tokio::test]
async fn the_record_is_searched_paged_and_exported() {
    let Some(world) = World::start(Sqlite).await else { return };
    let auditor = json!({"name": "auditor", "scopes": ["audit:read"], "rate": 1000});
    let auditor = caller(&world, &auditor).await;
    let poor = caller(&world, &json!({"name": "poor", "scopes": ["records:read"]})).await;
    for _ in 0..5 {
        poor.get("/api/v1/flows").await.unwrap();
        poor.get("/api/v1/events").await.unwrap();
    }
    let all = calls(&world, "status=403&address=127.0.0.1", 10).await;
    assert_eq!(calls(&world, "status=403&address=::ffff:127.0.0.1", 10).await.len(), 10);
    let elsewhere = world.get("/api/v1/audit?address=2001:DB8:0::7").await;
    assert_eq!(elsewhere, json!([]));
    assert_eq!(calls(&world, "status=403&route=/api/v1/flows&method=get", 5).await.len(), 5);
    let at = all[3]["at"].as_str().unwrap();
    let older = world.get(&format!("/api/v1/audit?status=403&until={at}")).await;
    let newer = world.get(&format!("/api/v1/audit?status=403&since={at}")).await;
    assert_eq!(older.as_array().unwrap().len() + newer.as_array().unwrap().len(), 10);

    let mut ids = Vec::new();
    let mut path = "/api/v1/audit?status=403&limit=3".to_owned();
    loop {
        let page = auditor.get(&path).await.unwrap();
        ids.extend(texts(&page.data(), "id"));
        let Some(next) = page.json()["links"]["next"].as_str().map(str::to_owned) else { break };
        path = next;
    }
    let listed: Vec<String> = texts(&Value::Array(all), "id");
    assert_eq!(ids, listed);
    let export = auditor.get("/api/v1/audit/export?status=403").await.unwrap();
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> =
        export.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(texts(&Value::Array(lines), "id"), listed);

    for wrong in [
        "status=9xx",
        "token=nobody",
        "since=soon",
        "cursor=x",
        "limit=0",
        "colour=red",
        "address=127.0.0.0/8",
        "address=127.1",
    ] {
        let answer = auditor.get(&format!("/api/v1/audit?{wrong}")).await.unwrap();
        assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "");
    }
    let reader = caller(&world, &json!({"name": "reader", "scopes": ["read-only"]})).await;
    let answer = reader.get("/api/v1/audit").await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "audit:read");
}

#[tokio::test]
async fn calls_that_are_too_old_are_forgotten_and_none_are_kept_where_none_are_wanted() {
    for backend in [Sqlite, Postgres] {
        let Some(mut world) = World::start(backend).await else { return };
        for _ in 0..3 {
            world.get("/api/v1/flows").await;
        }
        let old = calls(&world, "route=/api/v1/flows", 3).await;
        world.restart_with(|settings| {
            settings.set("audit.retention", "1ms");
        });
        // Old calls are deleted at the start, and then every ten minutes.
        world.eventually("/api/v1/audit?route=/api/v1/flows", |rows| *rows == json!([])).await;
        world.restart_with(|settings| {
            settings.set("audit.retention", "0s");
        });
        world.get("/api/v1/flows").await;
        world.stop();
        world.restart();
        let left = world.get("/api/v1/audit?route=/api/v1/flows").await;
        assert_eq!(left, json!([]), "{old:?}");
    }
}

//! Rights of callers: every route, and every reason for a refusal.

use crate::support::{assert_problem, caller, invoice, merged, token};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::rest::Call;

/// Returns method, path with its parameters filled in, and the scope that the description names.
async fn operations(world: &World) -> Vec<(Method, String, Option<String>)> {
    let document = world.client().get("/openapi.json").await.unwrap();
    let document = document.json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path.replace("{id}", "nothing").replace("{name}", "nothing");
        let filled = filled.replace("{resource}", "invoices").replace("{type}", "invoice.paid");
        // The payments of an invoice are records; other parts are read in the CRM.
        let filled = filled.replace("{part}", "payments").replace("{part_id}", "1");
        let filled = filled.replace("{version}", "1");
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let security = operation["security"].as_array();
            assert!(
                security.is_some_and(|ways| !ways.is_empty()),
                "{method} {path} is not guarded"
            );
            // Clients of OAuth and sources of webhooks authenticate in other ways; see
            // suite/oauth.rs and suite/receive.rs.
            let others = [("client", "/oauth/"), ("signature", "/in/")];
            if let Some((_, part)) =
                others.iter().find(|(way, _)| operation["security"][0].get(way).is_some())
            {
                assert!(path.starts_with(part), "{method} {path}");
                continue;
            }
            let scope = operation["security"][0]["bearer"][0].as_str().map(str::to_owned);
            assert!(
                scope.is_some() || path == "/api/v1/auth/test",
                "{method} {path} needs no scope"
            );
            found.push((method, filled.clone(), scope));
        }
    }
    assert!(found.len() > 40, "{found:?}");
    found
}

#[tokio::test]
async fn every_route_is_guarded_by_a_scope() {
    let Some(world) = World::start(Sqlite).await else { return };
    let nobody = world.client_with(None);
    let stranger = world.client_with(Some("wb_unknown"));
    let capture = caller(&world, &json!({"name": "capture", "scopes": ["events:write"]})).await;
    let admin = world.client();
    for (n, (method, path, scope)) in operations(&world).await.into_iter().enumerate() {
        let call = || Call::new(method.clone(), &path);
        // Unknown tokens are slowed down after 100 calls.
        let unknown = if n < 90 { vec![&nobody, &stranger] } else { vec![&nobody] };
        for unknown in unknown {
            let answer = unknown.send(call()).await.unwrap();
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(answer.headers.contains_key("www-authenticate"));
        }
        let wanted = scope.unwrap_or_else(|| "events:write".to_owned());
        let answer = capture.send(call()).await.unwrap();
        if wanted == "events:write" {
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        } else {
            assert_problem(&answer, StatusCode::FORBIDDEN, &wanted);
        }
        let answer = admin.send(call()).await.unwrap();
        assert!(
            ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status),
            "{method} {path}: {}",
            answer.text()
        );
        assert!(!answer.status.is_server_error(), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_read_only_token_changes_nothing() {
    let Some(world) = World::start(Sqlite).await else { return };
    let reader = json!({"name": "reader", "scopes": ["read-only"], "rate": 1000});
    let reader = caller(&world, &reader).await;
    for (method, path, scope) in operations(&world).await {
        let answer = reader.send(Call::new(method.clone(), &path)).await.unwrap();
        // Whoever fetches deliveries leases them, and whoever runs operations uses the CRM's credentials.
        let not_for_all = ["admin", "audit:read", "deliveries:pull", "operations:run"]
            .map(Some)
            .contains(&scope.as_deref());
        if method == Method::GET && !not_for_all {
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        } else {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_token_is_shown_once_changed_and_revoked() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "n8n", "scopes": ["endpoints:write"], "rate": 1000});
    let made = world.client().post("/api/v1/tokens", &settings).await.unwrap().data();
    let token = made["token"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    let shown = world.client().get(&path).await.unwrap();
    assert!(!shown.text().contains(&token) && shown.data()["token"].is_null());
    assert!(shown.data()["last_used_at"].is_null());

    let n8n = world.client_with(Some(&token));
    assert_eq!(n8n.get("/api/v1/endpoints").await.unwrap().status, StatusCode::OK);
    let as_key = world.client_with(None);
    let call = Call::new(Method::GET, "/api/v1/endpoints").header("X-API-KEY", &token);
    assert_eq!(as_key.send(call).await.unwrap().status, StatusCode::OK);
    assert!(world.client().get(&path).await.unwrap().data()["last_used_at"].is_string());

    let change = json!({"scopes": ["flows:read"]});
    let answer = world.client().patch(&path, &change).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer = n8n.get("/api/v1/endpoints").await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "endpoints:read");

    world.restart();
    let n8n = world.client_with(Some(&token));
    assert_eq!(n8n.get("/api/v1/flows").await.unwrap().status, StatusCode::OK);
    let answer = world.client().delete(&path).await.unwrap();
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_problem(&n8n.get("/api/v1/flows").await.unwrap(), StatusCode::UNAUTHORIZED, "not known");
    let own = world.client().delete("/api/v1/tokens/admin").await.unwrap();
    assert_problem(&own, StatusCode::CONFLICT, "itself");
}

#[tokio::test]
async fn a_token_sees_and_sends_its_own_tables_only() {
    let Some(world) = World::start(Sqlite).await else { return };
    let scopes = ["admin"];
    let settings = json!({"name": "books", "scopes": scopes, "tables": ["invoice"]});
    let books = caller(&world, &settings).await;
    let lead = world.event(&json!({"type": "lead.created", "data": {"id": 1}})).await;
    let own = books.post("/api/v1/events", &invoice(1)).await.unwrap();
    assert_eq!(own.status, StatusCode::ACCEPTED, "{}", own.text());
    let other = json!([invoice(2), {"type": "lead.created", "data": {"id": 2}}]);
    let refused = books.post("/api/v1/events", &other).await.unwrap();
    assert_problem(&refused, StatusCode::FORBIDDEN, "lead");
    let disguised = json!({"type": "lead.created", "resource": "invoice", "data": {"id": 2}});
    let refused = books.post("/api/v1/events", &disguised).await.unwrap();
    assert_problem(&refused, StatusCode::FORBIDDEN, "lead");
    let all = world.get("/api/v1/events").await;
    assert_eq!(all.as_array().unwrap().len(), 2, "nothing of a refused request is stored");

    let list = books.get("/api/v1/events?resource=invoice").await.unwrap().data();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let unnamed = books.get("/api/v1/events").await.unwrap();
    assert_problem(&unnamed, StatusCode::FORBIDDEN, "name one of them");
    let hidden = books.get(&format!("/api/v1/events/{lead}")).await.unwrap();
    assert_problem(&hidden, StatusCode::NOT_FOUND, "there is no event");
    for (path, body) in [
        ("/api/v1/endpoints", json!({"name": "all", "url": "https://x.example/", "events": ["*"]})),
        ("/api/v1/flows", json!({"name": "all", "events": ["*"], "endpoints": ["all"]})),
        ("/api/v1/tokens", json!({"name": "more", "scopes": ["admin"]})),
        ("/api/v1/modules/probe/run", json!({"event_id": lead})),
    ] {
        let refused = books.post(path, &body).await.unwrap();
        assert_problem(&refused, StatusCode::FORBIDDEN, "limited to some tables");
    }
    assert_problem(
        &books.get("/api/v1/deliveries").await.unwrap(),
        StatusCode::FORBIDDEN,
        "limited to some tables",
    );
}

#[tokio::test]
async fn a_token_sends_and_sees_its_own_sources_only() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "erp", "scopes": ["admin"], "sources": ["erp"]});
    let erp = caller(&world, &settings).await;
    let other =
        world.event(&json!({"type": "lead.created", "source": "crm", "data": {"id": 1}})).await;
    let unnamed = erp.post("/api/v1/events", &invoice(1)).await.unwrap();
    assert_eq!(unnamed.status, StatusCode::ACCEPTED, "{}", unnamed.text());
    let own = unnamed.data()["id"].as_str().unwrap().to_owned();
    let event = erp.get(&format!("/api/v1/events/{own}")).await.unwrap().data();
    assert_eq!(event["source"], "erp", "the only source that it is bound to");
    let of_crm = json!({"type": "lead.created", "source": "crm", "data": {"id": 2}});
    for refused in [of_crm.clone(), json!([invoice(2), of_crm])] {
        let answer = erp.post("/api/v1/events", &refused).await.unwrap();
        assert_problem(&answer, StatusCode::FORBIDDEN, "not for the source `crm`");
    }
    assert_eq!(world.get("/api/v1/events").await.as_array().unwrap().len(), 2);

    let listed = erp.get("/api/v1/events").await.unwrap().data();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let hidden = erp.get(&format!("/api/v1/events/{other}")).await.unwrap();
    assert_problem(&hidden, StatusCode::NOT_FOUND, "there is no event");
    assert_eq!(erp.get("/api/v1/leads").await.unwrap().data(), json!([]));
    assert_eq!(erp.get("/api/v1/leads/1").await.unwrap().status, StatusCode::NOT_FOUND);
    let forbidden = erp.get("/api/v1/leads?source=crm").await.unwrap();
    assert_problem(&forbidden, StatusCode::FORBIDDEN, "not for the source `crm`");
    let all = erp.get("/api/v1/deliveries").await.unwrap();
    assert_problem(&all, StatusCode::FORBIDDEN, "some tables or sources");

    let two = json!({"name": "two", "scopes": ["admin"], "sources": ["erp", "shop"]});
    let two = caller(&world, &two).await;
    for answer in [
        two.post("/api/v1/events", &invoice(3)).await.unwrap(),
        two.get("/api/v1/events").await.unwrap(),
        two.get("/api/v1/invoices").await.unwrap(),
    ] {
        assert_problem(&answer, StatusCode::FORBIDDEN, "name one of them as `source`");
    }
    let samples = two.get("/api/v1/events/samples/invoice.paid").await.unwrap();
    assert_problem(&samples, StatusCode::FORBIDDEN, "name one of them as `source`");
    let samples = two.get("/api/v1/events/samples/invoice.paid?source=erp").await.unwrap().json();
    assert_eq!((&samples[0]["source"], samples[1].is_null()), (&json!("erp"), true), "{samples}");
    let shop = json!({"type": "invoice.paid", "source": "shop", "data": {"id": 4}});
    let taken = two.post("/api/v1/events", &shop).await.unwrap();
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.text());
}

#[tokio::test]
async fn a_token_is_used_from_its_addresses_only() {
    let proxied = |settings: &mut waybill_tests::Settings| {
        settings.set("server.trusted_proxies", "[\"127.0.0.0/8\"]");
    };
    let from = json!({"name": "zapier", "scopes": ["flows:read"], "from": ["203.0.113.0/24", "2001:db8::/32"]});
    for behind_a_proxy in [false, true] {
        let started = if behind_a_proxy {
            World::start_with(Sqlite, proxied).await
        } else {
            World::start(Sqlite).await
        };
        let Some(world) = started else { return };
        let zapier = caller(&world, &from).await;
        for (forwarded, believed) in [
            ("203.0.113.9", true),
            ("2001:db8::7", true),
            ("::ffff:203.0.113.9", true),
            ("203.0.113.9, 198.51.100.1", false),
            ("198.51.100.1", false),
        ] {
            let call = Call::new(Method::GET, "/api/v1/flows").header("x-forwarded-for", forwarded);
            let answer = zapier.send(call).await.unwrap();
            if behind_a_proxy && believed {
                assert_eq!(answer.status, StatusCode::OK, "{forwarded}");
            } else {
                assert_problem(&answer, StatusCode::FORBIDDEN, "may not be used from");
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_used_as_often_as_it_may_on_all_connections_together() {
    let Some(world) = World::start(Sqlite).await else { return };
    let poll = token(&world, &json!({"name": "poll", "scopes": ["flows:read"], "rate": 3})).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        // Each caller has its own connections.
        let caller = world.client_with(Some(&poll));
        calls.spawn(async move { caller.get("/api/v1/flows").await.unwrap() });
    }
    let answers = calls.join_all().await;
    let (passed, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!((passed.len(), refused.len()), (3, 5));
    let mut left: Vec<&str> =
        passed.iter().map(|one| one.header("x-ratelimit-remaining")).collect();
    left.sort_unstable();
    assert_eq!(left, ["0", "1", "2"]);
    for answer in refused {
        assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS, "3 calls a minute");
        let wait: i64 = answer.header("retry-after").parse().unwrap();
        let problem = answer.json();
        assert_eq!(problem["retry_after"], wait);
        assert!((1..=60).contains(&wait));
        assert_eq!(answer.header("x-ratelimit-limit"), "3");
    }
}

#[tokio::test]
async fn a_token_that_ended_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings =
        json!({"name": "guest", "scopes": ["admin"], "expires_at": "2020-01-01T00:00:00Z"});
    let guest = caller(&world, &settings).await;
    let answer = guest.get("/api/v1/flows").await.unwrap();
    assert_problem(&answer, StatusCode::UNAUTHORIZED, "ended at 2020-01-01");
    for malformed in ["", "Bearer", "Basic YTpi", "Bearer \u{e4}"] {
        let nobody = world.client_with(None);
        let call = Call::new(Method::GET, "/api/v1/flows").header("authorization", malformed);
        let answer = nobody.send(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{malformed}");
    }
}

#[tokio::test]
async fn a_document_sets_tokens() {
    let Some(world) = World::start(Sqlite).await else { return };
    let client = world.client();
    let document = json!({"tokens": [{"name": "n8n", "scopes": ["flows:read"], "rate": 100}]});
    let apply = |query: &'static str, document: &Value| {
        let (path, document) = (format!("/api/v1/config{query}"), document.clone());
        async move { client.put(&path, &document).await.unwrap().data() }
    };
    let dry = apply("?dry_run=true", &document).await;
    assert_eq!(dry["changes"][0]["action"], "create");
    assert!(dry["changes"][0]["secret"].is_null(), "no token that is not made is shown");
    let made = apply("", &document).await;
    let token = made["changes"][0]["secret"].as_str().unwrap();
    let n8n = world.client_with(Some(token));
    assert_eq!(n8n.get("/api/v1/flows").await.unwrap().status, StatusCode::OK);
    assert_eq!(apply("", &document).await["changes"][0]["action"], "unchanged");

    let exported = client.get("/api/v1/config").await.unwrap();
    assert_eq!(exported.data()["tokens"], document["tokens"]);
    assert!(!exported.text().contains(token));

    let other = json!({"tokens": [{"name": "zapier", "scopes": ["flows:read"]}], "prune": true});
    let changes = apply("", &other).await["changes"].clone();
    let actions: Vec<(&str, &str)> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["action"].as_str().unwrap()))
        .collect();
    assert_eq!(actions, [("zapier", "create"), ("n8n", "delete")]);
    let answer = n8n.get("/api/v1/flows").await.unwrap();
    assert_problem(&answer, StatusCode::UNAUTHORIZED, "not known");
}

#[tokio::test]
async fn every_answer_tells_browsers_to_be_careful() {
    let Some(world) = World::start(Sqlite).await else { return };
    for path in ["/api/v1/flows", "/api/v1/nothing", "/admin", "/healthz", "/openapi.json"] {
        let answer = world.client_with(None).get(path).await.unwrap();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
        assert!(answer.header("access-control-allow-origin").is_empty(), "CORS is off");
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn a_token_that_only_reads_may_call_60_times_a_minute() {
    let Some(world) = World::start(Sqlite).await else { return };
    let made = json!({"name": "poll", "scopes": ["read-only"]});
    let poll = caller(&world, &made).await;
    assert_eq!(world.get("/api/v1/tokens/poll").await["rate"], 60);
    for left in (0..60).rev() {
        let answer = poll.get("/api/v1/flows").await.unwrap();
        assert_eq!(answer.header("x-ratelimit-remaining"), left.to_string());
    }
    let answer = poll.get("/api/v1/flows").await.unwrap();
    assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS, "60 calls a minute");
    let back = json!({"rate": null, "scopes": ["flows:write"]});
    let changed = world.client().patch("/api/v1/tokens/poll", &back).await.unwrap();
    assert!(changed.data()["rate"].is_null(), "who writes is not slowed down unasked");
}

/// Returns the minute of the clock, in which the calls of a token are counted.
fn minute() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60
}

#[tokio::test]
async fn a_restart_resets_neither_the_window_nor_the_last_use() {
    for backend in [Sqlite, Postgres] {
        let Some(mut world) = World::start(backend).await else { return };
        let settings = json!({"name": "poll", "scopes": ["flows:read"], "rate": 3});
        let token = token(&world, &settings).await;
        // If a minute ends in between, the count starts again.
        for _ in 0..3 {
            let began = minute();
            let poll = world.client_with(Some(&token));
            while poll.get("/api/v1/flows").await.unwrap().status == StatusCode::OK {}
            let used = world.get("/api/v1/tokens/poll").await["last_used_at"].clone();
            // A second later the usage is written, kill -9 or not.
            world.eventually("/api/v1/audit?token=poll", |rows| rows[2].is_object()).await;
            world.restart();
            assert_eq!(world.get("/api/v1/tokens/poll").await["last_used_at"], used);
            let answer = world.client_with(Some(&token)).get("/api/v1/flows").await.unwrap();
            if minute() == began {
                assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS, "3 calls a minute");
                break;
            }
        }
    }
}

#[tokio::test]
async fn whoever_tries_tokens_is_slowed_down_and_nobody_else() {
    let Some(world) = World::start_with(Sqlite, |settings| {
        settings.set("server.trusted_proxies", "[\"127.0.0.0/8\"]");
    })
    .await
    else {
        return;
    };
    let flows = json!({"name": "good", "scopes": ["flows:read"]});
    let good = token(&world, &json!({"name": "late", "scopes": ["flows:read"], "rate": 100})).await;
    let used = caller(&world, &flows).await;
    let from =
        |address: &str| Call::new(Method::GET, "/api/v1/flows").header("x-forwarded-for", address);
    assert_eq!(used.send(from("203.0.113.9")).await.unwrap().status, StatusCode::OK);
    let thief = world.client_with(Some("wb_guess"));
    let mut statuses = Vec::new();
    for _ in 0..130 {
        statuses.push(thief.send(from("203.0.113.9")).await.unwrap().status);
    }
    let refused = |status: StatusCode| statuses.iter().filter(|one| **one == status).count();
    let (unknown, slowed) =
        (refused(StatusCode::UNAUTHORIZED), refused(StatusCode::TOO_MANY_REQUESTS));
    assert!(unknown >= 100 && slowed > 0 && unknown + slowed == 130, "{unknown} {slowed}");
    // One is admitted every two seconds: right after it, the next two are refused.
    let opened = async {
        while thief.send(from("203.0.113.9")).await.unwrap().status != StatusCode::UNAUTHORIZED {}
    };
    tokio::time::timeout(waybill_tests::world::LIMIT, opened).await.unwrap();
    let answer = thief.send(from("203.0.113.9")).await.unwrap();
    assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS, "too many unknown tokens");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    // A caller that was accepted there before still is; a new one could be a lucky guess.
    assert_eq!(used.send(from("203.0.113.9")).await.unwrap().status, StatusCode::OK);
    let late = world.client_with(Some(&good));
    let answer = late.send(from("203.0.113.9")).await.unwrap();
    assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS, "too many unknown tokens");
    assert_eq!(late.send(from("203.0.113.10")).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn other_origins_pages_call_only_where_that_is_set() {
    let set = |settings: &mut waybill_tests::Settings| {
        settings.set("server.cors_origins", "[\"https://app.example\"]");
    };
    let Some(world) = World::start_with(Sqlite, set).await else { return };
    let nobody = world.client_with(None);
    let ask = |origin: &str| {
        Call::new(Method::OPTIONS, "/api/v1/events")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };
    let allowed = nobody.send(ask("https://app.example")).await.unwrap();
    assert_eq!(allowed.header("access-control-allow-origin"), "https://app.example");
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    assert!(allowed.header("access-control-allow-headers").contains("authorization"));
    assert!(allowed.header("access-control-allow-credentials").is_empty());
    assert_eq!(allowed.header("x-content-type-options"), "nosniff");
    assert!(!allowed.header("x-request-id").is_empty());
    let foreign = nobody.send(ask("https://evil.example")).await.unwrap();
    assert!(foreign.header("access-control-allow-origin").is_empty());
    let call = Call::new(Method::GET, "/api/v1/flows").header("origin", "https://app.example");
    let answer = world.client().send(call).await.unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
    assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
    assert!(answer.header("vary").contains("origin"));
}

#[tokio::test]
async fn a_request_names_one_host() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Some(world) = World::start(Sqlite).await else { return };
    let address = world.server().address().strip_prefix("http://").unwrap().to_owned();
    for (hosts, status) in [
        ("Host: waybill.example\r\n", "200"),
        ("", "400"),
        ("Host: a\r\nHost: b\r\n", "400"),
        ("Host: a b\r\n", "400"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{hosts:?}: {answer}");
        assert!(answer.contains("x-request-id") && answer.contains("nosniff"), "{answer}");
    }
}

#[tokio::test]
async fn a_token_makes_none_that_may_more_than_itself() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({
        "name": "office", "scopes": ["admin"], "from": ["127.0.0.0/8"], "rate": 1000,
        "expires_at": "2099-01-01T00:00:00Z",
    });
    let office = caller(&world, &settings).await;
    let within = json!({
        "name": "desk", "scopes": ["admin"], "from": ["127.0.0.1/32"], "rate": 10,
        "expires_at": "2098-01-01T00:00:00Z",
    });
    for (field, value) in [
        ("from", json!(["0.0.0.0/0"])),
        ("rate", json!(1001)),
        ("expires_at", json!("2100-01-01T00:00:00Z")),
    ] {
        let wide = merged(within.clone(), &json!({field: value}));
        let answer = office.post("/api/v1/tokens", &wide).await.unwrap();
        assert_problem(&answer, StatusCode::FORBIDDEN, "more rights than it has itself");
        assert_eq!(answer.json()["errors"][0]["path"], field);
    }
    let made = office.post("/api/v1/tokens", &within).await.unwrap();
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let answer = office.patch("/api/v1/tokens/desk", &json!({"rate": null})).await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "more rights than it has itself");
    // A token that already has more may be reduced.
    let wide = json!({"name": "wide", "scopes": ["admin"]});
    world.post("/api/v1/tokens", &wide).await;
    let less = json!({"scopes": ["flows:read"]});
    let answer = office.patch("/api/v1/tokens/wide", &less).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

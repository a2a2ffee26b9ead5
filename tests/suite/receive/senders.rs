//! The data of each sender is kept, and each way to prove the sender is checked.

use super::{SECRET, call, event, hex, now, send, signed, source};
use crate::support::{assert_problem, hmac, merged, problem, texts};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::rest::Call;
use waybill_tests::{Receiver, World};

#[tokio::test]
async fn nothing_that_stripe_says_is_dropped() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        let receiver = Receiver::start().await;
        let endpoint = json!({"name": "erp", "url": receiver.url("/hook"), "events": ["stripe.*"]});
        world.endpoint(&endpoint).await;
        source(&world, "pay", "stripe", &json!({})).await;
        let body = r#"{"id":"evt_1","type":"invoice.updated","created":1700000000,"account":"acct_1","livemode":false,
            "api_version":"2026-01-01","request":{"id":"req_1"},"data":{"object":{"id":"in_1","status":"paid"},
            "previous_attributes":{"status":"open","metadata":{"a":1.50}}}}"#;
        let answer = send(&world, call("pay", body, &signed("stripe", body, now()))).await;
        let event = event(&world, &answer).await;
        let attributes = &event["attributes"];
        assert_eq!(attributes["account"], "acct_1");
        assert_eq!(attributes["livemode"], false);
        assert_eq!(attributes["apiversion"], "2026-01-01");
        assert_eq!(attributes["request"], json!({"id": "req_1"}));
        let previous = json!({"status": "open", "metadata": {"a": 1.50}});
        assert_eq!(attributes["previousattributes"], previous);
        let arrival = receiver.first("/hook").await.json();
        assert_eq!(arrival["changed"], json!(["status", "metadata.a"]));
        assert_eq!(arrival["previous"], json!({"status": "open", "metadata.a": 1.50}));
    }
}

/// The shop is in a header alone, under its old or its new name.
#[tokio::test]
async fn shopify_s_shop_and_new_header_names_are_kept() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "shop", "shopify", &json!({})).await;
    let body = r#"{"id":8}"#;
    let tag = BASE64_STANDARD.encode(hmac(SECRET.as_bytes(), &[body.as_bytes()]));
    for (prefix, id) in [("x-shopify-", "w1"), ("shopify-", "w2")] {
        let request = Call::post("/in/shop", "application/json", body)
            .header(&format!("{prefix}hmac-sha256"), &tag)
            .header(&format!("{prefix}topic"), "orders/create")
            .header(&format!("{prefix}shop-domain"), "one.myshopify.example")
            .header(&format!("{prefix}webhook-id"), id);
        let event = event(&world, &send(&world, request).await).await;
        assert_eq!(event["type"], "shopify.orders.create");
        assert_eq!(event["external_id"], id);
        assert_eq!(event["attributes"]["shopdomain"], "one.myshopify.example");
        let text = event["attributes"].to_string();
        assert!(!text.contains(&tag), "a signature is not kept: {text}");
    }
}

#[tokio::test]
async fn svix_s_headers_are_those_of_standard_webhooks() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "svix", "standard", &json!({})).await;
    let body = r#"{"type":"lead.converted","data":{"id":"5"}}"#;
    let headers = signed("standard", body, now());
    let call = Call::post("/in/svix", "application/json", body);
    let call = headers
        .iter()
        .fold(call, |call, (name, value)| call.header(&name.replace("webhook-", "svix-"), value));
    let event = event(&world, &send(&world, call).await).await;
    assert_eq!(
        (&event["type"], &event["external_id"]),
        (&json!("lead.converted"), &json!("msg_1"))
    );
}

#[tokio::test]
async fn names_in_other_scripts_are_types_of_their_own() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        source(&world, "nn", "none", &json!({})).await;
        let names = ["客户创建", "客户删除", "Rechnung.gelöscht"];
        let mut types = Vec::new();
        for name in names {
            let body = json!({"event": name, "data": {"id": "1"}}).to_string();
            let event = event(&world, &send(&world, call("nn", &body, &[])).await).await;
            assert_eq!(event["attributes"]["eventname"], name);
            types.push(event["type"].as_str().unwrap().to_owned());
        }
        assert_eq!(
            types,
            ["nn.5ba2_6237_521b_5efa", "nn.5ba2_6237_5220_9664", "Rechnung.gel_f6_scht"]
        );
    }
}

#[tokio::test]
async fn a_hubspot_request_is_all_of_its_events() {
    let Some(world) = World::start(Sqlite).await else { return };
    let url = "https://hooks.example/in/hub";
    source(&world, "hub", "hubspot", &json!({"url": url})).await;
    let event = |id: u32, name: &str, attempt: u32| {
        json!({"eventId": id, "subscriptionId": 1, "objectId": 123, "occurredAt": 1_700_000_000_000_u64,
            "subscriptionType": name, "attemptNumber": attempt})
    };
    let send_attempt = async |attempt: u32| {
        let events =
            [event(1, "contact.creation", attempt), event(2, "contact.propertyChange", attempt)];
        let (body, at) = (json!(events).to_string(), format!("{}000", now()));
        let parts = ["POST", url, &body, &at].map(str::as_bytes);
        let tag = BASE64_STANDARD.encode(hmac(SECRET.as_bytes(), &parts));
        let headers = [("x-hubspot-signature-v3", tag), ("x-hubspot-request-timestamp", at)];
        send(&world, call("hub", &body, &headers)).await
    };
    let first = send_attempt(0).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text());
    let again = send_attempt(1).await;
    assert_eq!(texts(&again.data(), "id"), texts(&first.data(), "id"));
    assert!(again.data().as_array().unwrap().iter().all(|one| one["duplicate"] == true));
    let events = world.get("/api/v1/events?source=hub").await;
    let mut types = texts(&events, "type");
    types.sort();
    assert_eq!(types, ["hubspot.contact.creation", "hubspot.contact.propertyChange"]);
    assert_eq!(texts(&events, "resource"), ["hubspot.contact", "hubspot.contact"]);
    assert_eq!(texts(&events, "resource_id"), ["123", "123"]);
}

/// Xero checks with an empty list, and expects an empty 200 for a valid signature, else 401.
#[tokio::test]
async fn xero_s_intent_to_receive_is_answered() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "xero", "xero", &json!({})).await;
    let intent = r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3"}"#;
    let real = r#"{"events":[{"resourceId":"r","tenantId":"t","eventCategory":"INVOICE","eventType":"UPDATE",
        "eventDateUtc":"2026-01-02T03:04:05.678Z"}],"entropy":"x"}"#;
    for (body, captured) in [(intent, 0), (real, 1)] {
        let tag = BASE64_STANDARD.encode(hmac(SECRET.as_bytes(), &[body.as_bytes()]));
        let answer = send(&world, call("xero", body, &[("x-xero-signature", tag)])).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, String::new()));
        let wrong = [("x-xero-signature", BASE64_STANDARD.encode([0; 32]))];
        let answer = send(&world, call("xero", body, &wrong)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let events = world.get("/api/v1/events").await;
        assert_eq!(events.as_array().unwrap().len(), captured);
    }
    let event = world.get("/api/v1/events").await[0].clone();
    assert_eq!(event["type"], "xero.INVOICE.UPDATE");
}

/// Settings of a source, a request that proves itself, and one that is refused.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one case after the other")]
async fn generic_schemes_take_what_is_the_source_s() {
    let Some(world) = World::start(Sqlite).await else { return };
    let body = r#"{"event":"order.made","data":{"id":"1"}}"#;
    let at = now().to_string();
    let tag = hex(&[at.as_bytes(), b"|", body.as_bytes()]);
    let basic = |user: &str, password: &str| {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
    };
    let rule = json!({"header": "X-Sig", "prefix": "sha256=", "timestamp": "header:X-Time",
        "signed": "{timestamp}|{body}"});
    let with = |headers: &[(&str, &str)]| {
        let call = Call::post("/in/x", "application/json", body);
        headers.iter().fold(call, |call, (name, value)| call.header(name, value))
    };
    let (right, wrong) = (format!("sha256={tag}"), format!("sha256={}", hex(&[b"x"])));
    let in_body = |token: &str| {
        let body = json!({"event": "order.made", "data": {"id": "1"}, "key": token});
        Call::post("/in/x", "application/json", body.to_string())
    };
    for (scheme, more, good, bad) in [
        ("token", json!({"token": {"body": "/key"}}), in_body(SECRET), in_body("x")),
        (
            "hmac",
            json!({"hmac": rule}),
            with(&[("x-sig", &right), ("x-time", &at)]),
            with(&[("x-sig", &wrong), ("x-time", &at)]),
        ),
        (
            "basic",
            json!({"basic": {"username": "crm"}}),
            with(&[("authorization", &basic("crm", SECRET))]),
            with(&[("authorization", &basic("crm", "x"))]),
        ),
        (
            "token",
            json!({"token": {"header": "X-Token"}}),
            with(&[("x-token", SECRET)]),
            with(&[("x-token", "x")]),
        ),
        (
            "token",
            json!({"token": {"query": "key"}}),
            Call::post(&format!("/in/x?key={SECRET}"), "application/json", body),
            Call::post("/in/x?key=x", "application/json", body),
        ),
    ] {
        source(&world, "x", scheme, &more).await;
        let answer = send(&world, good.clone()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{scheme}: {}", answer.text());
        let stored = world.client().get("/api/v1/events?limit=1").await.unwrap().text();
        assert!(!stored.contains(SECRET), "{stored}");
        for refused in [bad, with(&[])] {
            let answer = send(&world, refused).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{scheme}: {}", answer.text());
            let asked = answer.header("www-authenticate").starts_with("Basic");
            assert_eq!(asked, scheme == "basic");
        }
        let shown = world.client().get("/api/v1/sources/x").await.unwrap().text();
        assert!(!shown.contains(SECRET), "{shown}");
        let export = world.client().get("/api/v1/config").await.unwrap().text();
        assert!(!export.contains(SECRET), "{export}");
        world.client().delete("/api/v1/sources/x").await.unwrap();
    }
}

/// The `id` of an entry is the page's: two leads of one page are two records.
#[tokio::test]
async fn leads_of_one_page_of_meta_are_records_of_their_own() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "page", "meta", &json!({})).await;
    let body = r#"{"object":"page","entry":[{"id":"P","time":1,"changes":[
        {"field":"leadgen","value":{"leadgen_id":1}},{"field":"leadgen","value":{"leadgen_id":2}}]}]}"#;
    let answer = send(&world, call("page", body, &signed("github", body, now()))).await;
    for receipt in answer.data().as_array().unwrap() {
        let event = world.get(&format!("/api/v1/events/{}", receipt["id"].as_str().unwrap())).await;
        assert_eq!(event["resource_id"], json!(null), "{event:#}");
        assert_eq!(event["data"]["id"], "P", "{event:#}");
    }
}

/// Twilio adds the digest of a JSON body to the given query, and signs the whole.
#[tokio::test]
async fn an_address_with_a_query_may_be_called_with_more() {
    let Some(world) = World::start(Sqlite).await else { return };
    let url = "https://waybill.example/in/tw?t=1";
    source(&world, "tw", "twilio", &json!({"url": url})).await;
    let body = r#"{"type":"message.sent"}"#;
    let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, body.as_bytes()));
    let called = format!("{url}&bodySHA256={digest}");
    let sha1 = |text: &str| {
        let key =
            ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
        BASE64_STANDARD.encode(ring::hmac::sign(&key, text.as_bytes()))
    };
    let query = format!("/in/tw?t=1&bodySHA256={digest}");
    let json =
        Call::post(&query, "application/json", body).header("x-twilio-signature", &sha1(&called));
    assert_eq!(send(&world, json).await.status, StatusCode::OK);
    // The case of a media type does not matter.
    let form = Call::post(
        "/in/tw?t=1",
        "Application/X-WWW-Form-Urlencoded",
        "MessageSid=SM1&MessageStatus=sent",
    )
    .header("x-twilio-signature", &sha1(&format!("{url}MessageSidSM1MessageStatussent")));
    assert_eq!(send(&world, form).await.status, StatusCode::OK);
    let many = Call::post("/in/tw?t=1", "application/x-www-form-urlencoded", "a&".repeat(2_000))
        .header("x-twilio-signature", &sha1("x"));
    assert_problem(&send(&world, many).await, StatusCode::UNAUTHORIZED, "signature");
}

/// This holds for any header that the operator names for the proof: a reader of the event could
/// send others with it.
#[tokio::test]
async fn the_header_that_proves_the_sender_is_not_kept() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "x", "token", &json!({"token": {"header": "X-Perfex-Api-Key"}})).await;
    let body = r#"{"event":"order.made","signature_status":"valid","payload":{"id":"1"}}"#;
    let headers = [("x-perfex-api-key", SECRET.to_owned()), ("x-perfex-shop", "s".to_owned())];
    let made = event(&world, &send(&world, call("x", body, &headers)).await).await;
    assert_eq!(made["attributes"], json!({"signaturestatus": "valid", "shop": "s"}), "{made:#}");
}

#[tokio::test]
async fn a_source_takes_requests_from_its_networks_alone() {
    let Some(world) = World::start(Sqlite).await else { return };
    let body = r#"{"event":"order.made","data":{}}"#;
    let from = |networks: Value| json!({"from": networks});
    let made = source(&world, "here", "ip", &from(json!(["127.0.0.0/8"]))).await;
    assert!(made["warning"].as_str().unwrap().contains("network"), "{made}");
    source(&world, "there", "ip", &from(json!(["192.0.2.0/24"]))).await;
    source(&world, "both", "perfexapi", &from(json!(["192.0.2.0/24"]))).await;
    assert_eq!(send(&world, call("here", body, &[])).await.status, StatusCode::ACCEPTED);
    for name in ["there", "both"] {
        let answer = send(&world, call(name, body, &signed("perfexapi", body, now()))).await;
        assert_problem(&answer, StatusCode::FORBIDDEN, "this address");
        let broken = call(name, body, &[("content-encoding", "gzip".to_owned())]);
        let answer = send(&world, broken).await;
        assert_problem(&answer, StatusCode::FORBIDDEN, "this address");
    }
}

#[tokio::test]
async fn a_scheme_that_cannot_work_is_refused_in_words() {
    let Some(world) = World::start(Sqlite).await else { return };
    let plain = json!({"header": "X-Sig"});
    for (scheme, more, secret, path) in [
        ("hmac", json!({}), SECRET, "webhook.hmac"),
        ("hmac", json!({"hmac": {"header": "X Sig"}}), SECRET, "webhook.hmac.header"),
        (
            "hmac",
            json!({"hmac": merged(plain.clone(), &json!({"signed": "{id}"}))}),
            SECRET,
            "webhook.hmac.signed",
        ),
        ("hmac", json!({"hmac": merged(plain.clone(), &json!({"key": "hex"}))}), SECRET, "secret"),
        ("hmac", json!({"hmac": plain}), " ", "secret"),
        ("github", json!({"hmac": {"header": "X-Sig"}}), SECRET, "webhook.hmac"),
        ("token", json!({"token": {}}), SECRET, "webhook.token"),
        ("token", json!({"token": {"header": "a", "query": "b"}}), SECRET, "webhook.token"),
        ("token", json!({"token": {"header": "a"}}), "", "secret"),
        ("basic", json!({"basic": {"username": "a:b"}}), SECRET, "webhook.basic.username"),
        ("ip", json!({}), SECRET, "webhook.from"),
        ("square", json!({"url": "hooks.example"}), SECRET, "webhook.url"),
        (
            "paypal",
            json!({"paypal": {"webhook_id": "1", "certificate": "x"}}),
            SECRET,
            "webhook.paypal.certificate",
        ),
        ("hubspt", json!({}), SECRET, "webhook.scheme"),
    ] {
        let webhook = merged(json!({"scheme": scheme}), &more);
        let settings =
            json!({"name": "x", "kind": "webhook", "webhook": webhook, "secret": secret});
        let answer = world.client().post("/api/v1/sources", &settings).await.unwrap();
        let found = problem(&answer, 422);
        assert!(found.iter().any(|(at, _)| at == path), "{scheme} {more}: {found:?}");
        assert!(scheme != "hubspt" || found[0].1.contains("did you mean `hubspot`?"), "{found:?}");
    }
}

/// A trial parses a request like a real one: forms, lists, and data besides the payload.
#[tokio::test]
async fn a_trial_shows_all_that_a_request_holds() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "hub", "hubspot", &json!({})).await;
    let event = |name: &str| json!({"subscriptionType": name, "objectId": 1});
    let body = json!({"body": [event("contact.creation"), event("deal.creation")]});
    let shown = world.post("/api/v1/sources/hub/test", &body).await;
    assert_eq!(shown["type"], "hubspot.contact.creation");
    assert_eq!(texts(&shown["further"], "type"), ["hubspot.deal.creation"]);

    source(&world, "git", "github", &json!({})).await;
    let body = json!({
        "headers": {"content-type": "application/x-www-form-urlencoded", "x-github-event": "push",
            "x-github-delivery": "d1"},
        "body": "payload=%7B%22ref%22%3A%22main%22%7D",
    });
    let shown = world.post("/api/v1/sources/git/test", &body).await;
    assert_eq!((&shown["type"], &shown["data"]), (&json!("github.push"), &json!({"ref": "main"})));
    assert_eq!(
        (&shown["external_id"], &shown["attributes"]["delivery"]),
        (&json!("d1"), &json!("d1"))
    );
    assert_eq!(world.get("/api/v1/events").await, json!([]));
}

/// Some senders check with a plain GET. Only a caller with the secret learns that the address
/// exists.
#[tokio::test]
async fn a_plain_get_is_answered_to_whoever_shows_the_secret() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "chimp", "token", &json!({"token": {"query": "key"}})).await;
    for (path, status) in [
        (format!("/in/chimp?key={SECRET}"), StatusCode::OK),
        ("/in/chimp?key=x".to_owned(), StatusCode::UNAUTHORIZED),
        ("/in/chimp?hub.mode=subscribe&hub.challenge=1".to_owned(), StatusCode::UNAUTHORIZED),
    ] {
        let answer = send(&world, Call::new(Method::GET, &path)).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}

//! Signing in and out, and the protection of forms.

use super::operator::{encode_form, send_token};
use super::{Operator, hidden_value};
use crate::support::token;
use hyper::{Method, StatusCode};
use serde_json::json;
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::rest::Call;
use waybill_tests::server::ADMIN_TOKEN;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn a_stranger_is_asked_to_sign_in_and_then_sent_where_they_wanted_to_go() {
    let Some(world) = World::start(Sqlite).await else { return };
    let stranger = world.client_with(None);
    let answer = stranger.get("/admin/events?type=invoice.paid").await.unwrap();
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let target = "/admin/sign-in?next=%2Fadmin%2Fevents%3Ftype%3Dinvoice%2Epaid";
    assert_eq!(answer.header("location"), target);
    let form = stranger.get(target).await.unwrap();
    assert_eq!(hidden_value(&form.text(), "next"), "/admin/events?type=invoice.paid");
    let answer = send_token(&world, ADMIN_TOKEN).await;
    assert_eq!(answer.header("location"), "/admin/events");
    let cookie = answer.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/admin", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "this server speaks no TLS: {cookie}");
    assert!(!cookie.contains(ADMIN_TOKEN));
}

#[tokio::test]
async fn a_browser_that_speaks_tls_with_a_proxy_gets_a_secure_cookie() {
    let Some(world) = World::start(Sqlite).await else { return };
    let host = world.server().address().trim_start_matches("http://").to_owned();
    let call = Call::post("/admin/sign-in", FORM, encode_form(&[("token", ADMIN_TOKEN)]));
    let call = call.header("origin", &format!("https://{host}"));
    let answer = world.client_with(None).send(call).await.unwrap();
    assert!(answer.header("set-cookie").ends_with("; Secure"), "{answer:?}");
}

#[tokio::test]
async fn a_wrong_token_opens_nothing_and_is_slowed_down() {
    let Some(world) = World::start(Sqlite).await else { return };
    for token in ["", "wb_unknown-token-0123456789", "short"] {
        let answer = send_token(&world, token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}");
        assert!(answer.header("set-cookie").is_empty());
        assert!(answer.text().contains("this token is not known here"), "{}", answer.text());
    }
    let mut last = StatusCode::OK;
    for _ in 0..110 {
        last = send_token(&world, "wb_unknown-token-0123456789").await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_form_without_its_key_or_from_elsewhere_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let key = hidden_value(&operator.page("/admin").await, "form_key");
    let with_key = encode_form(&[("form_key", &key)]);
    let other = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let others_key = hidden_value(&other.page("/admin").await, "form_key");
    let calls = [
        Call::post("/admin/sign-out", FORM, ""),
        Call::post("/admin/sign-out", FORM, encode_form(&[("form_key", "wrong")])),
        Call::post("/admin/sign-out", FORM, encode_form(&[("form_key", &others_key)])),
        Call::post("/admin/sign-out", FORM, with_key.clone())
            .header("origin", "http://evil.example"),
        Call::post("/admin/sign-out", FORM, with_key.clone()).header("origin", "null"),
        Call::post("/admin/sign-out", FORM, with_key.clone())
            .header("sec-fetch-site", "cross-site"),
    ];
    for call in calls {
        let answer = operator.send(call.clone()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{call:?}");
        assert!(answer.text().contains("<h1>"), "the refusal is a page");
    }
    operator.page("/admin").await;
    let call = Call::post("/admin/sign-in", FORM, encode_form(&[("token", ADMIN_TOKEN)]));
    let answer = operator.send(call.header("origin", "http://evil.example")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn signing_out_ends_the_session_on_the_server() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    operator.page("/admin").await;
    let answer = operator.submit("/admin/sign-out", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    let answer = operator.ask("/admin").await;
    assert_eq!(answer.header("location"), "/admin/sign-in");
}

#[tokio::test]
async fn a_stranger_sends_no_file() {
    let Some(world) = World::start(Sqlite).await else { return };
    let body = format!(
        "--cut\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{ADMIN_TOKEN}\r\n--cut--\r\n"
    );
    let call = Call::post("/admin/sign-in", "multipart/form-data; boundary=cut", body);
    let answer = world.client_with(None).send(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{}", answer.text());
    let call = Call::post("/admin/sign-in", FORM, "a=".to_owned() + &"b".repeat(100_000));
    let answer = world.client_with(None).send(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn signing_in_again_ends_the_session_before() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let form = encode_form(&[("token", ADMIN_TOKEN)]);
    let answer = operator.send(Call::post("/admin/sign-in", FORM, form)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(!answer.header("set-cookie").starts_with(&operator.cookie), "the text is another");
    assert_eq!(operator.ask("/admin").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_revoked_token_ends_its_session() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "mara", "scopes": ["read-only"]});
    let operator = Operator::sign_in(&world, &token(&world, &settings).await).await;
    operator.page("/admin").await;
    let answer = world.client().delete("/api/v1/tokens/mara").await.unwrap();
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = operator.ask("/admin").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/admin/sign-in");
}

#[tokio::test]
async fn a_session_is_asked_for_its_token_s_networks_and_rate() {
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "slow", "scopes": ["read-only"], "rate": 3});
    let operator = Operator::sign_in(&world, &token(&world, &settings).await).await;
    for _ in 0..2 {
        operator.page("/admin").await;
    }
    let answer = operator.ask("/admin").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let elsewhere = json!({"name": "far", "scopes": ["admin"], "from": ["192.0.2.0/24"]});
    let answer = send_token(&world, &token(&world, &elsewhere).await).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn pages_and_sign_ins_are_on_record_without_what_was_typed() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    operator.page("/admin?marked=secret").await;
    let found = |calls: &serde_json::Value, route: &str| {
        calls.as_array().unwrap().iter().any(|call| call["route"] == route)
    };
    let calls = world
        .eventually("/api/v1/audit", |calls| {
            found(calls, "/admin") && found(calls, "/admin/sign-in")
        })
        .await;
    assert!(!calls.to_string().contains("marked"), "{calls:#}");
    let sign_in = calls.as_array().unwrap().iter().find(|c| c["route"] == "/admin/sign-in");
    assert_eq!(sign_in.unwrap()["token"], "admin");
}

#[tokio::test]
async fn the_style_sheet_is_kept_and_a_missing_page_is_a_page() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin").await;
    let address = page.split("rel=\"stylesheet\" href=\"").nth(1).unwrap();
    let address = address.split('"').next().unwrap();
    let style = world.client_with(None).get(address).await.unwrap();
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.header("cache-control").contains("immutable"));
    let missing = operator.ask("/admin/nothing").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.text().contains("<h1>There is no such page"), "{}", missing.text());
    let answer = operator.send(Call::new(Method::DELETE, "/admin")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

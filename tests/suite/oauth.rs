//! Short-lived tokens for clients: RFC 6749 (section 4.4) and RFC 7009.

use crate::support::{assert_problem, invoice};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use serde_json::{Value, json};
use waybill_tests::rest::Call;
use waybill_tests::world::text;
use waybill_tests::{Answer, Backend::Sqlite, Client, World};

const FORM: &str = "application/x-www-form-urlencoded";

/// A client of OAuth: the id of a token and the token.
struct Party {
    id: String,
    secret: String,
}

impl Party {
    async fn new(world: &World, settings: &Value) -> Self {
        let made = world.post("/api/v1/tokens", settings).await;
        Self { id: text(&made, "id"), secret: text(&made, "token") }
    }

    fn basic(&self) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.id, self.secret)))
    }

    async fn post(&self, world: &World, path: &str, form: &str) -> Answer {
        let call = Call::post(path, FORM, form.to_owned()).header("authorization", &self.basic());
        world.client_with(None).send(call).await.unwrap()
    }

    /// Returns a caller with a short-lived token of this client, and the token.
    async fn caller(&self, world: &World, scope: &str) -> (Client, String) {
        let form = format!("grant_type=client_credentials{scope}");
        let answer = self.post(world, "/oauth/token", &form).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let token = text(&answer.json(), "access_token");
        (world.client_with(Some(&token)), token)
    }
}

fn assert_error(answer: &Answer, status: StatusCode, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["error"], error, "{}", answer.text());
    assert!(answer.json()["error_description"].is_string());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_client_gets_a_short_lived_token_with_its_scopes() {
    let Some(world) = World::start(Sqlite).await else { return };
    let scopes = json!({"name": "erp", "scopes": ["flows:read", "endpoints:write"]});
    let erp = Party::new(&world, &scopes).await;
    let answer = erp.post(&world, "/oauth/token", "grant_type=client_credentials").await;
    let given = answer.json();
    assert_eq!((&given["token_type"], &given["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(given["scope"], "endpoints:write flows:read");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));

    let (less, _) = erp.caller(&world, "&scope=flows:read").await;
    assert_eq!(less.get("/api/v1/flows").await.unwrap().status, StatusCode::OK);
    let answer = less.get("/api/v1/endpoints").await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "endpoints:read");
    let form =
        format!("grant_type=client_credentials&client_id={}&client_secret={}", erp.id, erp.secret);
    let in_the_body = Call::post("/oauth/token", FORM, form);
    let answer = world.client_with(None).send(in_the_body).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_request_gets_the_error_that_the_rfc_names() {
    let Some(world) = World::start(Sqlite).await else { return };
    let erp = Party::new(&world, &json!({"name": "erp", "scopes": ["flows:read"]})).await;
    let stranger = Party { id: erp.id.clone(), secret: "wb_guess".to_owned() };
    let other = Party::new(&world, &json!({"name": "other", "scopes": ["flows:read"]})).await;
    let mixed = Party { id: other.id.clone(), secret: erp.secret.clone() };
    let unauthorized = StatusCode::UNAUTHORIZED;
    for wrong in [&stranger, &mixed] {
        let answer = wrong.post(&world, "/oauth/token", "grant_type=client_credentials").await;
        assert_error(&answer, unauthorized, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic"));
    }
    for path in ["/oauth/token", "/oauth/revoke"] {
        let nobody = world.client_with(None).send(Call::post(path, FORM, "")).await.unwrap();
        assert_error(&nobody, unauthorized, "invalid_client");
    }
    let bad = StatusCode::BAD_REQUEST;
    for (form, error) in [
        ("", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&client_id=a&client_secret=b", "invalid_request"),
        ("grant_type=password&username=a&password=b", "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=admin", "invalid_scope"),
        ("grant_type=client_credentials&scope=flows:eat", "invalid_scope"),
    ] {
        assert_error(&erp.post(&world, "/oauth/token", form).await, bad, error);
    }
    let elsewhere = json!({"name": "far", "scopes": ["flows:read"], "from": ["203.0.113.0/24"]});
    let far = Party::new(&world, &elsewhere).await;
    let answer = far.post(&world, "/oauth/token", "grant_type=client_credentials").await;
    assert_error(&answer, StatusCode::FORBIDDEN, "unauthorized_client");
}

#[tokio::test]
async fn a_short_lived_token_is_never_more_than_its_client() {
    let Some(world) = World::start(Sqlite).await else { return };
    let books =
        json!({"name": "books", "scopes": ["events:read"], "tables": ["invoice"], "rate": 4});
    let books = Party::new(&world, &books).await;
    let lead = world.event(&json!({"type": "lead.created", "data": {"id": 1}})).await;
    world.event(&invoice(1)).await;
    let (caller, _) = books.caller(&world, "").await;
    let hidden = caller.get(&format!("/api/v1/events/{lead}")).await.unwrap();
    assert_problem(&hidden, StatusCode::NOT_FOUND, "there is no event");
    let answer = caller.get("/api/v1/events").await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "name one of them");
    // Requesting a token is a call of the client too, so these are its third and fourth.
    let last = caller.get("/api/v1/events?resource=invoice").await.unwrap();
    assert_eq!(last.header("x-ratelimit-remaining"), "0");
    let answer = caller.get("/api/v1/events?resource=invoice").await.unwrap();
    assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS, "4 calls a minute");
    let answer = books.post(&world, "/oauth/token", "grant_type=client_credentials").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!answer.header("retry-after").is_empty());

    world.client().delete(&format!("/api/v1/tokens/{}", books.id)).await.unwrap();
    let answer = caller.get("/api/v1/events?resource=invoice").await.unwrap();
    assert_problem(&answer, StatusCode::UNAUTHORIZED, "not known");
}

#[tokio::test]
async fn a_short_lived_token_loses_what_its_client_loses() {
    let Some(world) = World::start(Sqlite).await else { return };
    let ops = Party::new(&world, &json!({"name": "ops", "scopes": ["admin"]})).await;
    let (caller, _) = ops.caller(&world, "").await;
    assert_eq!(caller.get("/api/v1/tokens").await.unwrap().status, StatusCode::OK);
    let less = json!({"scopes": ["endpoints:read", "events:write"]});
    let path = format!("/api/v1/tokens/{}", ops.id);
    assert_eq!(world.client().patch(&path, &less).await.unwrap().status, StatusCode::OK);
    let made = json!({"name": "mine", "scopes": ["admin"]});
    let answer = caller.post("/api/v1/tokens", &made).await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "`admin`");
    let answer = caller.get("/api/v1/flows").await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "flows:read");
    assert_eq!(caller.get("/api/v1/endpoints").await.unwrap().status, StatusCode::OK);
    let tested = caller.get("/api/v1/auth/test").await.unwrap().data();
    assert_eq!(tested["scopes"], json!(["events:write", "endpoints:read"]));
}

#[tokio::test]
async fn a_short_lived_token_makes_none_that_outlives_it() {
    let Some(world) = World::start(Sqlite).await else { return };
    let ops = Party::new(&world, &json!({"name": "ops", "scopes": ["admin"]})).await;
    let (caller, _) = ops.caller(&world, "").await;
    let made = json!({"name": "mine", "scopes": ["admin"]});
    let answer = caller.post("/api/v1/tokens", &made).await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "more rights than it has itself");
    assert_eq!(answer.json()["errors"][0]["path"], "expires_at");
    let document = json!({"tokens": [made]});
    let answer = caller.put("/api/v1/config", &document).await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "more rights than it has itself");
    // It does not extend the lifetime of its own client either.
    let ending =
        json!({"name": "guest", "scopes": ["admin"], "expires_at": "2099-01-01T00:00:00Z"});
    let guest = Party::new(&world, &ending).await;
    let (caller, _) = guest.caller(&world, "").await;
    let path = format!("/api/v1/tokens/{}", guest.id);
    let answer = caller.patch(&path, &json!({"expires_at": null})).await.unwrap();
    assert_problem(&answer, StatusCode::FORBIDDEN, "more rights than it has itself");
    let answer = caller.patch(&path, &json!({"name": "visitor"})).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn a_client_takes_back_its_own_tokens_and_no_others() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    let settings = |name: &str| json!({"name": name, "scopes": ["flows:read"], "rate": 1000});
    let (one, two) =
        (Party::new(&world, &settings("one")).await, Party::new(&world, &settings("two")).await);
    let (caller, token) = one.caller(&world, "").await;
    let (other, _) = one.caller(&world, "").await;
    let form = format!("token={token}&token_type_hint=access_token");
    let answer = two.post(&world, "/oauth/revoke", &form).await;
    assert_error(&answer, StatusCode::BAD_REQUEST, "invalid_grant");
    assert_eq!(caller.get("/api/v1/flows").await.unwrap().status, StatusCode::OK);

    assert_eq!(one.post(&world, "/oauth/revoke", &form).await.status, StatusCode::OK);
    assert_eq!(one.post(&world, "/oauth/revoke", &form).await.status, StatusCode::OK);
    assert_eq!(one.post(&world, "/oauth/revoke", "token=wbo_x").await.status, StatusCode::OK);
    let answer = caller.get("/api/v1/flows").await.unwrap();
    assert_problem(&answer, StatusCode::UNAUTHORIZED, "revoked");
    assert_eq!(other.get("/api/v1/flows").await.unwrap().status, StatusCode::OK);
    world.restart();
    let answer = world.client_with(Some(&token)).get("/api/v1/flows").await.unwrap();
    assert_problem(&answer, StatusCode::UNAUTHORIZED, "revoked");
}

#[tokio::test]
async fn a_forged_or_foreign_short_lived_token_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let Some(elsewhere) = World::start(Sqlite).await else { return };
    let settings = json!({"name": "erp", "scopes": ["flows:read"]});
    let (here, there) =
        (Party::new(&world, &settings).await, Party::new(&elsewhere, &settings).await);
    let (_, foreign) = there.caller(&elsewhere, "").await;
    let (_, good) = here.caller(&world, "").await;
    let (head, tail) = good.split_at(good.len() / 2);
    let swapped = tail.replacen(|c: char| c.is_ascii_lowercase(), "_", 1);
    for forged in [foreign, format!("{head}{swapped}"), format!("{good}A"), "wbo_".to_owned()] {
        let answer = world.client_with(Some(&forged)).get("/api/v1/flows").await.unwrap();
        assert_problem(&answer, StatusCode::UNAUTHORIZED, "not known");
    }
}

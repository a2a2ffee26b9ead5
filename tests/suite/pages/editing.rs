//! The forms that create, change and delete the objects of operators.

use super::{Operator, hidden_value};
use crate::support::{endpoint_with, invoice};
use hyper::StatusCode;
use rstest::rstest;
use serde_json::json;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::World;
use waybill_tests::server::ADMIN_TOKEN;

const HOSTILE: &str = "\"><script>alert(1)</script>";

/// Returns the text that a page shows once, such as a secret.
fn shown_once(page: &str, label: &str) -> String {
    let rest = page.split(&format!("aria-label=\"{label}\">")).last().unwrap();
    rest.split('<').next().unwrap().to_owned()
}

/// Returns the value of a hidden field as a browser reads it.
fn plain(page: &str, name: &str) -> String {
    hidden_value(page, name).replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&")
}

/// Returns the hidden fields of the form that changes an object.
async fn known_state(operator: &Operator, path: &str) -> [(&'static str, String); 2] {
    let page = operator.page(path).await;
    ["state_tag", "state_was"].map(|name| (name, plain(&page, name)))
}

fn with_state<'f>(
    state: &'f [(&'static str, String); 2],
    fields: &[(&'f str, &'f str)],
) -> Vec<(&'f str, &'f str)> {
    let known = state.iter().map(|(name, text)| (*name, text.as_str()));
    known.chain(fields.iter().copied()).collect()
}

#[rstest]
#[tokio::test]
async fn an_endpoint_is_made_with_every_field_and_its_secret_is_shown_once(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let form = operator.page("/admin/endpoints/new?kind=webhook").await;
    for field in
        ["name=\"url\"", "name=\"retry.schedule\"", "name=\"rate_limit.burst\"", "name=\"where\""]
    {
        assert!(form.contains(field), "{field} in {form}");
    }
    assert!(form.contains("Most concurrent requests"), "the API's description is the hint");
    assert_eq!(hidden_value(&form, "name"), "", "nobody has typed a name yet: {form}");
    let fields = [
        ("name", "erp"),
        ("url", "http://127.0.0.1:9/in"),
        ("events", "invoice.*\r\nlead.created\r\n"),
        ("where", "data.total != \"0\""),
        ("mode", "smart"),
        ("headers", "x-key: one: two"),
        ("signing", "standard"),
        ("signing", "webhook"),
        ("field_map", "{\"exclude\": [\"note\"]}"),
        ("retry.schedule", "1s\r\n2m"),
        ("rate_limit.per_second", "2.5"),
        ("smart.window", "3s"),
        ("ordered", "false"),
        ("ordered", "true"),
        ("enabled", "false"),
    ];
    let made = operator.submit("/admin/endpoints/new", &fields).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    let secret = shown_once(&made.text(), "The secret");
    assert!(secret.starts_with("whsec_"), "{}", made.text());
    let found = world.get("/api/v1/endpoints/erp").await;
    assert_eq!(found["events"], json!(["invoice.*", "lead.created"]));
    assert_eq!(found["where"], "data.total != \"0\"");
    assert_eq!(found["retry"]["schedule"], json!(["1s", "2m"]));
    assert_eq!(found["rate_limit"]["per_second"], 2.5);
    assert_eq!(found["signing"], json!(["standard", "webhook"]));
    assert_eq!((&found["ordered"], &found["enabled"]), (&json!(true), &json!(false)));
    assert!(!operator.page("/admin/endpoints/erp").await.contains(&secret));
}

#[tokio::test]
async fn an_error_stands_at_its_field_and_what_was_typed_stays() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let fields = [
        ("name", HOSTILE),
        ("url", "ftp://elsewhere/"),
        ("max_in_flight", "9999"),
        ("secret", "marked-secret-text"),
        ("enabled", "true"),
    ];
    let answer = operator.submit("/admin/endpoints/new", &fields).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text();
    assert!(page.contains("href=\"#f-url\"") && page.contains("from 1 to 1000"), "{page}");
    assert!(page.contains("aria-invalid=\"true\""), "{page}");
    assert!(
        page.contains("value=\"ftp://elsewhere/\"") && page.contains("value=\"9999\""),
        "{page}"
    );
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;"), "{page}");
    assert!(!page.contains("marked-secret-text"), "a secret does not come back into the page");
    let answer =
        operator.submit("/admin/endpoints/new", &[("url", "http://a/"), ("field_map", "{")]).await;
    let page = answer.text();
    assert!(page.contains("is empty; fill it in") && page.contains("is not JSON"), "{page}");
    assert!(world.get("/api/v1/endpoints").await.as_array().unwrap().is_empty());
}

#[rstest]
#[tokio::test]
async fn a_form_keeps_what_it_does_not_show(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let more = json!({"headers": {"x-key": "marked-value"}, "timeout": "7s"});
    world.endpoint(&endpoint_with("erp", "http://127.0.0.1:9/in?token=marked-token", &more)).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/endpoints/erp/edit").await;
    assert!(!page.contains("marked-") && page.contains("x-key: ***"), "{page}");
    let state = known_state(&operator, "/admin/endpoints/erp/edit").await;
    let fields = [
        ("name", "erp"),
        ("url", "http://127.0.0.1:9/in?token=***"),
        ("headers", "x-key: ***"),
        ("events", "invoice.*"),
        ("signing", "standard"),
        ("timeout", ""),
        ("mode", "async"),
        ("enabled", "true"),
    ];
    let answer = operator.submit("/admin/endpoints/erp/edit", &with_state(&state, &fields)).await;
    assert_eq!(answer.header("location"), "/admin/endpoints/erp", "{}", answer.text());
    let found = world.get("/api/v1/endpoints/erp").await;
    assert!(found["url"].as_str().unwrap().ends_with("?token=marked-token"), "{found}");
    assert!(found.get("timeout").is_none(), "{found}");
}

#[tokio::test]
async fn a_form_does_not_undo_what_another_changed() {
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&endpoint_with("erp", "http://127.0.0.1:9/old", &json!({}))).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let state = known_state(&operator, "/admin/endpoints/erp/edit").await;
    let other = json!({"url": "http://127.0.0.1:9/theirs", "timeout": "9s"});
    world.client().patch("/api/v1/endpoints/erp", &other).await.unwrap();
    let fields = [
        ("name", "erp"),
        ("url", "http://127.0.0.1:9/mine"),
        ("events", "invoice.*"),
        ("mode", "async"),
        ("envelope", "default"),
        ("signing", "standard"),
        ("signing", "perfexapi"),
        ("signing", "webhook"),
        ("retry.schedule", "50ms\n50ms\n50ms"),
        ("on_gone", "retry"),
        ("ordered", "false"),
        ("enabled", "true"),
    ];
    let answer = operator.submit("/admin/endpoints/erp/edit", &with_state(&state, &fields)).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    let page = answer.text();
    assert!(page.contains("127.0.0.1:9/theirs") && page.contains("127.0.0.1:9/mine"), "{page}");
    assert!(
        page.contains("name=\"timeout\" value=\"9s\""),
        "the other's change is in the form: {page}"
    );
    let found = world.get("/api/v1/endpoints/erp").await;
    assert_eq!(found["url"], "http://127.0.0.1:9/theirs");
    let again = ["state_tag", "state_was"].map(|name| (name, plain(&page, name)));
    let mut fields = fields.to_vec();
    fields.push(("timeout", "9s"));
    let answer = operator.submit("/admin/endpoints/erp/edit", &with_state(&again, &fields)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    let found = world.get("/api/v1/endpoints/erp").await;
    assert_eq!(
        (&found["url"], &found["timeout"]),
        (&json!("http://127.0.0.1:9/mine"), &json!("9s"))
    );
}

#[tokio::test]
async fn a_secret_is_rotated_with_a_grace() {
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&endpoint_with("erp", "http://127.0.0.1:9/in", &json!({}))).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    operator.page("/admin/endpoints/erp/rotate").await;
    let answer = operator.submit("/admin/endpoints/erp/rotate", &[("grace", "3d")]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        answer.text().contains("at most <code>24h</code>")
            && answer.text().contains("value=\"3d\"")
    );
    let answer = operator.submit("/admin/endpoints/erp/rotate", &[("grace", "1h")]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let secret = shown_once(&answer.text(), "The secret");
    assert!(secret.starts_with("whsec_"), "{}", answer.text());
    assert!(world.get("/api/v1/endpoints/erp").await["grace_until"].is_string());
}

#[tokio::test]
async fn a_deletion_says_first_what_will_stop() {
    let Some(world) = World::start(Sqlite).await else { return };
    let paused = json!({"enabled": false});
    world.endpoint(&endpoint_with("erp", "http://127.0.0.1:9/in", &paused)).await;
    world.post("/api/v1/flows", &json!({"name": "books", "endpoints": ["erp"]})).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/endpoints/erp/delete").await;
    assert!(page.contains("flows still use it: books"), "{page}");
    let page = operator.page("/admin/flows/books/delete").await;
    assert!(page.contains("do not go to erp through it any more"), "{page}");
    let tag = ("state_tag", plain(&page, "state_tag"));
    let fields = [(tag.0, tag.1.as_str())];
    let answer = operator.submit("/admin/flows/books/delete", &fields).await;
    assert_eq!(answer.header("location"), "/admin/flows", "{}", answer.text());
    let stale = operator.page("/admin/endpoints/erp/delete").await;
    let stale = plain(&stale, "state_tag");
    world.client().patch("/api/v1/endpoints/erp", &json!({"timeout": "9s"})).await.unwrap();
    let answer = operator.submit("/admin/endpoints/erp/delete", &[("state_tag", &stale)]).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{}", answer.text());
    let fresh = plain(&operator.page("/admin/endpoints/erp/delete").await, "state_tag");
    operator.submit("/admin/endpoints/erp/delete", &[("state_tag", &fresh)]).await;
    assert!(world.get("/api/v1/endpoints").await.as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_flow_is_made_and_its_modules_are_rows() {
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&endpoint_with("erp", "http://127.0.0.1:9/in", &json!({}))).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/flows/new").await;
    assert!(page.contains("name=\"endpoints\" value=\"erp\""), "endpoints are offered: {page}");
    let fields =
        [("name", "books"), ("modules[0].name", "none"), ("endpoints", "erp"), ("enabled", "true")];
    let answer = operator.submit("/admin/flows/new", &fields).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text();
    assert!(
        page.contains("#f-modules-0--name")
            && page.contains("there is no module <code>none</code>"),
        "{page}"
    );
    let more = [&fields[..], &[("more_rows", "modules")]].concat();
    let page = operator.submit("/admin/flows/new", &more).await.text();
    assert!(page.contains("name=\"modules[3].name\""), "{page}");
    let answer =
        operator.submit("/admin/flows/new", &[("name", "books"), ("endpoints", "erp")]).await;
    assert_eq!(answer.header("location"), "/admin/flows/books", "{}", answer.text());
    assert_eq!(world.get("/api/v1/flows/books").await["events"], json!(["*"]));
}

#[tokio::test]
async fn an_endpoint_of_another_kind_has_the_fields_of_its_kind() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/endpoints/new").await;
    assert!(page.contains("/admin/endpoints/new?kind=slack"), "{page}");
    let page = operator.page("/admin/endpoints/new?kind=email").await;
    assert!(
        page.contains("name=\"settings.from\"") && !page.contains("name=\"signing\""),
        "{page}"
    );
    let mail = [
        ("kind", "email"),
        ("name", "team"),
        ("url", "smtp://mail.h.example"),
        ("settings.from", "books@h.example"),
        ("settings.to", "a@h.example\r\nb@h.example"),
        ("enabled", "true"),
    ];
    let without = operator.submit("/admin/endpoints/new", &mail[..3]).await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(without.text().contains("href=\"#f-settings-from\""), "{}", without.text());
    operator.submit("/admin/endpoints/new", &mail).await;
    let made = world.get("/api/v1/endpoints/team").await;
    assert_eq!(made["settings"]["to"], json!(["a@h.example", "b@h.example"]), "{made:#}");
    let page = operator.page("/admin/endpoints/team/edit").await;
    assert!(page.contains("value=\"books@h.example\""), "{page}");
    let state = known_state(&operator, "/admin/endpoints/team/edit").await;
    let changed = with_state(&state, &[&mail[1..4], &[("settings.to", "c@h.example")]].concat());
    operator.submit("/admin/endpoints/team/edit", &changed).await;
    let made = world.get("/api/v1/endpoints/team").await;
    assert_eq!(
        (&made["kind"], &made["settings"]["to"]),
        (&json!("email"), &json!(["c@h.example"]))
    );
}

#[tokio::test]
async fn a_source_is_made_after_its_kind_is_chosen() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let page = operator.page("/admin/sources/new").await;
    assert!(page.contains("/admin/sources/new?kind=webhook"), "{page}");
    let page = operator.page("/admin/sources/new?kind=schedule").await;
    assert!(
        page.contains("name=\"schedule.cron\"") && !page.contains("name=\"webhook.scheme\""),
        "{page}"
    );
    let clock = [
        ("kind", "schedule"),
        ("name", "clock"),
        ("schedule.cron", "61 * * * *"),
        ("enabled", "true"),
    ];
    let answer = operator.submit("/admin/sources/new", &clock).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
    assert!(answer.text().contains("href=\"#f-schedule-cron\""), "{}", answer.text());
    let hooks = [
        ("kind", "webhook"),
        ("name", "hooks"),
        ("webhook.scheme", "standard"),
        ("enabled", "true"),
    ];
    let answer = operator.submit("/admin/sources/new", &hooks).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(shown_once(&answer.text(), "The secret").len() > 20);
    assert_eq!(world.get("/api/v1/sources/hooks").await["webhook"]["scheme"], "standard");
    let page = operator.page("/admin/sources/hooks/edit").await;
    assert!(page.contains("name=\"webhook.scheme\"") && !page.contains("name=\"kind\""), "{page}");
}

#[tokio::test]
async fn a_token_is_made_shown_once_and_deleted() {
    let Some(world) = World::start(Sqlite).await else { return };
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let fields = [("name", "mara"), ("scopes", "events:read"), ("scopes", "flows:read")];
    let answer = operator.submit("/admin/tokens/new", &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let token = shown_once(&answer.text(), "The token");
    let mara = Operator::sign_in(&world, &token).await;
    mara.page("/admin/events").await;
    assert!(!operator.page("/admin/tokens/mara").await.contains(&token));
    let answer = operator.submit("/admin/tokens/new", &fields).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text().contains("is already in use"), "{}", answer.text());
    let tag = plain(&operator.page("/admin/tokens/mara/delete").await, "state_tag");
    operator.submit("/admin/tokens/mara/delete", &[("state_tag", &tag)]).await;
    assert_eq!(mara.ask("/admin/events").await.status, StatusCode::SEE_OTHER);
    let page = operator.page("/admin/tokens/admin/delete").await;
    assert!(page.contains("a token cannot revoke itself"), "{page}");
    let tag = plain(&page, "state_tag");
    let answer = operator.submit("/admin/tokens/admin/delete", &[("state_tag", &tag)]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "the own token stays");
}

#[tokio::test]
async fn a_thing_called_new_has_a_page() {
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&endpoint_with("new", "http://127.0.0.1:9/in", &json!({}))).await;
    world.event(&invoice(1)).await;
    let operator = Operator::sign_in(&world, ADMIN_TOKEN).await;
    let list = operator.page("/admin/endpoints").await;
    assert!(list.contains("href=\"/admin/endpoints/%6Eew\""), "{list}");
    let page = operator.page("/admin/endpoints/%6Eew").await;
    assert!(page.contains("<h1>new</h1>"), "{page}");
}

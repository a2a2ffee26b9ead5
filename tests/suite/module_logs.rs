//! What modules wrote lately, by REST and from a shell.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use hyper::StatusCode;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, text};

use crate::modules::{order, with_hostile};
use crate::support::caller;

const LOGS: &str = "/api/v1/modules/hostile/logs";

/// Lets the module write a line about an event; the event's id.
async fn write_line(world: &World, words: &str) -> String {
    world.event(&order(&json!({"do": "log", "text": words}))).await
}

fn messages(found: &Value) -> Vec<String> {
    let lines = found["lines"].as_array().into_iter().flatten();
    lines.map(|line| text(line, "message")).collect()
}

#[tokio::test]
async fn lines_say_where_they_come_from_and_a_follower_goes_on() {
    let Some((world, _receiver)) = with_hostile(Sqlite).await else { return };
    assert_eq!(world.get(LOGS).await["lines"], json!([]));
    let event = write_line(&world, "first").await;
    let found = world.eventually(LOGS, |found| found["lines"][0].is_object()).await;
    let line = &found["lines"][0];
    assert_eq!([&line["message"], &line["flow"], &line["role"]], ["first", "hostile", "filter"]);
    assert_eq!((text(line, "event_id"), &line["version"]), (event, &json!(1)), "{line:#}");
    write_line(&world, "second").await;
    let next = format!("{LOGS}?after={}", found["last"]);
    let found = world.eventually(&next, |found| found["lines"][0].is_object()).await;
    assert_eq!((messages(&found), &found["missed"]), (vec!["second".to_owned()], &json!(0)));
    let newest = world.get(&format!("{LOGS}?limit=1")).await;
    assert_eq!(messages(&newest), ["second"]);
    assert_eq!(world.get(&format!("{LOGS}?since=2999-01-01")).await["lines"], json!([]));
    // A trial is not live.
    world
        .post("/api/v1/modules/hostile/run", &json!({"event": order(&json!({"do": "log"}))}))
        .await;
    assert_eq!(messages(&world.get(LOGS).await).len(), 2);
}

#[tokio::test]
async fn lines_may_quote_events_and_need_the_scope_for_them() {
    let Some((world, _receiver)) = with_hostile(Sqlite).await else { return };
    let both = json!(["modules:read", "events:read"]);
    for (settings, status) in [
        (json!({"name": "a", "scopes": ["modules:read"]}), StatusCode::FORBIDDEN),
        (json!({"name": "b", "scopes": both, "tables": ["invoice"]}), StatusCode::FORBIDDEN),
        (json!({"name": "c", "scopes": both}), StatusCode::OK),
    ] {
        let answer = caller(&world, &settings).await.get(LOGS).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test]
async fn the_command_line_follows_a_module() {
    let Some((world, _receiver)) = with_hostile(Sqlite).await else { return };
    write_line(&world, "before").await;
    world.eventually(LOGS, |found| found["lines"][0].is_object()).await;
    let mut follower = Command::new(binary())
        .args(["module", "logs", "hostile", "--follow", "--since", "1h", "--json"])
        .env("WAYBILL_URL", world.server().address())
        .env("WAYBILL_TOKEN", ADMIN_TOKEN)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let (mut lines, first) = tokio::task::spawn_blocking(move || {
        let first = lines.next();
        (lines, first)
    })
    .await
    .unwrap();
    assert!(first.unwrap().unwrap().contains("before"));
    write_line(&world, "meanwhile").await;
    let next = tokio::task::spawn_blocking(move || lines.next()).await.unwrap();
    assert!(next.unwrap().unwrap().contains("meanwhile"));
    follower.kill().unwrap();
    follower.wait().unwrap();
}

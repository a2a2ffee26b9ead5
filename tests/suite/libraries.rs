//! The webhook libraries of senders and receivers in JavaScript and Python: Waybill accepts what
//! they sign, and they accept what Waybill signs.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::world::skip;

use crate::support::{endpoint_with, invoice};

/// Names the folder where `cargo xtask test` installs the packages of `tests/libraries`.
const LIBRARIES: &str = "WAYBILL_LIBRARIES";

/// A secret in Waybill's own form, and one in the form of other systems.
const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwkR7AbbTg3nQ=", "a secret in words, not in base64"];

/// The language of a library.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Language {
    JavaScript,
    Python,
}
use Language::{JavaScript, Python};

/// Returns a program of `tests/libraries` (`send`, `receive`) in one language, or `None`, visibly,
/// if its libraries are not installed.
pub(crate) fn program(language: Language, name: &str) -> Option<Command> {
    let Some(libraries) = std::env::var_os(LIBRARIES).map(PathBuf::from) else {
        skip(&format!("{LIBRARIES} names no folder; `cargo xtask test` makes one"));
        return None;
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("libraries").join(name);
    let (program, arguments, input): (PathBuf, [OsString; 2], Stdio) = match language {
        // Node searches libraries beside a program; a piped program runs in the working folder.
        JavaScript => {
            let source = File::open(source.with_extension("mjs")).unwrap();
            ("node".into(), ["--input-type=module".into(), "-".into()], source.into())
        }
        Python => {
            let python = libraries.join("python/bin/python");
            (python, ["-B".into(), source.with_extension("py").into()], Stdio::null())
        }
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(libraries).stdin(input).kill_on_drop(true);
    Some(command)
}

/// Returns the statuses of a webhook that a library signed, and of another body under its
/// signature.
async fn sent(language: Language, arguments: [&str; 4]) -> Option<String> {
    let mut sender = program(language, "send")?;
    let output = sender.args(arguments).output().await.unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {complaints}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[rstest]
#[case(JavaScript, "standard", json!({"type": "lead.converted", "data": {"id": "é😀"}}))]
#[case(Python, "standard", json!({"type": "lead.converted", "data": {"id": "é😀"}}))]
#[case(JavaScript, "stripe", json!({"type": "invoice.paid", "data": {"object": {"id": "é😀"}}}))]
#[case(JavaScript, "github", json!({"action": "opened", "issue": {"title": "é😀"}}))]
#[case(Python, "slack", json!({"type": "event_callback", "event": {"type": "message", "text": "é😀"}}))]
#[tokio::test]
async fn what_a_library_signs_is_taken(
    #[case] language: Language,
    #[case] scheme: &str,
    #[case] body: Value,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    for (name, secret) in ["first", "second"].into_iter().zip(SECRETS) {
        let webhook = json!({"scheme": scheme});
        let source = json!({"name": name, "kind": "webhook", "webhook": webhook, "secret": secret});
        let path = world.post("/api/v1/sources", &source).await["path"].clone();
        let url = format!("{}{}", world.server().address(), path.as_str().unwrap());
        let arguments = [scheme, secret, &url, &body.to_string()];
        let Some(statuses) = sent(language, arguments).await else { return };
        assert_eq!(statuses, "202 401", "{scheme}, {name} secret");
        let events = world.get(&format!("/api/v1/events?source={name}")).await;
        assert_eq!(events.as_array().unwrap().len(), 1, "{events:#}");
    }
}

/// Starts a receiver that verifies with a library, and returns its URL. It ends with the value.
async fn receiver(language: Language, scheme: &str, secret: &str) -> Option<(Child, String)> {
    let mut receiver = program(language, "receive")?;
    let mut child = receiver.args([scheme, secret]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    Some((child, url))
}

#[rstest]
#[case(JavaScript, "standard")]
#[case(Python, "standard")]
#[case(JavaScript, "stripe")]
#[case(JavaScript, "github")]
#[tokio::test]
async fn what_is_delivered_is_verified_by_a_library(
    #[case] language: Language,
    #[case] scheme: &str,
    #[values(0, 1)] secret: usize,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let (right, wrong) = (SECRETS[secret], SECRETS[1 - secret]);
    let Some((_right, trusting)) = receiver(language, scheme, right).await else { return };
    let Some((_wrong, doubting)) = receiver(language, scheme, wrong).await else { return };
    for (name, url) in [("trusting", &trusting), ("doubting", &doubting)] {
        let signing = json!({
            "secret": right, "signing": ["standard", "stripe", "github"], "retry": {"schedule": []},
        });
        world.endpoint(&endpoint_with(name, url, &signing)).await;
    }
    world.event(&invoice(17)).await;
    for (name, status, response) in [("trusting", "delivered", 204), ("doubting", "dead", 400)] {
        let path = format!("/api/v1/deliveries?endpoint={name}&status={status}");
        let found = world.eventually(&path, |found| found[0].is_object()).await;
        let id = found[0]["id"].as_str().unwrap();
        let shown = world.get(&format!("/api/v1/deliveries/{id}")).await;
        let attempts = shown["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 1, "{shown:#}");
        assert_eq!(attempts[0]["status"], response, "{shown:#}");
    }
}

/// Returns the findings of Zapier's own check for rows of a trigger with this primary key, empty if
/// it passes. Returns `None` if its library is not installed.
async fn zapier_says(rows: &Value, primary: &str) -> Option<String> {
    let mut check = program(JavaScript, "zapier")?;
    let output = check.args([rows.to_string().as_str(), primary]).output().await.unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaints}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[tokio::test]
async fn zapier_tells_the_records_of_two_crms_apart() {
    let Some(world) = World::start(Sqlite).await else { return };
    for source in ["crm-a", "crm-b"] {
        for id in ["17", "18"] {
            let data = json!({"id": id, "total": "1.00", "status": "1"});
            world.event(&json!({"type": "invoice.created", "source": source, "data": data})).await;
        }
    }
    let rows = world.get("/api/v1/invoices").await;
    let Some(by_id) = zapier_says(&rows, "id").await else { return };
    assert!(by_id.contains("primary key should be unique"), "the check checks: {by_id}");
    for primary in ["waybill_key", "waybill_revision"] {
        assert_eq!(zapier_says(&rows, primary).await.as_deref(), Some(""), "{primary}");
    }
    let rows = world.get("/api/v1/invoices?source=crm-a").await;
    assert_eq!(zapier_says(&rows, "id").await.as_deref(), Some(""), "of one CRM");
}

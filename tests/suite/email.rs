//! Endpoints of kind `email`, against a real SMTP server and with messages parsed in another
//! language.

use std::process::Stdio;

use rcgen::{CertifiedKey, KeyPair};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::{Settings, World};

use crate::libraries::{Language, program};
use crate::support::{endpoint_with, merged, problem};

const PASSWORD: &str = "s3cret-of-the-mailbox";

/// A mail server. It ends with the value.
pub(crate) struct MailServer {
    pub(crate) url: String,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl MailServer {
    /// Starts a server with these options. Returns `None`, visibly, if its library is not
    /// installed.
    pub(crate) async fn start(options: &Value) -> Option<Self> {
        let mut server = program(Language::Python, "smtp")?;
        let server = server.arg(options.to_string()).stdout(Stdio::piped());
        let mut child = server.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().unwrap();
        Some(Self { url, lines, _child: child })
    }

    /// Returns the next message that it received.
    pub(crate) async fn taken(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// Returns a header of a message, or an empty text if it is missing.
fn header<'m>(message: &'m Value, name: &str) -> &'m str {
    let headers = message["headers"].as_array().unwrap();
    let found = headers.iter().find(|pair| pair[0] == name);
    found.map(|pair| pair[1].as_str().unwrap()).unwrap_or_default()
}

/// Returns an endpoint for this server.
fn mailbox(url: &str, settings: &Value) -> Value {
    let settings = merged(json!({"from": "Books <books@h.example>"}), settings);
    endpoint_with("mail", url, &json!({"kind": "email", "settings": settings}))
}

fn permit_plain(settings: &mut Settings) {
    settings.set("channels.smtp_without_tls", "true");
}

fn paid(id: u32, more: &Value) -> Value {
    let data = merged(json!({"id": id, "total": "1545.81"}), more);
    json!({"type": "invoice.paid", "resource": "invoice", "resource_id": id.to_string(), "data": data})
}

/// Returns the only delivery with this status, with its attempts.
async fn delivery(world: &World, status: &str) -> Value {
    let path = format!("/api/v1/deliveries?endpoint=mail&status={status}");
    let found = world.eventually(&path, |found| found[0].is_object()).await;
    let id = found[0]["id"].as_str().unwrap();
    world.get(&format!("/api/v1/deliveries/{id}")).await
}

#[rstest]
#[tokio::test]
async fn an_event_becomes_an_email(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(mut server) = MailServer::start(&json!({})).await else { return };
    let Some(world) = World::start_with(backend, permit_plain).await else { return };
    let settings = json!({"to": ["{data.email}"], "bcc": ["archive@h.example"], "tls": "none",
        "unsubscribe": "https://h.example/u?id={data.id}"});
    world.endpoint(&mailbox(&server.url, &settings)).await;
    world.event(&paid(17, &json!({"email": "ada@h.example", "note": "<b>ü</b>"}))).await;

    let message = server.taken().await;
    let delivered = delivery(&world, "delivered").await;
    let id = delivered["id"].as_str().unwrap();
    assert_eq!(header(&message, "message-id"), format!("<{id}@h.example>"));
    assert_eq!(message["to"], json!(["ada@h.example", "archive@h.example"]));
    assert_eq!(header(&message, "to"), "ada@h.example");
    assert_eq!(header(&message, "bcc"), "");
    assert_eq!(header(&message, "subject"), "invoice.paid: invoice 17");
    assert_eq!(header(&message, "list-unsubscribe"), "<https://h.example/u?id=17>");
    assert!(message["text"].as_str().unwrap().contains("note: <b>ü</b>"), "{message:#}");
    assert!(message["html"].as_str().unwrap().contains("&lt;b&gt;ü&lt;/b&gt;"), "{message:#}");
    let attempt = &delivered["attempts"][0];
    assert_eq!(attempt["status"], 250, "{attempt:#}");
    assert_eq!(attempt["response_body"], "2.0.0 taken", "{attempt:#}");
}

#[tokio::test]
async fn an_event_writes_neither_headers_nor_recipients() {
    let Some(mut server) = MailServer::start(&json!({})).await else { return };
    let Some(world) = World::start_with(Sqlite, permit_plain).await else { return };
    let settings = json!({"to": ["{data.name} <ada@h.example>"], "tls": "none",
        "subject": "About {data.name}", "text": "Dear {data.name}"});
    world.endpoint(&mailbox(&server.url, &settings)).await;
    let name = "x\r\nBcc: evil@evil.example\r\n\r\n.\r\nRCPT TO:<evil@evil.example>";
    world.event(&paid(1, &json!({ "name": name }))).await;
    let message = server.taken().await;
    assert_eq!(message["to"], json!(["ada@h.example"]));
    assert_eq!(header(&message, "bcc"), "");
    assert!(header(&message, "subject").starts_with("About x"), "{message:#}");
    assert!(message["text"].as_str().unwrap().contains("RCPT TO:<evil@evil.example>"));
    delivery(&world, "delivered").await;
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_again_and_what_is_refused_for_good_is_dead() {
    let Some(mut server) = MailServer::start(&json!({})).await else { return };
    let Some(world) = World::start_with(Sqlite, permit_plain).await else { return };
    let settings = json!({"to": ["{data.to}"], "tls": "none", "subject": "{data.about}"});
    world.endpoint(&mailbox(&server.url, &settings)).await;
    world.event(&paid(1, &json!({"to": "later@h.example", "about": "one"}))).await;
    assert_eq!(server.taken().await["to"], json!(["later@h.example"]));
    let delivered = delivery(&world, "delivered").await;
    let attempts = delivered["attempts"].as_array().unwrap();
    let statuses: Vec<&Value> = attempts.iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, [451, 250], "{delivered:#}");
    assert_eq!(attempts[0]["error_class"], "deferred");

    for (id, to, about, status) in [
        (2, "never@h.example", "two", json!(550)),
        (3, "ada@h.example", "spam", json!(554)),
        (4, "not an address", "four", Value::Null),
    ] {
        let event = world.event(&paid(id, &json!({"to": to, "about": about}))).await;
        let path = format!("/api/v1/events/{event}");
        let dead = |found: &Value| found["deliveries"][0]["status"] == "dead";
        let trace = world.eventually(&path, dead).await;
        let attempts = trace["deliveries"][0]["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 1, "{trace:#}");
        assert_eq!(attempts[0]["status"], status, "{trace:#}");
        assert_eq!(attempts[0]["error_class"], "rejected", "{trace:#}");
    }
    let letters = world.get("/api/v1/dead-letters").await;
    let reasons = letters.as_array().unwrap().iter().map(|letter| &letter["reason"]);
    assert_eq!(reasons.collect::<Vec<_>>(), ["rejected"; 3], "{letters:#}");
}

/// Writes a certificate for 127.0.0.1 into a folder, and returns a server's options for it.
fn certificate(folder: &TempDir) -> Value {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("mail.crt"), folder.path().join("mail.key"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, KeyPair::serialize_pem(&signing_key)).unwrap();
    json!({"certificate": certificate, "key": key, "user": "books", "password": PASSWORD})
}

#[rstest]
#[tokio::test]
async fn a_login_goes_over_verified_tls_alone(#[values("starttls", "tls")] tls: &str) {
    let folder = TempDir::new().unwrap();
    let options = merged(certificate(&folder), &json!({ "tls": tls }));
    let Some(mut server) = MailServer::start(&options).await else { return };
    let authority = options["certificate"].as_str().unwrap().to_owned();
    let trust = |settings: &mut Settings| {
        settings.set("delivery.ca_file", &authority);
    };
    let settings = json!({"to": ["ada@h.example"], "tls": tls, "username": "books",
        "password": PASSWORD});
    for trusts in [false, true] {
        let started = if trusts {
            World::start_with(Sqlite, trust).await
        } else {
            World::start(Sqlite).await
        };
        let Some(world) = started else { return };
        let made = world.endpoint(&mailbox(&server.url, &settings)).await;
        assert_eq!(made["settings"]["password"], "***");
        assert_eq!(made.get("secret"), None, "nothing is signed");
        world.event(&paid(17, &json!({}))).await;
        if trusts {
            assert_eq!(server.taken().await["encrypted"], true);
            delivery(&world, "delivered").await;
        } else {
            let dead = delivery(&world, "dead").await;
            assert_eq!(dead["attempts"][0]["error_class"], "tls", "{dead:#}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_the_end_of_a_message() {
    let folder = TempDir::new().unwrap();
    let options = merged(certificate(&folder), &json!({"tls": "starttls"}));
    let Some(mut server) = MailServer::start(&options).await else { return };
    let authority = options["certificate"].as_str().unwrap().to_owned();
    let trust = |settings: &mut Settings| {
        settings.set("delivery.ca_file", &authority);
    };
    let Some(world) = World::start_with(Sqlite, trust).await else { return };
    let settings = json!({"to": ["ada@h.example"], "username": "books", "password": "wrong-one"});
    let wrong = mailbox(&server.url, &settings);
    let made = world.endpoint(&wrong).await;
    world.event(&paid(17, &json!({}))).await;
    let dead = delivery(&world, "dead").await;
    assert_eq!(dead["attempts"][0]["status"], 535, "{dead:#}");
    assert_eq!(dead["attempts"].as_array().unwrap().len(), 4, "it was tried on the schedule");

    let path = format!("/api/v1/endpoints/{}", made["id"].as_str().unwrap());
    let right = merged(wrong["settings"].clone(), &json!({ "password": PASSWORD }));
    let changed = world.client().patch(&path, &json!({ "settings": right })).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    world
        .post(&format!("/api/v1/deliveries/{}/replay", dead["id"].as_str().unwrap()), &json!({}))
        .await;
    assert_eq!(server.taken().await["from"], "books@h.example");
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing_unless_that_is_permitted() {
    let Some(server) = MailServer::start(&json!({})).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"to": ["ada@h.example"]});
    let plain = mailbox(&server.url, &merged(settings.clone(), &json!({"tls": "none"})));
    let answer = world.client().post("/api/v1/endpoints", &plain).await.unwrap();
    let faults = problem(&answer, 422);
    assert_eq!(faults[0].0, "settings.tls", "{faults:?}");
    world.endpoint(&mailbox(&server.url, &settings)).await;
    world.event(&paid(17, &json!({}))).await;
    let dead = delivery(&world, "dead").await;
    assert_eq!(dead["attempts"][0]["error_class"], "tls", "{dead:#}");
}

#[tokio::test]
async fn a_mail_server_is_dialled_at_permitted_addresses_alone() {
    let guard = |settings: &mut Settings| {
        settings.set("delivery.allow_networks", "[]");
    };
    let Some(world) = World::start_with(Sqlite, guard).await else { return };
    for url in ["smtp://127.0.0.1:2525", "smtp://localhost:2525", "smtp://2130706433:2525"] {
        let settings = json!({"to": ["ada@h.example"]});
        let made = world.endpoint(&mailbox(url, &settings)).await;
        world.event(&paid(17, &json!({}))).await;
        let dead = delivery(&world, "dead").await;
        assert_eq!(dead["attempts"][0]["error_class"], "address_forbidden", "{url}: {dead:#}");
        let path = format!("/api/v1/endpoints/{}", made["id"].as_str().unwrap());
        let answer = world.client().delete(&path).await.unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

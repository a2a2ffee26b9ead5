//! The receivers of the table: a real server of each kind, and what it has got.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, Settings};

use super::gate::Gate;
use crate::email::MailServer;
use crate::objects::ObjectServer;
use crate::queues::{self, Broker};
use crate::sql_tables::{Engine, Target as SqlTarget};

/// What chats and mails show of an event.
const NUMBER: &str = "eventno {data.id};";
/// The paths of the target and of the endpoint that is refused.
const TAKEN: &str = "/target";
const REFUSED: &str = "/refused";

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetKind {
    Webhook,
    Slack,
    Teams,
    Email,
    Amqp,
    Nats,
    Kafka,
    Mqtt,
    Postgres,
    MariaDb,
    File,
    S3,
}

impl TargetKind {
    /// Returns the name of the row.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Email => "email",
            Self::Amqp => "amqp",
            Self::Nats => "nats",
            Self::Kafka => "kafka",
            Self::Mqtt => "mqtt",
            Self::Postgres => "sql (PostgreSQL)",
            Self::MariaDb => "sql (MariaDB)",
            Self::File => "file",
            Self::S3 => "s3",
        }
    }

    /// Returns the name of the kind of endpoint.
    fn kind(self) -> &'static str {
        self.name().split(' ').next().unwrap()
    }
}

/// A delivery that a receiver has got: the number of its event, and the id by which a repeat is
/// recognised, which is empty if there is none or none is needed.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) number: u32,
    pub(super) id: String,
}

/// A receiver behind a [`Gate`], unless it is a folder.
pub(super) struct Target {
    kind: TargetKind,
    gate: Option<Gate>,
    server: TargetServer,
}

enum TargetServer {
    Http(Receiver),
    Mail(MailBox),
    Broker(Broker),
    Sql(SqlTarget),
    Folder(TempDir),
    Objects(ObjectServer),
}

/// A mail server whose messages are gathered in the background.
struct MailBox {
    url: String,
    got: Arc<Mutex<Vec<Value>>>,
    gathering: JoinHandle<()>,
}

impl Drop for MailBox {
    fn drop(&mut self) {
        self.gathering.abort();
    }
}

impl MailBox {
    async fn start() -> Option<Self> {
        let mut server = MailServer::start(&json!({})).await?;
        let (url, got) = (server.url.clone(), Arc::default());
        let gathered: Arc<Mutex<Vec<Value>>> = Arc::clone(&got);
        let gathering = tokio::spawn(async move {
            loop {
                let message = server.taken().await;
                gathered.lock().unwrap().push(message);
            }
        });
        Some(Self { url, got, gathering })
    }
}

impl Target {
    /// Starts a receiver. Returns `None`, visibly, if it is not installed.
    pub(super) async fn start(kind: TargetKind) -> Option<Self> {
        let broker = async |kind| Broker::start(kind).await.map(TargetServer::Broker);
        let server = match kind {
            TargetKind::Webhook | TargetKind::Slack | TargetKind::Teams => {
                TargetServer::Http(Receiver::start().await)
            }
            TargetKind::Email => TargetServer::Mail(MailBox::start().await?),
            TargetKind::Amqp => broker(queues::Kind::Amqp).await?,
            TargetKind::Nats => broker(queues::Kind::Nats).await?,
            TargetKind::Kafka => broker(queues::Kind::Kafka).await?,
            TargetKind::Mqtt => broker(queues::Kind::Mqtt).await?,
            TargetKind::Postgres => TargetServer::Sql(SqlTarget::start(Engine::Postgre).await?),
            TargetKind::MariaDb => TargetServer::Sql(SqlTarget::start(Engine::Maria).await?),
            TargetKind::File => TargetServer::Folder(tempfile::tempdir().unwrap()),
            TargetKind::S3 => TargetServer::Objects(ObjectServer::start().await?),
        };
        let mut target = Self { kind, gate: None, server };
        if let Some(port) = port_of(&target.url()) {
            let gate = Gate::to(port).await;
            if let TargetServer::Broker(Broker::Kafka(server)) = &mut target.server {
                server.announce(&format!("tcp://127.0.0.1:{}", gate.port())).unwrap();
            }
            target.gate = Some(gate);
        }
        if let TargetServer::Http(receiver) = &target.server {
            let answer = |status| Reply::Full { status, headers: Vec::new(), body: Bytes::new() };
            receiver.always(TAKEN, answer(200));
            receiver.always(REFUSED, answer(400));
        }
        Some(target)
    }

    /// Returns the address of the server itself.
    fn url(&self) -> String {
        match &self.server {
            TargetServer::Http(receiver) => receiver.url(""),
            TargetServer::Mail(mail) => mail.url.clone(),
            TargetServer::Broker(broker) => broker.url(),
            TargetServer::Sql(database) => database.place().0,
            TargetServer::Folder(folder) => format!("file://{}/out", folder.path().display()),
            TargetServer::Objects(server) => server.url(),
        }
    }

    /// Returns the address at which Waybill reaches it.
    fn reached_at(&self, path: &str) -> String {
        let url = self.url();
        let url = match (port_of(&url), &self.gate) {
            (Some(port), Some(gate)) => {
                url.replacen(&format!(":{port}"), &format!(":{}", gate.port()), 1)
            }
            _ => url,
        };
        if matches!(self.server, TargetServer::Http(_)) { format!("{url}{path}") } else { url }
    }

    /// Permits what the kind needs in the settings of the program.
    pub(super) fn permit(&self, settings: &mut Settings) {
        match &self.server {
            TargetServer::Mail(_) => {
                settings.set("channels.smtp_without_tls", "true");
            }
            TargetServer::Folder(folder) => {
                let list = format!("[{:?}]", folder.path().to_str().unwrap());
                settings.set("channels.file_directories", &list);
            }
            TargetServer::Http(_)
            | TargetServer::Broker(_)
            | TargetServer::Sql(_)
            | TargetServer::Objects(_) => {}
        }
    }

    /// Returns kind, address and settings of an endpoint for it.
    pub(super) fn endpoint(&self) -> Value {
        let settings = match &self.server {
            TargetServer::Http(_) if self.kind == TargetKind::Webhook => json!({}),
            TargetServer::Http(_) => json!({"text": NUMBER}),
            TargetServer::Mail(_) => mail("books@h.example"),
            TargetServer::Broker(broker) => broker.kind().settings(),
            TargetServer::Sql(database) => sql(database, "seen"),
            TargetServer::Folder(_) => json!({}),
            TargetServer::Objects(server) => {
                server.settings(&json!({"max_items": 100, "max_wait": "50ms"}))
            }
        };
        self.with_settings(TAKEN, &settings)
    }

    /// Returns the same for an endpoint whose deliveries it refuses.
    pub(super) fn refusing(&self) -> Option<Value> {
        let settings = match &self.server {
            TargetServer::Http(_) => json!({}),
            TargetServer::Mail(_) => mail("never@h.example"),
            TargetServer::Broker(broker) => broker.kind().refused_settings(),
            TargetServer::Sql(database) => sql(database, "nowhere"),
            // A folder that is not permitted is refused when the endpoint is made.
            TargetServer::Folder(_) => return None,
            TargetServer::Objects(server) => server.settings(&json!({"bucket": "nowhere"})),
        };
        Some(self.with_settings(REFUSED, &settings))
    }

    fn with_settings(&self, path: &str, settings: &Value) -> Value {
        json!({"kind": self.kind.kind(), "url": self.reached_at(path), "settings": settings})
    }

    /// Closes the line, so that it cannot be reached. Returns false if there is none.
    pub(super) async fn close(&self) -> bool {
        let Some(gate) = &self.gate else { return false };
        gate.close(true);
        tokio::task::yield_now().await;
        true
    }

    /// Opens the line again.
    pub(super) fn open(&self) {
        if let Some(gate) = &self.gate {
            gate.close(false);
        }
    }

    /// Delays what it sends. Returns false if there is no line.
    pub(super) fn delay(&self, delay: Duration) -> bool {
        self.gate.as_ref().map(|gate| gate.delay(delay)).is_some()
    }

    /// Restarts it, or cuts its line if it serves others too. Returns false for a folder.
    pub(super) async fn restart(&mut self) -> bool {
        if let TargetServer::Broker(broker) = &mut self.server {
            broker.stop();
            broker.resume();
            return true;
        }
        let is_closed = self.close().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.open();
        is_closed
    }

    /// Adds what has come, or replaces it if everything can be read again. All numbers below
    /// `count` have been delivered.
    pub(super) async fn read(&mut self, got: &mut Vec<Arrived>, count: u32) {
        let found = match &self.server {
            TargetServer::Http(receiver) => {
                let arrivals = receiver.arrivals(TAKEN);
                let is_signed = self.kind == TargetKind::Webhook;
                let arrived = |arrival: &waybill_tests::Arrival| {
                    let body = String::from_utf8_lossy(&arrival.body).into_owned();
                    if is_signed {
                        of_body(&arrival.json(), arrival.header("webhook-id"))
                    } else {
                        Arrived { number: shown_number(&body), id: String::new() }
                    }
                };
                arrivals.iter().map(arrived).collect()
            }
            TargetServer::Mail(mail) => mail.read(count).await,
            TargetServer::Broker(broker) => {
                // Mosquitto hands each message out once.
                let is_drained = broker.kind() == queues::Kind::Mqtt;
                let seen: BTreeSet<u32> = got.iter().map(|one| one.number).collect();
                let known = if is_drained { seen.len() } else { 0 };
                let read = broker.read(usize::try_from(count).unwrap() - known).await;
                let read = read.iter().map(|one| of_body(&one["body"], &text(one, "id")));
                let earlier = got.iter().filter(|_| is_drained).cloned();
                earlier.chain(read).collect()
            }
            TargetServer::Sql(database) => {
                let cast = if self.kind == TargetKind::Postgres { "TEXT" } else { "CHAR(10)" };
                let numbers = database.texts(&format!("SELECT CAST(no AS {cast}) FROM seen")).await;
                let row = |no: &String| Arrived { number: no.parse().unwrap(), id: String::new() };
                numbers.iter().map(row).collect()
            }
            TargetServer::Folder(folder) => {
                let files = std::fs::read_dir(folder.path().join("out")).unwrap();
                let texts =
                    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
                texts.flat_map(|text| of_lines(&text)).collect()
            }
            TargetServer::Objects(server) => {
                let objects = server.read().await;
                objects.iter().flat_map(|object| of_lines(&text(object, "body"))).collect()
            }
        };
        *got = found;
    }
}

impl MailBox {
    /// Waits until each number below `count` has come.
    async fn read(&self, count: u32) -> Vec<Arrived> {
        for _ in 0..6_000 {
            let messages = self.got.lock().unwrap().clone();
            let arrived: Vec<Arrived> = messages.iter().map(of_message).collect();
            let numbers: BTreeSet<u32> = arrived.iter().map(|one| one.number).collect();
            if numbers.len() >= usize::try_from(count).unwrap() {
                return arrived;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not all mails came");
    }
}

fn of_message(message: &Value) -> Arrived {
    let header = |name: &str| {
        let headers = message["headers"].as_array().unwrap();
        let found = headers.iter().find(|pair| pair[0] == name).unwrap();
        found[1].as_str().unwrap().to_owned()
    };
    Arrived { number: shown_number(&header("subject")), id: header("message-id") }
}

/// Returns the number that [`NUMBER`] shows in a text.
fn shown_number(text: &str) -> u32 {
    let (_, rest) = text.split_once("eventno ").unwrap();
    rest.split(';').next().unwrap().parse().unwrap()
}

fn of_body(body: &Value, id: &str) -> Arrived {
    let number = body["payload"]["id"].as_u64().unwrap();
    Arrived { number: u32::try_from(number).unwrap(), id: id.to_owned() }
}

fn of_lines(lines: &str) -> Vec<Arrived> {
    let body = |line| {
        let body: Value = serde_json::from_str(line).unwrap();
        of_body(&body, &text(&body, "delivery_id"))
    };
    lines.lines().map(body).collect()
}

fn mail(to: &str) -> Value {
    json!({"from": "Books <books@h.example>", "to": [to], "tls": "none", "subject": NUMBER})
}

fn sql(database: &SqlTarget, table: &str) -> Value {
    json!({
        "username": database.place().1, "password": "", "tls": "off", "table": table,
        "columns": {"no": "data.id"},
    })
}

/// Returns the port in a URL.
fn port_of(url: &str) -> Option<u16> {
    let (_, rest) = url.split_once("127.0.0.1:")?;
    rest.split('/').next()?.parse().ok()
}

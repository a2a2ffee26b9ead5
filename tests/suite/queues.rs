//! Endpoints of the kinds `nats`, `amqp`, `mqtt` and `kafka`, against real servers. The usual Python
//! client of each reads the published messages back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use waybill_servers::{KafkaBroker, Mosquitto, NatsServer, RabbitMq};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::world::{skip, text};

use crate::support::{invoice, merged, patient_schedule, problem};

/// Names the folder where `cargo xtask test` installs the packages of `tests/libraries`.
const LIBRARIES: &str = "WAYBILL_LIBRARIES";

/// The name of the endpoint.
const QUEUE: &str = "queue";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nats,
    Amqp,
    Mqtt,
    Kafka,
}
use Kind::{Amqp, Kafka, Mqtt, Nats};

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Nats => "nats",
            Amqp => "amqp",
            Mqtt => "mqtt",
            Kafka => "kafka",
        }
    }

    /// Returns settings that publish to a place which `prepare` made.
    pub(crate) fn settings(self) -> Value {
        match self {
            Nats => json!({"subject": "crm.{type}"}),
            Amqp => {
                json!({"exchange": "events", "routing_key": "crm.{type}", "username": "guest", "password": "guest"})
            }
            Mqtt => json!({"topic": "crm/{type}", "username": "waybill", "password": "s3cret"}),
            Kafka => json!({"topic": "crm.{type}"}),
        }
    }

    /// Returns settings for a place that refuses.
    pub(crate) fn refused_settings(self) -> Value {
        let mut settings = self.settings();
        match self {
            Nats => settings["subject"] = json!("nowhere.{type}"),
            Amqp => settings["routing_key"] = json!("nowhere.{type}"),
            Mqtt => settings["topic"] = json!("forbidden/{type}"),
            Kafka => settings["topic"] = json!("nowhere.{type}"),
        }
        settings
    }

    /// Returns the place of an invoice that was paid.
    const fn place(self) -> &'static str {
        match self {
            Nats | Amqp | Kafka => "crm.invoice.paid",
            Mqtt => "crm/invoice.paid",
        }
    }
}

/// A server of the test.
#[derive(Debug)]
pub(crate) enum Broker {
    Nats(NatsServer),
    Amqp(RabbitMq),
    Mqtt(Mosquitto),
    Kafka(KafkaBroker),
}

impl Broker {
    /// Starts a server. Returns `None`, visibly, if it or its reader is not installed.
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        let is_installed = match kind {
            Nats => NatsServer::is_installed(),
            Amqp => RabbitMq::is_installed(),
            Mqtt => Mosquitto::is_installed(),
            Kafka => KafkaBroker::is_installed(&libraries()?),
        };
        if !is_installed {
            skip(&format!("the server of {} is not on this machine", kind.name()));
            return None;
        }
        let libraries = libraries()?;
        let broker = match kind {
            Nats => Self::Nats(NatsServer::start().unwrap()),
            Amqp => Self::Amqp(RabbitMq::start().unwrap()),
            Mqtt => Self::Mqtt(Mosquitto::start().unwrap()),
            Kafka => Self::Kafka(KafkaBroker::start(&libraries).unwrap()),
        };
        broker.run(&["prepare"]).await;
        Some(broker)
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Nats(_) => Nats,
            Self::Amqp(_) => Amqp,
            Self::Mqtt(_) => Mqtt,
            Self::Kafka(_) => Kafka,
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Nats(server) => server.url(),
            Self::Amqp(server) => server.url(),
            Self::Mqtt(server) => server.url(),
            Self::Kafka(server) => server.url(),
        }
    }

    pub(crate) fn stop(&mut self) {
        match self {
            Self::Nats(server) => server.stop(),
            Self::Amqp(server) => server.stop(),
            Self::Mqtt(server) => server.stop(),
            Self::Kafka(server) => server.stop(),
        }
        .unwrap();
    }

    pub(crate) fn resume(&mut self) {
        match self {
            Self::Nats(server) => server.resume(),
            Self::Amqp(server) => server.resume(),
            Self::Mqtt(server) => server.resume(),
            Self::Kafka(server) => server.resume(),
        }
        .unwrap();
    }

    /// Runs the reader of `tests/libraries` and returns its output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "").await
    }

    /// Like [`Self::run`], with this text as its standard input.
    pub(crate) async fn run_with(&self, arguments: &[&str], input: &str) -> String {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("libraries/queues.py");
        let python = libraries().unwrap().join("python/bin/python");
        let mut reader = Command::new(python);
        reader.arg("-B").arg(source).args([self.kind().name(), &self.url()]).args(arguments);
        reader.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = reader.kill_on_drop(true).spawn().unwrap();
        let mut stdin = running.stdin.take().unwrap();
        // A reader that ends early reports the reason by its status.
        let _written = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = running.wait_with_output().await.unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {complaints}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Reads until there are `count` different messages, in the order in which they came.
    pub(crate) async fn read(&self, count: usize) -> Vec<Value> {
        let printed = self.run(&["read", &count.to_string()]).await;
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn endpoint(&self, settings: &Value) -> Value {
        json!({
            "name": QUEUE, "kind": self.kind().name(), "url": self.url(), "settings": settings,
            "events": ["invoice.*"], "timeout": "10s", "retry": {"schedule": patient_schedule()},
        })
    }
}

fn libraries() -> Option<PathBuf> {
    let folder = std::env::var_os(LIBRARIES).map(PathBuf::from);
    if folder.is_none() {
        skip(&format!("{LIBRARIES} names no folder; `cargo xtask test` makes one"));
    }
    folder
}

/// Captures invoices with these numbers.
async fn capture(world: &World, numbers: std::ops::Range<u32>) {
    let events: Vec<Value> = numbers.map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
}

/// Waits until nothing is waiting. Returns the ids of all deliveries, each delivered.
async fn all_delivered(world: &World, count: usize) -> BTreeSet<String> {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
    let mut ids = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/deliveries?limit=200&status=delivered{cursor}");
        let page = world.client().get(&path).await.unwrap();
        ids.extend(page.data().as_array().unwrap().iter().map(|delivery| text(delivery, "id")));
        match page.json()["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), count);
    ids
}

/// Checks that a broker has exactly these deliveries, some perhaps more than once.
async fn assert_read(broker: &Broker, ids: &BTreeSet<String>) {
    let mut read = BTreeMap::<String, u32>::new();
    for message in broker.read(ids.len()).await {
        assert_eq!(message["body"]["delivery_id"], message["id"], "a repeat is known by its id");
        *read.entry(text(&message, "id")).or_default() += 1;
    }
    assert_eq!(read.into_keys().collect::<BTreeSet<String>>(), *ids);
}

/// Returns the only delivery, once an attempt of it failed.
async fn failed_delivery(world: &World) -> Value {
    let tried = |found: &Value| found[0]["attempt_count"].as_u64().is_some_and(|n| n > 0);
    let found = world.eventually("/api/v1/deliveries?limit=1", tried).await;
    world.get(&format!("/api/v1/deliveries/{}", text(&found[0], "id"))).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_published_with_the_id_of_its_delivery(
    #[values(Nats, Amqp, Mqtt, Kafka)] kind: Kind,
) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let made = world.endpoint(&broker.endpoint(&kind.settings())).await;
    assert!(!made.to_string().contains("s3cret"), "{made}");
    capture(&world, 0..3).await;
    let ids = all_delivered(&world, 3).await;
    let read = broker.read(3).await;
    assert_eq!(read.iter().map(|message| text(message, "id")).collect::<BTreeSet<_>>(), ids);
    for message in &read {
        assert_eq!(message["place"], kind.place());
        assert_eq!(message["body"]["event"], "invoice.paid");
        assert_eq!(message["body"]["delivery_id"], message["id"]);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_while_the_server_was_down_is_published_later(
    #[values(Nats, Amqp, Mqtt, Kafka)] kind: Kind,
) {
    let Some(mut broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&broker.endpoint(&kind.settings())).await;
    broker.stop();
    capture(&world, 0..5).await;
    let failed = failed_delivery(&world).await;
    let class = text(&failed["attempts"][0], "error_class");
    assert!(["connect", "connection_lost"].contains(&class.as_str()), "{failed}");
    broker.resume();
    let ids = all_delivered(&world, 5).await;
    assert_read(&broker, &ids).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_not_delivered(#[values(Nats, Amqp, Mqtt, Kafka)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&broker.endpoint(&kind.refused_settings())).await;
    capture(&world, 0..1).await;
    let failed = failed_delivery(&world).await;
    assert_ne!(failed["status"], "delivered", "{failed}");
    let attempt = &failed["attempts"][0];
    assert_eq!(attempt["error_class"], "deferred", "{attempt}");
    let why = match kind {
        Nats => "no stream takes",
        Amqp => "no queue takes",
        Mqtt => "may not publish",
        Kafka => "does not exist",
    };
    assert!(text(attempt, "error").contains(why), "{attempt}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_not_repeated(#[values(Amqp, Mqtt)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let mut settings = kind.settings();
    settings["password"] = json!("wrong-and-secret");
    world.endpoint(&broker.endpoint(&settings)).await;
    capture(&world, 0..1).await;
    let failed = failed_delivery(&world).await;
    assert!(!failed.to_string().contains("wrong-and-secret"), "{failed}");
    assert_ne!(failed["status"], "delivered", "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_short_of_memory_gets_no_copy_for_each_attempt() {
    const COUNT: u32 = 5;
    let Some(broker) = Broker::start(Amqp).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let Broker::Amqp(server) = &broker else { panic!("it is RabbitMQ") };
    let quick = json!({"timeout": "2s", "retry": {"schedule": vec!["1s"; 50]}});
    world.endpoint(&merged(broker.endpoint(&Amqp.settings()), &quick)).await;
    server.set_memory_alarm(true).unwrap();
    capture(&world, 0..COUNT).await;
    let tried = |found: &Value| {
        let attempts = found.as_array().unwrap().iter().map(|one| one["attempt_count"].as_u64());
        attempts.filter(|attempts| *attempts >= Some(4)).count() == COUNT as usize
    };
    let found = world.eventually("/api/v1/deliveries?limit=200", tried).await;
    let delivery = world.get(&format!("/api/v1/deliveries/{}", text(&found[0], "id"))).await;
    assert!(delivery["attempts"].to_string().contains("connection.blocked"), "{delivery:#}");
    server.set_memory_alarm(false).unwrap();
    all_delivered(&world, COUNT as usize).await;
    // What the broker was sent before it said that it is blocked, and the last attempts.
    let left: u32 = broker.run(&["left"]).await.trim().parse().unwrap();
    assert!((COUNT..=2 * COUNT).contains(&left), "{left} messages");
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_restarts_in_mid_stream(
    #[values(Nats, Amqp, Mqtt, Kafka)] kind: Kind,
) {
    let Some(mut broker) = Broker::start(kind).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&broker.endpoint(&kind.settings())).await;
    let mut captured = 0;
    for _ in 0..3 {
        capture(&world, captured..captured + 100).await;
        captured += 100;
        let begun = |found: &Value| *found != json!([]);
        world.eventually("/api/v1/deliveries?limit=1&status=delivered", begun).await;
        broker.stop();
        capture(&world, captured..captured + 20).await;
        captured += 20;
        broker.resume();
    }
    let ids = all_delivered(&world, 360).await;
    assert_read(&broker, &ids).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_waybill_is_killed(#[values(Nats, Amqp, Mqtt, Kafka)] kind: Kind) {
    let Some(broker) = Broker::start(kind).await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    world.endpoint(&broker.endpoint(&kind.settings())).await;
    for round in 0..3 {
        capture(&world, round * 200..round * 200 + 200).await;
        world.kill9();
        world.restart();
    }
    let ids = all_delivered(&world, 600).await;
    assert_read(&broker, &ids).await;
}

#[rstest]
#[tokio::test]
async fn no_connection_is_made_to_an_address_that_is_not_allowed(
    #[values(Nats, Amqp, Mqtt, Kafka)] kind: Kind,
) {
    let closed = |settings: &mut waybill_tests::Settings| {
        settings.set("delivery.allow_networks", "[]");
    };
    let Some(world) = World::start_with(Sqlite, closed).await else { return };
    // A connection would be noticed here.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = json!({
        "name": QUEUE, "kind": kind.name(), "url": format!("{}://127.0.0.1:{port}", kind.name()),
        "settings": kind.settings(), "events": ["invoice.*"], "retry": {"schedule": ["1h"]},
    });
    world.endpoint(&endpoint).await;
    capture(&world, 0..1).await;
    let failed = failed_delivery(&world).await;
    assert_eq!(failed["attempts"][0]["error_class"], "address_forbidden", "{failed}");
    listener.set_nonblocking(true).unwrap();
    listener.accept().unwrap_err();
}

/// Returns a self-signed certificate for `localhost`, and its key.
pub(crate) fn certificate() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_its_certificate_and_its_name(
    #[values(Nats, Mqtt)] kind: Kind,
    #[values("localhost", "127.0.0.1")] host: &str,
    #[values(true, false)] is_listed: bool,
) {
    if !NatsServer::is_installed() || !Mosquitto::is_installed() {
        skip("NATS or Mosquitto is not on this machine");
        return;
    }
    let (certificate, key) = certificate();
    let (port, _server): (u16, Box<dyn std::any::Any>) = if kind == Nats {
        let server = NatsServer::start_tls(&certificate, &key).unwrap();
        (server.port(), Box::new(server))
    } else {
        let server = Mosquitto::start_tls(&certificate, &key).unwrap();
        (server.port(), Box::new(server))
    };
    let trust = |settings: &mut waybill_tests::Settings| {
        std::fs::write(settings.folder.join("ca.pem"), &certificate).unwrap();
        if is_listed {
            settings.set("delivery.ca_file", "ca.pem");
        }
    };
    let Some(world) = World::start_with(Sqlite, trust).await else { return };
    let scheme = if kind == Nats { "tls" } else { "mqtts" };
    // No stream or subscription exists, so a refusal comes after the handshake.
    let endpoint = json!({
        "name": QUEUE, "kind": kind.name(), "url": format!("{scheme}://{host}:{port}"),
        "settings": kind.refused_settings(), "events": ["invoice.*"], "retry": {"schedule": ["1h"]},
    });
    world.endpoint(&endpoint).await;
    capture(&world, 0..1).await;
    let failed = failed_delivery(&world).await;
    let is_trusted = is_listed && host == "localhost";
    let class = if is_trusted { "deferred" } else { "tls" };
    assert_eq!(failed["attempts"][0]["error_class"], class, "{failed}");
}

#[rstest]
#[case(json!({"kind": "nats", "url": "nats://h", "settings": {"subject": "$JS.API.>"}}), "settings.subject")]
#[case(json!({"kind": "amqp", "url": "amqp://h", "settings": {"routing_key": "a", "username": "u"}}), "settings")]
#[case(json!({"kind": "mqtt", "url": "mqtt://h", "settings": {"topic": "a/#"}}), "settings.topic")]
#[case(json!({"kind": "mqtt", "url": "http://h", "settings": {"topic": "a"}}), "url")]
#[case(json!({"kind": "kafka", "url": "kafka://h", "settings": {"topic": "a", "username": "u"}}), "settings.username")]
#[case(json!({"kind": "nats", "url": "nats://u:p@h", "settings": {"subject": "a"}}), "url")]
#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_their_place(
    #[case] endpoint: Value,
    #[case] place: &str,
) {
    let Some(world) = World::start(Sqlite).await else { return };
    let endpoint = merged(endpoint, &json!({"name": QUEUE, "events": ["*"]}));
    let refused = world.client().post("/api/v1/endpoints", &endpoint).await.unwrap();
    let errors = problem(&refused, 422);
    assert!(errors.iter().any(|(path, _)| path == place), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_kafka_has_the_key_of_its_record_and_headers() {
    let Some(broker) = Broker::start(Kafka).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let endpoint =
        merged(broker.endpoint(&Kafka.settings()), &json!({"envelope": "cloudevents-binary"}));
    world.endpoint(&endpoint).await;
    let events: Vec<Value> = (0..12).map(|number| invoice(number % 4)).collect();
    world.post("/api/v1/events", &json!(events)).await;
    all_delivered(&world, 12).await;
    let read = broker.read(12).await;
    let mut partitions = BTreeMap::<String, BTreeSet<u64>>::new();
    for message in &read {
        assert_eq!(message["headers"]["ce_type"], "invoice.paid", "{message}");
        assert_eq!(message["headers"]["webhook-id"], message["id"], "{message}");
        let partition = message["partition"].as_u64().unwrap();
        partitions.entry(text(message, "key")).or_default().insert(partition);
    }
    assert_eq!(partitions.len(), 4, "{partitions:?}");
    assert!(partitions.values().all(|found| found.len() == 1), "{partitions:?}");
}

#[rstest]
#[case("scram-sha-256", "the user name or the password")]
#[case("scram-sha-512", "the user name or the password")]
#[case("plain", "closed it during the log-in")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_kafka_refuses_a_login(#[case] mechanism: &str, #[case] why: &str) {
    let Some(libraries) = libraries() else { return };
    if !KafkaBroker::is_installed(&libraries) {
        return skip("the broker of Kafka's protocol is not on this machine");
    }
    let broker = Broker::Kafka(KafkaBroker::start_for_users(&libraries).unwrap());
    let Some(world) = World::start(Sqlite).await else { return };
    let login = json!({
        "topic": "crm", "username": "waybill", "password": "wrong-and-secret",
        "mechanism": mechanism,
    });
    world.endpoint(&broker.endpoint(&login)).await;
    capture(&world, 0..1).await;
    let failed = failed_delivery(&world).await;
    assert!(!failed.to_string().contains("wrong-and-secret"), "{failed}");
    let attempt = &failed["attempts"][0];
    assert!(text(attempt, "error").contains(why), "{attempt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_a_broker_announces_is_checked_too() {
    let Some(mut broker) = Broker::start(Kafka).await else { return };
    let Broker::Kafka(server) = &mut broker else { panic!("it is a broker of Kafka's protocol") };
    server.announce("tcp://10.255.255.1:9092").unwrap();
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&broker.endpoint(&Kafka.settings())).await;
    capture(&world, 0..1).await;
    let failed = failed_delivery(&world).await;
    let attempt = &failed["attempts"][0];
    assert_eq!(attempt["error_class"], "address_forbidden", "{attempt}");
    assert!(text(attempt, "error").contains("announces the broker 10.255.255.1:9092"), "{attempt}");
}

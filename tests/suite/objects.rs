//! Endpoints of kind `s3`, against a real server that checks every signature. The usual Python
//! client reads the objects back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::server::ADMIN_TOKEN;
use waybill_tests::world::{binary, text};

use crate::libraries::{Language, program};
use crate::support::{endpoint_with, invoice, merged, patient_schedule, problem};

/// The bucket that the server of `tests/libraries` has.
const BUCKET: &str = "crm-events";

/// A server with its keys. It ends with the value.
pub(crate) struct ObjectServer {
    told: Value,
    child: Child,
}

impl ObjectServer {
    /// Starts a real server. Returns `None`, visibly, if its library is not installed.
    pub(crate) async fn start() -> Option<Self> {
        Self::run(&["serve", "0"]).await
    }

    async fn run(arguments: &[&str]) -> Option<Self> {
        let mut server = program(Language::Python, "objects")?;
        let server = server.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = server.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.next_line().await.unwrap().unwrap();
        Some(Self { told: serde_json::from_str(&told).unwrap(), child })
    }

    pub(crate) fn url(&self) -> String {
        text(&self.told, "url")
    }

    /// Returns the settings of an endpoint with the keys that may do everything.
    pub(crate) fn settings(&self, more: &Value) -> Value {
        let keys = json!({
            "bucket": BUCKET, "access_key": self.told["access_key"],
            "secret_key": self.told["secret_key"], "folder": "crm/{type}/{date}",
        });
        merged(keys, more)
    }

    fn endpoint(&self, more: &Value) -> Value {
        json!({
            "name": "lake", "kind": "s3", "url": self.url(), "settings": self.settings(more),
            "events": ["invoice.*"], "retry": {"schedule": patient_schedule()},
        })
    }

    /// Returns the objects of the bucket, as the other client reads them.
    pub(crate) async fn read(&self) -> Vec<Value> {
        let mut reader = program(Language::Python, "objects").unwrap();
        let keys = ["url", "access_key", "secret_key"].map(|name| text(&self.told, name));
        let output = reader.arg("read").args(keys).output().await.unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{complaints}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the delivery ids of all lines of NDJSON in the bucket.
    async fn read_ids(&self) -> Vec<String> {
        let objects = self.read().await;
        let bodies: Vec<String> = objects.iter().map(|object| text(object, "body")).collect();
        let lines = bodies.iter().flat_map(|body| body.lines());
        let id = |line| text(&serde_json::from_str(line).unwrap(), "delivery_id");
        lines.map(id).collect()
    }
}

async fn capture(world: &World, numbers: std::ops::Range<u32>) {
    let events: Vec<Value> = numbers.map(invoice).collect();
    world.post("/api/v1/events", &json!(events)).await;
}

async fn settle(world: &World) {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
}

/// Returns the newest delivery with its attempts, once it has this status.
async fn newest(world: &World, status: &str) -> Value {
    let found =
        world.eventually("/api/v1/deliveries?limit=1", |found| found[0]["status"] == status).await;
    world.get(&format!("/api/v1/deliveries/{}", text(&found[0], "id"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_delivery_is_an_object_with_its_id() {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let settings = json!({"encryption": "AES256", "content_type": "application/json"});
    let made = world.endpoint(&server.endpoint(&settings)).await;
    let secret = text(&server.told, "secret_key");
    assert!(!made.to_string().contains(&secret), "{made}");
    capture(&world, 0..3).await;
    settle(&world).await;
    let objects = server.read().await;
    assert_eq!(objects.len(), 3, "{objects:?}");
    for object in &objects {
        let body: Value = serde_json::from_str(&text(object, "body")).unwrap();
        assert_eq!(body["event"], "invoice.paid");
        let time = text(&body, "timestamp");
        let day = time.split_once('T').unwrap().0;
        let begin = format!("crm/invoice.paid/{day}/{}-", text(&body, "delivery_id"));
        assert!(text(object, "key").starts_with(&begin), "{object}");
        assert_eq!(object["encryption"], "AES256");
        assert_eq!(object["content_type"], "application/json");
    }
    let delivered = newest(&world, "delivered").await;
    assert_eq!(delivered["attempts"][0]["status"], 200);
    assert_eq!(delivered["attempts"][0]["request_headers"]["bucket"], BUCKET);
    assert!(!delivered.to_string().contains(&secret), "{delivered}");
}

#[rstest]
#[case::temporary_keys("127.0.0.1", "path")]
#[case::the_bucket_in_the_host("localhost", "virtual")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_finds_every_signature_right(#[case] host: &str, #[case] addressing: &str) {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let session = &server.told["session"];
    let keys = if addressing == "path" { session.clone() } else { json!({}) };
    let settings = merged(json!({"addressing": addressing}), &keys);
    let url = server.url().replace("127.0.0.1", host);
    world.endpoint(&merged(server.endpoint(&settings), &json!({ "url": url }))).await;
    capture(&world, 0..1).await;
    let delivered = newest(&world, "delivered").await;
    assert_eq!(delivered["attempts"].as_array().unwrap().len(), 1, "{delivered:#}");
    assert_eq!(server.read_ids().await, [text(&delivered, "id")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_come_together_share_an_object() {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let columns = json!([{"name": "Number", "value": "data.id"}]);
    let settings = json!({"max_items": 40, "max_wait": "2s", "format": "csv", "columns": columns});
    world.endpoint(&server.endpoint(&settings)).await;
    capture(&world, 0..80).await;
    settle(&world).await;
    let objects = server.read().await;
    assert!(objects.len() < 80, "{} objects", objects.len());
    let mut numbers = BTreeSet::new();
    for object in &objects {
        let body = text(object, "body");
        let mut lines = body.lines();
        assert_eq!(lines.next(), Some("delivery_id,Number"));
        numbers.extend(lines.map(|line| line.split_once(',').unwrap().1.to_owned()));
        assert_eq!(object["content_type"], "text/csv");
    }
    assert_eq!(numbers, (0..80).map(|n| n.to_string()).collect());
    let delivered = newest(&world, "delivered").await;
    let shared = text(&delivered["attempts"][0]["request_headers"], "deliveries");
    assert!(shared.parse::<u32>().unwrap() > 1, "{delivered:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_recognised_by_its_name() {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&server.endpoint(&json!({}))).await;
    capture(&world, 0..1).await;
    let delivered = newest(&world, "delivered").await;
    let replay = format!("/api/v1/deliveries/{}/replay", text(&delivered, "id"));
    world.post(&replay, &json!({})).await;
    let path = format!("/api/v1/deliveries/{}", text(&delivered, "id"));
    let is_repeated =
        |found: &Value| found["attempts"][1].is_object() && found["status"] == "delivered";
    let repeated = world.eventually(&path, is_repeated).await;
    assert_eq!(repeated["attempts"][1]["status"], 412, "{repeated:#}");
    assert_eq!(server.read().await.len(), 1);
}

#[rstest]
#[case::one_by_one(1)]
#[case::in_batches(25)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_waybill_is_killed(#[case] items: u32) {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(mut world) = World::start(Sqlite).await else { return };
    let settings = json!({"max_items": items, "max_wait": "100ms"});
    world.endpoint(&server.endpoint(&settings)).await;
    for round in 0..3 {
        capture(&world, round * 50..round * 50 + 50).await;
        world.kill9();
        world.restart();
    }
    settle(&world).await;
    let ids = server.read_ids().await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 150, "{} lines", ids.len());
    if items == 1 {
        assert_eq!(ids.len(), 150, "a repeat puts no second object");
    }
}

#[rstest]
#[case::reading_keys(&[], "403", "s3:PutObject")]
#[case::a_wrong_key(&[("secret_key", "wrong")], "403 SignatureDoesNotMatch", "check `secret_key`")]
#[case::no_bucket(&[("bucket", "other-bucket")], "404 NoSuchBucket", "create it")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_will_never_take_is_dead(
    #[case] other: &[(&str, &str)],
    #[case] answer: &str,
    #[case] advice: &str,
) {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let mut settings = json!({});
    if other.is_empty() {
        settings = server.told["reader"].clone();
    }
    for (name, value) in other {
        settings[*name] = json!(value);
    }
    world.endpoint(&server.endpoint(&settings)).await;
    capture(&world, 0..1).await;
    let dead = newest(&world, "dead").await;
    let error = text(&dead["attempts"][0], "error");
    assert!(error.contains(answer) && error.contains(advice), "{error}");
    assert_eq!(dead["attempts"][0]["error_class"], "rejected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_and_a_wrong_clock_cost_no_delivery() {
    let answers =
        ["answer", "503:SlowDown", "403:RequestTimeTooSkewed", "500:InternalError", "200:"];
    let Some(server) = ObjectServer::run(&answers).await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    world.endpoint(&server.endpoint(&json!({}))).await;
    capture(&world, 0..1).await;
    let delivered = newest(&world, "delivered").await;
    let attempts = delivered["attempts"].as_array().unwrap();
    let statuses: Vec<&Value> = attempts.iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, [503, 403, 500, 200], "{delivered:#}");
    let clock = text(&attempts[1], "error");
    assert!(clock.contains("this machine's clock is wrong"), "{clock}");
    assert_eq!(attempts[1]["error_class"], "auth");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_while_the_server_was_down_is_put_later() {
    let Some(mut server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let port = server.url().rsplit_once(':').unwrap().1.to_owned();
    world.endpoint(&server.endpoint(&json!({}))).await;
    server.child.kill().await.unwrap();
    capture(&world, 0..5).await;
    let is_tried = |found: &Value| found[0]["attempt_count"].as_u64().is_some_and(|n| n > 0);
    let failed = world.eventually("/api/v1/deliveries?limit=1", is_tried).await;
    let failed = world.get(&format!("/api/v1/deliveries/{}", text(&failed[0], "id"))).await;
    assert_eq!(failed["attempts"][0]["error_class"], "connect", "{failed:#}");
    // The server listens before it has the bucket again, and without it a delivery would be dead.
    let enable = async |is_enabled: bool| {
        let change = json!({ "enabled": is_enabled });
        let answer = world.client().patch("/api/v1/endpoints/lake", &change).await.unwrap();
        assert!(answer.status.is_success(), "{}", answer.text());
    };
    enable(false).await;
    let Some(server) = ObjectServer::run(&["serve", &port]).await else { return };
    enable(true).await;
    settle(&world).await;
    assert_eq!(server.read_ids().await.len(), 5);
}

#[tokio::test]
async fn settings_are_refused_with_their_places() {
    let Some(world) = World::start(Sqlite).await else { return };
    let endpoint = json!({"name": "lake", "kind": "s3", "url": "https://s3.example/crm",
        "settings": {"bucket": "a/b", "access_key": "a", "secret_key": "s"}});
    let answer = world.client().post("/api/v1/endpoints", &endpoint).await.unwrap();
    let places: Vec<String> = problem(&answer, 422).into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["settings.bucket"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_signed_for_a_service_of_amazon() {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let url = format!("{}/{BUCKET}/last.json", server.url());
    let session = &server.told["session"];
    let auth = json!({"kind": "aws_sigv4", "access_key": session["access_key"],
        "secret_key": session["secret_key"], "token": session["token"],
        "region": "us-east-1", "service": "s3"});
    let hook = json!({"method": "PUT", "auth": auth, "headers": {"X-Team": "crm"},
        "retry": {"schedule": []}});
    let made = world.endpoint(&endpoint_with("hook", &url, &hook)).await;
    for secret in ["access_key", "secret_key", "token"] {
        assert_eq!(made["auth"][secret], "***", "{made}");
    }
    capture(&world, 0..1).await;
    let delivered = newest(&world, "delivered").await;
    assert!(!delivered.to_string().contains(&text(session, "secret_key")), "{delivered}");
    assert_eq!(server.read_ids().await, [text(&delivered, "id")]);
    let wrong = json!({"auth": merged(auth, &json!({"secret_key": "wrong"}))});
    world.client().patch("/api/v1/endpoints/hook", &wrong).await.unwrap();
    capture(&world, 1..2).await;
    let dead = newest(&world, "dead").await;
    assert_eq!(dead["attempts"][0]["status"], 403, "{dead:#}");
}

/// Applies a file of `examples/destinations` as it is written.
fn apply(world: &World, file: &str, variables: &[(&str, String)]) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/destinations");
    let applied = Command::new(binary())
        .arg("apply")
        .arg(examples.join(file))
        .env("WAYBILL_URL", world.server().address())
        .env("WAYBILL_TOKEN", ADMIN_TOKEN)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&applied.stderr).into_owned();
    assert!(applied.status.success(), "{file}: {complaints}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_destinations_work_as_they_are_written() {
    let Some(server) = ObjectServer::start().await else { return };
    let Some(world) = World::start(Sqlite).await else { return };
    let told = |name: &str| text(&server.told, name);
    let variables = [
        ("S3_URL", told("url")),
        ("S3_BUCKET", BUCKET.to_owned()),
        ("S3_REGION", "us-east-1".to_owned()),
        ("S3_ACCESS_KEY", told("access_key")),
        ("S3_SECRET_KEY", told("secret_key")),
    ];
    apply(&world, "archive-to-s3.yaml", &variables);
    apply(&world, "warehouse-pulls.yaml", &[]);
    capture(&world, 0..20).await;
    let archived = "/api/v1/deliveries?endpoint=archive&status=delivered&limit=200";
    world.eventually(archived, |found| found.as_array().unwrap().len() == 20).await;
    let objects = server.read().await;
    assert!(objects.len() < 20, "{} objects", objects.len());
    let page = world.client().get("/api/v1/pull/warehouse").await.unwrap();
    assert_eq!(page.data().as_array().unwrap().len(), 20);
}

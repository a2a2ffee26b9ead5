//! Receivers that fail: every kind of failure is retried on the schedule, and finally becomes a
//! dead letter.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Reply, Settings, World};

use crate::support::{endpoint, endpoint_with, invoice, problem, verified};

/// Returns the only delivery, once it has this status.
async fn only_delivery(world: &World, status: &str) -> Value {
    let listed = world.eventually("/api/v1/deliveries", |found| found[0]["status"] == status).await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    world.get(&format!("/api/v1/deliveries/{}", text(&listed[0], "id"))).await
}

fn classes(delivery: &Value) -> Vec<String> {
    crate::support::texts(&delivery["attempts"], "error_class")
}

#[rstest]
#[tokio::test]
async fn a_failure_is_retried_under_the_same_id(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/a", [500, 404, 410].map(Reply::Status));
    let made = world.endpoint(&endpoint("a", &receiver.url("/a"))).await;
    world.event(&invoice(1)).await;
    let arrivals = receiver.wait_for("/a", 4).await;
    for (number, arrival) in (1..).zip(&arrivals) {
        assert_eq!(arrival.header("webhook-id"), arrivals[0].header("webhook-id"));
        assert_eq!(arrival.header("x-waybill-attempt"), number.to_string());
        assert_eq!(arrival.body, arrivals[0].body);
        assert!(verified(arrival, &text(&made, "secret")), "signed anew at each attempt");
    }
    let delivery = only_delivery(&world, "delivered").await;
    assert_eq!(delivery["attempt_count"], 4);
    assert_eq!(classes(&delivery), ["server_error", "client_error", "client_error", ""]);
    let statuses: Vec<i64> = delivery["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["status"].as_i64().unwrap())
        .collect();
    assert_eq!(statuses, [500, 404, 410, 200]);
}

#[rstest]
#[case::redirect(Reply::redirect(302, "/elsewhere"), "redirect")]
#[case::permanent_redirect(Reply::redirect(308, "/elsewhere"), "redirect")]
#[case::client_error(Reply::Status(400), "client_error")]
#[case::gone(Reply::Status(410), "client_error")]
#[case::server_error(Reply::Status(599), "server_error")]
#[case::silence(Reply::Hang, "timeout")]
#[case::vanished(Reply::Vanish, "connection_lost")]
#[tokio::test]
async fn when_the_schedule_is_over_a_delivery_is_dead(#[case] reply: Reply, #[case] class: &str) {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", reply);
    // Long enough for a slow machine to meet the other failures.
    let timeout = if class == "timeout" { "2s" } else { "30s" };
    let more = json!({"timeout": timeout, "retry": {"schedule": ["50ms", "50ms"]}});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    let event = world.event(&invoice(1)).await;
    let delivery = only_delivery(&world, "dead").await;
    assert_eq!(classes(&delivery), [class, class, class]);
    assert_eq!(receiver.count("/a"), 3);
    assert_eq!(receiver.count("/elsewhere"), 0, "a redirect is not followed");
    let dead = world.get("/api/v1/dead-letters").await;
    assert_eq!(dead[0]["event_id"], event);
    assert_eq!(dead[0]["delivery_id"], delivery["id"]);
    assert_eq!(dead[0]["reason"], "retries_exhausted");
}

#[rstest]
#[case::drip(Reply::Drip)]
#[case::endless(Reply::Endless)]
#[tokio::test]
async fn a_success_with_a_body_without_end_is_a_success(#[case] reply: Reply) {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", reply);
    let more = json!({"timeout": "30s"});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    world.event(&invoice(1)).await;
    let delivery = only_delivery(&world, "delivered").await;
    assert_eq!(receiver.count("/a"), 1, "a 2xx is never sent again");
    let kept = delivery["attempts"][0]["response_body"].as_str().unwrap_or_default().len();
    assert!(kept <= 16 * 1024, "{kept} bytes of the answer are kept");
}

#[rstest]
#[tokio::test]
async fn retry_after_is_obeyed_where_it_is_later(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/a", [Reply::retry_after(429, 1), Reply::retry_after(503, 0)]);
    world.endpoint(&endpoint("a", &receiver.url("/a"))).await;
    world.event(&invoice(1)).await;
    let arrivals = receiver.wait_for("/a", 3).await;
    let waited = arrivals[1].at.duration_since(arrivals[0].at);
    // The server may have read its clock a moment before the arrival was recorded here.
    assert!(waited > Duration::from_millis(900), "asked for a second, tried after {waited:?}");
    only_delivery(&world, "delivered").await;
}

#[rstest]
#[tokio::test]
async fn gone_disables_an_endpoint_that_says_so(#[values(Sqlite, Postgres)] backend: Backend) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.always("/a", Reply::Status(410));
    let more = json!({"on_gone": "disable"});
    let made = world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    world.event(&invoice(1)).await;
    only_delivery(&world, "dead").await;
    assert_eq!(world.get("/api/v1/dead-letters").await[0]["reason"], "gone");
    let path = format!("/api/v1/endpoints/{}", text(&made, "id"));
    world.eventually(&path, |found| found["enabled"] == false).await;
    assert_eq!(receiver.count("/a"), 1);
}

#[tokio::test]
async fn nobody_listens() {
    let Some(world) = World::start(Sqlite).await else { return };
    let port = Receiver::start().await.port();
    let url = format!("http://127.0.0.1:{port}/a");
    world.endpoint(&endpoint_with("a", &url, &json!({"retry": {"schedule": ["50ms"]}}))).await;
    world.event(&invoice(1)).await;
    assert_eq!(classes(&only_delivery(&world, "dead").await), ["connect", "connect"]);
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_what_waited() {
    let Some(world) = World::start(Sqlite).await else { return };
    let port = Receiver::start().await.port();
    let url = format!("http://127.0.0.1:{port}/a");
    let schedule = [vec!["100ms"], vec!["1s"; 49]].concat();
    let patient = json!({"retry": {"schedule": schedule}});
    world.endpoint(&endpoint_with("a", &url, &patient)).await;
    world.event(&invoice(1)).await;
    world
        .eventually("/api/v1/deliveries", |found| found[0]["attempt_count"].as_u64() >= Some(1))
        .await;
    let receiver = Receiver::on(port).await;
    let arrival = receiver.first("/a").await;
    assert_ne!(arrival.header("x-waybill-attempt"), "1");
    only_delivery(&world, "delivered").await;
}

#[tokio::test]
async fn what_is_no_http_is_a_failure() {
    let Some(world) = World::start(Sqlite).await else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/a", listener.local_addr().unwrap());
    let play = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await;
            let _written = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        }
    });
    world.endpoint(&endpoint_with("a", &url, &json!({"retry": {"schedule": ["50ms"]}}))).await;
    world.event(&invoice(1)).await;
    let classes = classes(&only_delivery(&world, "dead").await);
    assert!(classes.iter().all(|class| class == "protocol"), "{classes:?}");
    play.abort();
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    let (url, play) = tls_receiver().await;
    world.endpoint(&endpoint_with("a", &url, &json!({"retry": {"schedule": ["50ms"]}}))).await;
    world.event(&invoice(1)).await;
    assert_eq!(classes(&only_delivery(&world, "dead").await), ["tls", "tls"]);
    assert!(!play.is_finished());
    play.abort();
}

/// Answers TLS with a self-signed certificate. A request that comes through ends the task.
async fn tls_receiver() -> (String, tokio::task::JoinHandle<()>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://localhost:{}/a", listener.local_addr().unwrap().port());
    let play = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut request = [0; 16];
            if let Ok(mut stream) = acceptor.accept(stream).await
                && stream.read(&mut request).await.is_ok_and(|read| read > 0)
            {
                return;
            }
        }
    });
    (url, play)
}

#[tokio::test]
async fn only_public_addresses_are_sent_to_unless_the_configuration_allows_more() {
    let forbid = |settings: &mut Settings| {
        settings.set("delivery.allow_networks", "[]");
    };
    let Some(world) = World::start_with(Sqlite, forbid).await else { return };
    let receiver = Receiver::start().await;
    let port = receiver.port();
    let hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1.2.3", "0.0.0.0"];
    for (n, host) in hosts.iter().enumerate() {
        let url = format!("http://{host}:{port}/a");
        let more = json!({"retry": {"schedule": ["50ms"]}});
        world.endpoint(&endpoint_with(&format!("e{n}"), &url, &more)).await;
    }
    let event = world.event(&invoice(1)).await;
    let path = format!("/api/v1/events/{event}");
    let all_dead = |found: &Value| {
        let deliveries = found["deliveries"].as_array().unwrap();
        deliveries.len() == hosts.len() && deliveries.iter().all(|d| d["status"] == "dead")
    };
    let trace = world.eventually(&path, all_dead).await;
    for delivery in trace["deliveries"].as_array().unwrap() {
        assert_eq!(classes(delivery), ["address_forbidden", "address_forbidden"], "{delivery:#}");
    }
    assert_eq!(receiver.count("/a"), 0);
    let test = format!("/api/v1/endpoints/{}/test", "e0");
    assert_eq!(world.post(&test, &json!({})).await["error_class"], "address_forbidden");
    assert_eq!(receiver.count("/a"), 0, "nor by a test");
}

#[rstest]
#[tokio::test]
async fn a_waiting_delivery_can_be_cancelled_and_a_done_one_replayed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(world) = World::start(backend).await else { return };
    let receiver = Receiver::start().await;
    receiver.script("/a", [Reply::Status(500)]);
    let more = json!({"retry": {"schedule": ["1h"]}});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    world.event(&invoice(1)).await;
    let waiting = |found: &Value| found[0]["status"] == "pending" && found[0]["attempt_count"] == 1;
    let listed = world.eventually("/api/v1/deliveries", waiting).await;
    let path = format!("/api/v1/deliveries/{}", text(&listed[0], "id"));
    world.post(&format!("{path}/cancel"), &json!({})).await;
    assert_eq!(world.get(&path).await["status"], "cancelled");
    let again = world.client().post(&format!("{path}/cancel"), &json!({})).await.unwrap();
    problem(&again, 409);
    world.post(&format!("{path}/replay"), &json!({})).await;
    let arrivals = receiver.wait_for("/a", 2).await;
    assert_eq!(arrivals[0].header("webhook-id"), arrivals[1].header("webhook-id"));
    world.eventually(&path, |found| found["status"] == "delivered").await;
}

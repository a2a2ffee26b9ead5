//! The conditions for a repeat of an earlier webhook.

use super::{SECRET, call, now, send, signed, source};
use crate::support::{hmac, problem};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use waybill_tests::Backend::{Postgres, Sqlite};
use waybill_tests::World;

/// One source, with its name and signing.
struct Sender<'w> {
    world: &'w World,
    name: &'static str,
    signing: &'static str,
}

impl Sender<'_> {
    /// Sends a webhook with one more header. Returns whether it was recognised as a repeat.
    async fn send(&self, body: &str, header: (&'static str, &str)) -> bool {
        let mut headers = signed(self.signing, body, now());
        headers.push((header.0, header.1.to_owned()));
        let answer = send(self.world, call(self.name, body, &headers)).await;
        assert_eq!(answer.status, 202, "{}: {}", self.name, answer.text());
        answer.data()["duplicate"].as_bool().unwrap()
    }

    /// Sends webhooks one after the other, each with a value of one header, and checks which are
    /// repeats.
    async fn check(&self, header: &'static str, sent: &[(&str, &str, bool)]) {
        for (n, (body, value, duplicate)) in sent.iter().enumerate() {
            let is_repeat = self.send(body, (header, value)).await;
            assert_eq!(is_repeat, *duplicate, "{} number {n}: {body} {value}", self.name);
        }
        let events = self.world.get(&format!("/api/v1/events?source={}", self.name)).await;
        let new = sent.iter().filter(|(.., duplicate)| !duplicate).count();
        assert_eq!(events.as_array().unwrap().len(), new, "{}", self.name);
    }
}

const BODY: &str = r#"{"event":"task.updated","payload":{"id":7,"status":5}}"#;
const OTHER: &str = r#"{"event":"task.updated","payload":{"id":7,"status":4}}"#;

/// Two shops of one app share its secret, so equal bodies have equal signatures. GitHub sends equal
/// bodies too.
#[tokio::test]
async fn the_sender_s_delivery_id_tells_equal_bodies_apart() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        let places = json!({"places": {"event": "/event"}});
        for (name, header) in [("shopify", "x-shopify-webhook-id"), ("github", "x-github-delivery")]
        {
            source(&world, name, name, &places).await;
            let sender = Sender { world: &world, name, signing: name };
            let sent =
                [(BODY, "1", false), (BODY, "2", false), (BODY, "1", true), (BODY, "2", true)];
            sender.check(header, &sent).await;
        }
    }
}

/// WooCommerce makes its delivery id from the webhook and the second. The `id` of a trigger of
/// Zendesk is mostly its ticket's.
#[tokio::test]
async fn an_id_that_several_events_share_makes_no_repeat() {
    let Some(world) = World::start(Sqlite).await else { return };
    source(&world, "shop", "woocommerce", &json!({})).await;
    let order = |n: u8| format!(r#"{{"id":{n}}}"#);
    for n in [1, 2] {
        let tag = BASE64_STANDARD.encode(hmac(SECRET.as_bytes(), &[order(n).as_bytes()]));
        let headers = [
            ("x-wc-webhook-topic", "order.updated".to_owned()),
            ("x-wc-webhook-delivery-id", "one-second".to_owned()),
            ("x-wc-webhook-signature", tag),
        ];
        let answer = send(&world, call("shop", &order(n), &headers)).await;
        assert_eq!(answer.data()["duplicate"], false, "order {n}");
    }
    source(&world, "desk", "zendesk", &json!({})).await;
    let trigger =
        |status: &str| format!(r#"{{"event":"ticket.updated","id":"35","status":"{status}"}}"#);
    let event = r#"{"type":"zen:event-type:ticket.created","id":"e-1","zendesk_event_version":"2022-11-06","detail":{"id":"35"}}"#;
    let event = |_: &str| event.to_owned();
    let mut taken = Vec::new();
    for (invocation, body) in [
        ("a", trigger("open")),
        ("b", trigger("solved")),
        ("b", trigger("solved")),
        ("c", event("")),
        ("d", event("")),
    ] {
        let at = now().to_string();
        let tag = hmac(SECRET.as_bytes(), &[at.as_bytes(), body.as_bytes()]);
        let headers = [
            ("x-zendesk-webhook-signature", BASE64_STANDARD.encode(tag)),
            ("x-zendesk-webhook-signature-timestamp", at),
            ("x-zendesk-webhook-invocation-id", invocation.to_owned()),
        ];
        let answer = send(&world, call("desk", &body, &headers)).await;
        taken.push((answer.data()["duplicate"].clone(), answer.data()["id"].clone()));
    }
    let repeats: Vec<bool> = taken.iter().map(|(repeat, _)| repeat.as_bool().unwrap()).collect();
    assert_eq!(repeats, [false, false, true, false, true]);
    let created = world.get(&format!("/api/v1/events/{}", taken[3].1.as_str().unwrap())).await;
    assert_eq!(created["resource_id"], "35", "the ticket's, not the event's: {created:#}");
}

/// An id in a header belongs to the request. Each element of its array is still an event.
#[tokio::test]
async fn the_events_of_one_request_do_not_repeat_each_other() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        source(&world, "list", "standard", &json!({})).await;
        let body = r#"[{"type":"a.b","data":{"n":1}},{"type":"a.c","data":{"n":2}}]"#;
        let send_list =
            async || send(&world, call("list", body, &signed("standard", body, now()))).await;
        for is_repeat in [false, true] {
            let answer = send_list().await;
            let receipts = answer.data();
            let repeats: Vec<bool> = receipts
                .as_array()
                .unwrap()
                .iter()
                .map(|receipt| receipt["duplicate"].as_bool().unwrap())
                .collect();
            assert_eq!(repeats, [is_repeat; 2], "{receipts}");
        }
        assert_eq!(world.get("/api/v1/events?source=list").await.as_array().unwrap().len(), 2);
    }
}

/// The statuses 5, 4 and 5 of a task: the third body equals the first, but is another event.
#[tokio::test]
async fn a_body_without_an_id_repeats_only_the_one_just_before_it() {
    for backend in [Sqlite, Postgres] {
        let Some(world) = World::start(backend).await else { return };
        source(&world, "task", "perfexapi", &json!({})).await;
        let sender = Sender { world: &world, name: "task", signing: "perfexapi" };
        let sent = [(BODY, "", false), (OTHER, "", false), (BODY, "", false), (BODY, "", true)];
        sender.check("x-nothing", &sent).await;

        source(&world, "bridge", "n8n-bridge", &json!({})).await;
        let sender = Sender { world: &world, name: "bridge", signing: "n8n-bridge" };
        let sent = [(BODY, "1700000000", false), (BODY, "1700000001", false)];
        sender.check("x-perfex-timestamp", &sent).await;
    }
}

#[tokio::test]
async fn a_source_says_what_a_repeat_is() {
    let Some(world) = World::start(Sqlite).await else { return };
    let retried = r#"{"event":"task.updated","payload":{"id":7,"status":5},"attempt":2}"#;
    let of = |name, repeats: &str, signing| {
        let setting = json!({"repeats": repeats, "places": {"id": "/payload/id"}});
        let world = &world;
        async move {
            source(world, name, signing, &setting).await;
            Sender { world, name, signing }
        }
    };
    let by_header = of("header", "header:X-Delivery", "perfexapi").await;
    let sent = [
        (BODY, "a", false),
        (BODY, "b", false),
        (OTHER, "a", true),
        (retried, "b", true),
        (BODY, "", false),
        (BODY, "", true),
    ];
    by_header.check("x-delivery", &sent).await;
    let by_id = of("id", "id", "perfexapi").await;
    by_id.check("x-delivery", &[(BODY, "a", false), (OTHER, "b", true)]).await;
    let by_signature = of("signature", "signature", "perfexapi").await;
    let sent = [(BODY, "a", false), (OTHER, "a", false), (BODY, "b", true)];
    by_signature.check("x-delivery", &sent).await;
    let never = of("never", "none", "perfexapi").await;
    never.check("x-delivery", &[(BODY, "a", false), (BODY, "a", false)]).await;
}

/// An id in the body is the sender's too, whatever else of the request differs.
#[tokio::test]
async fn an_id_in_the_body_is_recognised_for_a_day() {
    let Some(mut world) = World::start(Sqlite).await else { return };
    source(&world, "crm", "perfexapi", &json!({})).await;
    let one = r#"{"event":"invoice.paid","delivery_id":"1","payload":{"id":"1"}}"#;
    let retried = r#"{"event":"invoice.paid","delivery_id":"1","payload":{"id":"1"},"attempt":2}"#;
    let two = r#"{"event":"invoice.paid","delivery_id":"2","payload":{"id":"1"}}"#;
    let crm = Sender { world: &world, name: "crm", signing: "perfexapi" };
    crm.check("x-delivery", &[(one, "a", false), (two, "a", false)]).await;
    world.restart();
    let crm = Sender { world: &world, name: "crm", signing: "perfexapi" };
    assert!(crm.send(retried, ("x-delivery", "b")).await);
}

#[tokio::test]
async fn a_setting_that_cannot_work_is_refused() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (scheme, repeats, path) in [
        ("perfexapi", "delivery", "webhook.repeats"),
        ("perfexapi", "header:", "webhook.repeats"),
        ("perfexapi", "header:a b", "webhook.repeats"),
        ("none", "signature", "webhook.repeats"),
    ] {
        let webhook = json!({"scheme": scheme, "repeats": repeats});
        let settings =
            json!({"name": "x", "kind": "webhook", "webhook": webhook, "secret": SECRET});
        let answer = world.client().post("/api/v1/sources", &settings).await.unwrap();
        assert_eq!(problem(&answer, 422)[0].0, path, "{scheme} {repeats}");
    }
    let settings = json!({"name": "x", "kind": "webhook", "secret": SECRET,
        "webhook": {"scheme": "github", "repeats": "header:X-GitHub-Delivery"}});
    let made = world.post("/api/v1/sources", &settings).await;
    assert_eq!(made["webhook"]["repeats"], "header:x-github-delivery");
}

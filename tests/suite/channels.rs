//! Kinds of endpoints: how they are listed and set, and that messages to chats keep the limits that
//! the vendors publish.

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::{Receiver, Reply, World};

use crate::support::{endpoint_with, merged, problem};

const KINDS: [&str; 5] = ["webhook", "slack", "teams", "discord", "email"];

/// Returns an event with long values, markup and mentions.
fn loud() -> Value {
    let mut data = json!({"name": "<!channel> @everyone *bold* [x](https://evil.example)", "wide": "字".repeat(9_000)});
    for n in 0..40 {
        data[format!("field_{n}")] = "v&<>".repeat(900).into();
    }
    json!({"type": "invoice.paid", "resource": "invoice", "resource_id": "17", "data": data})
}

fn chat(kind: &str, url: &str, settings: &Value) -> Value {
    endpoint_with(kind, url, &json!({"kind": kind, "settings": settings}))
}

#[tokio::test]
async fn the_kinds_are_listed_with_their_schemas_and_secrets() {
    let Some(world) = World::start(Sqlite).await else { return };
    let listed = world.get("/api/v1/channels").await;
    let kind = |name: &str| {
        let found = listed.as_array().unwrap().iter().find(|channel| channel["kind"] == name);
        found.unwrap_or_else(|| panic!("{name} in {listed:#}")).clone()
    };
    for name in KINDS {
        let channel = kind(name);
        assert!(channel["label"].is_string() && channel["capabilities"].is_object(), "{channel:#}");
        assert_eq!(channel["settings_schema"]["type"], "object", "{channel:#}");
    }
    assert_eq!(kind("email")["secret_fields"], json!(["password"]));
    assert_eq!(kind("slack")["capabilities"]["signs"], false);
    assert_eq!(kind("webhook")["capabilities"]["signs"], true);
}

#[rstest]
#[case(json!({"kind": "slak", "url": "https://h.example"}), "kind")]
#[case(json!({"kind": "email", "url": "https://h.example"}), "url")]
#[case(json!({"kind": "slack", "url": "smtp://h.example"}), "url")]
#[case(json!({"kind": "slack", "settings": {"colour": "red"}}), "settings")]
#[case(json!({"kind": "slack", "settings": {"facts": "yes"}}), "settings.facts")]
#[case(json!({"kind": "slack", "settings": {"title": "{nothing}"}}), "settings.title")]
#[case(json!({"kind": "slack", "headers": {"x-a": "1"}}), "headers")]
#[case(json!({"kind": "slack", "envelope": "raw"}), "envelope")]
#[case(json!({"kind": "slack", "secret": "0123456789abcdef"}), "secret")]
#[case(json!({"settings": {"title": "x"}}), "settings")]
#[case(json!({"kind": "discord", "settings": {"username": "Clyde"}}), "settings.username")]
#[tokio::test]
async fn a_fault_of_a_kind_is_named_at_its_place(#[case] more: Value, #[case] place: &str) {
    let Some(world) = World::start(Sqlite).await else { return };
    let given = endpoint_with("chat", "https://h.example/hook", &more);
    let answer = world.client().post("/api/v1/endpoints", &given).await.unwrap();
    let faults = problem(&answer, 422);
    assert_eq!(faults[0].0, place, "{faults:?}");
    let document = json!({"endpoints": [given]});
    let answer = world.client().put("/api/v1/config", &document).await.unwrap();
    let faults = problem(&answer, 422);
    assert_eq!(faults[0].0, format!("endpoints[0].{place}"), "{faults:?}");
}

/// Returns the one message that a kind sent about [`loud`].
async fn sent(backend: Backend, kind: &str, settings: &Value) -> Option<Value> {
    let world = World::start(backend).await?;
    let receiver = Receiver::start().await;
    let path = if kind == "discord" { "/hook?wait=true" } else { "/hook" };
    world.endpoint(&chat(kind, &receiver.url("/hook"), settings)).await;
    world.event(&loud()).await;
    let arrival = receiver.first(path).await;
    assert_eq!(arrival.header("content-type"), "application/json");
    assert_eq!(arrival.header("webhook-signature"), "", "nothing is signed");
    let found = format!("/api/v1/deliveries?endpoint={kind}&status=delivered");
    world.eventually(&found, |found| found[0].is_object()).await;
    Some(arrival.json())
}

fn length(text: &Value) -> usize {
    text.as_str().unwrap().encode_utf16().count()
}

/// Slack, "Reference: Blocks" and "Composition objects".
#[rstest]
#[tokio::test]
async fn slack_gets_blocks_within_its_limits(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = json!({"title": "Paid by {data.name}", "text": "{data.wide}"});
    let Some(message) = sent(backend, "slack", &settings).await else { return };
    let blocks = message["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    let mut texts = Vec::new();
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "header" => {
                assert!(length(&block["text"]["text"]) <= 150, "{block}");
                texts.push(&block["text"]);
            }
            "section" => {
                let fields = block["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
                assert!(fields.len() <= 10);
                for field in fields {
                    assert!((1..=2_000).contains(&length(&field["text"])), "{field}");
                }
                texts.extend(fields);
                if block["text"].is_object() {
                    assert!((1..=3_000).contains(&length(&block["text"]["text"])), "{block}");
                    texts.push(&block["text"]);
                }
            }
            "context" => {
                assert!((1..=10).contains(&block["elements"].as_array().unwrap().len()));
                texts.extend(block["elements"].as_array().unwrap());
            }
            other => panic!("{other} is not a block that was asked for"),
        }
    }
    for text in texts {
        assert_eq!(text["type"], "plain_text", "no markup: {text}");
        assert!(!text["text"].as_str().unwrap().contains(['<', '>']), "{text}");
    }
    assert!(length(&message["text"]) <= 4_000);
    assert!(message["text"].as_str().unwrap().starts_with("Paid by &lt;!channel&gt;"));
}

/// Microsoft, "Create incoming webhooks with Workflows", "Limits and specifications".
#[tokio::test]
async fn teams_gets_an_adaptive_card_within_its_limits() {
    let settings = json!({"text": "{data.wide}"});
    let Some(message) = sent(Sqlite, "teams", &settings).await else { return };
    assert!(message.to_string().len() <= 28 * 1_024);
    assert_eq!(message["type"], "message");
    let attachment = &message["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &attachment["content"];
    assert_eq!(card["type"], "AdaptiveCard");
    assert!(card["version"].is_string() && card["msteams"].is_null(), "no mention: {card:#}");
    for block in card["body"].as_array().unwrap() {
        // The only text block of Adaptive Cards that does not interpret Markdown.
        assert_eq!(block["type"], "RichTextBlock");
    }
    assert_eq!(card["body"][0]["inlines"][0]["text"], "invoice.paid: invoice 17");
}

/// Discord, "Execute Webhook" and "Embed limits".
#[tokio::test]
async fn discord_gets_an_embed_within_its_limits() {
    let settings =
        json!({"title": "Paid by {data.name}", "text": "{data.wide}", "username": "Books"});
    let Some(message) = sent(Sqlite, "discord", &settings).await else { return };
    let embeds = message["embeds"].as_array().unwrap();
    assert!((1..=10).contains(&embeds.len()));
    let embed = &embeds[0];
    let mut total = 0;
    let mut within = |text: &Value, most: usize| {
        assert!((1..=most).contains(&length(text)), "{text}");
        total += length(text);
    };
    within(&embed["title"], 256);
    within(&embed["description"], 4_096);
    within(&embed["footer"]["text"], 2_048);
    let fields = embed["fields"].as_array().unwrap();
    assert!((1..=25).contains(&fields.len()));
    for field in fields {
        within(&field["name"], 256);
        within(&field["value"], 1_024);
    }
    assert!(total <= 6_000, "{total}");
    assert_eq!(message["allowed_mentions"], json!({"parse": []}));
    assert_eq!(message["username"], "Books");
    let title = embed["title"].as_str().unwrap();
    assert!(title.starts_with("Paid by \\<!channel\\> \\@everyone \\*bold\\*"), "{title}");
}

#[tokio::test]
async fn a_chat_that_asks_for_time_gets_it_and_a_refused_message_is_dead() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    world.endpoint(&chat("slack", &receiver.url("/hook"), &json!({}))).await;
    receiver.script("/hook", [Reply::retry_after(429, 1), Reply::Status(200)]);
    let event = world.event(&loud()).await;
    let path = format!("/api/v1/events/{event}");
    let is = |status: &'static str| move |found: &Value| found["deliveries"][0]["status"] == status;
    let trace = world.eventually(&path, is("delivered")).await;
    let attempts = trace["deliveries"][0]["attempts"].as_array().unwrap();
    let statuses: Vec<&Value> = attempts.iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, [429, 200], "{trace:#}");

    receiver.script("/hook", [Reply::Status(400)]);
    let event = world.event(&loud()).await;
    let trace = world.eventually(&format!("/api/v1/events/{event}"), is("dead")).await;
    let attempts = trace["deliveries"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{trace:#}");
    assert_eq!(attempts[0]["error_class"], "rejected");
    let letters = world.get("/api/v1/dead-letters?reason=rejected").await;
    assert_eq!(letters.as_array().unwrap().len(), 1, "{letters:#}");
}

#[tokio::test]
async fn a_field_map_and_a_condition_hold_for_a_chat() {
    let Some(world) = World::start(Sqlite).await else { return };
    let receiver = Receiver::start().await;
    let more = json!({"where": "data.n == 2", "field_map": {"include": ["n"]}});
    let settings = json!({"text": "{data.n}/{data.secret}"});
    let given = merged(chat("slack", &receiver.url("/hook"), &settings), &more);
    world.endpoint(&given).await;
    for n in [1, 2] {
        let data = json!({"n": n, "secret": "not for the chat"});
        world.event(&json!({"type": "invoice.paid", "data": data})).await;
    }
    let message = receiver.first("/hook").await.json();
    assert_eq!(message["blocks"][1]["text"]["text"], "2/");
    assert!(!message.to_string().contains("not for the chat"), "{message}");
    assert_eq!(receiver.count("/hook"), 1);
}

#[tokio::test]
async fn an_export_of_kinds_applies_again_and_shows_no_secret() {
    let Some(world) = World::start(Sqlite).await else { return };
    let mail = json!({"name": "mail", "kind": "email", "url": "smtp://mail.h.example",
        "settings": {"from": "a@h.example", "to": ["b@h.example"], "username": "u",
            "password": "s3cret-of-the-mailbox"}});
    world.endpoint(&mail).await;
    world.endpoint(&json!({"name": "plain", "url": "https://h.example/hook"})).await;
    let export = world.get("/api/v1/config").await;
    assert!(!export.to_string().contains("s3cret-of-the-mailbox"), "{export:#}");
    let endpoints = export["endpoints"].as_array().unwrap();
    let plain = endpoints.iter().find(|endpoint| endpoint["name"] == "plain").unwrap();
    assert!(plain.get("kind").is_none() && plain.get("settings").is_none(), "{plain:#}");
    let answer = world.client().put("/api/v1/config", &export).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    for change in answer.data()["changes"].as_array().unwrap() {
        assert_eq!(change["action"], "unchanged", "{change:#}");
    }
    let moved = json!({"url": "smtp://evil.example"});
    let answer = world.client().patch("/api/v1/endpoints/mail", &moved).await.unwrap();
    let faults = problem(&answer, 422);
    assert_eq!(faults[0].0, "settings.password", "a password stays with its host: {faults:?}");
}

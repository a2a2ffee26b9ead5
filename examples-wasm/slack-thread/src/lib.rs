//! Posts events to a Slack channel, one thread for each record; see the README.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use waybill_guest::emit::{self, Fact};
use waybill_guest::http::{Request, Response};
use waybill_guest::{Channel, Delivery, Event, Failure, Outcome, config, export_module};

/// The name of the secret with the bot's token.
const SECRET: &str = "slack";
/// The type of the metadata of each message
/// (<https://docs.slack.dev/messaging/message-metadata>).
const METADATA: &str = "waybill_event";
/// Most messages that one look-up reads.
const LOOKED_AT: usize = 200;

#[derive(Deserialize)]
struct Settings {
    channel: String,
    title: Option<String>,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default = "slack")]
    api: String,
}

fn slack() -> String {
    "https://slack.com/api".to_owned()
}

/// The answer to `conversations.history` and `conversations.replies`.
#[derive(Deserialize)]
struct Messages {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    ts: String,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    event_type: String,
    #[serde(default)]
    event_payload: Map<String, Value>,
}

impl Message {
    /// Whether its metadata has this value.
    fn is_marked(&self, name: &str, value: &str) -> bool {
        let of_waybill = self.metadata.as_ref().filter(|found| found.event_type == METADATA);
        let found = of_waybill.and_then(|found| found.event_payload.get(name)?.as_str());
        found == Some(value)
    }
}

/// What Slack answers to every call, beside its own members.
#[derive(Deserialize)]
struct Verdict {
    ok: bool,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Posted {
    ts: String,
}

/// A message that is posted, or was.
struct Post {
    ts: String,
    thread: Option<String>,
}

struct SlackThread;

impl Channel for SlackThread {
    fn render(_: Delivery) -> Result<Request, Failure> {
        let settings: Settings = config::all()?;
        Ok(look(&settings, "conversations.history", ""))
    }

    fn classify(delivery: Delivery, answers: Vec<Response>) -> Result<Outcome, Failure> {
        let settings: Settings = config::all()?;
        for answer in &answers {
            check(answer)?;
        }
        let mut answers = answers.iter();
        let history: Messages = read(answers.next())?;
        let root = root_of(&history, &delivery.event);
        let is_posted = |found: &&Message| found.is_marked("delivery", &delivery.id);
        if let Some(own) = history.messages.iter().find(is_posted) {
            return done(&settings, &delivery, Post { ts: own.ts.clone(), thread: None });
        }
        let thread = root.map(|root| root.ts.clone());
        if let Some(thread) = thread.as_deref().filter(|_| delivery.attempt > 1) {
            let Some(answer) = answers.next() else {
                let replies = look(&settings, "conversations.replies", &format!("&ts={thread}"));
                return Ok(Outcome::Next(replies));
            };
            let replies: Messages = read(Some(answer))?;
            if let Some(own) = replies.messages.iter().find(is_posted) {
                let thread = Some(thread.to_owned());
                return done(&settings, &delivery, Post { ts: own.ts.clone(), thread });
            }
        }
        match answers.next() {
            None => Ok(Outcome::Next(write(&settings, &delivery, thread.as_deref())?)),
            Some(answer) => {
                let Posted { ts } = read(Some(answer))?;
                done(&settings, &delivery, Post { ts, thread })
            }
        }
    }
}

/// The message that began the thread of the event's record.
fn root_of<'m>(history: &'m Messages, event: &Event) -> Option<&'m Message> {
    let record = record_of(event)?;
    // The newest message is the first.
    history.messages.iter().rev().find(|message| message.is_marked("record", &record))
}

/// The record that an event is about.
fn record_of(event: &Event) -> Option<String> {
    let kind = event.resource.as_deref().unwrap_or("record");
    Some(format!("{}/{kind}/{}", event.source, event.subject.as_deref()?))
}

fn look(settings: &Settings, method: &str, more: &str) -> Request {
    let Settings { api, channel, .. } = settings;
    let limit = format!("limit={LOOKED_AT}&include_all_metadata=true");
    Request::get(format!("{api}/{method}?channel={channel}&{limit}{more}")).secret(SECRET)
}

fn write(
    settings: &Settings,
    delivery: &Delivery,
    thread: Option<&str>,
) -> Result<Request, Failure> {
    let event = &delivery.event;
    let mut marks = Map::new();
    marks.insert("delivery".to_owned(), delivery.id.clone().into());
    // Only the message that begins a thread is its mark.
    if let (None, Some(record)) = (thread, record_of(event)) {
        marks.insert("record".to_owned(), record.into());
    }
    let mut message = json!({
        "channel": settings.channel,
        "text": text(settings, event)?,
        "mrkdwn": false,
        "unfurl_links": false,
        "metadata": {"event_type": METADATA, "event_payload": marks},
    });
    if let (Some(thread), Some(members)) = (thread, message.as_object_mut()) {
        members.insert("thread_ts".to_owned(), thread.into());
    }
    let request = Request::post_json(format!("{}/chat.postMessage", settings.api), &message)?;
    Ok(request.header("content-type", "application/json; charset=utf-8").secret(SECRET))
}

fn text(settings: &Settings, event: &Event) -> Result<String, Failure> {
    let data: Value = event.data()?;
    let title = settings.title.as_deref().and_then(|name| shown(&data, name));
    let first = match title {
        Some(title) => format!("{title} ({})", event.kind),
        None => match &event.subject {
            Some(subject) => format!("{} {subject}", event.kind),
            None => event.kind.clone(),
        },
    };
    let lines = settings.fields.iter();
    let lines = lines.filter_map(|name| Some(format!("{name}: {}", shown(&data, name)?)));
    let all: Vec<String> = std::iter::once(first).chain(lines).collect();
    Ok(escape(&all.join("\n")))
}

/// A member of the payload as text.
fn shown(data: &Value, name: &str) -> Option<String> {
    match data.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Some(other.to_string())
        }
    }
}

/// The three characters that mean something to Slack
/// (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Fails if Slack refused a call. It says so in the body, with the status 200.
fn check(answer: &Response) -> Result<(), Failure> {
    if !answer.is_success() {
        return Err(answer.failure());
    }
    let verdict: Verdict = answer.json()?;
    if verdict.ok {
        return Ok(());
    }
    let error = verdict.error.unwrap_or_else(|| "unknown_error".to_owned());
    let message = "Slack refused the call";
    Err(match error.as_str() {
        "ratelimited"
        | "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout" => Failure::retryable(error, message),
        _ => Failure::permanent(error, message),
    })
}

fn read<'a, T: Deserialize<'a>>(answer: Option<&'a Response>) -> Result<T, Failure> {
    let missing = || Failure::permanent("no_answer", "the host gave no answer");
    answer.ok_or_else(missing)?.json()
}

/// Tells flows what was posted.
fn done(settings: &Settings, delivery: &Delivery, post: Post) -> Result<Outcome, Failure> {
    let Post { ts, thread } = post;
    let event = &delivery.event;
    let fact = Fact::json(
        "slack.posted",
        &json!({
            "channel": settings.channel, "ts": ts, "thread_ts": thread, "delivery": delivery.id,
            "event": event.kind, "record": {"resource": event.resource, "id": event.subject},
        }),
    )?;
    emit::event(&Fact { subject: Some(ts.clone()), ..fact })?;
    Ok(Outcome::delivered_as(ts))
}

export_module!(SlackThread: channel);

#[cfg(test)]
mod tests {
    use waybill_guest::Body;
    use waybill_guest::testing::{self, Exchange, Host, answer};

    use super::*;

    fn host() -> Host {
        Host::with_config(json!({"channel": "C1", "title": "number", "fields": ["total"]}))
    }

    fn invoice(attempt: u32) -> Delivery {
        let data = json!({"number": "INV-7 <b>", "total": "9.90"});
        let event = Event {
            resource: Some("invoice".to_owned()),
            subject: Some("17".to_owned()),
            attempt,
            ..testing::event("invoice.paid", data)
        };
        testing::delivery(event)
    }

    fn message(ts: &str, marks: &Value) -> Value {
        json!({"ts": ts, "metadata": {"event_type": METADATA, "event_payload": marks}})
    }

    /// Makes an attempt at a Slack with these messages and replies.
    fn attempt(delivery: &Delivery, messages: &Value, replies: &Value) -> Exchange {
        testing::deliver::<SlackThread>(delivery, |request| {
            let method = request.url.rsplit('/').next().unwrap().split('?').next().unwrap();
            answer(
                200,
                match method {
                    "conversations.history" => json!({"ok": true, "messages": messages}),
                    "conversations.replies" => json!({"ok": true, "messages": replies}),
                    "chat.postMessage" => json!({"ok": true, "ts": "9.1"}),
                    other => panic!("{other}"),
                },
            )
        })
    }

    fn posted(exchange: &Exchange) -> Value {
        let request = exchange.requests.last().unwrap();
        assert!(request.url.ends_with("/chat.postMessage"), "{}", request.url);
        let Some(Body::Json(text)) = &request.body else { panic!("a JSON body") };
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn first_event_of_a_record_begins_its_thread() {
        let host = host();
        let made = attempt(&invoice(1), &json!([]), &json!([]));
        assert_eq!(made.end, Ok(Some("9.1".to_owned())));
        assert!(made.requests.iter().all(|request| request.secrets == ["slack"]));
        let message = posted(&made);
        assert_eq!(message["text"], "INV-7 &lt;b&gt; (invoice.paid)\ntotal: 9.90");
        assert_eq!(message["thread_ts"], Value::Null);
        let marks = &message["metadata"]["event_payload"];
        assert_eq!(marks, &json!({"delivery": "dlv_test", "record": "test/invoice/17"}));
        let told = &host.capabilities().emitted[0];
        assert_eq!((told.kind.as_str(), told.subject.as_deref()), ("slack.posted", Some("9.1")));
    }

    #[test]
    fn later_event_replies_to_it() {
        let _host = host();
        let other = message("3.0", &json!({"record": "test/invoice/18"}));
        let root = message("2.0", &json!({"record": "test/invoice/17", "delivery": "dlv_a"}));
        let plain = json!({"ts": "4.0"});
        let made = attempt(&invoice(1), &json!([plain, other, root]), &json!([]));
        let message = posted(&made);
        assert_eq!(message["thread_ts"], "2.0");
        assert_eq!(message["metadata"]["event_payload"], json!({"delivery": "dlv_test"}));
    }

    #[test]
    fn repeated_attempt_finds_its_own_message() {
        let host = host();
        let root = message("2.0", &json!({"record": "test/invoice/17", "delivery": "dlv_a"}));
        let own = message("5.0", &json!({"delivery": "dlv_test"}));
        let made = attempt(&invoice(2), &json!([root]), &json!([root, own]));
        assert_eq!((made.requests.len(), made.end), (2, Ok(Some("5.0".to_owned()))));
        let root = message("2.0", &json!({"record": "test/invoice/17", "delivery": "dlv_test"}));
        let made = attempt(&invoice(2), &json!([root]), &json!([]));
        assert_eq!((made.requests.len(), made.end), (1, Ok(Some("2.0".to_owned()))));
        assert_eq!(host.capabilities().emitted.len(), 2);
        let made = attempt(&invoice(2), &json!([]), &json!([]));
        assert_eq!(made.requests.len(), 2, "nothing was posted before");
    }

    #[test]
    fn slack_says_in_the_body_what_is_wrong() {
        let host = host();
        for (error, is_final) in [("ratelimited", false), ("channel_not_found", true)] {
            let refused = json!({"ok": false, "error": error});
            let made =
                testing::deliver::<SlackThread>(&invoice(1), |_| answer(200, refused.clone()));
            let failure = made.end.unwrap_err();
            assert_eq!(failure.reason().code, error);
            assert_eq!(matches!(failure, Failure::Permanent(_)), is_final);
        }
        let made = testing::deliver::<SlackThread>(&invoice(1), |_| answer(503, json!({})));
        assert!(matches!(made.end, Err(Failure::Retryable(_))));
        assert!(host.capabilities().emitted.is_empty());
    }
}

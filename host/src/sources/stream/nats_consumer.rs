//! The durable pull consumer of a source, through JetStream's API (docs.nats.io, "JetStream wire
//! API reference").

use super::ANSWER;
use super::stream_memory::StreamMemory;
use crate::channels::nats_channel::jetstream_api::{ApiRefusal, StreamInfo, ask_api, read_answer};
use crate::channels::nats_channel::nats_line::NatsLine;
use crate::model::stream_source::{NatsStreamSettings, StreamStart};
use crate::sources::RunFailed;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long a message may go without an acknowledgement before the server gives it again. This is
/// also how long the messages of a node that died stay away.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// There is no such consumer (nats-server, `errors.json`).
const NO_CONSUMER: i64 = 10_014;

/// There is no such message.
const NO_MESSAGE: i64 = 10_037;

/// A consumer as a run finds it.
#[derive(Debug, Clone, Copy)]
pub struct FoundConsumer {
    /// Messages that earlier runs took and did not acknowledge.
    pub unacknowledged: usize,
    /// The last sequence that was handed out.
    pub delivered: u64,
    /// Messages that were not handed out yet.
    pub waiting: u64,
    /// How long a message may go without an acknowledgement.
    pub ack_wait: Duration,
}

#[derive(Debug, Deserialize)]
struct ConsumerInfo {
    config: Map<String, Value>,
    #[serde(default)]
    delivered: SequenceInfo,
    #[serde(default)]
    num_ack_pending: usize,
    #[serde(default)]
    num_pending: u64,
}

#[derive(Debug, Default, Deserialize)]
struct SequenceInfo {
    #[serde(default)]
    stream_seq: u64,
}

/// Returns the source's consumer. Makes it if it is not there, and gives it the subjects and the
/// bound that are set. Notes in the memory which stream it is.
pub async fn prepare_consumer(
    line: &mut NatsLine,
    settings: &NatsStreamSettings,
    memory: &mut StreamMemory,
) -> Result<FoundConsumer, RunFailed> {
    let NatsStreamSettings { stream, consumer, .. } = settings;
    let info = ask_api(line, &format!("STREAM.INFO.{stream}"), b"", ANSWER).await?;
    let info = info.map_err(|refusal| refused(&format!("the stream `{stream}`"), &refusal))?;
    let info: StreamInfo = read_answer(info)?;
    if memory.stream_made.as_ref() != Some(&info.created) {
        memory.sequence = None;
        memory.stream_made = Some(info.created);
    }
    let place = format!("CONSUMER.INFO.{stream}.{consumer}");
    let found = match ask_api(line, &place, b"", ANSWER).await? {
        Ok(found) => found,
        Err(refusal) if refusal.code == NO_CONSUMER => {
            let begin = memory.sequence.filter(|sequence| *sequence <= info.state.last_seq);
            put_consumer(line, settings, new_config(settings, begin)).await?
        }
        Err(refusal) => return Err(refused(&format!("the consumer `{consumer}`"), &refusal)),
    };
    let mut found: ConsumerInfo = read_answer(found)?;
    check_config(settings, &found.config)?;
    if !has_bounds(settings, &found.config) {
        let mut config = found.config;
        set_bounds(settings, &mut config);
        found = read_answer(put_consumer(line, settings, config).await?)?;
    }
    // A server before 2.10 reads no list of subjects and would hand out everything.
    if !has_bounds(settings, &found.config) {
        return Err(RunFailed::new(
            "the server did not take `subjects`; two or more need NATS 2.10, so use one, or one source each",
        ));
    }
    let ack_wait = found.config.get("ack_wait").and_then(Value::as_u64);
    Ok(FoundConsumer {
        unacknowledged: found.num_ack_pending,
        delivered: found.delivered.stream_seq,
        waiting: found.num_pending,
        ack_wait: ack_wait.map_or(ACK_WAIT, Duration::from_nanos),
    })
}

/// Returns a message of the stream as the API gives it: the newest one of the first subject, or of
/// all.
pub async fn find_newest(
    line: &mut NatsLine,
    settings: &NatsStreamSettings,
) -> Result<Option<Value>, RunFailed> {
    let stream = &settings.stream;
    let subject = settings.subjects.first().map_or(">", String::as_str);
    let question = json!({"last_by_subj": subject}).to_string();
    let place = format!("STREAM.MSG.GET.{stream}");
    match ask_api(line, &place, question.as_bytes(), ANSWER).await? {
        Ok(mut answer) => Ok(answer.get_mut("message").map(Value::take)),
        Err(refusal) if refusal.code == NO_MESSAGE => Ok(None),
        Err(refusal) => Err(refused(&format!("the stream `{stream}`"), &refusal)),
    }
}

async fn put_consumer(
    line: &mut NatsLine,
    settings: &NatsStreamSettings,
    config: Map<String, Value>,
) -> Result<Value, RunFailed> {
    let NatsStreamSettings { stream, consumer, .. } = settings;
    let question = json!({"stream_name": stream, "config": config}).to_string();
    let place = format!("CONSUMER.DURABLE.CREATE.{stream}.{consumer}");
    let made = ask_api(line, &place, question.as_bytes(), ANSWER).await?;
    made.map_err(|refusal| refused(&format!("the consumer `{consumer}`"), &refusal))
}

/// Returns the configuration of a new consumer. `after` is the sequence of the last message that
/// was captured, if there is one.
fn new_config(settings: &NatsStreamSettings, after: Option<u64>) -> Map<String, Value> {
    let ack_wait = u64::try_from(ACK_WAIT.as_nanos()).unwrap_or(u64::MAX);
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| {
        config.insert(name.to_owned(), value);
    };
    set("durable_name", settings.consumer.as_str().into());
    set("ack_policy", "explicit".into());
    set("ack_wait", ack_wait.into());
    set("max_deliver", (-1).into());
    set("replay_policy", "instant".into());
    match (after, settings.start) {
        (Some(after), _) => {
            set("deliver_policy", "by_start_sequence".into());
            set("opt_start_seq", (after + 1).into());
        }
        (None, StreamStart::All) => set("deliver_policy", "all".into()),
        (None, StreamStart::New) => set("deliver_policy", "new".into()),
    }
    set_bounds(settings, &mut config);
    config
}

fn set_bounds(settings: &NatsStreamSettings, config: &mut Map<String, Value>) {
    config.insert("max_ack_pending".to_owned(), settings.max_unacknowledged.into());
    config.remove("filter_subject");
    config.remove("filter_subjects");
    match settings.subjects.as_slice() {
        [] => {}
        [one] => {
            config.insert("filter_subject".to_owned(), one.as_str().into());
        }
        many => {
            config.insert("filter_subjects".to_owned(), many.into());
        }
    }
}

/// Whether a consumer has the subjects and the bound that are set.
fn has_bounds(settings: &NatsStreamSettings, config: &Map<String, Value>) -> bool {
    let one = config.get("filter_subject").and_then(Value::as_str).filter(|one| !one.is_empty());
    let many = config.get("filter_subjects").and_then(Value::as_array);
    let many = many.into_iter().flatten().filter_map(Value::as_str);
    let filters: Vec<&str> = one.into_iter().chain(many).collect();
    let bound = config.get("max_ack_pending").and_then(Value::as_u64);
    filters == settings.subjects && bound == Some(u64::from(settings.max_unacknowledged))
}

/// Fails if a consumer that was there before is not one that messages can be taken from.
fn check_config(
    settings: &NatsStreamSettings,
    config: &Map<String, Value>,
) -> Result<(), RunFailed> {
    let consumer = &settings.consumer;
    let pushes = config.get("deliver_subject").and_then(Value::as_str);
    if pushes.is_some_and(|subject| !subject.is_empty()) {
        return Err(RunFailed::new(format!(
            "the consumer `{consumer}` pushes its messages; name another, which Waybill makes"
        )));
    }
    if config.get("ack_policy").and_then(Value::as_str) != Some("explicit") {
        return Err(RunFailed::new(format!(
            "the consumer `{consumer}` does not acknowledge each message (`ack_policy: explicit`); name \
             another, which Waybill makes"
        )));
    }
    Ok(())
}

fn refused(what: &str, refusal: &ApiRefusal) -> RunFailed {
    RunFailed::new(format!("{what}: {} ({})", refusal.why, refusal.code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(subjects: &Value) -> NatsStreamSettings {
        let settings = json!({"url": "nats://h", "stream": "CRM", "subjects": subjects});
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn a_consumer_begins_where_the_last_run_ended() {
        let some = settings(&json!(["crm.>"]));
        let config = new_config(&some, None);
        assert_eq!(config["deliver_policy"], "all");
        assert_eq!(config["filter_subject"], "crm.>");
        assert!(has_bounds(&some, &config) && check_config(&some, &config).is_ok());
        let config = new_config(&some, Some(41));
        assert_eq!(
            (&config["deliver_policy"], &config["opt_start_seq"]),
            (&json!("by_start_sequence"), &json!(42))
        );
    }

    #[test]
    fn other_subjects_or_bounds_are_noticed() {
        let two = settings(&json!(["a.>", "b.>"]));
        let mut config = new_config(&two, None);
        assert!(has_bounds(&two, &config));
        assert!(!has_bounds(&settings(&json!([])), &config));
        assert!(!has_bounds(&settings(&json!(["a.>"])), &config));
        config.remove("filter_subjects");
        assert!(!has_bounds(&two, &config), "as a server before 2.10 answers");
        config.insert("deliver_subject".to_owned(), "push.here".into());
        assert!(check_config(&two, &config).is_err());
    }
}

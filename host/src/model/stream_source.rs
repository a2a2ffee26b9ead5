//! Settings of a source that consumes messages from a stream or a queue.

use crate::model::fault::InputFault;
use crate::model::message_mapping::MessageMapping;
use crate::net::http_url::read_url;
use serde::{Deserialize, Serialize};

/// Longest name of a stream, a consumer, a subject or a queue, in bytes.
const MAX_NAME: usize = 255;
/// Most subjects of one source.
const MAX_SUBJECTS: usize = 50;
/// Default and highest number of messages that a broker may have handed out without an
/// acknowledgement.
const UNACKNOWLEDGED: (u32, u32) = (200, 1_000);
/// Most bytes of messages without an acknowledgement, which a run holds in memory.
const MAX_HELD: u64 = 256 * 1_048_576;
/// Default, least and largest size of a message, in bytes.
const MESSAGE_BYTES: (u32, u32, u32) = (1_048_576, 1_024, 8_388_608);

/// The way to log in to a NATS server. The credential is the source's `secret`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NatsLoginKind {
    /// A token. If the source has no secret, no log-in.
    #[default]
    Token,
    /// The password of `user`.
    Password,
    /// The seed of a user's key (`SU…`), or the contents of a `.creds` file.
    Key,
}

/// Position at which a new consumer begins in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamStart {
    /// At the oldest message that the stream holds.
    #[default]
    All,
    /// At messages that are published after the consumer is created.
    New,
}

/// The settings of a source that consumes messages from a stream of NATS JetStream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsStreamSettings {
    /// Address of the server: `tls://HOST:4222`, or `nats://HOST:4222`, which does not encrypt.
    #[schema(example = "tls://nats.example.com:4222")]
    pub url: String,
    /// Name of the stream. It must exist.
    #[schema(example = "CRM", max_length = 255)]
    pub stream: String,
    /// Subjects whose messages to consume, such as `crm.>`. Empty for the whole stream. Two or more
    /// need NATS 2.10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["crm.>"]))]
    pub subjects: Vec<String>,
    /// Name of the durable pull consumer. Waybill creates it if it does not exist. No other program
    /// may use it.
    #[serde(default = "consumer")]
    #[schema(max_length = 255)]
    pub consumer: String,
    /// Kind of credential in the source's `secret`.
    #[serde(default)]
    pub login: NatsLoginKind,
    /// The user to log in as. Only with the login `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Position at which a new consumer begins.
    #[serde(default)]
    pub start: StreamStart,
    /// Most messages without an acknowledgement, 1 to 1000. Their number times `max_bytes` may be
    /// at most 256 MiB.
    #[serde(default = "unacknowledged")]
    pub max_unacknowledged: u32,
    /// Largest message in bytes, 1024 to 8388608. A larger one is set aside.
    #[serde(default = "message_bytes")]
    pub max_bytes: u32,
    /// Mapping of a message to an event. If left out, a message is an event in the form of
    /// `/api/v1/events`, or an event of CloudEvents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<MessageMapping>,
}

/// The settings of a source that consumes messages from a queue of AMQP 0-9-1, such as RabbitMQ's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpQueueSettings {
    /// Address of the broker and its virtual host: `amqps://HOST:5671/VHOST`, or `amqp://…`, which
    /// does not encrypt. Without a path the virtual host is `/`.
    #[schema(example = "amqps://mq.example.com:5671/crm")]
    pub url: String,
    /// Name of the queue. It must exist. The source is its only consumer.
    #[schema(example = "waybill", max_length = 255)]
    pub queue: String,
    /// The user to log in as. The password is the source's `secret`.
    #[schema(example = "waybill", max_length = 255)]
    pub user: String,
    /// Most messages without an acknowledgement, 1 to 1000. Their number times `max_bytes` may be
    /// at most 256 MiB.
    #[serde(default = "unacknowledged")]
    pub max_unacknowledged: u32,
    /// Largest message in bytes, 1024 to 8388608. A larger one is set aside.
    #[serde(default = "message_bytes")]
    pub max_bytes: u32,
    /// Mapping of a message to an event. If left out, a message is an event in the form of
    /// `/api/v1/events`, or an event of CloudEvents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<MessageMapping>,
}

fn consumer() -> String {
    "waybill".to_owned()
}

const fn unacknowledged() -> u32 {
    UNACKNOWLEDGED.0
}

const fn message_bytes() -> u32 {
    MESSAGE_BYTES.0
}

impl NatsStreamSettings {
    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = check_url(&self.url, &["tls", "nats"], false);
        for (field, name) in [("stream", &self.stream), ("consumer", &self.consumer)] {
            if !is_plain_name(name) {
                let message = "must have 1 to 255 characters without white space, `.`, `*`, `>`, `/` and `\\`";
                faults.push(InputFault::new(field, message));
            }
        }
        if self.subjects.len() > MAX_SUBJECTS {
            faults.push(InputFault::new("subjects", format!("at most {MAX_SUBJECTS}")));
        }
        for (n, subject) in self.subjects.iter().enumerate().filter(|(_, s)| !is_subject(s)) {
            let message =
                format!("`{subject}` is not a subject such as `crm.invoice.*` or `crm.>`");
            faults.push(InputFault::new(format!("subjects[{n}]"), message));
        }
        if (self.login == NatsLoginKind::Password) != self.user.is_some() {
            faults.push(InputFault::new("user", "set it if `login` is `password`, and only then"));
        }
        faults.extend(check_bounds(self.max_unacknowledged, self.max_bytes));
        faults.extend(check_mapping(self.event.as_ref()));
        faults
    }
}

impl AmqpQueueSettings {
    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = check_url(&self.url, &["amqps", "amqp"], true);
        for (field, name) in [("queue", &self.queue), ("user", &self.user)] {
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                let message = format!("must have 1 to {MAX_NAME} bytes without control characters");
                faults.push(InputFault::new(field, message));
            }
        }
        faults.extend(check_bounds(self.max_unacknowledged, self.max_bytes));
        faults.extend(check_mapping(self.event.as_ref()));
        faults
    }
}

fn check_url(url: &str, schemes: &[&str], may_have_path: bool) -> Vec<InputFault> {
    let fault = match read_url(url, schemes) {
        Err(why) => Some(why),
        Ok(url) if url.query().is_some() => Some("no query may follow the host".to_owned()),
        Ok(url) if !may_have_path && !matches!(url.path(), "" | "/") => {
            Some("no path may follow the host".to_owned())
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => {
            Some("the URL has no host".to_owned())
        }
        Ok(_) => None,
    };
    fault.into_iter().map(|why| InputFault::new("url", why)).collect()
}

fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !".*>/\\".contains(c);
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_plain)
}

fn is_subject(subject: &str) -> bool {
    let parts: Vec<&str> = subject.split('.').collect();
    let is_part = |(n, part): (usize, &&str)| match *part {
        "*" => true,
        ">" => n + 1 == parts.len(),
        part => !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "*>".contains(c)),
    };
    subject.len() <= MAX_NAME && parts.iter().enumerate().all(is_part)
}

fn check_bounds(unacknowledged: u32, bytes: u32) -> Vec<InputFault> {
    let mut faults = Vec::new();
    if !(1..=UNACKNOWLEDGED.1).contains(&unacknowledged) {
        let message = format!("must be 1 to {} messages", UNACKNOWLEDGED.1);
        faults.push(InputFault::new("max_unacknowledged", message));
    }
    if u64::from(unacknowledged) * u64::from(bytes) > MAX_HELD {
        let message = "`max_unacknowledged` times `max_bytes` must be at most 256 MiB";
        faults.push(InputFault::new("max_unacknowledged", message));
    }
    if !(MESSAGE_BYTES.1..=MESSAGE_BYTES.2).contains(&bytes) {
        let message = format!("must be {} to {} bytes", MESSAGE_BYTES.1, MESSAGE_BYTES.2);
        faults.push(InputFault::new("max_bytes", message));
    }
    faults
}

fn check_mapping(mapping: Option<&MessageMapping>) -> Vec<InputFault> {
    let faults = mapping.map(MessageMapping::check).unwrap_or_default();
    faults.into_iter().map(|fault| fault.within("event")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn merged(mut least: Value, more: &Value) -> Value {
        least.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        least
    }

    fn places(faults: Vec<InputFault>) -> Vec<String> {
        faults.into_iter().map(|fault| fault.path).collect()
    }

    fn nats(more: &Value) -> Vec<String> {
        let settings = merged(json!({"url": "nats://h:4222", "stream": "CRM"}), more);
        places(serde_json::from_value::<NatsStreamSettings>(settings).unwrap().check())
    }

    #[test]
    fn a_stream_has_a_server_a_name_and_bounds() {
        assert_eq!(nats(&json!({})), [""; 0]);
        let more = json!({"subjects": ["crm.>", "a.*.b"], "login": "password", "user": "u"});
        assert_eq!(nats(&more), [""; 0]);
        for (more, place) in [
            (json!({"url": "http://h"}), "url"),
            (json!({"url": "nats://h/x"}), "url"),
            (json!({"url": "nats://u:p@h"}), "url"),
            (json!({"stream": "a.b"}), "stream"),
            (json!({"consumer": ""}), "consumer"),
            (json!({"subjects": ["a", "a..b"]}), "subjects[1]"),
            (json!({"subjects": ["a.>.b"]}), "subjects[0]"),
            (json!({"user": "u"}), "user"),
            (json!({"login": "password"}), "user"),
            (json!({"max_unacknowledged": 0}), "max_unacknowledged"),
            (json!({"max_bytes": 9_000_000, "max_unacknowledged": 1}), "max_bytes"),
            (json!({"max_bytes": 8_000_000}), "max_unacknowledged"),
            (json!({"event": {"type": "{nowhere}"}}), "event.type"),
        ] {
            assert_eq!(nats(&more), [place], "{more}");
        }
    }

    #[test]
    fn a_queue_has_a_broker_a_name_and_a_user() {
        let amqp = |more: &Value| {
            let least = json!({"url": "amqp://h/crm", "queue": "q", "user": "u"});
            let settings = merged(least, more);
            places(serde_json::from_value::<AmqpQueueSettings>(settings).unwrap().check())
        };
        assert_eq!(amqp(&json!({})), [""; 0]);
        assert_eq!(amqp(&json!({"url": "amqps://h?x=1"})), ["url"]);
        assert_eq!(amqp(&json!({"queue": "", "user": "a\nb"})), ["queue", "user"]);
        let unknown = json!({"url": "amqp://h", "queue": "q", "user": "u", "password": "p"});
        assert!(serde_json::from_value::<AmqpQueueSettings>(unknown).is_err());
    }
}

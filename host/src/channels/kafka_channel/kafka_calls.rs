//! The requests that a producer makes, and their answers.

use super::wire::{
    API_VERSIONS, AnswerBody, INIT_PRODUCER_ID, METADATA, PRODUCE, RequestBody, RequestKind,
};
use crate::channels::publish::PublishError;
use bytes::Bytes;

/// The newest and oldest version of a kind of request that a broker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RequestVersions {
    key: i16,
    oldest: i16,
    newest: i16,
}

/// Checks from an answer to `ApiVersions` that a broker knows what is sent to it.
pub fn check_versions(answer: Bytes) -> Result<(), PublishError> {
    let mut body = API_VERSIONS.open(answer)?;
    let code = body.take_i16()?;
    let versions = body.take_list(|item| {
        Ok(RequestVersions {
            key: item.take_i16()?,
            oldest: item.take_i16()?,
            newest: item.take_i16()?,
        })
    })?;
    let knows = |kind: RequestKind| {
        versions.iter().any(|one| one.key == kind.key() && kind.is_in(one.oldest, one.newest))
    };
    if code == 0 && [PRODUCE, METADATA, INIT_PRODUCER_ID].into_iter().all(knows) {
        return Ok(());
    }
    Err(PublishError::protocol("the broker is too old: Kafka 2.5 or newer is needed"))
}

/// The id under which the brokers recognise the batches of this producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    pub id: i64,
    pub epoch: i16,
}

impl ProducerIdentity {
    /// A producer whose repeats are not recognised.
    pub const NONE: Self = Self { id: -1, epoch: -1 };

    /// Whether repeats are recognised.
    pub fn is_idempotent(self) -> bool {
        self != Self::NONE
    }
}

/// Asks for a new [`ProducerIdentity`], outside of transactions.
pub fn ask_identity(body: &mut RequestBody) {
    body.put_no_compact_text();
    body.put_i32(i32::MAX);
    body.put_i64(-1);
    body.put_i16(-1);
    body.put_no_tags();
}

/// Reads the answer to [`ask_identity`]. The error is a code of Kafka.
pub fn read_identity(answer: Bytes) -> Result<Result<ProducerIdentity, i16>, PublishError> {
    let mut body = INIT_PRODUCER_ID.open(answer)?;
    let _throttle = body.take_i32()?;
    let code = body.take_i16()?;
    let identity = ProducerIdentity { id: body.take_i64()?, epoch: body.take_i16()? };
    Ok(if code == 0 { Ok(identity) } else { Err(code) })
}

/// The address under which a broker wants to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedBroker {
    pub node: i32,
    pub host: String,
    pub port: u16,
}

/// The partitions of a topic: the leader of each, in order. `None` for one without a leader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicLeaders {
    pub leaders: Vec<Option<i32>>,
}

/// An answer to a question about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAnswer {
    pub brokers: Vec<AnnouncedBroker>,
    /// The topic, or the code of the reason why there is none.
    pub topic: Result<TopicLeaders, i16>,
}

/// Asks about a topic without creating it.
pub fn ask_topic(body: &mut RequestBody, topic: &str) {
    body.put_i32(1);
    body.put_text(topic);
    body.put_i8(0);
}

/// Reads the answer to [`ask_topic`].
pub fn read_topic(answer: Bytes, topic: &str) -> Result<TopicAnswer, PublishError> {
    let mut body = METADATA.open(answer)?;
    let _throttle = body.take_i32()?;
    let brokers = body.take_list(|item| {
        let (node, host, port) = (item.take_i32()?, item.take_text()?, item.take_i32()?);
        let _rack = item.take_text()?;
        let port = u16::try_from(port).ok();
        let port =
            port.ok_or_else(|| PublishError::protocol("a broker announces no valid port"))?;
        Ok(AnnouncedBroker { node, host, port })
    })?;
    let _cluster = body.take_text()?;
    let _controller = body.take_i32()?;
    let topics = body.take_list(read_one_topic)?;
    let found = topics.into_iter().find(|(name, _)| name == topic);
    let found =
        found.ok_or_else(|| PublishError::protocol("the broker does not answer about the topic"));
    Ok(TopicAnswer { brokers, topic: found?.1 })
}

fn read_one_topic(
    item: &mut AnswerBody,
) -> Result<(String, Result<TopicLeaders, i16>), PublishError> {
    let (code, name) = (item.take_i16()?, item.take_text()?);
    let _is_internal = item.take_bool()?;
    let mut partitions = item.take_list(|partition| {
        let _code = partition.take_i16()?;
        let (number, leader) = (partition.take_i32()?, partition.take_i32()?);
        let _replicas = partition.take_list(AnswerBody::take_i32)?;
        let _in_sync = partition.take_list(AnswerBody::take_i32)?;
        Ok((number, Some(leader).filter(|leader| *leader >= 0)))
    })?;
    partitions.sort_unstable();
    let is_whole = (0..).zip(&partitions).all(|(number, partition)| number == partition.0);
    if !is_whole {
        return Err(PublishError::protocol(format!("partitions of `{name}` are missing")));
    }
    let leaders = partitions.into_iter().map(|(_, leader)| leader).collect();
    Ok((name, if code == 0 { Ok(TopicLeaders { leaders }) } else { Err(code) }))
}

/// The outcome of a batch, as its broker reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAnswer {
    /// 0 if the batch is stored.
    pub code: i16,
    /// The place of its first record. -1 if the broker does not say.
    pub offset: i64,
    /// The broker's words about a refusal; often empty.
    pub said: String,
}

/// Sends a batch to one partition. All replicas in sync must have it before the answer comes, which
/// the broker waits for at most `wait` milliseconds.
pub fn put_batch(body: &mut RequestBody, topic: &str, partition: i32, wait: i32, batch: &[u8]) {
    const ALL_REPLICAS: i16 = -1;
    body.put_no_text();
    body.put_i16(ALL_REPLICAS);
    body.put_i32(wait);
    body.put_i32(1);
    body.put_text(topic);
    body.put_i32(1);
    body.put_i32(partition);
    body.put_bytes(batch);
}

/// Reads the answer to [`put_batch`].
pub fn read_batch_answer(answer: Bytes) -> Result<BatchAnswer, PublishError> {
    let mut body = PRODUCE.open(answer)?;
    let topics = body.take_list(|topic| {
        let _name = topic.take_text()?;
        topic.take_list(|partition| {
            let _number = partition.take_i32()?;
            let (code, offset) = (partition.take_i16()?, partition.take_i64()?);
            let (_appended_at, _log_start) = (partition.take_i64()?, partition.take_i64()?);
            let faults = partition.take_list(|fault| {
                let _record = fault.take_i32()?;
                fault.take_text()
            })?;
            let said = partition.take_text()?;
            let said =
                Some(said).filter(|said| !said.is_empty()).or_else(|| faults.into_iter().next());
            Ok(BatchAnswer { code, offset, said: said.unwrap_or_default() })
        })
    })?;
    let answer = topics.into_iter().flatten().next();
    answer.ok_or_else(|| PublishError::protocol("the broker does not answer about the batch"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut as _, BytesMut};

    fn put_text(bytes: &mut BytesMut, text: &str) {
        bytes.put_i16(i16::try_from(text.len()).unwrap());
        bytes.put_slice(text.as_bytes());
    }

    /// An answer about a topic with these partitions: number and leader.
    fn topic_answer(code: i16, partitions: &[(i32, i32)]) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i32(0);
        bytes.put_i32(1);
        bytes.put_i32(4);
        put_text(&mut bytes, "b.example");
        bytes.put_i32(9092);
        bytes.put_i16(-1);
        put_text(&mut bytes, "cluster");
        bytes.put_i32(4);
        bytes.put_i32(1);
        bytes.put_i16(code);
        put_text(&mut bytes, "crm");
        bytes.put_i8(0);
        bytes.put_i32(i32::try_from(partitions.len()).unwrap());
        for (number, leader) in partitions {
            bytes.put_i16(0);
            bytes.put_i32(*number);
            bytes.put_i32(*leader);
            bytes.put_i32(1);
            bytes.put_i32(4);
            bytes.put_i32(0);
        }
        bytes.freeze()
    }

    #[test]
    fn partitions_are_put_in_order_and_none_may_be_missing() {
        let answer = read_topic(topic_answer(0, &[(1, -1), (0, 4)]), "crm").unwrap();
        assert_eq!(answer.topic.unwrap().leaders, [Some(4), None]);
        let broker = AnnouncedBroker { node: 4, host: "b.example".to_owned(), port: 9092 };
        assert_eq!(answer.brokers, [broker]);
        assert!(read_topic(topic_answer(0, &[(0, 4), (2, 4)]), "crm").is_err());
        assert_eq!(read_topic(topic_answer(3, &[]), "crm").unwrap().topic, Err(3));
        assert!(read_topic(topic_answer(0, &[]), "other").is_err());
    }

    #[test]
    fn an_answer_that_is_cut_off_anywhere_is_refused() {
        let whole = topic_answer(0, &[(0, 4), (1, 4)]);
        for length in 0..whole.len() {
            assert!(read_topic(whole.slice(..length), "crm").is_err(), "{length}");
        }
    }

    #[test]
    fn a_broker_must_know_the_versions_that_are_sent() {
        let versions = |newest: i16| {
            let mut bytes = BytesMut::new();
            bytes.put_i16(0);
            bytes.put_i32(3);
            for (key, last) in [(0, newest), (3, 12), (22, 4)] {
                bytes.put_i16(key);
                bytes.put_i16(0);
                bytes.put_i16(last);
            }
            check_versions(bytes.freeze())
        };
        versions(8).unwrap();
        assert!(versions(7).unwrap_err().to_string().contains("Kafka 2.5"));
    }
}

//! The error codes of Kafka, and what follows from each (Kafka protocol guide, "Error Codes").

use crate::channels::publish::PublishError;

/// A message that is larger than the topic accepts, and a batch that is larger than a segment.
const TOO_LARGE: [i16; 2] = [10, 18];
/// A topic or partition that the broker does not know.
pub const UNKNOWN_TOPIC: i16 = 3;
/// A wrong user name or password.
pub const SASL_FAILED: i16 = 58;

/// The meaning of an error code for the batch that got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMeaning {
    /// Another broker leads the partition, or the cluster is changing. The batch is not stored.
    Moving,
    /// The broker may have stored the batch, and a replica has not.
    Unsure,
    /// The batch, or one of its records, will never be accepted.
    Final,
    /// The broker's count of this producer's batches differs from ours, so whether it has the batch
    /// is unknown. A new producer has to send the records again.
    LostCount,
    /// Nothing was stored. It may work later, for example after the operator has changed a right.
    Later,
}

/// Returns the meaning of an error code.
pub const fn meaning_of(code: i16) -> FaultMeaning {
    match code {
        // UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, BROKER_NOT_AVAILABLE,
        // NOT_ENOUGH_REPLICAS, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH
        UNKNOWN_TOPIC | 5 | 8 | 19 | 74 | 76 => FaultMeaning::Moving,
        // REQUEST_TIMED_OUT, NETWORK_EXCEPTION, NOT_ENOUGH_REPLICAS_AFTER_APPEND, and
        // NOT_LEADER_OR_FOLLOWER and KAFKA_STORAGE_ERROR, which a broker also answers after it has
        // appended, if its lead ends while it waits for its replicas.
        6 | 7 | 13 | 20 | 56 => FaultMeaning::Unsure,
        // MESSAGE_TOO_LARGE, INVALID_TOPIC_EXCEPTION, RECORD_LIST_TOO_LARGE, INVALID_TIMESTAMP,
        // UNSUPPORTED_FOR_MESSAGE_FORMAT, INVALID_RECORD
        10 | 17 | 18 | 32 | 43 | 87 => FaultMeaning::Final,
        // OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH,
        // UNKNOWN_PRODUCER_ID, PRODUCER_FENCED. Kafka answers a repeat of one of the last five
        // batches as it answered the batch, and only one batch is ever under way. So a broker that
        // calls a batch a duplicate without its offset cannot be believed to have it: Tansu says so
        // of batches that it lost when it was killed.
        45 | 46 | 47 | 59 | 90 => FaultMeaning::LostCount,
        _ => FaultMeaning::Later,
    }
}

/// Describes an error code in a sentence, with the words of the broker if it has some.
pub fn describe_fault(code: i16, topic: &str, said: &str) -> String {
    let what = match code {
        UNKNOWN_TOPIC => {
            format!("the topic `{topic}` does not exist; create it, or correct `topic`")
        }
        5 | 6 | 8 => format!("no broker leads the partition of `{topic}` now"),
        7 | 13 => format!("the brokers did not store the message for `{topic}` in time"),
        _ if TOO_LARGE.contains(&code) => {
            format!("the message is larger than `{topic}` accepts (max.message.bytes)")
        }
        17 => format!("`{topic}` is not a name that a topic may have"),
        19 | 20 => format!("`{topic}` has fewer replicas in sync than min.insync.replicas"),
        29 => format!("the user may not write to `{topic}`: permit WRITE"),
        31 => "the user may not write idempotently: permit IDEMPOTENT_WRITE on the cluster, or set `idempotent` to false".to_owned(),
        45..=47 | 59 | 90 => {
            format!("the broker's count of the batches for `{topic}` differs; the next attempt begins a new one")
        }
        44 => format!("a policy of the brokers refuses the message for `{topic}`"),
        SASL_FAILED => "the broker refuses the user name or the password".to_owned(),
        _ => format!("the broker refuses the message for `{topic}`"),
    };
    let said = if said.is_empty() { String::new() } else { format!(": {}", shorten(said)) };
    format!("{what} (error {code} of Kafka{said})")
}

/// Returns the failure of an attempt that a broker refused with this code.
pub fn refusal(code: i16, topic: &str, said: &str) -> PublishError {
    PublishError::refused(describe_fault(code, topic, said))
}

/// Keeps the first 200 characters of a broker's words.
fn shorten(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_stored_is_final() {
        for code in [10, 17, 18, 87] {
            assert_eq!(meaning_of(code), FaultMeaning::Final, "{code}");
        }
        // Rights, passwords and quotas are the operator's, so a later attempt may succeed.
        for code in [29, 31, 44, 58, 89, -1] {
            assert_eq!(meaning_of(code), FaultMeaning::Later, "{code}");
        }
        // A record that arrives twice can be recognised, one that is lost cannot.
        assert_eq!(meaning_of(46), FaultMeaning::LostCount);
        for code in [6, 20, 56] {
            assert_eq!(meaning_of(code), FaultMeaning::Unsure, "{code}");
        }
    }

    #[test]
    fn a_fault_is_named_with_what_to_do() {
        let said = describe_fault(UNKNOWN_TOPIC, "crm", "gone\n");
        assert_eq!(
            said,
            "the topic `crm` does not exist; create it, or correct `topic` (error 3 of Kafka: gone)"
        );
    }
}

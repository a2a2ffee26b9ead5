//! Notices that the nodes of one PostgreSQL database send each other, in addition to the tables.
//!
//! Nothing depends on a notice: a lost one only costs time. A node ignores a line that it does not
//! understand, because a node of another version sent it.

use crate::model::delivery::DeliveryStatus;
use crate::model::id::{DeliveryId, EventId};
use serde::{Deserialize, Serialize};

/// PostgreSQL's channel. It belongs to the database, not to a schema.
pub const NODE_CHANNEL: &str = "waybill";

/// Largest payload in bytes. PostgreSQL refuses one of 8,000.
const LARGEST_PAYLOAD: usize = 7_900;

/// A change that other nodes should know at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeNotice {
    /// The first attempt of a delivery was recorded. A request on another node may wait for it.
    Attempted {
        event: EventId,
        delivery: DeliveryId,
        /// `Delivered`, or the status that follows from a failed attempt.
        status: DeliveryStatus,
        /// The HTTP status of the answer.
        response_status: Option<u16>,
        /// Duration of the attempt, in microseconds.
        duration_us: u64,
    },
    /// A node changed an object or a module.
    SettingsChanged { node: i64 },
    /// A node started, so the others are no longer alone.
    Entered { node: i64 },
}

impl NodeNotice {
    /// Packs notices into payloads, one notice a line, as few payloads as possible.
    pub fn pack(notices: &[Self]) -> Vec<String> {
        let mut payloads: Vec<String> = Vec::new();
        for line in notices.iter().filter_map(|notice| serde_json::to_string(notice).ok()) {
            match payloads.last_mut() {
                Some(payload) if payload.len() + line.len() < LARGEST_PAYLOAD => {
                    payload.push('\n');
                    payload.push_str(&line);
                }
                Some(_) | None => payloads.push(line),
            }
        }
        payloads
    }

    /// Returns the notices of a payload that this version understands.
    pub fn unpack(payload: &str) -> impl Iterator<Item = Self> {
        payload.lines().filter_map(|line| serde_json::from_str(line).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempted(duration_us: u64) -> NodeNotice {
        NodeNotice::Attempted {
            event: EventId::generate(),
            delivery: DeliveryId::generate(),
            status: DeliveryStatus::Delivered,
            response_status: Some(204),
            duration_us,
        }
    }

    #[test]
    fn a_group_commit_of_notices_is_packed_into_payloads_that_postgresql_takes() {
        let notices: Vec<NodeNotice> = (0..1_000).map(|n| attempted(u64::MAX - n)).collect();
        let payloads = NodeNotice::pack(&notices);
        assert!(payloads.iter().all(|payload| payload.len() < 8_000), "{}", payloads.len());
        assert!(payloads.len() < 50, "{}", payloads.len());
        let read: Vec<NodeNotice> =
            payloads.iter().flat_map(|payload| NodeNotice::unpack(payload)).collect();
        assert_eq!(read, notices);
        assert!(NodeNotice::pack(&[]).is_empty());
    }

    #[test]
    fn what_another_version_says_is_left_out() {
        let known = attempted(1);
        let line = serde_json::to_string(&known).unwrap();
        let payload = format!("{{\"unheard_of\":{{\"node\":1}}}}\n{line}\nhello");
        assert_eq!(NodeNotice::unpack(&payload).collect::<Vec<_>>(), [known]);
    }
}

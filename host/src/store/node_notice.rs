//! What nodes of one PostgreSQL database tell each other at once, beside what stands in its tables.
//!
//! Nothing depends on a notice: one that is lost costs time. A line that a node does not understand
//! comes from another version, and is left out.

use crate::model::delivery::DeliveryStatus;
use crate::model::id::{DeliveryId, EventId};
use serde::{Deserialize, Serialize};

/// PostgreSQL's channel. It belongs to the database, whatever the schema.
pub const NODE_CHANNEL: &str = "waybill";

/// Most bytes of a payload. PostgreSQL refuses one of 8,000.
const LARGEST_PAYLOAD: usize = 7_900;

/// Something that other nodes want to know at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeNotice {
    /// A first attempt was recorded of a delivery that another node may wait for.
    Attempted {
        event: EventId,
        delivery: DeliveryId,
        /// Whether it was delivered; otherwise it will be tried again or is dead.
        status: DeliveryStatus,
        /// The answer's status.
        response_status: Option<u16>,
        /// How long the attempt took, in microseconds.
        duration_us: u64,
    },
    /// A node changed an object or a module.
    SettingsChanged { node: i64 },
    /// A node is there, so that others are not alone.
    Entered { node: i64 },
}

impl NodeNotice {
    /// Payloads with one notice a line, as few as hold them all.
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

    /// The notices of a payload that this version understands.
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

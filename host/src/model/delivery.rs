//! Deliveries: one event for one endpoint, and the attempts to make it.
//!
//! ```text
//!              ┌──────────── superseded   (replaced by a newer one of the same record)
//!              │
//!   plan ──► pending ──► leased ──► delivered
//!              ▲  │         │
//!              │  │         ├─ failed, steps are left ──► pending (due later)
//!              │  │         ├─ held back by the receiver ──► pending (due later, no step used)
//!              │  │         └─ failed, schedule is over ──► dead ──► replay ──► pending
//!              │  └──────► cancelled
//!              └── lease expired (its holder died)
//! ```
//!
//! A claim makes a lease, or the insert of the row does ("born leased"). One settle that names the
//! lease ends it, so a worker whose lease has expired can change nothing.

use super::id::{DeadLetterId, DeliveryId, EndpointId, EventId, FlowId};
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Status of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Status)]
pub enum DeliveryStatus {
    /// Waiting until its due time.
    Pending,
    /// Being sent.
    Leased,
    /// Answered with a 2xx.
    Delivered,
    /// Failed for good. Sent again only by a replay.
    Dead,
    /// Collapsed into a newer delivery.
    Superseded,
    /// Cancelled by an operator or a module, or because its endpoint was deleted.
    Cancelled,
}

impl DeliveryStatus {
    /// All statuses, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Leased,
        Self::Delivered,
        Self::Dead,
        Self::Superseded,
        Self::Cancelled,
    ];

    /// Returns the code that the store uses.
    pub const fn code(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Leased => 1,
            Self::Delivered => 2,
            Self::Dead => 3,
            Self::Superseded => 4,
            Self::Cancelled => 5,
        }
    }

    /// Returns the status with this code.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Returns the name of the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The right to settle one delivery or one planning until it expires. The statements compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkLease {
    /// Number of the claim.
    pub token: i64,
    /// Time at which the lease expires.
    pub until: Timestamp,
}

/// A planned delivery.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    pub id: DeliveryId,
    pub event_id: EventId,
    pub endpoint_id: EndpointId,
    /// The flow that planned it. `None` for an endpoint's own `events`.
    pub flow_id: Option<FlowId>,
    /// The event type to send.
    pub event_type: String,
    /// The time from which it may be sent.
    pub due_at: Timestamp,
    /// The record of the delivery, if its endpoint keeps order.
    pub order_key: Option<String>,
    /// The key for collapsing in mode `smart`.
    pub collapse: Option<CollapseKey>,
    /// Makes the delivery unique at its endpoint for a while, if a route asks for that.
    pub dedupe: Option<DedupeKey>,
    /// The name under which modules of its flow can cancel it while it waits.
    pub cancel_key: Option<String>,
    /// The message to send, if it is not the event as captured.
    pub message: Option<Arc<super::event::DeliveryMessage>>,
    /// The lease of a delivery that is inserted leased.
    pub lease: Option<WorkLease>,
}

/// The key by which `smart` deliveries collapse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollapseKey {
    /// The record whose deliveries collapse.
    pub key: String,
    /// The latest due time of the first delivery of its row.
    pub latest: Timestamp,
}

/// A key that only one delivery to an endpoint may have at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupeKey {
    /// The key: the flow's id, a space, and the module's key.
    pub key: String,
    /// End of the time for which the delivery holds the key, unless it dies or is cancelled.
    pub until: Timestamp,
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Answered with a 2xx.
    Delivered,
    /// The attempt failed and will be repeated.
    Retry {
        /// Time of the next attempt.
        at: Timestamp,
    },
    /// The receiver asked for a wait (`429`, or `503` with `Retry-After`). The attempt will be
    /// repeated without using up a step of the schedule.
    HeldBack {
        /// Time of the next attempt.
        at: Timestamp,
        /// Time at which the receiver first asked for a wait in this step of the schedule.
        since: Timestamp,
    },
    /// The attempt failed and will not be repeated.
    Dead {
        /// The reason as a word: `retries_exhausted`, `gone`, `rejected`, `template`, or that of a
        /// module as in [`DeadLetter::reason`].
        reason: &'static str,
    },
}

/// The record of one attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub number: i32,
    /// Time at which it began.
    pub at: Timestamp,
    pub duration: Duration,
    /// HTTP status of the answer, if there was one.
    pub response_status: Option<u16>,
    /// Class of the failure, if it failed.
    pub error_class: Option<&'static str>,
    /// Description of the failure.
    pub error: Option<String>,
    /// Request headers as a JSON object, with secrets masked.
    pub request_headers: String,
    /// Headers of the answer as a JSON object.
    pub response_headers: Option<String>,
    /// The first 16 KiB of the answer's body.
    pub response_body: Option<bytes::Bytes>,
}

/// A dead letter: a delivery, or an event in a flow, that failed for good.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    pub event_id: EventId,
    pub event_type: String,
    /// The delivery that died. `None` if the event's modules failed.
    pub delivery_id: Option<DeliveryId>,
    /// The endpoint of the delivery.
    pub endpoint_id: Option<EndpointId>,
    /// The flow whose modules failed.
    pub flow_id: Option<FlowId>,
    /// The reason as a word: `retries_exhausted`, `gone`, `rejected`, `template`, `module_trap`,
    /// `module_timeout`, `module_memory`, `module_output`, `module_failure`, `module_missing`,
    /// `module_open`, `module_request`, `refused_by_database`.
    pub reason: String,
    /// The reason in a sentence.
    pub detail: String,
    /// Time at which it died.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for status in DeliveryStatus::ALL {
            assert_eq!(DeliveryStatus::from_code(status.code()), Some(status));
        }
        assert_eq!(DeliveryStatus::from_code(6), None);
    }
}

//! Deliveries: one event for one endpoint, and the attempts to make it.
//!
//! ```text
//!              ┌──────────── superseded   (a newer one of the same record took its place)
//!              │
//!   plan ──► pending ──► leased ──► delivered
//!              ▲  │         │
//!              │  │         ├─ failed, schedule goes on ──► pending (due later)
//!              │  │         ├─ held back by the receiver ──► pending (due later, no step used)
//!              │  │         └─ failed, schedule is over ──► dead ──► replay ──► pending
//!              │  └──────► cancelled
//!              └── lease ran out (its holder died)
//! ```
//!
//! A lease is made by a claim, or with the row itself ("born leased"), and ended by one settle that
//! names it: a worker whose lease ran out can change nothing.

use super::id::{DeadLetterId, DeliveryId, EndpointId, EventId, FlowId};
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Status)]
pub enum DeliveryStatus {
    /// Waiting; its due time says for what.
    Pending,
    /// Being sent.
    Leased,
    /// Answered with a 2xx.
    Delivered,
    /// Will not be tried again by itself.
    Dead,
    /// Collapsed into a newer one.
    Superseded,
    /// Called off by an operator, or its endpoint was deleted.
    Cancelled,
}

impl DeliveryStatus {
    /// Every status, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Leased,
        Self::Delivered,
        Self::Dead,
        Self::Superseded,
        Self::Cancelled,
    ];

    /// What the journal stores.
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

    /// The status behind a stored code.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// The word for it.
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

/// The right to settle one delivery or one planning, until it runs out. Compared in the SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkLease {
    /// Which claim it is.
    pub token: i64,
    /// Until when it holds.
    pub until: Timestamp,
}

/// A delivery as a plan makes it.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event.
    pub event_id: EventId,
    /// Where it goes.
    pub endpoint_id: EndpointId,
    /// The flow that planned it; `None` for an endpoint's own `events`.
    pub flow_id: Option<FlowId>,
    /// The event type as it will be sent.
    pub event_type: String,
    /// When it may be sent.
    pub due_at: Timestamp,
    /// The record it belongs to, where its endpoint keeps order.
    pub order_key: Option<String>,
    /// How it collapses with others, in mode `smart`.
    pub collapse: Option<CollapseKey>,
    /// Makes it unique at its endpoint for a while, where a route asks for that.
    pub dedupe: Option<DedupeKey>,
    /// A name under which modules of its flow can cancel it while it waits.
    pub cancel_key: Option<String>,
    /// What to send, if not the event as captured.
    pub message: Option<Arc<super::event::DeliveryMessage>>,
    /// The lease it is born with, if it is.
    pub lease: Option<WorkLease>,
}

/// How a `smart` delivery collapses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollapseKey {
    /// The record whose deliveries collapse.
    pub key: String,
    /// The latest time it may wait for, if it is the first of its row.
    pub latest: Timestamp,
}

/// A key that only one delivery to an endpoint has at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupeKey {
    /// The key: the flow's id, a space, and what the module gave.
    pub key: String,
    /// Until when the delivery holds it, if it neither dies nor is cancelled.
    pub until: Timestamp,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// A 2xx.
    Delivered,
    /// Failed; to be tried again then.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// The receiver asked for time (`429`, or `503` with `Retry-After`): to be tried again then,
    /// without a step of the schedule being used up.
    HeldBack {
        /// When.
        at: Timestamp,
        /// When the receiver asked for the first time in this round of the schedule.
        since: Timestamp,
    },
    /// Failed, and not to be tried again.
    Dead {
        /// Why, in a word: `retries_exhausted`, `gone`, `rejected` or `template`.
        reason: &'static str,
    },
}

/// One try of one delivery, as it is recorded.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// 1, 2, …
    pub number: i32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The status of the answer, if one came.
    pub response_status: Option<u16>,
    /// The class of the failure, if it failed.
    pub error_class: Option<&'static str>,
    /// The failure in words.
    pub error: Option<String>,
    /// What was sent: a JSON object of header values, secrets masked.
    pub request_headers: String,
    /// What came back: a JSON object of header values.
    pub response_headers: Option<String>,
    /// The first 16 KiB of the answer's body.
    pub response_body: Option<bytes::Bytes>,
}

/// Why something is in the dead-letter store.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its id.
    pub id: DeadLetterId,
    /// The event.
    pub event_id: EventId,
    /// The event type.
    pub event_type: String,
    /// The delivery that died; `None` where the event's modules failed.
    pub delivery_id: Option<DeliveryId>,
    /// Its endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// The flow whose modules failed.
    pub flow_id: Option<FlowId>,
    /// Why, in a word: `retries_exhausted`, `gone`, `rejected`, `template`, `module_trap`, `module_timeout`,
    /// `module_memory`, `module_output`, `module_failure`, `module_missing`, `module_open`,
    /// `refused_by_database`.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
    /// When it died.
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

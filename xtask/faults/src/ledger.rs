//! What the load did: acknowledged captures, written rows, changed settings, and failed calls.

use std::sync::Mutex;
use std::time::Instant;

use crate::node::lock;

/// The kinds of captured events. Each goes to an endpoint of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CaptureKind {
    /// To an endpoint without special settings.
    Plain,
    /// A state of a record, to an ordered endpoint.
    Ordered,
    /// A state of a record, to an endpoint that collapses states.
    Smart,
    /// Through a module that counts.
    Counted,
}

impl CaptureKind {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Ordered, Self::Smart, Self::Counted];

    /// Returns the event type.
    pub(crate) const fn event_type(self) -> &'static str {
        match self {
            Self::Plain => "invoice.paid",
            Self::Ordered => "stock.moved",
            Self::Smart => "price.changed",
            Self::Counted => "call.order",
        }
    }

    /// Returns the name of the endpoint.
    pub(crate) const fn endpoint(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ordered => "ordered",
            Self::Smart => "smart",
            Self::Counted => "counted",
        }
    }
}

/// The sources that Waybill runs itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// Rows of a PostgreSQL table.
    Table,
    /// Rows of a REST API.
    Polled,
}

impl RowKind {
    pub(crate) const ALL: [Self; 2] = [Self::Table, Self::Polled];

    /// Returns the name of the rows' resource, source and endpoint.
    pub(crate) const fn resource(self) -> &'static str {
        match self {
            Self::Table => "orders",
            Self::Polled => "ware",
        }
    }
}

/// An acknowledged event.
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    pub(crate) id: String,
    pub(crate) kind: CaptureKind,
    pub(crate) record: String,
    /// The state of the record. A later capture of the record has a higher number.
    pub(crate) number: u64,
    /// Time of the acknowledgement.
    pub(crate) at: Instant,
}

/// A row that was written.
#[derive(Debug, Clone)]
pub(crate) struct RowWrite {
    pub(crate) kind: RowKind,
    pub(crate) key: String,
    /// The row's value. A later write of the row has a higher one.
    pub(crate) value: u64,
    /// Time after the write.
    pub(crate) at: Instant,
}

/// Why a call of the API failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFailure {
    /// The connection was refused, or closed without an answer.
    Cut,
    /// No answer within the client's patience.
    Silent,
    /// 503 or 429 with `Retry-After`.
    Busy,
}

/// The record of one round.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    captures: Mutex<Vec<Capture>>,
    writes: Mutex<Vec<RowWrite>>,
    failures: Mutex<Vec<CallFailure>>,
    lost_changes: Mutex<Vec<String>>,
    /// Answers that no fault excuses.
    faults: Mutex<Vec<String>>,
}

impl Ledger {
    pub(crate) fn note_captures(&self, captures: Vec<Capture>) {
        lock(&self.captures).extend(captures);
    }

    pub(crate) fn note_write(&self, write: RowWrite) {
        lock(&self.writes).push(write);
    }

    pub(crate) fn note_failure(&self, failure: CallFailure) {
        lock(&self.failures).push(failure);
    }

    pub(crate) fn note_lost_change(&self, change: String) {
        lock(&self.lost_changes).push(change);
    }

    pub(crate) fn note_fault(&self, fault: String) {
        lock(&self.faults).push(fault);
    }

    pub(crate) fn captures(&self) -> Vec<Capture> {
        lock(&self.captures).clone()
    }

    pub(crate) fn writes(&self) -> Vec<RowWrite> {
        lock(&self.writes).clone()
    }

    /// Returns the number of calls that failed in this way.
    pub(crate) fn count_failures(&self, kind: CallFailure) -> usize {
        lock(&self.failures).iter().filter(|failure| **failure == kind).count()
    }

    pub(crate) fn lost_changes(&self) -> Vec<String> {
        lock(&self.lost_changes).clone()
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }
}

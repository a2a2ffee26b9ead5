//! The durable record, and the only place that names the database drivers.
//!
//! Stages meet here and nowhere else: capture appends events, plan records what the modules said
//! and which deliveries follow, deliver settles attempts. Each of these is one transaction, and
//! there is nothing in between that a crash could lose.
//!
//! **Group commit.** [`commit`] takes what has queued up while the last commit ran and commits it
//! as one transaction. A caller hears of success after the commit, never before.
//!
//! **Born leased.** What a commit makes ready for the next stage travels on in memory
//! ([`prefetch`]), already leased to this process, as far as there is room. What finds no room is
//! written unleased and claimed from the table later ([`claim`]). The table is the truth, memory
//! only a shortcut: a lease has an end, and what a dead process held is claimed by another.
//!
//! **Two databases, one text.** Statements take `$1` parameters, and [`db`] runs them on SQLite or on
//! PostgreSQL. Where a statement differs there is a pair of texts.
//!
//! Not guaranteed: that an attempt is made once. A crash between sending and settling sends again,
//! with the same `webhook-id`.

// In this order: no module of the store uses one that stands below it.

pub mod error;

pub mod db;
pub mod packed_text;
pub mod periods;
pub mod statements;

pub mod database_time;
pub mod late_releases;
pub mod node_id;
pub mod node_notice;
pub mod prefetch;
pub mod presence;
pub mod watch;
pub mod write_health;

pub mod commit;

pub mod event_store;

pub mod query;

pub mod parking;
pub mod release;
pub mod alerts;
pub mod claim;
pub mod offers;
pub mod erase;
pub mod forget;
pub mod module_answers;
pub mod module_state;
pub mod modules;
pub mod node;
pub mod node_channel;
pub mod objects;
pub mod prune;
pub mod readiness;
pub mod record_indexes;
pub mod replay;
pub mod shares;
pub mod sources;
pub mod space;

pub use commit::{
    AlertChanges, AuditNotes, CaptureReceipt, DeliveryDraft, EventCapture, IdempotencyKeys,
    ModuleFailed, NewPlanning, PlanReceipt, PutAlert, RecordedPlan, SettledAttempt,
};
pub use commit::{KeptRow, RowHead, RowsSetAside, SourceChanges};
pub use db::{ClusterLock, DatabaseProbe, StoreOpening, copy_database, probe_database};
pub use error::{PrunedPayload, StoreError};
pub use event_store::EventStore;
pub use module_state::{FoundRecord, RecordLookup};
pub use node::{NOTABLE_SKEW, RunningNode};
pub use offers::OfferedDelivery;
pub use query::calls::CallFilter;
pub use query::day_events::{DayEvent, EventSpan, ModuleCancel, PlanDeath, RecordKey};
pub use query::dead_letters::{
    DeadEvent, DeadLetterFilter, DeadRow, DeadSubject, LetterCount, RowContent, StoredDeadLetter,
};
pub use query::deliveries::{DeliveryFilter, DeliveryProgress, RecordedAttempt, StoredDelivery};
pub use query::events::EventFilter;
pub use query::outcomes::{DeliveryGroup, EventDeath, EventSteps, WaitingEvent};
pub use query::recent::{
    DeathCause, EndpointQueue, EventKind, FailedAttempt, MOST_CAUSES, RecentDelivery,
};
pub use query::records::{PageStart, RecordFilter};
pub use query::source_rows::{KeyRange, RowLetter};
pub use query::stored_event::StoredEvent;
pub use query::window::ListPage;

#[cfg(test)]
mod tests;

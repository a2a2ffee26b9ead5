//! Commits in groups: one transaction writes everything that queued up while the last one ran.
//!
//! ```text
//!   captures ─┐
//!   plans    ─┼─► queue ─► writer: BEGIN … COMMIT ─► replies, hand-over, notices
//!   settles  ─┤
//!   takes    ─┤
//!   notes    ─┘
//! ```
//!
//! Each kind of operation has its own file, which writes it and, after the commit, hands the
//! results over to the next stage.

pub mod alerts;
pub mod audit_notes;
pub mod capture;
pub mod dead_letters;
pub mod dedupe;
pub mod deliveries;
pub mod effects;
pub mod followers;
pub mod group_writer;
pub mod operation;
pub mod plan;
pub mod proofs;
pub mod queue;
pub mod records;
pub mod repeats;
pub mod settle;
pub mod source_rows;
pub mod state_changes;
pub mod write_operations;

pub use alerts::{AlertChanges, PutAlert};
pub use audit_notes::AuditNotes;
pub use capture::{CaptureReceipt, EventCapture, IdempotencyKeys, NewPlanning};
pub use deliveries::DeliveryDraft;
pub use plan::{ModuleFailed, PlanReceipt, RecordedPlan};
pub use settle::SettledAttempt;
pub use source_rows::{KeptRow, RowHead, RowsSetAside, SourceChanges};

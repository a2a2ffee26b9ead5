//! The operations of the writers, and how an operation that failed is answered.

use super::alerts::AlertChanges;
use super::audit_notes::AuditNotes;
use super::capture::{CaptureReceipt, EventCapture};
use super::plan::{PlanReceipt, RecordedPlan};
use super::settle::SettledAttempt;
use super::source_rows::{RunKey, SourceChanges};
use crate::store::StoreError;
use tokio::sync::oneshot;

/// An operation that writes something.
#[derive(Debug)]
pub enum WriteOperation {
    Capture {
        captures: Vec<EventCapture>,
        reply: oneshot::Sender<Result<Vec<CaptureReceipt>, StoreError>>,
    },
    Plan {
        planned: Box<RecordedPlan>,
        reply: oneshot::Sender<Result<PlanReceipt, StoreError>>,
    },
    Settle(Box<SettledAttempt>),
    Note(Box<AuditNotes>),
    /// The events that a source found, and the changes of its stored rows.
    Take {
        captures: Vec<EventCapture>,
        changes: Box<SourceChanges>,
        /// The process that must hold the source.
        node: i64,
        reply: oneshot::Sender<Result<Option<Vec<CaptureReceipt>>, StoreError>>,
    },
    /// The findings of the rules, and the notices about them.
    Alert {
        captures: Vec<EventCapture>,
        changes: Box<AlertChanges>,
        /// The node that must have the duty.
        node: i64,
        reply: oneshot::Sender<Result<Option<Vec<CaptureReceipt>>, StoreError>>,
    },
    /// A small write that proves that the database accepts writes.
    Prove {
        node: i64,
        at: i64,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Answered once its writer has written all operations that it took before.
    Flush {
        reply: oneshot::Sender<()>,
    },
}

impl WriteOperation {
    /// Returns roughly how many rows this writes.
    pub fn rows(&self) -> usize {
        match self {
            Self::Capture { captures, .. } => captures.len() * 2,
            Self::Plan { planned, .. } => 2 + planned.deliveries.len() + planned.emitted.len() * 2,
            Self::Settle(settled) => 2 + 2 * settled.answers.len(),
            Self::Take { captures, changes, .. } => captures.len() * 2 + changes.rows(),
            Self::Alert { captures, changes, .. } => captures.len() * 2 + changes.rows(),
            Self::Note(notes) => notes.calls.len() + notes.refused.len() + notes.usages.len(),
            Self::Prove { .. } => 1,
            Self::Flush { .. } => 0,
        }
    }

    /// Compresses the texts to be stored. Runs in the caller's task, because all operations wait
    /// for the writer.
    pub fn pack_texts(&mut self) {
        match self {
            Self::Capture { captures, .. }
            | Self::Take { captures, .. }
            | Self::Alert { captures, .. } => {
                captures.iter_mut().for_each(EventCapture::pack_data);
            }
            Self::Plan { planned, .. } => planned.pack_texts(),
            Self::Settle(settled) => settled.pack_texts(),
            Self::Note(_) | Self::Prove { .. } | Self::Flush { .. } => {}
        }
    }

    /// Returns the run that must hold its source for this to be written, if any.
    pub fn required_run(&self) -> Option<RunKey> {
        match self {
            Self::Take { changes, node, .. } => {
                Some(RunKey { source: changes.source, node: *node, started_at: changes.run })
            }
            Self::Capture { .. }
            | Self::Plan { .. }
            | Self::Settle(_)
            | Self::Note(_)
            | Self::Alert { .. }
            | Self::Prove { .. }
            | Self::Flush { .. } => None,
        }
    }

    /// Returns whether this is real work. A proof alone does not show that larger writes succeed.
    pub const fn is_work(&self) -> bool {
        !matches!(self, Self::Prove { .. } | Self::Flush { .. } | Self::Note(_))
    }

    /// Answers with an error. An operation that reports something that has happened is not answered
    /// but returned.
    pub fn fail(self, error: StoreError) -> Option<Self> {
        match self {
            Self::Capture { reply, .. } => drop(reply.send(Err(error))),
            Self::Plan { reply, .. } => drop(reply.send(Err(error))),
            Self::Take { reply, .. } | Self::Alert { reply, .. } => drop(reply.send(Err(error))),
            Self::Prove { reply, .. } => drop(reply.send(Err(error))),
            Self::Settle(_) | Self::Note(_) | Self::Flush { .. } => return Some(self),
        }
        None
    }

    /// Changes an operation that the database refused into one that records the refusal. Returns
    /// `false` if that is not possible.
    pub fn set_aside(&mut self, why: &str) -> bool {
        let is_changed = match self {
            Self::Plan { planned, .. } => planned.set_aside(why),
            Self::Settle(settled) => settled.set_aside(why),
            Self::Capture { .. }
            | Self::Take { .. }
            | Self::Alert { .. }
            | Self::Note(_)
            | Self::Prove { .. }
            | Self::Flush { .. } => false,
        };
        if is_changed {
            tracing::error!(why, "the database refused a write; the refusal is recorded instead");
        }
        is_changed
    }
}

//! Writes a batch of operations within one transaction.

use super::capture::{CaptureReceipt, EventCapture};
use super::deliveries::lock_rows;
use super::operation::WriteOperation;
use super::plan::PlanVerdict;
use super::source_rows::RunKey;
use super::{alerts, audit_notes, capture, plan, settle, source_rows};
use crate::store::db::{BoundRow, WriteTransaction};
use crate::store::{StoreError, statements};

/// The results of a transaction, which are delivered once it is durable.
#[derive(Debug, Default)]
pub struct WriteResults {
    /// `None` for each event of a request that is refused.
    pub receipts: Vec<Option<CaptureReceipt>>,
    pub planned: Vec<PlanVerdict>,
    /// For each [`WriteOperation::Take`] whether its source was held, and for each
    /// [`WriteOperation::Alert`] whether its node has the duty, in the order of the operations.
    pub held: Vec<bool>,
    /// For each attempt, the receipts of the events that its answer became.
    pub answered: Vec<Vec<CaptureReceipt>>,
}

impl WriteResults {
    /// Returns the results of captures that were written without a search for repeats.
    pub fn of_new_events(captures: &[&EventCapture]) -> Self {
        let is_new = |capture: &&EventCapture| {
            Some(CaptureReceipt { id: capture.event.id, duplicate: false })
        };
        Self { receipts: captures.iter().map(is_new).collect(), ..Self::default() }
    }
}

/// Writes the operations, in the order that later stages need.
pub async fn write_operations(
    tx: &mut WriteTransaction<'_>,
    ops: &mut [WriteOperation],
) -> Result<WriteResults, StoreError> {
    let held = find_held(tx, ops).await?;
    let mut is_held = held.iter().copied();
    let (mut captures, mut plans, mut settles) = (Vec::new(), Vec::new(), Vec::new());
    let (mut notes, mut kept, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
    let mut found = Vec::new();
    for op in ops {
        match op {
            WriteOperation::Capture { captures: more, .. } => captures.extend(more.iter_mut()),
            WriteOperation::Plan { planned, .. } => plans.push(&mut **planned),
            WriteOperation::Settle(settled) => settles.push(&mut **settled),
            WriteOperation::Note(more) => notes.push(&**more),
            WriteOperation::Take { captures: more, changes, .. } => {
                if is_held.next().unwrap_or(false) {
                    captures.extend(more.iter_mut());
                    notes.push(&changes.calls);
                    kept.push(&**changes);
                }
            }
            WriteOperation::Alert { captures: more, changes, .. } => {
                if is_held.next().unwrap_or(false) {
                    captures.extend(more.iter_mut());
                    found.push(&**changes);
                }
            }
            WriteOperation::Prove { node, at, .. } => proofs.push(proof_row(*node, *at)),
            WriteOperation::Flush { .. } => {}
        }
    }
    let emitted = plans.iter().flat_map(|plan| &plan.emitted).flat_map(|one| &one.deliveries);
    let drafts = captures.iter().flat_map(|capture| &capture.deliveries);
    let drafts = drafts.chain(plans.iter().flat_map(|plan| &plan.deliveries)).chain(emitted);
    let answers = settles.iter().flat_map(|settled| &settled.answers);
    let drafts = drafts.chain(answers.flat_map(|answer| &answer.deliveries));
    lock_rows(tx, drafts, plans.iter().filter_map(|plan| plan.flow_lock())).await?;
    let receipts = if captures.is_empty() {
        Vec::new()
    } else {
        capture::write_captures(tx, &mut captures).await?
    };
    let planned =
        if plans.is_empty() { Vec::new() } else { plan::write_plans(tx, &mut plans).await? };
    let answered = if settles.is_empty() {
        Vec::new()
    } else {
        settle::write_settles(tx, &mut settles).await?
    };
    if !notes.is_empty() {
        audit_notes::write_notes(tx, &notes).await?;
    }
    for changes in kept {
        source_rows::write_source_rows(tx, changes).await?;
    }
    for changes in found {
        alerts::write_alerts(tx, changes).await?;
    }
    // The proof comes last, as in the takeover from a lost process, so that the two cannot
    // deadlock. There is only one row, because PostgreSQL does not accept the same row twice in a
    // statement.
    proofs.truncate(1);
    tx.execute_bulk(&statements::PUT_NODE, proofs).await?;
    Ok(WriteResults { receipts, planned, held, answered })
}

fn proof_row<'a>(node: i64, at: i64) -> BoundRow<'a> {
    BoundRow::new().bind(node).bind(at)
}

/// Returns for each [`WriteOperation::Take`] whether its run holds the source, and for each
/// [`WriteOperation::Alert`] whether its node has the duty.
async fn find_held(
    tx: &mut WriteTransaction<'_>,
    ops: &[WriteOperation],
) -> Result<Vec<bool>, StoreError> {
    let runs: Vec<RunKey> = ops.iter().filter_map(WriteOperation::required_run).collect();
    let holding = source_rows::held_runs(tx, &runs).await?;
    let mut held = Vec::new();
    for operation in ops {
        if let WriteOperation::Alert { changes, node, .. } = operation {
            held.push(alerts::holds_duty(tx, *node, changes.at).await?);
        }
        held.extend(operation.required_run().map(|run| holding.contains(&run)));
    }
    Ok(held)
}

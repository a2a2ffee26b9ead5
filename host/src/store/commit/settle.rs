//! Records attempts and their consequences.
//!
//! The attempt is always recorded, because it was made. The delivery changes only if the lease is
//! still valid, so a worker whose lease ran out cannot overwrite the result of a later one.
//!
//! An answer that becomes an event is appended only together with the delivery that it settles, so
//! it is captured once however often the delivery is sent.

use super::capture::{CaptureReceipt, EventCapture, write_captures};
use super::dead_letters::write_dead_letter;
use super::effects::find_stored;
use crate::json::storable::make_storable;
use crate::metrics::StoreFigures;
use crate::model::delivery::{Attempt, AttemptOutcome, DeadLetter, DeliveryStatus, WorkLease};
use crate::model::id::{DeadLetterId, DeliveryId, EndpointId, EventId};
use crate::store::db::{BoundRow, SqlQuery, WriteTransaction};
use crate::store::node_notice::NodeNotice;
use crate::store::packed_text::{join_heads, pack_text};
use crate::store::prefetch::{QueuePermit, WorkPrefetch};
use crate::store::watch::{EventNotice, EventWatchers};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;

/// A completed attempt and its consequences.
#[derive(Debug)]
pub struct SettledAttempt {
    pub delivery: DeliveryId,
    pub event: EventId,
    pub event_type: String,
    pub endpoint: EndpointId,
    /// Whether the endpoint keeps order, so that the next delivery may be waiting for this one.
    pub ordered: bool,
    /// Whether the endpoint is in immediate mode, so that the request that captured the event may
    /// be waiting on any node.
    pub immediate: bool,
    /// Number of attempts before the present round of the schedule.
    pub round_from: i32,
    /// Time at which the receiver first asked for a pause in this round.
    pub held_since: Option<Timestamp>,
    pub lease: WorkLease,
    /// The place in memory, which is freed after the commit. A delivery that its consumer commits
    /// has none.
    pub _slot: Option<QueuePermit>,
    pub attempt: Attempt,
    /// The headers of the attempt, compressed. Set when the attempt is submitted.
    pub packed: Option<Vec<u8>>,
    pub outcome: AttemptOutcome,
    /// The events that the receiver's answer becomes.
    pub answers: Vec<EventCapture>,
}

impl SettledAttempt {
    fn status(&self) -> DeliveryStatus {
        match self.outcome {
            AttemptOutcome::Delivered => DeliveryStatus::Delivered,
            AttemptOutcome::Retry { .. } | AttemptOutcome::HeldBack { .. } => {
                DeliveryStatus::Pending
            }
            AttemptOutcome::Dead { .. } => DeliveryStatus::Dead,
        }
    }

    /// Counts the attempt by its outcome.
    pub fn note_outcome(&self, figures: &StoreFigures) {
        let counter = match self.outcome {
            AttemptOutcome::Delivered => &figures.delivered,
            AttemptOutcome::Retry { .. } | AttemptOutcome::HeldBack { .. } => &figures.failed,
            AttemptOutcome::Dead { .. } => &figures.dead,
        };
        counter.inc();
    }

    /// Drops the headers and bodies if the database refused them, so that the attempt is still
    /// recorded. Returns `false` if that was done already.
    pub fn set_aside(&mut self, why: &str) -> bool {
        let attempt = &mut self.attempt;
        if attempt.request_headers.is_empty() {
            // The record was dropped already, so the database refuses the answer.
            return !std::mem::take(&mut self.answers).is_empty();
        }
        attempt.request_headers = String::new();
        (attempt.response_headers, attempt.response_body) = (None, None);
        self.packed = None;
        attempt.error = Some(format!("the database refused the record of this attempt: {why}"));
        true
    }

    /// Returns the notice for other nodes. `None` if no request is waiting, or only one of this
    /// node.
    pub fn node_notice(&self, watchers: &EventWatchers) -> Option<NodeNotice> {
        let attempt = &self.attempt;
        let may_be_awaited =
            self.immediate && attempt.number == 1 && !watchers.is_watched(self.event);
        may_be_awaited.then(|| NodeNotice::Attempted {
            event: self.event,
            delivery: self.delivery,
            status: self.status(),
            response_status: attempt.response_status,
            duration_us: u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// Returns whether the delivery is not tried again.
    const fn is_over(&self) -> bool {
        match self.outcome {
            AttemptOutcome::Delivered | AttemptOutcome::Dead { .. } => true,
            AttemptOutcome::Retry { .. } | AttemptOutcome::HeldBack { .. } => false,
        }
    }

    fn ended_at(&self) -> Timestamp {
        self.attempt.at.after(self.attempt.duration)
    }

    fn dead_letter(&self, reason: &str) -> DeadLetter {
        let attempt = &self.attempt;
        let detail = match (&attempt.error, attempt.response_status) {
            (Some(error), _) => format!("attempt {}: {error}", attempt.number),
            (None, Some(status)) => format!("attempt {}: answered {status}", attempt.number),
            (None, None) => format!("attempt {} failed", attempt.number),
        };
        DeadLetter {
            id: DeadLetterId::generate(),
            event_id: self.event,
            event_type: self.event_type.clone(),
            delivery_id: Some(self.delivery),
            endpoint_id: Some(self.endpoint),
            flow_id: None,
            reason: reason.to_owned(),
            detail: make_storable(detail),
            created_at: self.ended_at(),
        }
    }
}

/// Writes the attempts, and the new state of the deliveries whose lease is still valid. Returns for
/// each attempt, in order, the receipts of the events that its answer became.
pub async fn write_settles(
    tx: &mut WriteTransaction<'_>,
    settles: &mut [&mut SettledAttempt],
) -> Result<Vec<Vec<CaptureReceipt>>, StoreError> {
    let answered = write_answered(tx, settles).await?;
    let settles: Vec<&SettledAttempt> = settles.iter().map(|settled| &**settled).collect();
    let attempts = settles.iter().map(|settled| settled.attempt_row()).collect();
    tx.execute_bulk(&statements::INSERT_ATTEMPT, attempts).await?;
    let (dead, rest): (Vec<&SettledAttempt>, Vec<&SettledAttempt>) =
        settles.iter().partition(|s| matches!(s.outcome, AttemptOutcome::Dead { .. }));
    // Attempts with an answer were written one by one.
    let unanswered = rest.iter().filter(|settled| settled.answers.is_empty());
    let unanswered = unanswered.map(|settled| settled.row()).collect();
    tx.execute_bulk(&statements::SETTLE, unanswered).await?;
    let forgiven =
        rest.iter().filter(|s| s.round_from > 0 && s.outcome == AttemptOutcome::Delivered);
    let forgiven = forgiven.map(|settled| BoundRow::new().bind(settled.delivery)).collect();
    tx.execute_bulk(&statements::DELETE_DELIVERY_DEAD_LETTER, forgiven).await?;
    for settled in dead {
        write_dead(tx, settled).await?;
    }
    unpark_next(tx, &settles).await?;
    Ok(answered)
}

/// Settles the deliveries whose answers become events, and appends these events. If the lease ran
/// out, nothing is appended: the new holder of the delivery gets an answer of its own. An event that
/// is stored already comes from an earlier round of the same delivery.
async fn write_answered(
    tx: &mut WriteTransaction<'_>,
    settles: &mut [&mut SettledAttempt],
) -> Result<Vec<Vec<CaptureReceipt>>, StoreError> {
    let mut answered = Vec::new();
    for settled in settles.iter_mut() {
        let is_held = !settled.answers.is_empty()
            && tx.execute_bulk(&statements::SETTLE, vec![settled.row()]).await? > 0;
        if !is_held {
            answered.push(Vec::new());
            continue;
        }
        let stored = find_stored(tx, &settled.answers).await?;
        let fresh = |answer: &&mut EventCapture| !stored.contains(&answer.event.id);
        let mut fresh: Vec<&mut EventCapture> = settled.answers.iter_mut().filter(fresh).collect();
        answered.push(write_captures(tx, &mut fresh).await?.into_iter().flatten().collect());
    }
    Ok(answered)
}

/// Makes the next deliveries of ordered endpoints due.
async fn unpark_next(
    tx: &mut WriteTransaction<'_>,
    settles: &[&SettledAttempt],
) -> Result<(), StoreError> {
    let over = settles.iter().filter(|settled| settled.ordered && settled.is_over());
    let over = over.map(|one| BoundRow::new().bind(one.delivery).bind(one.ended_at())).collect();
    tx.execute_bulk(&statements::UNPARK_NEXT, over).await.map(drop)
}

impl SettledAttempt {
    fn row(&self) -> BoundRow<'_> {
        let (due, ended) = match self.outcome {
            AttemptOutcome::Retry { at } | AttemptOutcome::HeldBack { at, .. } => (Some(at), None),
            AttemptOutcome::Delivered | AttemptOutcome::Dead { .. } => {
                (None, Some(self.ended_at()))
            }
        };
        // An attempt that was held back does not belong to the round. The round begins after it.
        let (round_from, held_since, held_until) = match self.outcome {
            AttemptOutcome::HeldBack { since, .. } => (self.round_from + 1, Some(since), due),
            AttemptOutcome::Delivered
            | AttemptOutcome::Retry { .. }
            | AttemptOutcome::Dead { .. } => (self.round_from, self.held_since, None),
        };
        BoundRow::new()
            .bind(self.delivery)
            .bind(self.lease.token)
            .bind(self.status().code())
            .bind(due)
            .bind(ended)
            .bind(self.attempt.number)
            .bind(round_from)
            .bind(held_since)
            .bind(held_until)
    }

    /// Compresses the attempt's headers and the data of the events that the answer becomes.
    pub fn pack_texts(&mut self) {
        let attempt = &self.attempt;
        let heads = join_heads(&attempt.request_headers, attempt.response_headers.as_deref());
        self.packed = pack_text(&heads);
        self.answers.iter_mut().for_each(EventCapture::pack_data);
    }

    fn attempt_row(&self) -> BoundRow<'_> {
        let attempt = &self.attempt;
        let is_packed = self.packed.is_some();
        BoundRow::new()
            .bind(self.delivery)
            .bind(attempt.number)
            .bind(attempt.at)
            .bind(i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX))
            .bind(attempt.response_status.map(u16::cast_signed))
            .bind(attempt.error_class)
            .bind(attempt.error.as_deref())
            .bind(if is_packed { "" } else { attempt.request_headers.as_str() })
            .bind(attempt.response_headers.as_deref().filter(|_| !is_packed))
            .bind(self.packed.as_deref())
            .bind(attempt.response_body.as_deref())
    }
}

async fn write_dead(
    tx: &mut WriteTransaction<'_>,
    settled: &SettledAttempt,
) -> Result<(), StoreError> {
    let AttemptOutcome::Dead { reason } = settled.outcome else { return Ok(()) };
    let settle = SqlQuery::new(statements::SETTLE_DEAD)
        .bind(settled.delivery)
        .bind(settled.lease.token)
        .bind(settled.ended_at())
        .bind(settled.attempt.number);
    match tx.execute(settle).await? {
        1 => write_dead_letter(tx, &settled.dead_letter(reason)).await,
        // The lease ran out, so the new holder decides the outcome of the delivery.
        _ => Ok(()),
    }
}

/// Informs the requests that wait for the delivery. Called after the commit.
pub fn hand_over(prefetch: &WorkPrefetch, watchers: &EventWatchers, settled: &SettledAttempt) {
    watchers.notify_watchers(settled.event, || EventNotice::Attempted {
        delivery: settled.delivery,
        status: settled.status(),
        response_status: settled.attempt.response_status,
        duration: settled.attempt.duration,
    });
    let due = match settled.outcome {
        AttemptOutcome::Retry { at } | AttemptOutcome::HeldBack { at, .. } => Some(at),
        AttemptOutcome::Delivered | AttemptOutcome::Dead { .. } => {
            settled.ordered.then(|| settled.ended_at())
        }
    };
    if let (Some(at), Some(lane)) = (due, prefetch.find_lane(settled.endpoint)) {
        lane.note_due(at);
    }
}

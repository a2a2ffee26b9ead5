//! Memory for request bodies in flight: one budget in bytes for the whole process.
//!
//! A body reserves memory for the bytes that have arrived, not for its announced length, from its
//! first byte until nothing needs it any more; for a capture, until the commit. Requests of unknown
//! senders (webhooks, clients of OAuth) share half of the budget, so they cannot displace those
//! with a token.
//!
//! When the budget is used up, bodies that make little progress are refused (503 with
//! `Retry-After`). If that does not free enough within two seconds, the request that needs more is
//! refused in the same way.

use super::problem::ApiProblem;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The budget in bytes, unless one body may be larger than half of it.
const BUDGET: usize = 32 << 20;
/// Time that a request waits for others to free memory.
const PATIENCE: Duration = Duration::from_secs(2);
/// Interval at which other bodies are asked to give way.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// A body that has not brought [`PROGRESS`] bytes in this time gives way.
const STALLED: Duration = Duration::from_secs(1);
/// Number of bytes that count as progress.
const PROGRESS: usize = 16 * 1024;

/// Memory for all bodies in flight.
#[derive(Debug)]
pub struct BodyBudget {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// Largest memory of one body in bytes, and the share of unknown senders.
    share: usize,
    /// Notified when a body waits for memory.
    pressure: Notify,
}

impl BodyBudget {
    /// Creates a budget that holds at least two bodies of `largest` bytes.
    pub fn new(largest: usize) -> Self {
        // A semaphore takes 32-bit numbers of permits.
        let share = (BUDGET / 2).max(largest).min(u32::MAX as usize / 2);
        Self {
            all: Arc::new(Semaphore::new(2 * share)),
            strangers: Arc::new(Semaphore::new(share)),
            share,
            pressure: Notify::new(),
        }
    }

    /// Opens the account of one body. `known` says whether the sender has presented a valid token.
    pub fn open_account(&self, known: bool) -> BodyAccount<'_> {
        let strangers = (!known).then(|| Arc::clone(&self.strangers));
        BodyAccount {
            budget: self,
            strangers,
            paid: PaidBytes::default(),
            bytes: 0,
            moved: (Instant::now(), 0),
        }
    }
}

/// Memory that a body has reserved. Dropping it frees the memory.
#[derive(Debug, Default)]
pub struct PaidBytes {
    all: Option<OwnedSemaphorePermit>,
    strangers: Option<OwnedSemaphorePermit>,
}

/// The memory of one body, and when it last made progress.
#[derive(Debug)]
pub struct BodyAccount<'b> {
    budget: &'b BodyBudget,
    strangers: Option<Arc<Semaphore>>,
    paid: PaidBytes,
    bytes: usize,
    /// Time of the last progress, and the bytes since.
    moved: (Instant, usize),
}

impl BodyAccount<'_> {
    /// Reserves memory for bytes that arrived. Waits for other bodies to give way, and fails if
    /// they do not.
    pub async fn pay_for_bytes(&mut self, bytes: usize) -> Result<(), ApiProblem> {
        self.note_progress(bytes);
        // A body that is larger than the share only pays for the share.
        let bytes = bytes.min(self.budget.share - self.bytes);
        if bytes == 0 || self.try_pay(bytes) {
            return Ok(());
        }
        let waiting = async {
            while !self.try_pay(bytes) {
                self.budget.pressure.notify_waiters();
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.map_err(|_late| ApiProblem::busy())
    }

    fn note_progress(&mut self, bytes: usize) {
        self.moved.1 += bytes;
        if self.moved.1 >= PROGRESS {
            self.moved = (Instant::now(), 0);
        }
    }

    fn try_pay(&mut self, bytes: usize) -> bool {
        let Ok(count) = u32::try_from(bytes) else { return false };
        let take = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(count).ok();
        let strangers = match &self.strangers {
            Some(share) => match take(share) {
                Some(permit) => Some(permit),
                None => return false,
            },
            None => None,
        };
        let Some(all) = take(&self.budget.all) else { return false };
        merge(&mut self.paid.all, Some(all));
        merge(&mut self.paid.strangers, strangers);
        self.bytes += bytes;
        true
    }

    /// Completes when this body should give way: memory is short and it makes little progress.
    pub async fn asked_to_give_way(&self) {
        loop {
            self.budget.pressure.notified().await;
            if self.moved.0.elapsed() >= STALLED {
                return;
            }
        }
    }

    /// Returns the reserved memory, which is freed when it is dropped.
    pub fn close(self) -> PaidBytes {
        self.paid
    }

    /// Returns the whole body. Its memory is freed when the last handle is dropped.
    pub fn finish_body(self, body: Vec<u8>) -> Bytes {
        Bytes::from_owner(PaidBody { body, _paid: self.paid })
    }
}

fn merge(held: &mut Option<OwnedSemaphorePermit>, more: Option<OwnedSemaphorePermit>) {
    match (held.as_mut(), more) {
        (Some(held), Some(more)) => held.merge(more),
        (None, more) => *held = more,
        (Some(_), None) => {}
    }
}

struct PaidBody {
    body: Vec<u8>,
    _paid: PaidBytes,
}

impl AsRef<[u8]> for PaidBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn strangers_cannot_take_what_is_left_for_those_with_a_token() {
        let budget = BodyBudget::new(0);
        let mut stranger = budget.open_account(false);
        stranger.pay_for_bytes(BUDGET / 2).await.unwrap();
        let mut another = budget.open_account(false);
        assert!(!another.try_pay(1));
        let mut known = budget.open_account(true);
        assert!(known.try_pay(BUDGET / 2) && !known.try_pay(1));
        let body = stranger.finish_body(vec![0; 8]);
        let copy = body.clone();
        drop(body);
        assert!(!another.try_pay(1), "a copy is in use still");
        drop(copy);
        assert!(another.try_pay(BUDGET / 2));
    }

    #[tokio::test]
    async fn a_body_that_stands_still_gives_way() {
        let budget = BodyBudget::new(0);
        let mut slow = budget.open_account(true);
        assert!(slow.try_pay(BUDGET / 2));
        let mut other = budget.open_account(true);
        assert!(other.try_pay(BUDGET / 2));
        let mut wanting = budget.open_account(true);
        assert!(!wanting.try_pay(1));
        slow.moved.0 -= STALLED;
        let giving_way = async {
            slow.asked_to_give_way().await;
            drop(slow);
        };
        let (paid, ()) = tokio::join!(wanting.pay_for_bytes(1), giving_way);
        paid.unwrap();
    }
}

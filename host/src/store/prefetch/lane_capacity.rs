//! The room for work in memory: places and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Memory for work beyond what each room is sure of, shared by all rooms of the process, in bytes.
#[derive(Debug)]
pub struct MemoryBudget(AtomicUsize);

/// Memory for work beyond what each room is sure of, in bytes.
const BUDGET: usize = 64 << 20;

impl MemoryBudget {
    /// The budget of a process.
    pub fn shared() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(BUDGET)))
    }

    /// Takes memory for a room that has borrowed `borrowed` already: no room has more than is left.
    fn take_bytes(&self, borrowed: usize, bytes: usize) -> bool {
        let rest = |left: usize| (borrowed + bytes <= left).then(|| left - bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes_left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What new work, or claimed work, takes of a room.
#[derive(Debug, Default)]
struct RoomShare {
    places: AtomicUsize,
    /// Of the [`SURE_BYTES`].
    bytes: AtomicUsize,
}

/// Places and memory for work: for what is born leased, and apart from that for what is claimed
/// from the table, so that new work never keeps older work in the table.
#[derive(Debug)]
pub struct LaneCapacity {
    /// Places for claimed work. New work has [`STRETCH`] times as many.
    sure: AtomicUsize,
    born: RoomShare,
    claimed: RoomShare,
    /// Bytes of the budget that this room has.
    borrowed: AtomicUsize,
    /// What a piece of work took lately, in bytes: a moving average.
    usual: AtomicUsize,
    budget: Arc<MemoryBudget>,
    overflowed: AtomicBool,
    more: AtomicBool,
    /// Woken when work may wait in the table.
    pub wake: Notify,
}

/// What a piece of work in memory costs beside its payload, roughly.
const OVERHEAD: usize = 1_024;
/// How often a payload is in memory while its work is under way.
const COPIES: usize = 3;
/// How many times its sure places a room may hold of new work.
const STRETCH: usize = 16;
/// Memory that each room has of its own for new work, and again for claimed work, in bytes.
const SURE_BYTES: usize = 128 * 1024;
/// What one piece of work pays at most: else a payload larger than the budget could never be sent.
const LARGEST: usize = BUDGET / 8;
/// What a piece of work is taken to cost before any was seen.
const USUAL: usize = 8 * 1024;

fn cost(payload: usize) -> usize {
    payload.saturating_mul(COPIES).saturating_add(OVERHEAD).min(LARGEST)
}

impl LaneCapacity {
    pub fn new(sure: usize, budget: &Arc<MemoryBudget>) -> Self {
        Self {
            sure: AtomicUsize::new(sure),
            born: RoomShare::default(),
            claimed: RoomShare::default(),
            borrowed: AtomicUsize::new(0),
            usual: AtomicUsize::new(USUAL),
            budget: Arc::clone(budget),
            overflowed: AtomicBool::new(false),
            more: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Changes how many places there are for claimed work.
    pub fn set_places(&self, sure: usize) {
        self.sure.store(sure, Ordering::Relaxed);
    }

    /// A place for new work with a payload of that many bytes, if there is one and nothing waits in
    /// the table already. `None` also notes that there will be work in the table.
    pub fn take_place(self: &Arc<Self>, payload: usize) -> Option<QueuePermit> {
        let waiting = self.overflowed.load(Ordering::Relaxed);
        let slot = if waiting { None } else { self.try_place(WorkOrigin::Born, payload) };
        if slot.is_none() {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        slot
    }

    fn try_place(self: &Arc<Self>, origin: WorkOrigin, payload: usize) -> Option<QueuePermit> {
        let mut slot = self.empty_place(origin)?;
        // Dropped where there is no memory, it frees the place that was just taken.
        slot.pay_for_payload(payload).then_some(slot)
    }

    fn empty_place(self: &Arc<Self>, origin: WorkOrigin) -> Option<QueuePermit> {
        let sure = self.sure.load(Ordering::Relaxed);
        let most = match origin {
            WorkOrigin::Born => sure * STRETCH,
            WorkOrigin::Claimed => sure,
        };
        let free = occupy(&self.share_of(origin).places, most, 1);
        free.then(|| QueuePermit { room: Arc::clone(self), origin, sure: 0, borrowed: 0 })
    }

    /// A place for work claimed from the table. It pays when the size of the work is known.
    pub fn take_claimed(self: &Arc<Self>) -> Option<QueuePermit> {
        self.empty_place(WorkOrigin::Claimed)
    }

    /// How much work is worth claiming, going by the memory there is and what work took lately. One
    /// where none is claimed: it may be smaller than what came before.
    pub fn count_claimable(&self) -> usize {
        let sure = SURE_BYTES.saturating_sub(self.claimed.bytes.load(Ordering::Relaxed));
        let borrowed = self.borrowed.load(Ordering::Relaxed);
        let memory = sure + self.budget.bytes_left().saturating_sub(borrowed) / 2;
        let fitting = memory / self.usual.load(Ordering::Relaxed).max(1);
        let idle = self.claimed.places.load(Ordering::Relaxed) == 0;
        fitting.max(usize::from(idle))
    }

    /// Whether a claim would find no place.
    pub fn is_full(&self) -> bool {
        self.claimed.places.load(Ordering::Relaxed) >= self.sure.load(Ordering::Relaxed)
    }

    /// How many places are taken.
    pub fn count_used(&self) -> usize {
        self.born.places.load(Ordering::Relaxed) + self.claimed.places.load(Ordering::Relaxed)
    }

    /// Whether work went to the table because there was no room.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Says what a claim saw: whether the table may hold more that is due.
    pub fn note_claim(&self, more: bool) {
        self.more.store(more, Ordering::Relaxed);
        if !more {
            self.overflowed.store(false, Ordering::Relaxed);
        }
    }

    /// Says that there is work in the table, and wakes whoever claims it.
    pub fn wake_claimer(&self) {
        self.wake.notify_one();
    }

    const fn share_of(&self, origin: WorkOrigin) -> &RoomShare {
        match origin {
            WorkOrigin::Born => &self.born,
            WorkOrigin::Claimed => &self.claimed,
        }
    }

    fn note_cost(&self, bytes: usize) {
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual.store((usual * 7 + bytes) / 8, Ordering::Relaxed);
    }
}

fn occupy(used: &AtomicUsize, most: usize, more: usize) -> bool {
    let grown = |used: usize| (used + more <= most).then_some(used + more);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
}

/// Where work came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkOrigin {
    Born,
    Claimed,
}

/// One place in a [`LaneCapacity`], and the memory that its work takes; free again when dropped.
#[derive(Debug)]
pub struct QueuePermit {
    room: Arc<LaneCapacity>,
    origin: WorkOrigin,
    /// Bytes of the room's own.
    sure: usize,
    /// Bytes of the budget.
    borrowed: usize,
}

impl QueuePermit {
    /// Pays for a payload of that many bytes; `false` where there is no memory for it.
    pub fn pay_for_payload(&mut self, payload: usize) -> bool {
        let (room, bytes) = (&self.room, cost(payload));
        room.note_cost(bytes);
        if occupy(&room.share_of(self.origin).bytes, SURE_BYTES, bytes) {
            self.sure += bytes;
            return true;
        }
        let is_paid = room.budget.take_bytes(room.borrowed.load(Ordering::Relaxed), bytes);
        if is_paid {
            room.borrowed.fetch_add(bytes, Ordering::Relaxed);
            self.borrowed += bytes;
        }
        is_paid
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let (room, share) = (&self.room, self.room.share_of(self.origin));
        share.bytes.fetch_sub(self.sure, Ordering::Relaxed);
        if self.borrowed > 0 {
            room.borrowed.fetch_sub(self.borrowed, Ordering::Relaxed);
            room.budget.give_back(self.borrowed);
        }
        share.places.fetch_sub(1, Ordering::Relaxed);
        let claimed = room.claimed.places.load(Ordering::Relaxed);
        let worth = match self.origin {
            // Half of the places: enough for a claim to be worth its commit.
            WorkOrigin::Claimed => claimed * 2 <= room.sure.load(Ordering::Relaxed),
            // New work may have held the memory that claimed work waits for.
            WorkOrigin::Born => claimed == 0 && self.borrowed > 0,
        };
        if worth && (room.more.load(Ordering::Relaxed) || room.has_overflowed()) {
            room.wake_claimer();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_sends_work_to_the_table_until_it_is_drained() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(0)));
        let room = Arc::new(LaneCapacity::new(1, &budget));
        let payload = (SURE_BYTES - OVERHEAD) / COPIES;
        let sure = room.take_place(payload).unwrap();
        assert!(room.take_place(0).is_none(), "the room's own memory is used up");
        let mut claimed = room.take_claimed().unwrap();
        assert!(claimed.pay_for_payload(0), "claimed work has its own");
        assert!(room.is_full() && room.take_claimed().is_none());
        assert_eq!(room.count_used(), 2);
        drop((sure, claimed));
        assert!(room.take_place(0).is_none(), "older work waits in the table");
        room.note_claim(true);
        assert!(room.take_place(0).is_none(), "and still does");
        room.note_claim(false);
        assert!(room.take_place(0).is_some());
        assert_eq!((room.count_used(), budget.bytes_left()), (0, 0));
    }

    #[test]
    fn each_room_leaves_the_next_one_as_much_as_it_has() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let mut held: Vec<QueuePermit> = Vec::new();
        for n in 1..4 {
            let room = Arc::new(LaneCapacity::new(1_000, &budget));
            held.extend(std::iter::from_fn(|| room.take_place(1 << 20)));
            let borrowed = room.borrowed.load(Ordering::Relaxed);
            let apart = borrowed.abs_diff(budget.bytes_left());
            assert!(apart <= cost(1 << 20), "{n}: {borrowed} of {}", budget.bytes_left());
        }
        drop(held);
        assert_eq!(budget.bytes_left(), BUDGET);
    }

    #[test]
    fn a_room_holds_a_bounded_number_of_small_things() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(LaneCapacity::new(1, &budget));
        let held: Vec<QueuePermit> = std::iter::from_fn(|| room.take_place(0)).collect();
        assert_eq!(held.len(), STRETCH);
    }

    #[test]
    fn as_much_is_claimed_as_there_is_memory_for() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(LaneCapacity::new(1_000, &budget));
        assert!(room.count_claimable() > 1_000);
        let mut held = Vec::new();
        while let Some(mut slot) = room.take_claimed().filter(|_| room.count_claimable() > 0) {
            if slot.pay_for_payload(1 << 20) {
                held.push(slot);
            }
        }
        assert!((4..20).contains(&held.len()), "{}", held.len());
        let another = Arc::new(LaneCapacity::new(1_000, &budget));
        another.note_cost(LARGEST);
        assert!(another.count_claimable() > 0, "one may be tried where nothing is claimed");
    }

    #[test]
    fn work_larger_than_the_budget_is_taken_all_the_same() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(LaneCapacity::new(1, &budget));
        assert!(room.take_place(usize::MAX).is_some());
    }
}

//! The capacity for work in memory: places and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Memory beyond the guaranteed part of each capacity, shared by the whole process, in bytes.
#[derive(Debug)]
pub struct MemoryBudget(AtomicUsize);

/// Size of the shared memory budget, in bytes.
const BUDGET: usize = 64 << 20;

impl MemoryBudget {
    /// Returns the budget of a process.
    pub fn shared() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(BUDGET)))
    }

    /// Takes memory for a capacity that has already borrowed `borrowed` bytes. No capacity may
    /// borrow more than is left.
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

/// The part of a capacity that new work, or claimed work, uses.
#[derive(Debug, Default)]
struct RoomShare {
    places: AtomicUsize,
    /// Bytes of the guaranteed [`SURE_BYTES`].
    bytes: AtomicUsize,
}

/// Places and memory for work. New work, which is inserted leased, and work claimed from the table
/// have separate parts, so that new work never keeps older work in the table.
#[derive(Debug)]
pub struct LaneCapacity {
    /// Places for claimed work. New work has [`STRETCH`] times as many.
    sure: AtomicUsize,
    born: RoomShare,
    claimed: RoomShare,
    /// Bytes that this capacity has borrowed from the budget.
    borrowed: AtomicUsize,
    /// Moving average of the bytes that one piece of work takes.
    usual: AtomicUsize,
    budget: Arc<MemoryBudget>,
    overflowed: AtomicBool,
    more: AtomicBool,
    /// Woken when work may be waiting in the table.
    pub wake: Notify,
}

/// Approximate memory of a piece of work in addition to its payload.
const OVERHEAD: usize = 1_024;
/// Number of copies of a payload in memory while its work is under way.
const COPIES: usize = 3;
/// Multiple of the guaranteed places that new work may take.
const STRETCH: usize = 16;
/// Guaranteed memory of each capacity for new work, and the same again for claimed work, in bytes.
const SURE_BYTES: usize = 128 * 1024;
/// Largest cost of one piece of work. Without this bound a payload larger than the budget could
/// never be sent.
const LARGEST: usize = BUDGET / 8;
/// Assumed cost of a piece of work before any was seen.
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

    /// Changes the number of places for claimed work.
    pub fn set_places(&self, sure: usize) {
        self.sure.store(sure, Ordering::Relaxed);
    }

    /// Takes a place for new work with a payload of `payload` bytes. Returns `None` if there is no
    /// place or older work waits in the table; the new work then goes to the table as well.
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
        // Without memory the permit is dropped, which frees its place.
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

    /// Takes a place for work claimed from the table. The memory is reserved when the size of the
    /// work is known.
    pub fn take_claimed(self: &Arc<Self>) -> Option<QueuePermit> {
        self.empty_place(WorkOrigin::Claimed)
    }

    /// Returns how much work is worth claiming, estimated from free memory and recent sizes.
    /// Returns at least one if nothing is claimed, because the next piece may be smaller.
    pub fn count_claimable(&self) -> usize {
        let sure = SURE_BYTES.saturating_sub(self.claimed.bytes.load(Ordering::Relaxed));
        let borrowed = self.borrowed.load(Ordering::Relaxed);
        let memory = sure + self.budget.bytes_left().saturating_sub(borrowed) / 2;
        let fitting = memory / self.usual.load(Ordering::Relaxed).max(1);
        let idle = self.claimed.places.load(Ordering::Relaxed) == 0;
        fitting.max(usize::from(idle))
    }

    /// Returns whether a claim would find no place.
    pub fn is_full(&self) -> bool {
        self.claimed.places.load(Ordering::Relaxed) >= self.sure.load(Ordering::Relaxed)
    }

    /// Returns how many places are taken.
    pub fn count_used(&self) -> usize {
        self.born.places.load(Ordering::Relaxed) + self.claimed.places.load(Ordering::Relaxed)
    }

    /// Returns whether work went to the table because there was no room.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Records whether the table may hold more due work after a claim.
    pub fn note_claim(&self, more: bool) {
        self.more.store(more, Ordering::Relaxed);
        if !more {
            self.overflowed.store(false, Ordering::Relaxed);
        }
    }

    /// Sends new work to the table until a claim finds nothing left there, so that it stays behind
    /// the work that waits.
    pub fn note_waiting(&self) {
        self.overflowed.store(true, Ordering::Relaxed);
    }

    /// Marks that there is work in the table, and wakes the lane that claims it.
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

/// The origin of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkOrigin {
    Born,
    Claimed,
}

/// One place in a [`LaneCapacity`] and the memory of its work. Dropping it frees both.
#[derive(Debug)]
pub struct QueuePermit {
    room: Arc<LaneCapacity>,
    origin: WorkOrigin,
    /// Bytes of the guaranteed memory.
    sure: usize,
    /// Bytes borrowed from the budget.
    borrowed: usize,
}

impl QueuePermit {
    /// Reserves memory for a payload of the given size. Returns `false` if there is not enough.
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
            // New work may have used the memory for which claimed work waits.
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
        assert!(room.take_place(0).is_none(), "the guaranteed memory is used up");
        let mut claimed = room.take_claimed().unwrap();
        assert!(claimed.pay_for_payload(0), "claimed work has its own memory");
        assert!(room.is_full() && room.take_claimed().is_none());
        assert_eq!(room.count_used(), 2);
        drop((sure, claimed));
        assert!(room.take_place(0).is_none(), "older work waits in the table");
        room.note_claim(true);
        assert!(room.take_place(0).is_none(), "older work still waits");
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
        assert!(another.count_claimable() > 0, "one may be tried if nothing is claimed");
    }

    #[test]
    fn work_larger_than_the_budget_is_taken_all_the_same() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(LaneCapacity::new(1, &budget));
        assert!(room.take_place(usize::MAX).is_some());
    }
}

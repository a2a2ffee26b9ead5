//! Instances that handle several events, one after another.
//!
//! A module whose language is expensive to start can ask for this in its manifest (`limits.reuse`),
//! if the operator allows it (`modules.max_reuse`). An instance serves one configuration of one flow,
//! waits for its next event for a second, and is dropped after any failure.

use super::capabilities::CapabilityRun;
use super::guest_state::{GuestContext, GuestState};
use super::limits::ModuleLimits;
use super::module::BoundModule;
use crate::model::flow::ModuleConfig;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::Instance;

/// An instance with its place in the pool.
pub struct GuestInstance {
    pub store: Store<GuestState>,
    pub instance: Instance,
    /// The number of events that it has handled.
    runs: u32,
    /// Permits the instance in the pool. Dropped after the store, which frees the place.
    _slot: Option<OwnedSemaphorePermit>,
}

impl GuestInstance {
    pub fn new(
        (store, instance): (Store<GuestState>, Instance),
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { store, instance, runs: 0, _slot: slot }
    }

    /// Gives the instance the input of another event. What it keeps is the memory of the guest with
    /// the handles to the empty WASI, and the count of the memory.
    #[must_use]
    pub fn renew(
        mut self,
        guest: GuestContext,
        capabilities: Option<Box<CapabilityRun>>,
        limits: &ModuleLimits,
    ) -> Self {
        self.store.data_mut().renew(guest, capabilities, limits);
        self.store.set_epoch_deadline(1);
        self
    }
}

/// An instance that waits for its flow's next event.
struct IdleInstance {
    guest: GuestInstance,
    flow: String,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

/// The waiting instances of one module.
#[derive(Default)]
pub struct IdleInstances {
    list: Mutex<Vec<IdleInstance>>,
    /// Whether a task is dropping instances that have waited long enough.
    is_swept: AtomicBool,
}

impl IdleInstances {
    fn lock(&self) -> MutexGuard<'_, Vec<IdleInstance>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an instance of this flow with this configuration.
    pub fn take(&self, flow: &str, config: &Arc<ModuleConfig>) -> Option<GuestInstance> {
        let mut list = self.lock();
        let fits = |idle: &IdleInstance| {
            idle.flow == flow && Arc::ptr_eq(&idle.guest.store.data().guest.config, config)
        };
        // The newest, whose memory is most likely in the processor's cache.
        let place = list.iter().rposition(fits)?;
        Some(list.remove(place).guest)
    }

    /// Drops the instances that have waited long enough. Returns whether others are left.
    fn sweep(&self, longest: Duration) -> bool {
        let mut list = self.lock();
        list.retain(|idle| idle.since.elapsed() < longest);
        !list.is_empty()
    }
}

/// Keeps an instance after a run for the flow's next event, if the module may reuse it and there is
/// a place for it. Otherwise drops it.
pub fn park_instance(bound: &Arc<BoundModule>, mut guest: GuestInstance, flow: &str) {
    guest.runs += 1;
    let is_worn = guest.runs >= bound.limits.reuse || !guest.store.data().usage.has_room();
    if is_worn {
        return;
    }
    // Bounded for all modules together, so that most of the pool stays free.
    let Ok(place) = Arc::clone(&bound.engine.idle_places).try_acquire_owned() else { return };
    let idle = IdleInstance { guest, flow: flow.to_owned(), since: Instant::now(), _place: place };
    bound.idle.lock().push(idle);
    if !bound.idle.is_swept.swap(true, Ordering::AcqRel) {
        tokio::spawn(sweep_later(Arc::downgrade(bound), bound.limits.idle));
    }
}

/// Drops the module's waiting instances in time, until none is left.
async fn sweep_later(bound: Weak<BoundModule>, longest: Duration) {
    loop {
        tokio::time::sleep(longest / 2).await;
        let Some(bound) = bound.upgrade() else { return };
        if bound.idle.sweep(longest) {
            continue;
        }
        bound.idle.is_swept.store(false, Ordering::Release);
        // Another instance may have been parked since, by a run that saw the flag set.
        let is_empty = bound.idle.lock().is_empty();
        if is_empty || bound.idle.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
    }
}

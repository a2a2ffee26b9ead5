//! Compares the state that modules read with the stored state, and writes the state that they
//! changed.
//!
//! A plan was made from values that may have changed since, on another node or by a plan of the
//! same batch. It is recorded only if each value that its modules read is still stored, byte for
//! byte, because the modules would then decide the same now. Otherwise the event is planned again.
//! Transactions that touch the state of one flow take turns (`RecordedPlan::flow_lock`), so nothing
//! changes between the comparison and the commit.

use super::plan::{PlanningKey, RecordedPlan};
use crate::crypto::digest::ShortDigest;
use crate::model::id::{EventId, FlowId};
use crate::model::plan_effects::{StateAddress, StateValue};
use crate::store::db::{BoundRow, FromStoredRow, StoredRow, WriteTransaction};
use crate::store::{StoreError, statements};
use std::collections::{BTreeMap, HashSet};

/// An address in the state of a flow.
type StatePlace = (FlowId, StateAddress);

/// The changes that a batch of plans makes to the state of their flows.
#[derive(Default)]
pub struct StateChanges {
    outdated: HashSet<PlanningKey>,
    /// The new value at each address, and the event under which it was written.
    written: BTreeMap<StatePlace, (Option<StateValue>, EventId)>,
}

/// A value and its address.
struct PlacedValue {
    place: StatePlace,
    value: StateValue,
}

impl FromStoredRow for PlacedValue {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let address = StateAddress { scope: row.get("scope")?, key: row.get("key")? };
        let value = StateValue { text: row.get("value")?, expires_at: row.get("expires_at")? };
        Ok(Self { place: (row.get("flow_id")?, address), value })
    }
}

impl StateChanges {
    /// Compares the values that the plans' modules read with the stored values. Costs nothing if no
    /// module read a value.
    pub async fn compare(
        tx: &mut WriteTransaction<'_>,
        plans: &[&mut RecordedPlan],
    ) -> Result<Self, StoreError> {
        let mut changes = Self::default();
        let reading: Vec<&RecordedPlan> =
            plans.iter().map(|plan| &**plan).filter(|plan| plan.reads_state()).collect();
        if reading.is_empty() {
            return Ok(changes);
        }
        // A plan whose lease is lost does not affect the values of the others.
        let rows = reading.iter().map(|plan| plan.lease_row()).collect();
        let held: Vec<PlanningKey> = tx.fetch_bulk(&statements::HELD_PLANNINGS, rows).await?;
        let held: HashSet<PlanningKey> = held.into_iter().collect();
        let reading: Vec<&RecordedPlan> =
            reading.into_iter().filter(|plan| held.contains(&plan.key())).collect();
        let mut present = read_places(tx, &reading).await?;
        for plan in reading {
            changes.note_plan(plan, &mut present);
        }
        Ok(changes)
    }

    fn note_plan(&mut self, plan: &RecordedPlan, present: &mut BTreeMap<StatePlace, StateValue>) {
        let place = |address: &StateAddress| (plan.flow, address.clone());
        let mut cells = plan.effects.state.iter();
        if !cells.all(|(address, cell)| present.get(&place(address)) == cell.before.as_ref()) {
            self.outdated.insert(plan.key());
            return;
        }
        for (address, cell) in plan.effects.state.iter().filter(|(_, cell)| cell.is_changed()) {
            match &cell.now {
                Some(value) => drop(present.insert(place(address), value.clone())),
                None => drop(present.remove(&place(address))),
            }
            self.written.insert(place(address), (cell.now.clone(), plan.event.id));
        }
    }

    /// Returns whether a plan was made from values that have changed.
    pub fn is_outdated(&self, key: &PlanningKey) -> bool {
        !self.outdated.is_empty() && self.outdated.contains(key)
    }

    /// Writes the values that the modules wrote.
    pub async fn write(&self, tx: &mut WriteTransaction<'_>) -> Result<(), StoreError> {
        if self.written.is_empty() {
            return Ok(());
        }
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for ((flow, address), (value, event)) in &self.written {
            let row =
                BoundRow::new().bind(*flow).bind(address.scope.as_str()).bind(address.key.as_str());
            match value {
                Some(value) => {
                    kept.push(row.bind(value.text.as_str()).bind(value.expires_at).bind(*event));
                }
                None => removed.push(row),
            }
        }
        tx.execute_bulk(&statements::PUT_STATE, kept).await?;
        tx.execute_bulk(&statements::DELETE_STATE, removed).await.map(drop)
    }
}

async fn read_places(
    tx: &mut WriteTransaction<'_>,
    plans: &[&RecordedPlan],
) -> Result<BTreeMap<StatePlace, StateValue>, StoreError> {
    let mut places: Vec<(FlowId, &StateAddress)> = plans
        .iter()
        .flat_map(|plan| plan.effects.state.keys().map(|address| (plan.flow, address)))
        .collect();
    places.sort();
    places.dedup();
    let rows = places.iter().map(|(flow, address)| {
        BoundRow::new().bind(*flow).bind(address.scope.as_str()).bind(address.key.as_str())
    });
    let found: Vec<PlacedValue> = tx.fetch_bulk(&statements::READ_STATE, rows.collect()).await?;
    Ok(found.into_iter().map(|found| (found.place, found.value)).collect())
}

impl RecordedPlan {
    /// Returns whether the plan depends on state that its modules read.
    fn reads_state(&self) -> bool {
        self.failed.is_none() && !self.effects.state.is_empty()
    }

    /// Returns the lock of its flow, if the plan touches state or effects that other plans of the
    /// flow may touch.
    pub fn flow_lock(&self) -> Option<i64> {
        let touches = self.reads_state() || !self.effects.cancelled.is_empty();
        touches.then(|| {
            let digest =
                ShortDigest::of([b"state".as_slice(), self.flow.uuid().as_bytes().as_slice()]);
            i64::from_be_bytes(digest.bytes().first_chunk().copied().unwrap_or_default())
        })
    }
}

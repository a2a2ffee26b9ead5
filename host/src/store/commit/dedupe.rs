//! Dedupe keys: among the deliveries to one endpoint with the same key, only one is made.
//!
//! The delivery that takes a key holds it until the key expires, or until the delivery dies or is
//! cancelled. Nothing has to be written then, because the next delivery checks the state of the
//! holder. A delivery that is held back appears in the event's trace, together with the holder.

use super::deliveries::DeliveryDraft;
use super::plan::RecordedPlan;
use crate::model::delivery::NewDelivery;
use crate::model::id::{DeliveryId, EndpointId};
use crate::store::db::{BoundRow, FromStoredRow, StoredRow, WriteTransaction};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// An endpoint and a key.
type EndpointKey = (EndpointId, String);

/// A delivery that wants a key, and the expiry of the key.
type KeyWish = (DeliveryId, Timestamp);

/// Takes the keys of the plans' deliveries. Removes deliveries whose key another delivery holds,
/// and records them in the trace.
pub async fn hold_back(
    tx: &mut WriteTransaction<'_>,
    plans: &mut [&mut RecordedPlan],
) -> Result<(), StoreError> {
    // Every writer uses this order, so that two writers cannot deadlock.
    let mut wishes: BTreeMap<EndpointKey, KeyWish> = BTreeMap::new();
    for draft in plans.iter().flat_map(|plan| &plan.deliveries) {
        if let Some((key, until)) = find_wish(&draft.delivery) {
            wishes.entry(key).or_insert((draft.delivery.id, until));
        }
    }
    if wishes.is_empty() {
        return Ok(());
    }
    let holders = take_keys(tx, &wishes).await?;
    for plan in plans.iter_mut() {
        plan.hold_back(&holders);
    }
    Ok(())
}

fn find_wish(delivery: &NewDelivery) -> Option<(EndpointKey, Timestamp)> {
    let dedupe = delivery.dedupe.as_ref()?;
    Some(((delivery.endpoint_id, dedupe.key.clone()), dedupe.until))
}

/// A key and the delivery that holds it.
struct KeyHolder {
    endpoint: EndpointId,
    key: String,
    delivery: DeliveryId,
}

impl FromStoredRow for KeyHolder {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            endpoint: row.get("endpoint_id")?,
            key: row.get("key")?,
            delivery: row.get("delivery_id")?,
        })
    }
}

/// Takes the keys that are free. Returns the holder of each key.
async fn take_keys(
    tx: &mut WriteTransaction<'_>,
    wishes: &BTreeMap<EndpointKey, KeyWish>,
) -> Result<HashMap<EndpointKey, DeliveryId>, StoreError> {
    let rows = wishes.iter().map(|((endpoint, key), (delivery, until))| {
        BoundRow::new()
            .bind(*endpoint)
            .bind(key.as_str())
            .bind(*delivery)
            .bind(delivery.created_at())
            .bind(*until)
    });
    tx.fetch_bulk::<()>(&statements::TAKE_DEDUPE_KEY, rows.collect()).await?;
    let rows =
        wishes.keys().map(|(endpoint, key)| BoundRow::new().bind(*endpoint).bind(key.as_str()));
    let held: Vec<KeyHolder> =
        tx.fetch_bulk(&statements::DEDUPE_KEY_HOLDERS, rows.collect()).await?;
    Ok(held.into_iter().map(|holder| ((holder.endpoint, holder.key), holder.delivery)).collect())
}

impl RecordedPlan {
    /// Removes the deliveries whose key another delivery holds.
    fn hold_back(&mut self, holders: &HashMap<EndpointKey, DeliveryId>) {
        let holder = |draft: &DeliveryDraft| {
            let (key, _) = find_wish(&draft.delivery)?;
            holders.get(&key).copied().filter(|holder| *holder != draft.delivery.id)
        };
        let mut notes = Vec::new();
        self.deliveries.retain(|draft| match holder(draft) {
            Some(holder) => {
                notes.push(describe_holder(&draft.delivery, holder));
                false
            }
            None => true,
        });
        for note in notes {
            self.add_step(&note);
        }
    }

    /// Appends a step to the trace.
    fn add_step(&mut self, step: &serde_json::Value) {
        let rest = self.steps.strip_suffix(']').unwrap_or("[");
        let comma = if rest == "[" { "" } else { "," };
        self.steps = format!("{rest}{comma}{step}]");
    }
}

/// Returns the trace entry that explains why a delivery is not made.
fn describe_holder(delivery: &NewDelivery, holder: DeliveryId) -> serde_json::Value {
    let key = delivery.dedupe.as_ref().map_or("", |dedupe| dedupe.key.as_str());
    let key = key.split_once(' ').map_or(key, |(_, given)| given);
    serde_json::json!({
        "module": null,
        "version": null,
        "role": "endpoint",
        "verdict": "suppressed",
        "reason": format!("delivery {holder} holds the dedupe key `{key}`"),
        "endpoint_id": delivery.endpoint_id,
        "holder": holder,
        "duration_us": 0,
    })
}

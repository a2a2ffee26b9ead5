//! Gaps as the API returns them.

use super::day_look::DayLook;
use super::{EventGap, GapKind, Timestamp, UnreadSourceRow, row_hindrance};
use crate::model::id::{DeliveryId, EventId};
use crate::settings::SettingsSnapshot;
use crate::store::{EventStore, StoreError, StoredDelivery};
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Why a delivery without a dead letter is dead.
const LETTER_DELETED: &str = "it failed for good, and its dead letter was deleted";

/// Something that should have reached the endpoint and did not.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GapView {
    /// What is missing.
    pub kind: GapKind,
    /// Id of the event. Null for an unread row.
    pub event_id: Option<String>,
    /// The event type. Null for an unread row.
    pub event_type: Option<String>,
    /// Name of the source.
    pub source: Option<String>,
    /// The kind of resource that the event is about.
    pub resource: Option<String>,
    /// The id of that resource; for an unread row, the row's key or its position.
    pub resource_id: Option<String>,
    /// The list or table of an unread row.
    pub list: Option<String>,
    /// The delivery that failed or was called off: the first, if there are several.
    pub delivery_id: Option<String>,
    /// The dead letter of an unread row.
    pub dead_letter_id: Option<String>,
    /// The reason in words.
    pub reason: String,
    /// Since when it has been missing.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why it cannot be sent. Null if it can.
    pub hindrance: Option<String>,
    /// Whether a newer state of the record reached the endpoint or is on its way. The endpoint then
    /// gets the older state after the newer one.
    pub newer_delivered: bool,
}

impl GapView {
    fn of_event(look: &DayLook, one: &EventGap, delivery: Option<DeliveryId>) -> Self {
        let event = &one.event;
        Self {
            kind: one.gap.kind,
            event_id: Some(event.id.to_string()),
            event_type: Some(event.event_type.clone()),
            source: Some(event.source.clone()),
            resource: event.resource.clone(),
            resource_id: event.resource_id.clone(),
            list: None,
            delivery_id: delivery.map(|id| id.to_string()),
            dead_letter_id: None,
            reason: one.gap.reason.clone(),
            since: one.gap.since,
            hindrance: one.hindrance().map(str::to_owned),
            newer_delivered: look.has_newer(one),
        }
    }

    /// Returns an unread row.
    pub fn of_row(settings: &SettingsSnapshot, unread: &UnreadSourceRow) -> Self {
        let source = settings.sources().find(|source| source.id == unread.row.source_id);
        Self {
            kind: GapKind::UnreadRow,
            event_id: None,
            event_type: None,
            source: source.map(|source| source.settings.name.clone()),
            resource: None,
            resource_id: Some(unread.row.row_id.clone()),
            list: Some(unread.row.list.clone()),
            delivery_id: None,
            dead_letter_id: Some(unread.letter.id.to_string()),
            reason: unread.letter.detail.clone(),
            since: unread.letter.created_at,
            hindrance: row_hindrance(settings, &unread.row).map(str::to_owned),
            newer_delivered: false,
        }
    }

    /// Returns gaps of events, with their deliveries and the reasons of those that died.
    pub async fn load_events(
        journal: &EventStore,
        look: &DayLook,
        gaps: &[EventGap],
    ) -> Result<Vec<Self>, StoreError> {
        let with_delivery = gaps.iter().filter(|one| one.gap.kind.has_delivery());
        let ids: Vec<EventId> = with_delivery.map(|one| one.event.id).collect();
        let endpoint = look.question.target.endpoint.id;
        let found = journal.list_deliveries_of_events(&ids, endpoint).await?;
        let mut deliveries: HashMap<(EventId, &str), DeliveryId> = HashMap::new();
        for StoredDelivery { id, event_id, status, .. } in &found {
            deliveries.entry((*event_id, status.as_str())).or_insert(*id);
        }
        let delivery =
            |one: &EventGap| deliveries.get(&(one.event.id, one.gap.kind.as_str())).copied();
        let dead: Vec<DeliveryId> =
            gaps.iter().filter(|one| one.gap.kind == GapKind::Dead).filter_map(delivery).collect();
        let reasons: HashMap<DeliveryId, String> =
            journal.list_delivery_deaths(&dead).await?.into_iter().collect();
        let view = |one: &EventGap| {
            let id = delivery(one);
            let mut view = Self::of_event(look, one, id);
            if view.kind == GapKind::Dead {
                let reason = id.and_then(|id| reasons.get(&id).cloned());
                view.reason = reason.unwrap_or_else(|| LETTER_DELETED.to_owned());
            }
            view
        };
        Ok(gaps.iter().map(view).collect())
    }
}

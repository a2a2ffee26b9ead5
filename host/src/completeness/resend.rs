//! Sends the gaps of an endpoint: deliveries under their own ids, and what was never planned as new
//! deliveries.

use super::endpoint_routes::EndpointRoutes;
use super::event_outcome::{GapKind, MissedRoutes};
use super::stretch::EventGap;
use super::unread_rows::UnreadSourceRow;
use crate::model::delivery::DeliveryStatus;
use crate::model::event::Event;
use crate::model::id::{EventId, FlowId};
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::{EndpointDispatch, EndpointRuntime};
use crate::store::{EventStore, StoreError, StoredDelivery};
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Gaps whose deliveries are sent again in one transaction, small enough not to delay captures.
const CHUNK: usize = 200;

/// Sends gaps to one endpoint.
#[derive(Debug)]
pub struct GapSender<'s> {
    pub journal: &'s EventStore,
    pub settings: &'s SettingsSnapshot,
    pub target: &'s EndpointRuntime,
}

/// What was begun.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct SentGaps {
    /// Deliveries that are sent again under their own `webhook-id`.
    pub resent: u64,
    /// New deliveries of events that had none.
    pub made: u64,
    /// Flows whose modules run again on an event.
    pub planned: u64,
    /// Rows that their sources read again.
    pub rows: u64,
}

impl GapSender<'_> {
    /// Sends gaps, in their order. What was settled or sent in the meantime is left out.
    pub async fn send(
        &self,
        gaps: &[&EventGap],
        rows: &[&UnreadSourceRow],
    ) -> Result<SentGaps, StoreError> {
        let mut sent = SentGaps::default();
        let (with_delivery, without): (Vec<&EventGap>, Vec<&EventGap>) =
            gaps.iter().partition(|one| one.gap.kind.has_delivery());
        for chunk in with_delivery.chunks(CHUNK) {
            sent.resent += self.resend_deliveries(chunk).await?;
        }
        for chunk in without.chunks(CHUNK) {
            self.send_unplanned(chunk, &mut sent).await?;
        }
        let now = self.journal.clock().now();
        let letters: Vec<_> = rows.iter().map(|row| (row.letter.clone(), now)).collect();
        sent.rows += self.journal.replay_dead_letters(&letters).await? as u64;
        Ok(sent)
    }

    async fn resend_deliveries(&self, gaps: &[&EventGap]) -> Result<u64, StoreError> {
        let kinds: HashMap<EventId, GapKind> =
            gaps.iter().map(|one| (one.event.id, one.gap.kind)).collect();
        let ids: Vec<EventId> = gaps.iter().map(|one| one.event.id).collect();
        let endpoint = self.target.endpoint.id;
        let found = self.journal.list_deliveries_of_events(&ids, endpoint).await?;
        let is_gap = |delivery: &StoredDelivery| match delivery.status {
            DeliveryStatus::Dead => kinds.get(&delivery.event_id) == Some(&GapKind::Dead),
            DeliveryStatus::Cancelled => kinds.get(&delivery.event_id) == Some(&GapKind::Cancelled),
            DeliveryStatus::Pending
            | DeliveryStatus::Leased
            | DeliveryStatus::Delivered
            | DeliveryStatus::Superseded => false,
        };
        let missing: Vec<StoredDelivery> = found.into_iter().filter(is_gap).collect();
        Ok(self.journal.replay_deliveries(&missing).await? as u64)
    }

    /// Sends events without a delivery. The payloads are read a few megabytes at a time.
    async fn send_unplanned(
        &self,
        gaps: &[&EventGap],
        sent: &mut SentGaps,
    ) -> Result<(), StoreError> {
        let by_id: HashMap<EventId, &EventGap> =
            gaps.iter().map(|one| (one.event.id, *one)).collect();
        let mut left: Vec<EventId> = gaps.iter().map(|one| one.event.id).collect();
        left.sort_unstable();
        while !left.is_empty() {
            let whole = self.journal.list_whole_events(&left).await?;
            let Some(last) = whole.last().map(|stored| stored.event.id) else { break };
            left.retain(|id| *id > last);
            for stored in whole {
                let Some(gap) = by_id.get(&stored.event.id) else { continue };
                if let Ok(event) = stored.with_payload() {
                    self.send_event(&event, gap, sent).await?;
                }
            }
        }
        Ok(())
    }

    async fn send_event(
        &self,
        event: &Event,
        gap: &EventGap,
        sent: &mut SentGaps,
    ) -> Result<(), StoreError> {
        let MissedRoutes { is_direct, flows, .. } = &gap.gap.missed;
        let (source, event_type) = (&event.source, &event.event_type);
        let routes = EndpointRoutes::find(self.settings, self.target, source, event_type);
        let (routes, _refusal) = routes.admit(self.target, event);
        if *is_direct && routes.is_direct() {
            let first = routes.plain_flows.first().map(|flow| flow.flow.id);
            let flow = first.filter(|_| !routes.is_own);
            let plan = EndpointDispatch { flow, ..EndpointDispatch::default() };
            let draft = self.target.draft(self.journal, event, plan);
            sent.made += u64::from(self.journal.add_missing_delivery(event, draft).await?);
        }
        for flow in flows.iter().filter(|flow| routes.find_flow(**flow).is_some()) {
            sent.planned += u64::from(self.plan_again(event, *flow, gap.gap.kind).await?);
        }
        Ok(())
    }

    /// Runs the modules of a flow again. A dead letter about them stays until that succeeds.
    async fn plan_again(
        &self,
        event: &Event,
        flow: FlowId,
        kind: GapKind,
    ) -> Result<bool, StoreError> {
        let letter = match kind {
            GapKind::ModulesFailed => self.journal.find_plan_letter(event.id, flow).await?,
            GapKind::Dead
            | GapKind::Cancelled
            | GapKind::Disabled
            | GapKind::NotPlanned
            | GapKind::UnreadRow => None,
        };
        if let Some(letter) = letter {
            let due = self.journal.clock().now();
            return Ok(self.journal.replay_dead_letters(&[(letter, due)]).await? > 0);
        }
        self.journal.replan_event(event, &[flow]).await?;
        Ok(true)
    }
}

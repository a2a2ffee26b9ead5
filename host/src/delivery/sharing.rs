//! Divides the limits of endpoints among all nodes. Once a second this node reports its needs and
//! takes up its shares.

use super::dispatcher::LaneContext;
use crate::error_chain::error_chain;
use crate::model::id::EndpointId;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::StoreError;
use crate::store::prefetch::{EndpointLane, WHOLE_RATE};
use crate::store::shares::{ShareKind, ShareNeed};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often limits are divided.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps this node within its shares.
#[derive(Debug)]
pub struct LimitSharing {
    context: Arc<LaneContext>,
    /// The limits that were divided last. `None` while this node is alone.
    divided: Option<Vec<LimitName>>,
}

type LimitName = (ShareKind, EndpointId);

impl LimitSharing {
    pub const fn new(context: Arc<LaneContext>) -> Self {
        Self { context, divided: None }
    }

    /// Divides limits until the server stops, and at once when the settings change.
    pub async fn run(mut self) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.context.live.changes();
        let stop = self.context.stop.clone();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = changes.changed() => {}
                () = stop.cancelled() => return,
            }
            self.divide_once().await;
        }
    }

    /// Divides the limits once. While the database is away, each node keeps its shares.
    pub async fn divide_once(&mut self) {
        let divided = if self.context.journal.has_others() {
            self.divide_limits().await
        } else {
            self.end_sharing().await
        };
        if let Err(error) = divided {
            tracing::warn!(error = %error_chain(&error), "cannot divide limits with other nodes");
        }
    }

    /// Takes all limits whole, because this node is alone.
    async fn end_sharing(&mut self) -> Result<(), StoreError> {
        let (journal, prefetch) = (&self.context.journal, self.context.journal.prefetch());
        if prefetch.is_divided() && journal.end_sharing().await? {
            self.divided = None;
            prefetch.note_division(false);
            for lane in prefetch.lanes() {
                lane.share.take_all();
            }
        }
        Ok(())
    }

    async fn divide_limits(&mut self) -> Result<(), StoreError> {
        let (journal, prefetch) = (&self.context.journal, self.context.journal.prefetch());
        let is_new = !prefetch.is_divided();
        prefetch.note_division(true);
        let asked = list_limits(&self.context, is_new);
        let names: Vec<LimitName> =
            asked.iter().map(|(limit, lane)| (limit.kind, lane.endpoint)).collect();
        let is_changed = self.divided.as_ref() != Some(&names);
        if names.is_empty() && !is_changed {
            return Ok(());
        }
        let needs = asked.iter().map(|(limit, lane)| need_of(*limit, lane)).collect();
        let shares = journal.divide_limits(needs, is_changed).await?;
        self.divided = Some(names);
        for ((limit, lane), share) in asked.iter().zip(shares) {
            match limit.kind {
                ShareKind::Requests => lane.share.set_slots(share),
                ShareKind::Rate => lane.share.set_rate(share),
            }
        }
        Ok(())
    }
}

/// Returns all limits that are shared, in the order of their endpoints. If nothing was divided
/// before (`is_new`), this node's shares of limits that are not set become zero, so that it has no
/// share of a limit that is set later until that one is divided.
fn list_limits(context: &LaneContext, is_new: bool) -> Vec<(LimitOf, Arc<EndpointLane>)> {
    let mut lanes = context.journal.prefetch().lanes();
    lanes.sort_unstable_by_key(|lane| lane.endpoint);
    let mut limits = Vec::new();
    for lane in lanes {
        let Some(target) = context.live.sendable(lane.endpoint) else {
            lane.share.set_slots(0);
            lane.share.set_rate(0);
            continue;
        };
        if is_new {
            forget_unlimited(&target, &lane);
        }
        limits.extend(limits_of(&target).map(|limit| (limit, Arc::clone(&lane))));
    }
    limits
}

/// A shared limit of one endpoint.
#[derive(Debug, Clone, Copy)]
struct LimitOf {
    kind: ShareKind,
    total: u32,
}

fn limits_of(target: &EndpointRuntime) -> impl Iterator<Item = LimitOf> {
    let requests = target.shares_requests().then(|| LimitOf {
        kind: ShareKind::Requests,
        total: u32::try_from(target.max_in_flight).unwrap_or(u32::MAX),
    });
    let has_rate = target.endpoint.settings.rate_limit.is_some();
    let rate = has_rate.then_some(LimitOf { kind: ShareKind::Rate, total: WHOLE_RATE });
    requests.into_iter().chain(rate)
}

fn forget_unlimited(target: &EndpointRuntime, lane: &EndpointLane) {
    if !target.shares_requests() {
        lane.share.set_slots(0);
    }
    if target.endpoint.settings.rate_limit.is_none() {
        lane.share.set_rate(0);
    }
}

fn need_of(limit: LimitOf, lane: &EndpointLane) -> ShareNeed {
    let LimitOf { kind, total } = limit;
    let waiting = u32::try_from(lane.room.count_used()).unwrap_or(u32::MAX);
    let (held, wanted) = match kind {
        ShareKind::Requests => (lane.share.held_slots(total), waiting.min(total)),
        ShareKind::Rate => (lane.share.rate(), if waiting > 0 { total } else { 0 }),
    };
    ShareNeed { kind, subject: lane.endpoint.uuid(), total, held, wanted }
}

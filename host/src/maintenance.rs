//! Housekeeping: follows other nodes' changes, and deletes data that is no longer needed.

use crate::access::audit::CallAudit;
use crate::access::grant::LIFETIME;
use crate::config::RetentionSection;
use crate::error_chain::error_chain;
use crate::model::id::EventId;
use crate::settings::live;
use crate::settings::live::LiveSettings;
use crate::store::EventStore;
use crate::store::node::BEAT;
use crate::store::objects::{ObjectChange, ObjectKind, StoredObject};
use crate::store::prune::{PruneCutoffs, PrunedCounts};
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use serde::de::IgnoredAny;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval of the check for other nodes' changes that this node was not notified of, and of the
/// write of audited calls.
const WATCH: Duration = Duration::from_secs(1);
/// Interval at which the indexes of record fields are matched with the modules' needs.
const INDEX: Duration = Duration::from_secs(5);
/// Interval of the deletion of expired keys and other short-lived rows.
const FORGET: Duration = Duration::from_mins(10);

/// Data newer than this is never pruned for `retention.max_size`.
const NEWEST: Duration = Duration::from_hours(1);
/// Interval of a pass over all payloads, including those that an earlier pass had to keep.
const EVERYTHING: Duration = Duration::from_hours(24);

/// The data that housekeeping works on.
#[derive(Debug)]
pub struct MaintenanceContext {
    pub journal: EventStore,
    pub live: LiveSettings,
    /// The audit, with calls that are not written yet.
    pub audit: Arc<CallAudit>,
    /// Retention of audited calls.
    pub calls: Duration,
    /// Retention of everything else.
    pub retention: RetentionSection,
    /// The progress of payload pruning.
    pub pruned: Mutex<PrunedSoFar>,
}

/// The event up to which payloads are pruned. They are skipped until the next full pass.
#[derive(Debug, Default)]
pub struct PrunedSoFar {
    to: Option<EventId>,
    /// Time of the last full pass.
    all_at: Timestamp,
}

/// Runs until told to stop. Duties run concurrently: a deletion may take long, and a node that does
/// not announce itself meanwhile loses its leases.
pub async fn run_maintenance(context: MaintenanceContext, stop: CancellationToken) {
    tokio::join!(
        run_every(WATCH, &stop, || context.watch_changes()),
        run_every(BEAT, &stop, || context.announce_process()),
        // Apart from the heartbeat, which must not wait for them.
        run_every(BEAT, &stop, || context.release_late()),
        run_every(INDEX, &stop, || context.keep_indexes()),
        run_every(FORGET, &stop, || context.forget_expired()),
        run_every(context.pruning_period(), &stop, || context.prune_expired()),
        run_until(&stop, context.journal.follow_nodes()),
        run_until(&stop, context.follow_changes()),
    );
}

/// Repeats a duty. On stop, a duty in progress is dropped.
async fn run_every<D: Future<Output = Result<(), live::SettingsError>>>(
    period: Duration,
    stop: &CancellationToken,
    duty: impl Fn() -> D,
) {
    let mut tick = tokio::time::interval(period);
    let done = async {
        loop {
            tick.tick().await;
            if let Err(error) = duty().await {
                let error = error_chain(&error);
                tracing::warn!(error, "housekeeping failed; it runs again at the next interval");
            }
        }
    };
    run_until(stop, done).await;
}

/// Runs an endless duty until told to stop.
async fn run_until(stop: &CancellationToken, duty: impl Future<Output = ()>) {
    tokio::select! {
        () = duty => {}
        () = stop.cancelled() => {}
    }
}

impl MaintenanceContext {
    /// Writes audited calls and the last use of tokens, and applies other nodes' changes.
    async fn watch_changes(&self) -> Result<(), live::SettingsError> {
        self.audit.write_notes(self.live.fresh_usages());
        self.live.refresh_if_newer().await
    }

    /// Fills the indexes of record fields that modules need, and drops those that no module needs.
    async fn keep_indexes(&self) -> Result<(), live::SettingsError> {
        let wanted = self.live.current_settings().indexed.pairs();
        Ok(self.journal.keep_indexes(&wanted).await?)
    }

    /// Applies other nodes' changes as soon as a node announces them. After a failure or a lost
    /// announcement, [`Self::watch_changes`] applies them within two seconds.
    async fn follow_changes(&self) {
        loop {
            self.journal.wait_for_changes().await;
            if let Err(error) = self.live.refresh_if_newer().await {
                tracing::warn!(error = %error_chain(&error), "cannot apply another node's change; trying again within two seconds");
            }
        }
    }

    /// Renews this node's entry in the list of running nodes.
    async fn announce_process(&self) -> Result<(), live::SettingsError> {
        Ok(self.journal.watch_processes().await?)
    }

    /// Releases what this node holds without working on it.
    async fn release_late(&self) -> Result<(), live::SettingsError> {
        Ok(self.journal.release_late().await?)
    }

    /// Returns the interval of pruning: a sixth of the shortest retention, from a second to ten
    /// minutes.
    fn pruning_period(&self) -> Duration {
        let keep = &self.retention;
        let kinds = [
            keep.payloads,
            keep.plans,
            keep.attempts,
            keep.deliveries,
            keep.events,
            keep.dead_letters,
        ];
        let kinds = kinds.into_iter().chain([keep.deleted_records]).chain(keep.records);
        let shortest = kinds.map(TimeSpan::get).min().unwrap_or(FORGET);
        (shortest / 6).clamp(WATCH, FORGET)
    }

    /// Prunes data older than the configuration keeps, and returns the freed space to the file
    /// system.
    async fn prune_expired(&self) -> Result<(), live::SettingsError> {
        let now = self.journal.clock().now();
        let keep = &self.retention;
        let before = |span: TimeSpan| now.before(span.get());
        let cutoffs = PruneCutoffs {
            payloads: before(keep.payloads),
            plans: before(keep.plans),
            attempts: before(keep.attempts),
            deliveries: before(keep.deliveries),
            events: before(keep.events),
            dead_letters: before(keep.dead_letters),
            deleted_records: before(keep.deleted_records),
            records: keep.records.map(before),
        };
        let (from, all_at) = self.payloads_from(now);
        let pruned = self.journal.prune_expired(&cutoffs, from).await?;
        let pruned = self.prune_to_size(pruned, &cutoffs, now).await?;
        let to = Some(EventId::first_at(cutoffs.payloads));
        *self.pruned.lock().unwrap_or_else(PoisonError::into_inner) = PrunedSoFar { to, all_at };
        if pruned != PrunedCounts::default() {
            tracing::info!(?pruned, "pruned data older than retention.* allows");
        }
        let pages = self.journal.give_back_space().await?;
        if pages > 0 {
            tracing::info!(pages, "gave back pages of the database file");
        }
        Ok(())
    }

    /// Prunes data before its time if the database is larger than `retention.max_size`.
    async fn prune_to_size(
        &self,
        mut pruned: PrunedCounts,
        cutoffs: &PruneCutoffs,
        now: Timestamp,
    ) -> Result<PrunedCounts, live::SettingsError> {
        let Some(most) = self.retention.max_size else { return Ok(pruned) };
        let newest = now.before(NEWEST);
        let (more, is_enough) = self.journal.prune_to_size(most, cutoffs, newest).await?;
        pruned += more;
        if !is_enough {
            tracing::warn!(
                most,
                "the database is larger than retention.max_size: the remaining data is open work or newer than an hour; replay or delete dead letters, or raise the limit"
            );
        }
        Ok(pruned)
    }

    /// Returns the event from which to prune payloads, and the time of the last full pass. A full
    /// pass is due once a day, or once per `retention.payloads` if that is shorter: a payload that
    /// was needed for a replay or a record in the last pass may not be needed any more.
    fn payloads_from(&self, now: Timestamp) -> (Option<EventId>, Timestamp) {
        let so_far = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        let again = self.retention.payloads.get().min(EVERYTHING);
        if now.since(so_far.all_at) >= again { (None, now) } else { (so_far.to, so_far.all_at) }
    }

    /// Deletes expired keys, module state and audited calls, and cleans up after deleted objects.
    async fn forget_expired(&self) -> Result<(), live::SettingsError> {
        let now = self.journal.clock().now();
        let keys = self.journal.forget_capture_keys().await?;
        let dedupe_keys = self.journal.forget_dedupe_keys().await?;
        let state = self.journal.forget_state().await?;
        let fields = self.journal.forget_record_fields().await?;
        let calls = self.journal.forget_calls(now.before(self.calls)).await?;
        let orphans = self.journal.cancel_orphans().await?;
        let sources = self.journal.forget_deleted_sources().await?;
        tracing::debug!(
            keys,
            dedupe_keys,
            state,
            fields,
            calls,
            orphans,
            sources,
            "deleted expired deduplication keys, module state, record fields, audited calls and deleted sources, and cancelled deliveries of deleted endpoints"
        );
        // An expired token is refused anyway, so its revocation is not needed.
        let revoked: Vec<StoredObject<IgnoredAny>> =
            self.journal.list_objects(ObjectKind::RevokedGrant).await?;
        let over = revoked.iter().filter(|object| object.created_at.after(LIFETIME) < now);
        let over = over
            .map(|object| ObjectChange::Delete { kind: ObjectKind::RevokedGrant, id: object.id });
        let over: Vec<ObjectChange> = over.collect();
        if over.is_empty() { Ok(()) } else { Ok(self.journal.change_objects(&over).await?) }
    }
}
